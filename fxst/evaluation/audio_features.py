"""The audio-feature distance (AF): how near two recordings of different content are in level, dynamics, width and tone.

AF needs no target. Its sum is computed as published, so that it compares with the literature. Level and a missing side
signal dominate it, so its parts are also measured on their own, at equal loudness.
"""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.kernels import rfft
from fxst.dsp.loudness import LoudnessMeter

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


def measure_features(blocks: Iterable[Samples]) -> AudioFeatures:
    """Measure the features of a recording, in double precision.

    Args:
        blocks: The recording at 44.1 kHz, block by block; mono counts as two equal channels.

    Shape:
        blocks: `(1, time)` or `(2, time)` each.

    Source:
        S. S. Vanka et al., "Diff-MST: differentiable mixing style transfer", ISMIR 2024, and its public code.
    """
    energy, peak, energy_of_sum, count = np.zeros(2), np.zeros(2), np.zeros(2), 0
    bands, loudness = _BandMeter(), [LoudnessMeter(sample_rate=AF_RATE, channels=1) for _ in range(2)]
    for block in blocks:
        if not block.shape[1]:
            continue
        left, right = block[0].astype(np.float64), block[-1].astype(np.float64)
        channels, signals = np.stack([left, right]), np.stack([left + right, left - right])
        energy += np.square(channels).sum(axis=1)
        peak = np.maximum(peak, np.abs(channels).max(axis=1))
        energy_of_sum += np.square(signals).sum(axis=1)
        count += block.shape[1]
        bands.process(signals)
        for meter, signal in zip(loudness, signals, strict=True):
            meter.process(signal[None].astype(np.float32))
    mid_lufs, side_lufs = (meter.integrated() for meter in loudness)
    return AudioFeatures(energy / count, peak, energy_of_sum / count, bands.magnitudes(), (mid_lufs, side_lufs))


class _BandMeter:
    """Measure the magnitude of two signals in bark bands, averaged over frames with mirrored ends, block by block."""

    def __init__(self) -> None:
        self._held = np.zeros((2, 0))
        self._total = np.zeros((2, WINDOW // 2 + 1))
        self._window = np.hanning(WINDOW + 1)[:-1]
        self._frames = 0
        self._begun = False

    def process(self, block: Array) -> None:
        """Take in the next block, `(2, time)`."""
        self._held = np.concatenate([self._held, block], axis=1)
        half = WINDOW // 2
        if not self._begun and self._held.shape[1] > half:
            self._held = np.concatenate([self._held[:, half:0:-1], self._held], axis=1)
            self._begun = True
        if self._begun:
            self._measure()

    def magnitudes(self) -> Array:
        """Return the magnitudes, `(2, bands)`; no bands if there was too little to mirror."""
        if not self._begun:
            return np.zeros((2, 0))
        self._held = np.concatenate([self._held, self._held[:, -2 : -WINDOW // 2 - 2 : -1]], axis=1)
        self._measure()
        magnitudes: Array = self._total @ _bark_bank().T / self._frames
        return magnitudes

    def _measure(self) -> None:
        """Measure all complete frames, and keep what later ones need."""
        count = max(0, 1 + (self._held.shape[1] - WINDOW) // HOP)
        for first in range(0, count * HOP, HOP):
            self._total += np.abs(rfft(self._held[:, first : first + WINDOW] * self._window))
        self._frames += count
        self._held = self._held[:, count * HOP :]


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
