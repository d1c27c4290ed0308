"""Corruptions of the published evaluation: drawing their settings, and applying them.

Drawn settings are plain data, so a list of items can store them and reproduce the audio.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from fxst.data import sox
from fxst.data.sox import Points
from fxst.dsp import Array, Samples
from fxst.errors import SettingsError

__all__ = [
    "Corruption",
    "CorruptionBand",
    "DynamicsCorruption",
    "FrequencyCorruption",
    "draw_compressor",
    "draw_expander",
    "draw_frequency_corruption",
    "to_data",
]

BandKind = Literal["equalizer", "bass", "treble"]
DynamicsKind = Literal["compressor", "expander"]

BAND_PROBABILITY: Final = 0.8
PEAK_BANDS_HZ: Final = ((200, 2000), (800, 4000), (2000, 8000), (4000, None))
BASS_HZ: Final = (20, 200)
TREBLE_HZ: Final = (4000, None)
"""Frequency ranges of the bands; None is the highest frequency at the sample rate."""

HIGHEST: Final = 0.9
"""Highest frequency relative to the Nyquist frequency."""

MOST_SUMMED_DB: Final = 24.0
"""A peak at which the sum of the drawn gains reaches this, up or down, is not applied, but stays in the sum."""

FLOOR_DB: Final = -100.0
"""Start of the companders' curves, and level before the recording."""


@dataclass(frozen=True)
class CorruptionBand:
    """One drawn band.

    Args:
        kind: SoX's name of the filter.
        f0_hz: Its frequency.
        q: Its quality factor; None for shelves, whose slope is fixed.
        gain_db: Its gain.
        applied: Whether it is applied: a peak is not if the sum of the gains reaches 24 dB.
    """

    kind: BandKind
    f0_hz: int
    q: float | None
    gain_db: float
    applied: bool

    def sections(self, *, sample_rate: int) -> Array:
        """Return the filter as second-order sections."""
        if self.q is not None:
            return sox.equalizer(self.f0_hz, self.q, self.gain_db, sample_rate=sample_rate)
        shelf = sox.bass if self.kind == "bass" else sox.treble
        return shelf(self.f0_hz, self.gain_db, sample_rate=sample_rate)


@dataclass(frozen=True)
class FrequencyCorruption:
    """A random equaliser.

    Args:
        bands: The drawn bands, in series.
    """

    bands: tuple[CorruptionBand, ...]

    def sections(self, *, sample_rate: int) -> Array:
        """Return the applied bands as second-order sections."""
        applied = [band.sections(sample_rate=sample_rate) for band in self.bands if band.applied]
        return np.concatenate(applied) if applied else np.zeros((0, 6))

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Equalise a recording, without clipping.

        Shape:
            x and result: (channels, time).
        """
        return sox.filtered(x, self.sections(sample_rate=sample_rate))


@dataclass(frozen=True)
class DynamicsCorruption:
    """A random compressor or expander, with SoX's `compand`.

    Args:
        kind: Compressor or expander.
        attack_ms: Time constant of rising levels.
        release_ms: Time constant of falling levels.
        knee_db: Rounding of the curve's corners.
        threshold_db: The compressor acts above it, the expander below it.
        ratio: Decibels in for one out (compressor), or out for one in (expander).
        makeup_db: Gain added to every level.
    """

    kind: DynamicsKind
    attack_ms: float
    release_ms: float
    knee_db: float
    threshold_db: float
    ratio: float
    makeup_db: float

    @property
    def points(self) -> Points:
        """Corners of the transfer curve, as levels (in, out)."""
        threshold = (self.threshold_db, self.threshold_db)
        if self.kind == "compressor":
            return (FLOOR_DB, FLOOR_DB), threshold, (0.0, self.threshold_db * (1 - 1 / self.ratio))
        return (self.threshold_db + (FLOOR_DB - self.threshold_db) / self.ratio, FLOOR_DB), threshold

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Compress or expand a recording; input and output clip at full scale.

        Shape:
            x and result: (channels, time).
        """
        return sox.compand(
            x,
            self.points,
            attack_ms=self.attack_ms,
            release_ms=self.release_ms,
            knee_db=self.knee_db,
            gain_db=self.makeup_db,
            initial_db=FLOOR_DB,
            delay_ms=self.attack_ms if self.kind == "compressor" else 0.0,
            sample_rate=sample_rate,
        )


Corruption: TypeAlias = FrequencyCorruption | DynamicsCorruption


def draw_frequency_corruption(rng: np.random.Generator, *, sample_rate: int) -> FrequencyCorruption:
    """Draw up to four peaks, a bass and a treble shelf.

    All draws use the generator's `random` only, whose numbers are the same on any machine and in any release of NumPy.

    Raises:
        SettingsError: The sample rate is too low for the bands.
    """
    highest = int(sample_rate // 2 * HIGHEST)
    if highest <= PEAK_BANDS_HZ[2][1]:
        raise SettingsError(
            f"The bands of this corruption reach 8 kHz, too high for a sample rate of {sample_rate} Hz."
        )
    bands = []
    summed = 0.0
    for lowest_hz, highest_hz in PEAK_BANDS_HZ:
        if rng.random() < BAND_PROBABILITY:
            f0_hz = _whole(rng, lowest_hz, highest_hz or highest)
            q = _rounded(0.1 + 10 * rng.random())
            gain_db = _signed(rng, 48)
            summed += gain_db
            bands.append(CorruptionBand("equalizer", f0_hz, q, gain_db, abs(summed) < MOST_SUMMED_DB))
    if rng.random() < BAND_PROBABILITY:
        bands.append(CorruptionBand("bass", _whole(rng, *BASS_HZ), None, _signed(rng, 24), True))
    if rng.random() < BAND_PROBABILITY:
        bands.append(CorruptionBand("treble", _whole(rng, TREBLE_HZ[0], highest), None, _signed(rng, 24), True))
    return FrequencyCorruption(tuple(bands))


def draw_compressor(rng: np.random.Generator) -> DynamicsCorruption:
    """Draw a compressor, with a look-ahead of one attack time."""
    return _draw_dynamics(rng, "compressor", least_attack_ms=0.5, threshold_db=(-12, -64), most_ratio=11)


def draw_expander(rng: np.random.Generator) -> DynamicsCorruption:
    """Draw an expander, without look-ahead."""
    return _draw_dynamics(rng, "expander", least_attack_ms=1.0, threshold_db=(-10, -30), most_ratio=5)


def _draw_dynamics(
    rng: np.random.Generator,
    kind: DynamicsKind,
    *,
    least_attack_ms: float,
    threshold_db: tuple[float, float],
    most_ratio: float,
) -> DynamicsCorruption:
    attack_ms = _rounded(least_attack_ms + 50 * rng.random())
    return DynamicsCorruption(
        kind=kind,
        attack_ms=attack_ms,
        release_ms=_rounded(attack_ms + 200 * rng.random()),
        knee_db=_rounded(12 * rng.random()),
        threshold_db=_rounded(threshold_db[0] + (threshold_db[1] - threshold_db[0]) * rng.random()),
        ratio=_rounded(1 + (most_ratio - 1) * rng.random()),
        makeup_db=_rounded(6 * rng.random()),
    )


def _rounded(value: float) -> float:
    """Round a value to its written form before it is applied, so that the list reproduces the audio."""
    return float(f"{value:.6g}")


def _whole(rng: np.random.Generator, lowest: int, highest: int) -> int:
    return lowest + int((highest - lowest) * rng.random())


def _signed(rng: np.random.Generator, most: float) -> float:
    value = _rounded(most * rng.random())
    return value if rng.random() < 0.5 else -value


def to_data(corruption: Corruption) -> dict[str, Any]:
    """Return drawn settings as data for JSON."""
    if isinstance(corruption, DynamicsCorruption):
        return asdict(corruption)
    return {"kind": "frequency", "bands": [asdict(band) for band in corruption.bands]}
