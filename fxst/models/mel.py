"""The mel filter bank, from torchaudio: the one place that imports it, and only when a new model is made."""

from fxst import extras
from fxst.dsp import Samples

__all__ = ["mel_filters"]


def mel_filters(*, n_fft: int, n_mels: int, minimum_hz: float, sample_rate: int) -> Samples:
    """Make triangular filters, equally spaced on the mel scale up to half the sample rate.

    Shape:
        result: (n_fft // 2 + 1, n_mels).

    Raises:
        SettingsError: torchaudio is missing, or does not load.
    """
    extras.need("A new model", "torchaudio.functional")
    from torchaudio.functional import melscale_fbanks

    filters: Samples = melscale_fbanks(n_fft // 2 + 1, minimum_hz, sample_rate / 2, n_mels, sample_rate).numpy()
    return filters
