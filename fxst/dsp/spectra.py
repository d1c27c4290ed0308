"""The long-term average spectrum in third octaves."""

import functools
import math
from typing import Final

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.stft import hann, power_spectra, spectral_power, stft

__all__ = ["LongTermSpectrum", "third_octaves"]

WINDOW_SECONDS: Final = 1 / 3
"""Shortest window, which just resolves the lowest band."""

FLOOR: Final = 1e-14
"""Lowest power: -140 dB."""

_LOWEST_BAND, _HIGHEST_BAND = -17, 13  # in third octaves from 1 kHz: the bands called 20 Hz and 20 kHz
_EDGE: Final = 2 ** (1 / 6)
_HANN_NOISE_BINS: Final = 1.5
_LARGEST: Final = 1e12
"""The largest sample whose sum over a window can still be squared in float32."""


def third_octaves(x: Samples, *, sample_rate: int) -> tuple[Array, Array]:
    """Measure the long-term average spectrum of a recording in third octaves.

    Pauses count too; they lower all bands alike.

    Args:
        x: Audio.
        sample_rate: Its sample rate.

    Returns:
        Centre frequencies in Hz, and the power in each band in dB, full-scale sine 0 dB. Bands go from 20 Hz, or the
        lowest that a short signal resolves, to 20 kHz or half the sample rate.

    Shape:
        `(..., time)` to `(bands,)` and `(..., bands)`.
    """
    spectrum = LongTermSpectrum(sample_rate=sample_rate)
    spectrum.process(x)
    return spectrum.third_octaves()


class LongTermSpectrum:
    """Measure the long-term average spectrum of a stream.

    Args:
        sample_rate: Sample rate in Hz.
    """

    def __init__(self, *, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._window = max(4, 1 << math.ceil(math.log2(WINDOW_SECONDS * sample_rate)))
        self._power: Array = np.zeros(self._window // 2 + 1)
        self._frames = 0
        self._held: Samples | None = None  # from the start of the last frame

    def process(self, block: Samples) -> None:
        """Take in the next block.

        Shape:
            block: `(..., time)`.
        """
        # At this hop squared Hann windows add up to a constant, so all samples count alike.
        hop = self._window // 4
        if block.size and max(float(block.max()), -float(block.min())) > _LARGEST:
            block = block.astype(np.float64)
        x = block if self._held is None else np.concatenate([self._held, block], axis=-1)
        following = hop if self._frames else 0
        for power in power_spectra(x[..., following:], hann(self._window), hop=hop):
            self._power = self._power + power.sum(axis=-2, dtype=np.float64)
            self._frames += power.shape[-2]
            following += power.shape[-2] * hop
        self._held = x[..., max(0, following - hop) :].copy()

    def third_octaves(self) -> tuple[Array, Array]:
        """Return the centre frequencies in Hz and the power in each band in dB, so far.

        Shape:
            `(bands,)` and `(..., bands)`.
        """
        if self._held is None or not self._held.size:
            raise ValueError("there is no audio to measure")
        length = min(self._window, self._held.shape[-1])
        power, frames = self._power, self._frames
        if not frames or self._held.shape[-1] > self._window:
            # The remainder gets a frame that ends with it; a short recording gets one frame of its own length.
            last = self._held[..., self._held.shape[-1] - length :]
            power = power + spectral_power(stft(last, hann(length), hop=length, n_fft=self._window))[..., 0, :]
            frames += 1
        centres, shares = _bands(self._sample_rate, self._window, length)
        # A full-scale sine has a mean square of 1/2, and half of that is at negative frequencies.
        scale = 4 / (frames * float(np.square(hann(length)).sum()) * self._window)
        return centres.copy(), 10 * np.log10(np.maximum(power @ shares * scale, FLOOR))

    def mean_third_octaves(self) -> tuple[Array, Array]:
        """Return the centre frequencies in Hz and the channels' mean power in each band in dB.

        The mean is over channel powers, not of the downmix, in which opposite phases would cancel.

        Shape:
            `(bands,)` and `(bands,)`, of audio `(channels, time)`.
        """
        centres, levels = self.third_octaves()
        return centres, 10 * np.log10(np.mean(10 ** (levels / 10), axis=0))


@functools.lru_cache(maxsize=8)
def _bands(sample_rate: int, window: int, length: int) -> tuple[Array, Array]:
    """Return the centres of the resolved bands, and the share of each bin in each band, `(bins, bands)`."""
    centres = 1000 * 2.0 ** (np.arange(_LOWEST_BAND, _HIGHEST_BAND + 1) / 3)
    resolved = centres * (_EDGE - 1 / _EDGE) >= _HANN_NOISE_BINS * sample_rate / length
    centres = centres[resolved & (centres * _EDGE <= sample_rate / 2)]
    # A bin reaches half-way to its neighbours; a bin across a band edge is divided between both bands.
    bins = np.arange(window // 2 + 1)[:, None]
    low, high = (centres * edge * window / sample_rate for edge in (1 / _EDGE, _EDGE))
    shares = np.clip(np.minimum(bins + 0.5, high) - np.maximum(bins - 0.5, low), 0, None)
    return centres, shares
