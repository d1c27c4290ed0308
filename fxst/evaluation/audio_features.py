"""The audio-feature distance (AF): how near two recordings of different content are in level, dynamics, width and tone.

AF needs no target. Its sum is computed as published, so that it compares with the literature. Level and a missing side
signal dominate it, so its parts are also measured on their own, at equal loudness.
"""

import functools
import math
from dataclasses import dataclass
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
    "measure_features",
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


@dataclass(frozen=True, eq=False)
class AudioFeatures:
    """What the distance is made of.

    Args:
        power: Mean square of each channel.
        peak: Highest sample of each channel.
        power_of_sum: Mean square of left plus right, and of left less right: mid and side.
        bands: Magnitude of mid and side in bark bands, averaged over time; no bands for a recording too short.
        loudness_lufs: Loudness of mid and side; minus infinity for silence.

    Shape:
        `(2,)`; bands: `(2, bands)`.
    """

    power: Array
    peak: Array
    power_of_sum: Array
    bands: Array
    loudness_lufs: tuple[float, float]

    @property
    def rms(self) -> Array:
        """Root mean square of each channel, linear."""
        rms: Array = np.sqrt(np.maximum(self.power, FLOOR))
        return rms

    @property
    def crest_db(self) -> Array:
        """Crest factor of each channel."""
        crest: Array = 20 * np.log10(np.maximum(self.peak, FLOOR) / np.maximum(np.sqrt(self.power), FLOOR))
        return crest

    @property
    def width(self) -> float:
        """Power of the side signal over that of the mid signal."""
        mid, side = self.power_of_sum.tolist()
        return float(side / max(mid, FLOOR))

    @property
    def imbalance(self) -> float:
        """Power of the right channel less that of the left, over their sum."""
        left, right = self.power.tolist()
        return float((right - left) / max(left + right, FLOOR))

    def spectrum(self, signal: int, *, lufs: float | None = None) -> Array:
        """Return the natural logarithms of the bands of mid (0) or side (1), if asked for at a loudness."""
        gain = 1.0 if lufs is None else 10 ** ((lufs - self.loudness_lufs[signal]) / 20)
        logarithms: Array = np.log(gain * self.bands[signal] + FLOOR)
        return logarithms


def measure_features(samples: Samples) -> AudioFeatures:
    """Measure the features of a recording, in double precision.

    Args:
        samples: The recording at 44.1 kHz; mono counts as two equal channels.

    Shape:
        samples: `(1, time)` or `(2, time)`.

    Source:
        S. S. Vanka et al., "Diff-MST: differentiable mixing style transfer", ISMIR 2024, and its public code.
    """
    left, right = samples[0].astype(np.float64), samples[-1].astype(np.float64)
    signals = (left + right, left - right)
    return AudioFeatures(
        power=np.array([np.square(channel).mean() for channel in (left, right)]),
        peak=np.array([np.abs(channel).max() for channel in (left, right)]),
        power_of_sum=np.array([np.square(signal).mean() for signal in signals]),
        bands=np.stack([_bands(signal) for signal in signals]),
        loudness_lufs=(_loudness(signals[0]), _loudness(signals[1])),
    )


def audio_feature_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the distance as published; NaN if a recording is too short for its spectrum."""
    if not x.bands.size or not y.bands.size:
        return math.nan
    spectra = [np.concatenate([features.spectrum(signal) for signal in range(2)]) for features in (x, y)]
    return (
        RMS_WEIGHT * _mean_square(x.rms - y.rms)
        + crest_distance(x, y)
        + width_distance(x, y)
        + IMBALANCE_WEIGHT * (x.imbalance - y.imbalance) ** 2
        + SPECTRUM_WEIGHT * _mean_square(spectra[0] - spectra[1])
    )


def spectrum_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the term of the spectrum with the mid signals at one loudness, and the side signals at one.

    A side signal that only one of the recordings has is a matter of width, and left out.
    """
    if not x.bands.size or not y.bands.size:
        return math.nan
    distances = [
        _mean_square(x.spectrum(signal, lufs=MATCHED_LUFS) - y.spectrum(signal, lufs=MATCHED_LUFS))
        for signal in range(2)
        if math.isfinite(x.loudness_lufs[signal]) and math.isfinite(y.loudness_lufs[signal])
    ]
    return SPECTRUM_WEIGHT * math.fsum(distances) / len(distances) if distances else math.nan


def crest_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the term of the crest factor, which no gain changes."""
    return CREST_WEIGHT * _mean_square(x.crest_db - y.crest_db)


def width_distance(x: AudioFeatures, y: AudioFeatures) -> float:
    """Return the term of the stereo width, which no gain changes."""
    return WIDTH_WEIGHT * (x.width - y.width) ** 2


def _mean_square(difference: Array) -> float:
    return float(np.square(difference).mean())


def _bands(signal: Array) -> Array:
    """Measure the magnitude in each band."""
    if len(signal) <= WINDOW // 2:  # there is nothing to mirror
        return np.zeros(0)
    window = np.hanning(WINDOW + 1)[:-1]
    frames = framed(mirrored(signal, WINDOW), WINDOW, hop=HOP)
    # One by one: a view of the frames takes no memory.
    bands: Array = _bark_bank() @ (sum(np.abs(rfft(frame * window)) for frame in frames) / len(frames))
    return bands


def _loudness(signal: Array) -> float:
    return loudness(signal[None].astype(np.float32), sample_rate=AF_RATE)


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
