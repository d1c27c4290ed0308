"""Traits: how a recording was produced, whatever is said in it, and how differently two recordings were."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.audio import Samples
from fxst.dsp.spectra import third_octaves
from fxst.errors import SettingsError

__all__ = [
    "RANGE_DB",
    "Excerpt",
    "Traits",
    "distance_db",
    "mixed",
    "noise_floor_db",
    "soft_rise_db",
    "sounding_level_db",
    "traits",
]

FRAME_SECONDS: Final = 0.05
FLOOR_PERCENTILE: Final = 10
LOUD_PERCENTILE: Final = 95
RANGE_DB: Final = 70.0
"""Bands further than this below the loudest one are equally silent."""

SILENCE: Final = 1e-10

GATE_DB: Final = 10.0
RANGE_GATE_DB: Final = 20.0
FRAME_FLOOR: Final = 1e-7
"""Moments further than this below the mean of all, or softer than -70 dB, are pauses and no level."""

CREST_COUNTS: Final = 0.25
RANGE_COUNTS: Final = 0.5
"""How much a decibel of crest factor and of range count, beside one of the spectrum: a crest is one peak's word."""


@dataclass(frozen=True)
class Excerpt:
    """Parts of a recording, one after the other.

    Args:
        samples: The audio.
        sample_rate: Samples a second.

    Shape:
        samples: (channels, time).
    """

    samples: Samples
    sample_rate: int


@dataclass(frozen=True)
class Traits:
    """How a recording was produced, whatever is said in it: what two recordings of other contents can be compared by.

    Args:
        colour_db: The long-term spectrum: the power in each third octave, in dB, by the band's centre in Hz.
        level_db: The mean power of the moments in which something sounds; pauses would tell of what is said.
        crest_db: How far the highest peak is above it.
        range_db: How far the loud moments are above the soft ones.
        floor_db: The level that a tenth of all moments stay under.
    """

    colour_db: Mapping[float, float]
    level_db: float
    crest_db: float
    range_db: float
    floor_db: float

    @property
    def noise_db(self) -> float:
        """Tell how high the noise floor is against what sounds: negative, and the nearer to 0 the noisier."""
        return self.floor_db - self.level_db


def traits(x: Excerpt) -> Traits:
    """Tell how a recording was produced, from parts of it."""
    centres_hz, bands_db = third_octaves(_sounding(x), sample_rate=x.sample_rate)
    mean_db = 10 * np.log10(np.mean(10 ** (bands_db / 10), axis=0))
    return Traits(
        colour_db=dict(zip(centres_hz.round(3).tolist(), mean_db.tolist(), strict=True)),
        level_db=sounding_level_db(x),
        crest_db=_crest_db(x),
        range_db=_range_db(x),
        floor_db=noise_floor_db(x),
    )


def mixed(several: Sequence[Traits], weights: Sequence[float]) -> Traits:
    """Give the weighted mean of how several recordings were produced, in the bands that all of them have.

    Args:
        several: One or more.
        weights: As many, not negative, and not all 0.
    """
    shares = np.array(weights, np.float64) / np.sum(weights)

    def mean(values: Sequence[float]) -> float:
        return float(shares @ np.array(values))

    shared = sorted(set(several[0].colour_db).intersection(*(one.colour_db for one in several)))
    return Traits(
        colour_db={hz: mean([one.colour_db[hz] for one in several]) for hz in shared},
        level_db=mean([one.level_db for one in several]),
        crest_db=mean([one.crest_db for one in several]),
        range_db=mean([one.range_db for one in several]),
        floor_db=mean([one.floor_db for one in several]),
    )


def distance_db(x: Traits, reference: Traits) -> float:
    """Measure how differently two recordings were produced, whatever is said in them.

    The mean difference of their long-term spectra in third octaves, a quarter of that of their crest factors, and half
    of that of how far their loud moments are above their soft ones, in dB each, added up.

    Raises:
        SettingsError: They have no band in common, as any two recordings have.
    """
    shared = sorted(x.colour_db.keys() & reference.colour_db.keys())
    if not shared:
        raise SettingsError("The style profile has none of this recording's third octaves: save the style again.")
    ours, theirs = (np.array([one.colour_db[hz] for hz in shared]) for one in (x, reference))
    floor_db = max(ours.max(), theirs.max()) - RANGE_DB
    colour_db = float(np.abs(np.maximum(ours, floor_db) - np.maximum(theirs, floor_db)).mean())
    crest_db, range_db = abs(x.crest_db - reference.crest_db), abs(x.range_db - reference.range_db)
    return colour_db + CREST_COUNTS * crest_db + RANGE_COUNTS * range_db


def noise_floor_db(x: Excerpt) -> float:
    """Measure the level that a tenth of a recording's moments stay under, dBFS; digital silence is no moment."""
    return float(np.percentile(_levels_db(x), FLOOR_PERCENTILE))


def soft_rise_db(before: Excerpt, after: Excerpt) -> float:
    """Measure by how much the softest tenth of a recording's moments rose, as their median.

    The level that a tenth of moments stay under jumps from pauses to sound when a word reaches into one.
    """
    ours, theirs = _frame_powers(before), _frame_powers(after)
    ours, theirs = ours[ours > SILENCE], theirs[ours > SILENCE]
    if not len(ours):
        return 0.0
    soft = ours <= np.percentile(ours, FLOOR_PERCENTILE)
    return float(np.median(10 * np.log10(np.maximum(theirs[soft], SILENCE) / ours[soft])))


def sounding_level_db(x: Excerpt) -> float:
    """Measure how loud it is where something sounds, gated as loudness meters gate."""
    power = _frame_powers(x)
    sounding = power[power > FRAME_FLOOR]
    if not len(sounding):
        return 10 * math.log10(float(power.mean()) + SILENCE)
    loud = sounding[sounding > sounding.mean() * 10 ** (-GATE_DB / 10)]
    return 10 * math.log10(float(loud.mean()))


def _range_db(x: Excerpt) -> float:
    """Measure how far loud moments are above soft ones; gated, for how long pauses are tells of what is said.

    Source:
        EBU Tech 3342: the range from the 10th to the 95th percentile above a gate 20 dB below the mean.
    """
    power = _frame_powers(x)
    sounding = power[power > FRAME_FLOOR]
    if not len(sounding):
        return 0.0
    levels_db = 10 * np.log10(sounding[sounding > sounding.mean() * 10 ** (-RANGE_GATE_DB / 10)])
    low, high = np.percentile(levels_db, (FLOOR_PERCENTILE, LOUD_PERCENTILE))
    return float(high - low)


def _crest_db(x: Excerpt) -> float:
    samples = _sounding(x)
    power = float(np.square(samples, dtype=np.float64).mean())
    return 20 * math.log10(float(np.abs(samples).max()) + 1e-9) - 10 * math.log10(power + SILENCE)


def _levels_db(x: Excerpt) -> npt.NDArray[np.float64]:
    power = _frame_powers(x)
    sounding = power[power > SILENCE]
    return np.asarray(10 * np.log10(sounding if len(sounding) else [SILENCE]))


def _frame_powers(x: Excerpt) -> npt.NDArray[np.float64]:
    """Measure the mean power of the channels that sound, moment by moment."""
    samples = _sounding(x)
    length = min(round(FRAME_SECONDS * x.sample_rate), samples.shape[1])
    count = samples.shape[1] // length
    frames = samples[:, : count * length].reshape(len(samples), count, length)
    return np.asarray(np.square(frames, dtype=np.float64).mean(axis=(0, 2)))


def _sounding(x: Excerpt) -> Samples:
    """Leave out channels without sound; they say nothing of how the others were produced."""
    sounding = np.square(x.samples, dtype=np.float64).mean(axis=1) > SILENCE
    return x.samples[sounding] if sounding.any() else x.samples
