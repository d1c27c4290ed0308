"""The mel filter bank, from torchaudio: the one place that imports it, and only when a new model is made."""

from fxst.dsp import Samples
from fxst.errors import ModelError

__all__ = ["mel_filters"]


def mel_filters(*, n_fft: int, n_mels: int, minimum_hz: float, sample_rate: int) -> Samples:
    """Make triangular filters, equally spaced on the mel scale up to half the sample rate.

    Shape:
        result: (n_fft // 2 + 1, n_mels).

    Raises:
        ModelError: torchaudio does not load.
    """
    try:
        from torchaudio.functional import melscale_fbanks
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            "torchaudio does not load with this version of torch, most often because the two were built for different "
            'versions of CUDA; install a matching pair with: pip install "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12". '
            f"(It said: {error})"
        ) from error
    filters: Samples = melscale_fbanks(n_fft // 2 + 1, minimum_hz, sample_rate / 2, n_mels, sample_rate).numpy()
    return filters
