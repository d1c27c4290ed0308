"""The short-time Fourier transform of NumPy arrays and torch tensors, and the multi-resolution STFT distance."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from fxst.dsp import Samples
from fxst.dsp.arrays import cached_array
from fxst.dsp.kernels import rfft

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

__all__ = [
    "MR_STFT_FLOOR",
    "MR_STFT_WINDOWS",
    "framed",
    "hann",
    "mirrored",
    "mr_stft",
    "power_spectra",
    "precise_power",
    "spectral_power",
    "stft",
]

MR_STFT_WINDOWS: Final = (32, 128, 512, 2048, 8192, 32768)
"""Window lengths of the published evaluation, in samples; hops are half of them."""

MR_STFT_FLOOR: Final = 1e-8
"""Lowest power of a bin: auraloss' default."""

_BLOCK_SAMPLES: Final = 1 << 18

Signal = TypeVar("Signal", npt.NDArray[Any], "Tensor")


def framed(x: Signal, length: int, *, hop: int) -> Signal:
    """View a signal as frames, without a copy; samples after the last complete frame are left out.

    Shape:
        `(..., time)` to `(..., frames, length)`.
    """
    if isinstance(x, np.ndarray):
        return np.lib.stride_tricks.sliding_window_view(x, length, axis=-1)[..., ::hop, :]
    return x.unfold(-1, length, hop)


def mirrored(x: Signal, window: int) -> Signal:
    """Pad both ends with a reflection of half a window, so that frame n is centred on sample n * hop.

    Shape:
        `(..., time)`, longer than half a window, to `(..., time + 2 * (window // 2))`.
    """
    half = window // 2
    if isinstance(x, np.ndarray):
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    from torch.nn.functional import pad

    return pad(x, (half, half), mode="reflect")


def stft(x: Signal, window: Signal, *, hop: int, n_fft: int | None = None) -> Signal:
    """Compute the short-time Fourier transform of a signal.

    Args:
        x: The signal; for centred frames pass it through `mirrored` first.
        window: The window function.
        hop: Hop size in samples.
        n_fft: Length of the transform, with zeros after each frame; by default the window's.

    Shape:
        x: `(..., time)`; window: `(length,)`; result: `(..., frames, bins)`, complex.
    """
    windowed = framed(x, len(window), hop=hop) * window
    spectrum: Signal
    if isinstance(windowed, np.ndarray):
        spectrum = rfft(windowed, n_fft)  # NumPy's takes twice as long
    else:
        import torch

        spectrum = torch.fft.rfft(windowed, n_fft)
    return spectrum


def spectral_power(spectrum: Signal) -> Signal:
    """Return the squared magnitudes of a complex spectrum."""
    squares: Signal
    if isinstance(spectrum, np.ndarray):
        squares = np.square(spectrum.real) + np.square(spectrum.imag)
    else:
        squares = spectrum.real.square().addcmul(spectrum.imag, spectrum.imag)
    return squares


def precise_power(x: Signal, window: Signal, *, hop: int, n_fft: int | None = None) -> Signal:
    """Return the powers of `stft`, computed in double precision and returned in that of the signal.

    In single precision the noise of a Fourier transform lies 140 dB below the loudest band. It would be all there is
    above the band limit of a recording, and differ from one library to the next.

    Shape:
        x: `(N, time)`; window: `(length,)`, in float64; result: `(N, frames, bins)`.
    """
    if not isinstance(x, np.ndarray):  # torch takes longer for rows than for a batch of them
        return spectral_power(stft(x, window, hop=hop, n_fft=n_fft)).to(x.dtype)
    # Row by row, so that what is in double precision stays in the CPU's cache.
    return np.stack([spectral_power(stft(row, window, hop=hop, n_fft=n_fft)).astype(x.dtype) for row in x])


def power_spectra(x: Samples, window: Samples, *, hop: int, n_fft: int | None = None) -> Iterator[Samples]:
    """Yield the powers of `stft` a few frames at a time: those of a long recording may not fit in memory.

    Shape:
        x: `(..., time)`; window: `(length,)`; each block: `(..., frames, bins)`.
    """
    length = len(window)
    every = 1 + (x.shape[-1] - length) // hop
    # Few enough for the CPU's cache.
    count = max(1, _BLOCK_SAMPLES // ((n_fft or length) * math.prod(x.shape[:-1])))
    for first in range(0, every, count):
        last = min(first + count, every) - 1
        yield spectral_power(stft(x[..., first * hop : last * hop + length], window, hop=hop, n_fft=n_fft))


@cached_array
def hann(length: int) -> Samples:
    """Return a periodic Hann window, as `torch.hann_window` does."""
    if length == 1:
        return np.ones(1, np.float32)
    window: Samples = (0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, length + 1)[:-1])).astype(np.float32)
    return window


def mr_stft(windows: Sequence[int], *, hops: Sequence[int]) -> "Module":
    """Return auraloss' multi-resolution STFT distance of linear and log magnitudes, without spectral convergence.

    This is the definition. Faster forms, in `fxst.evaluation.metrics` and the training losses, are tested against it.

    Args:
        windows: Lengths of windows and transforms, in samples.
        hops: Hop size for each window.

    Source:
        R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020; C. J. Steinmetz and J. D. Reiss, "auraloss: audio-focused
        loss functions in PyTorch", DMRN+15, 2020.
    """
    from auraloss.freq import MultiResolutionSTFTLoss

    loss: Module = MultiResolutionSTFTLoss(
        list(windows), list(hops), list(windows), w_sc=0.0, w_lin_mag=1.0, w_log_mag=1.0, eps=MR_STFT_FLOOR
    )
    return loss
