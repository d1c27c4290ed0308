"""The audio-feature distance (AF): how near two recordings of different content are in level, dynamics, width and tone.

AF needs no target. Its sum is computed as published, so that it compares with the literature. Level and a missing side
signal dominate it, so its parts are also measured on their own, at equal loudness.
"""

import functools
import math
from typing import Any, Final

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.kernels import rfft
from fxst.dsp.loudness import loudness
from fxst.dsp.stft import framed, mirrored

__all__ = [
    "AF_RATE",
    "AudioFeatures",
    "audio_feature_distance",
    "crest_distance",
    "spectrum_distance",
    "width_distance",
]

AF_RATE: Final = 44_100
WINDOW: Final = 32_768
HOP: Final = 8192
BANDS: Final = 24
LOWEST_HZ: Final = 20.0
HIGHEST_HZ: Final = 20_000.0
FLOOR: Final = 1e-8

RMS_WEIGHT: Final = 0.1
CREST_WEIGHT: Final = 0.001
WIDTH_WEIGHT: Final = 1.0
IMBALANCE_WEIGHT: Final = 1.0
SPECTRUM_WEIGHT: Final = 0.1

MATCHED_LUFS: Final = -23.0
"""Loudness at which the spectra are compared on their own."""


class AudioFeatures:
    """The features of a recording, each computed on first access.

    Args:
        samples: The recording at 44.1 kHz; mono counts as two equal channels.

    Shape:
        samples: `(1, time)` or `(2, time)`.

    Source:
        S. S. Vanka et al., "Diff-MST: differentiable mixing style transfer", ISMIR 2024, and its public code.
    """

    def __init__(self, samples: Samples) -> None:
        stereo = np.broadcast_to(samples, (2, samples.shape[1])).astype(np.float64)
        self._mid, self._side = stereo[0] + stereo[1], stereo[0] - stereo[1]
        self._power = np.square(stereo).mean(axis=1)
        self._peak = np.abs(stereo).max(axis=1)

    @property
    def rms(self) -> Array:
        """Root mean square of each channel, linear."""
        rms: Array = np.sqrt(np.maximum(self._power, FLOOR))
        return rms

    @property
    def crest_db(self) -> Array:
        """Crest factor of each channel."""
        crest: Array = 20 * np.log10(np.maximum(self._peak, FLOOR) / np.maximum(np.sqrt(self._power), FLOOR))
        return crest

    @property
    def width(self) -> float:
        """Power of the side signal over that of the mid signal."""
        return float(np.square(self._side).mean() / max(float(np.square(self._mid).mean()), FLOOR))

    @property
    def imbalance(self) -> float:
        """Power of the right channel less that of the left, over their sum."""
        left, right = self._power
        return float((right - left) / max(left + right, FLOOR))

    @functools.cached_property
    def spectra(self) -> Array:
        """Natural logarithms of the magnitudes of mid and side in bark bands, averaged over time.

        Shape:
            `(2, bands)`; no bands for a recording too short for one frame.
        """
        if len(self._mid) <= WINDOW // 2:
            return np.zeros((2, 0))
        return np.stack([_log_bands(signal) for signal in (self._mid, self._side)])

    @functools.cached_property
    def matched_spectra(self) -> tuple[Array | None, Array | None]:
        """The same for mid and side, each at the same loudness; None for one that is silent."""
        mid, side = (self._matched(signal) for signal in (self._mid, self._side))
        return mid, side

    def _matched(self, signal: Array) -> Array | None:
        lufs = loudness(signal[None].astype(np.float32), sample_rate=AF_RATE)
        if not math.isfinite(lufs) or len(signal) <= WINDOW // 2:
            return None
        return _log_bands(signal * 10 ** ((MATCHED_LUFS - lufs) / 20))


def audio_feature_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the distance as published; NaN if a recording is too short for its spectrum."""
    if not x.spectra.size or not y.spectra.size:
        return math.nan
    return (
        RMS_WEIGHT * _mean_square(x.rms - y.rms)
        + crest_distance(x, y)
        + width_distance(x, y)
        + IMBALANCE_WEIGHT * (x.imbalance - y.imbalance) ** 2
        + SPECTRUM_WEIGHT * _mean_square(x.spectra - y.spectra)
    )


def spectrum_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the term of the spectrum with the mid signals at one loudness, and the side signals at one.

    A side signal that only one of the recordings has is a matter of width, and left out.
    """
    pairs = zip(x.matched_spectra, y.matched_spectra, strict=True)
    distances = [_mean_square(ours - theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    return SPECTRUM_WEIGHT * math.fsum(distances) / len(distances) if distances else math.nan


def crest_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the term of the crest factor, which no gain changes."""
    return CREST_WEIGHT * _mean_square(x.crest_db - y.crest_db)


def width_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the term of the stereo width, which no gain changes."""
    return WIDTH_WEIGHT * (x.width - y.width) ** 2


def _mean_square(difference: Array) -> float:
    return float(np.square(difference).mean())


def _log_bands(signal: Array) -> Array:
    window = np.hanning(WINDOW + 1)[:-1]
    frames = framed(mirrored(signal, WINDOW), WINDOW, hop=HOP)
    # One by one: a view of the frames takes no memory.
    magnitude = sum(np.abs(rfft(frame * window)) for frame in frames) / len(frames)
    bands: Array = np.log(_bark_bank() @ magnitude + FLOOR)
    return bands


@functools.lru_cache(maxsize=1)
def _bark_bank() -> Any:
    """Return the triangular bands, `(bands, bins)`."""
    edges = _edges_hz()
    hz = np.linspace(0, AF_RATE / 2, WINDOW // 2 + 1)
    low, centre, high = (edges[first : first + BANDS, None] for first in range(3))
    return np.maximum(0, np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)))


def _edges_hz() -> Array:
    """Return the edges of the bands.

    As published, the way back from bark leaves out the correction at the top, so the last edges lie higher than
    `HIGHEST_HZ`.

    Source:
        H. Traunmüller, "Analytical expressions for the tonotopic sensory scale", 1990.
    """
    lowest, highest = (_bark(hz) for hz in (LOWEST_HZ, HIGHEST_HZ))
    bark = np.linspace(lowest, highest, BANDS + 2)
    bark = np.where(bark < 2, (bark - 0.3) / 0.85, bark)
    edges: Array = 1960 * (bark + 0.53) / (26.28 - bark)
    return edges


def _bark(hz: float) -> float:
    bark = 26.81 * hz / (1960 + hz) - 0.53
    if bark < 2:
        return bark + 0.15 * (2 - bark)
    return bark + 0.22 * max(0.0, bark - 20.1)
