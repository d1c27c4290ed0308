"""Descriptors: how a recording was produced, whatever its content, and the distance of two recordings by them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from fxst.audio import Samples
from fxst.dsp.spectra import third_octaves
from fxst.dsp.voice_activity import FRAME_SECONDS, pause_frames
from fxst.errors import SettingsError

if TYPE_CHECKING:
    from fxst.chains.chain import Stage

__all__ = [
    "RANGE_DB",
    "Descriptors",
    "Excerpt",
    "Level",
    "active_level_db",
    "describe",
    "distance_db",
    "mean_descriptors",
    "nearest_db",
    "noise_floor_db",
    "side_db",
    "soft_rise_db",
]

FLOOR_PERCENTILE: Final = 10
LOUD_PERCENTILE: Final = 95
RANGE_DB: Final = 70.0
"""Bands further than this below the loudest one count as equally silent."""

SILENCE: Final = 1e-10

GATE_DB: Final = 10.0
RANGE_GATE_DB: Final = 20.0
FRAME_FLOOR: Final = 1e-7
"""Frames further than this below the mean, or softer than -70 dB, are pauses: they do not count for the level."""

FAR_DB: Final = 40.0
"""Where the side signal is this far from the mid signal in level, or one channel from the other, a recording is mono: a
voice in two equal channels, in one of them, or with one of them inverted."""

CREST_WEIGHT: Final = 0.25
RANGE_WEIGHT: Final = 0.5
"""Weights of a decibel of crest factor and of range beside one of the spectrum. A crest factor rests on one peak."""


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Segments of a recording, one after the other; what is measured of it is kept.

    Args:
        samples: The audio.
        sample_rate: Samples a second.
        surround: Whether the recording has more than two channels, of which these are the first.

    Shape:
        samples: (channels, time).
    """

    samples: Samples
    sample_rate: int
    surround: bool = False
    renderings: "list[tuple[Stage, Samples, Excerpt]]" = field(default_factory=list, init=False, repr=False)
    """What `fxst.transfer.level_matching.rendered` keeps: each active effect of the last table and what it made."""

    @property
    def active(self) -> Samples:
        """The channels that are not silent; all where all are."""
        return self._measured[0]

    @property
    def power(self) -> float:
        """The mean power of the active channels."""
        return self._measured[1]

    @property
    def frame_powers(self) -> npt.NDArray[np.float64]:
        """The mean power of the active channels, frame by frame.

        Shape:
            (frames,).
        """
        return self._measured[2]

    @cached_property
    def pause_frames(self) -> npt.NDArray[np.intp]:
        """The numbers of the frames in pauses, by their voice activity; none where it has no clear pauses."""
        marks = pause_frames(self.active, sample_rate=self.sample_rate)
        return np.flatnonzero(marks[: len(self.frame_powers)])

    @cached_property
    def soft_frames(self) -> npt.NDArray[np.intp]:
        """The numbers of the frames in pauses, or else of the softest tenth; digital silence does not count."""
        if self.pause_frames.size:
            return self.pause_frames
        heard = np.flatnonzero(self.frame_powers > SILENCE)
        powers = self.frame_powers[heard]
        return heard[powers <= np.percentile(powers, FLOOR_PERCENTILE)] if len(heard) else heard

    @cached_property
    def _measured(self) -> tuple[Samples, float, npt.NDArray[np.float64]]:
        samples = self.samples
        squares = np.square(samples, dtype=np.float64)
        active = squares.mean(axis=1) > SILENCE
        if active.any() and not active.all():
            samples, squares = samples[active], squares[active]
        return samples, float(squares.mean()), np.asarray(_frames(squares, self.sample_rate).mean(axis=(0, 2)))


Level = Annotated[float, msgspec.Meta(ge=-600, le=600, description="In dB.")]
"""A level; beyond these limits it is no recording's, and as a factor on samples hardly a float32 number."""


class Descriptors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a recording was produced: what recordings of different content can be compared by.

    Args:
        spectrum_db: The long-term spectrum without pauses: the power in each third octave, in dB, by the band's centre
            in Hz.
        level_db: The mean power of the active signal (gated): pauses depend on the content.
        crest_db: The crest factor: the highest peak above that level.
        range_db: The level of the loud frames above that of the soft ones.
        floor_db: The noise floor: the level that a tenth of all frames stay under.
        side_db: The stereo width: the level of the side signal above that of the mid signal, both of the active signal;
            None for mono, in one channel or in two, and for more than two channels.
    """

    spectrum_db: Annotated[dict[float, Level], msgspec.Meta(min_length=1)]
    level_db: Level
    crest_db: Level
    range_db: Level
    floor_db: Level
    side_db: Level | None

    @property
    def noise_db(self) -> float:
        """The noise floor relative to the active signal: negative, and noisier the nearer it is to 0."""
        return self.floor_db - self.level_db


def describe(x: Excerpt) -> Descriptors:
    """Measure the descriptors of a recording from an excerpt."""
    centres_hz, bands_db = third_octaves(_without_pauses(x), sample_rate=x.sample_rate)
    mean_db = 10 * np.log10(np.mean(10 ** (bands_db / 10), axis=0))
    return Descriptors(
        spectrum_db=dict(zip(centres_hz.round(3).tolist(), mean_db.tolist(), strict=True)),
        level_db=active_level_db(x),
        crest_db=_crest_db(x),
        range_db=_range_db(x),
        floor_db=noise_floor_db(x),
        side_db=side_db(x),
    )


def _without_pauses(x: Excerpt) -> Samples:
    """Return the active channels without pauses, for the noise in them depends on how much of them there is."""
    if not x.pause_frames.size:
        return x.active
    frames = _frames(x.active, x.sample_rate)
    kept = np.delete(frames, x.pause_frames, axis=1).reshape(len(frames), -1)
    rest: Samples = x.active[:, frames.shape[1] * frames.shape[2] :]
    return np.concatenate([kept, rest], axis=1)


def mean_descriptors(several: Sequence[Descriptors], weights: Sequence[float]) -> Descriptors:
    """Return the weighted mean of the descriptors of several recordings, in the bands that all of them have.

    The mean width is that of the recordings that have one: a voice in mono says nothing of how wide music is to be.

    Args:
        several: One or more.
        weights: As many, not negative, and not all 0.
    """
    shares = np.array(weights, np.float64) / np.sum(weights)

    def mean(values: Sequence[float]) -> float:
        return float(shares @ np.array(values))

    widths = [(one.side_db, share) for one, share in zip(several, shares, strict=True) if one.side_db is not None]
    total = sum(share for _, share in widths)
    shared = sorted(set(several[0].spectrum_db).intersection(*(one.spectrum_db for one in several)))
    return Descriptors(
        spectrum_db={hz: mean([one.spectrum_db[hz] for one in several]) for hz in shared},
        level_db=mean([one.level_db for one in several]),
        crest_db=mean([one.crest_db for one in several]),
        range_db=mean([one.range_db for one in several]),
        floor_db=mean([one.floor_db for one in several]),
        side_db=float(sum(width * share for width, share in widths) / total) if total > 0 else None,
    )


NEAREST_RANGE_DB: Final = 40.0
NEAREST_STEP_DB: Final = 0.25


def distance_db(x: Descriptors, reference: Descriptors) -> float:
    """Measure how differently two recordings were produced.

    The sum of the mean difference of their long-term spectra in third octaves, a quarter of the difference of their
    crest factors, and half of the difference of their ranges, in dB each.

    Raises:
        SettingsError: They have no band in common, as any two recordings have.
    """
    return float(_distances_db(x, reference, np.zeros(1))[0])


def nearest_db(x: Descriptors, reference: Descriptors) -> float:
    """Return the least `distance_db` that a gain can give, to `NEAREST_STEP_DB`, if it moves no sound across silence.

    Raises:
        SettingsError: They have no band in common.
    """
    middle_db = reference.level_db - x.level_db
    gains_db = middle_db + np.arange(-NEAREST_RANGE_DB, NEAREST_RANGE_DB, NEAREST_STEP_DB)
    return float(_distances_db(x, reference, gains_db).min()) - NEAREST_STEP_DB / 2


def _distances_db(x: Descriptors, reference: Descriptors, gains_db: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distance with each gain."""
    shared = sorted(x.spectrum_db.keys() & reference.spectrum_db.keys())
    if not shared:
        raise SettingsError("The style profile has none of this recording's third octaves: save the style again.")
    ours, theirs = (np.array([one.spectrum_db[hz] for hz in shared]) for one in (x, reference))
    ours = ours + gains_db[:, None]
    floors_db = np.maximum(ours.max(axis=1), theirs.max())[:, None] - RANGE_DB
    spectrum_db = np.abs(np.maximum(ours, floors_db) - np.maximum(theirs, floors_db)).mean(axis=1)
    crest_db, range_db = abs(x.crest_db - reference.crest_db), abs(x.range_db - reference.range_db)
    found: npt.NDArray[np.float64] = spectrum_db + CREST_WEIGHT * crest_db + RANGE_WEIGHT * range_db
    return found


def noise_floor_db(x: Excerpt) -> float:
    """Measure the level that a tenth of a recording's frames stay under, in dBFS; digital silence does not count."""
    return float(np.percentile(_levels_db(x), FLOOR_PERCENTILE))


def soft_rise_db(before: Excerpt, after: Excerpt) -> float:
    """Measure by how much the softest tenth of a recording's frames rose, as their median.

    The noise floor as a percentile jumps from pauses to sound when a word reaches into one more frame.
    """
    soft = before.soft_frames
    if not len(soft):
        return 0.0
    ratios = np.maximum(after.frame_powers[soft], SILENCE) / before.frame_powers[soft]
    return float(np.median(10 * np.log10(ratios)))


def active_level_db(x: Excerpt) -> float:
    """Measure the level of the active signal, gated as loudness meters gate."""
    power = x.frame_powers
    active = _active(power)
    return 10 * math.log10(float(power[active].mean()) if active.any() else float(power.mean()) + SILENCE)


def side_db(x: Excerpt) -> float | None:
    """Measure the stereo width: the level of the side signal above that of the mid signal, in the active signal.

    At 0 dB the channels are uncorrelated, and above it their correlation is negative. The gate is the mid signal's,
    which a gain of the side signal leaves alone: so the measurement follows that gain exactly.

    Returns:
        Decibels; None for mono, in one channel or in two, for more than two channels, and for silence.
    """
    if len(x.samples) != 2 or len(x.active) != 2 or x.surround:
        return None
    frames = _frames(x.samples, x.sample_rate)
    middle = np.square(frames[0] + frames[1], dtype=np.float64).mean(axis=1) / 4
    active = frames[:, _active(middle)].reshape(2, -1).astype(np.float64)
    if not active.size:
        return None
    (left, both), (_, right) = active @ active.T
    side, mid = left + right - 2 * both, left + right + 2 * both
    if any(min(pair) <= max(pair) * 10 ** (-FAR_DB / 10) for pair in ((left, right), (side, mid))):
        return None
    return 10 * math.log10(side / mid)


def _frames(x: npt.NDArray[Any], sample_rate: int) -> npt.NDArray[Any]:
    """Cut channels into frames: (channels, time) to (channels, frames, length)."""
    length = min(round(FRAME_SECONDS * sample_rate), x.shape[1])
    count = x.shape[1] // length
    return x[:, : count * length].reshape(len(x), count, length)


def _active(power: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mark the frames of the active signal, by their power."""
    loud = power > FRAME_FLOOR
    return loud & (power > power[loud].mean() * 10 ** (-GATE_DB / 10)) if loud.any() else loud


def _range_db(x: Excerpt) -> float:
    """Measure how far the loud frames are above the soft ones; gated, for the length of pauses depends on the content.

    Source:
        EBU Tech 3342: the range from the 10th to the 95th percentile above a gate 20 dB below the mean.
    """
    power = x.frame_powers
    active = power[power > FRAME_FLOOR]
    if not len(active):
        return 0.0
    levels_db = 10 * np.log10(active[active > active.mean() * 10 ** (-RANGE_GATE_DB / 10)])
    low, high = np.percentile(levels_db, (FLOOR_PERCENTILE, LOUD_PERCENTILE))
    return float(high - low)


def _crest_db(x: Excerpt) -> float:
    peak = max(float(x.active.max()), -float(x.active.min()))
    return 20 * math.log10(peak + 1e-9) - 10 * math.log10(x.power + SILENCE)


def _levels_db(x: Excerpt) -> npt.NDArray[np.float64]:
    power = x.frame_powers
    active = power[power > SILENCE]
    return np.asarray(10 * np.log10(active if len(active) else [SILENCE]))
