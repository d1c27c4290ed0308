"""The frequencies at which two recordings tell of a style: where both have sound."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.dsp import Array, Samples
from fxst.models.network import LongTerm

__all__ = ["Scope", "scope"]

TELEPHONE_HZ: Final = (250.0, 6000.0)
"""A reference whose sound begins above the first or ends below the second is meant to sound like that. Otherwise it
just has no more: a sample rate, an encoder or a voice ends there."""

SLOPE_OCTAVES: Final = 0.3
SLOPE_DB: Final = 15.0
MIDDLE_HZ: Final = (500.0, 2000.0)
"""And so is one that within the first distance of its end is so much softer than the recording, relative to the middle:
a filter's slope has gone down there before the floor was reached."""

SAME_OCTAVES: Final = 0.35
JUMP_DB: Final = 23.0
"""Where the difference of two spectra goes on beyond an edge without such a jump, both recordings end there, or neither
does, as in two takes of one session: then the floors tell of the style as the sound does. Edges within the first
distance are one."""

FLOOR_JUMP_DB: Final = 10.0
"""The same where both end together, far below the end of the sample rate: much of both is floor."""

SESSION_OCTAVES: Final = 0.5
"""An end so near to that of the sample rate is an encoder's choice, and says nothing of the rest."""

NEAR_OCTAVES: Final = 0.6
NOT_AT_OCTAVES: Final = 0.15
"""A jump is from the median within the first distance inside an edge to the median beyond the second outside."""


@dataclass(frozen=True)
class Scope:
    """The frequencies at which a curve may do something.

    Args:
        band_hz: Where both recordings have sound; the curve is free there.
        cut_hz: Where the recording has sound; a curve may cut down to these ends where the reference is produced to
            its own band.
        sound_hz: The highest frequency at which the recording has sound; a curve does not boost beyond it.
        alike: Whether both begin and end alike, as takes of one session do, but for what is meant.
    """

    band_hz: tuple[float, float]
    cut_hz: tuple[float, float]
    sound_hz: float
    alike: bool

    def limited(self, curve: Samples, hz: Array) -> Samples:
        """Return a curve that is 0 where there is no evidence for it.

        Shape:
            curve, result: (B, bands); hz: (bands,), NaN for bands that a sample rate does not hold.
        """
        free = (hz >= self.band_hz[0]) & (hz <= self.band_hz[1])
        cut = (hz >= self.cut_hz[0]) & (hz <= self.cut_hz[1])
        boosted = np.where(hz > self.sound_hz, np.minimum(curve, 0), curve)
        return np.where(free, boosted, np.where(cut, np.minimum(curve, 0), 0)).astype(curve.dtype)


def scope(recording: LongTerm, reference: LongTerm, hz: Array) -> Scope:
    """Return where a curve may do something, by the bands in which a recording and a reference have sound.

    Args:
        recording: The long-term spectrum of the recording.
        reference: That of the reference.
        hz: The frequencies of their bands; NaN for those that the recording's sample rate does not hold.

    Shape:
        hz: (bands,).
    """
    held = np.isfinite(hz) & recording.held & reference.held
    ours, theirs = recording.sound_hz, reference.sound_hz
    hz, more_db = hz[held], (reference.levels_db - recording.levels_db)[held]
    octaves = np.log2(hz)
    low, high = max(ours[0], theirs[0]), min(ours[1], theirs[1])
    if _end_alike(-math.log2(ours[0]), -math.log2(theirs[0]), -octaves, more_db):
        low = float(hz[0])
    if _end_alike(math.log2(ours[1]), math.log2(theirs[1]), octaves, more_db):
        high = float(hz[-1])
    middle = (hz >= MIDDLE_HZ[0]) & (hz <= MIDDLE_HZ[1])
    softer_db = more_db - np.median(more_db[middle]) if middle.any() else more_db
    low_is_meant = theirs[0] > TELEPHONE_HZ[0] or _slopes(octaves - math.log2(theirs[0]), softer_db)
    high_is_meant = theirs[1] < TELEPHONE_HZ[1] or _slopes(math.log2(theirs[1]) - octaves, softer_db)
    cut = (min(low, ours[0]) if low_is_meant else low, max(high, ours[1]) if high_is_meant else high)
    alike = (low_is_meant or low <= hz[0]) and (high_is_meant or math.log2(hz[-1] / high) <= SESSION_OCTAVES)
    sound = ours[1] if math.log2(hz[-1] / ours[1]) > SESSION_OCTAVES else math.inf
    return Scope((low, high), cut, sound, bool(alike))


def _slopes(inside: Array, softer_db: Array) -> bool:
    """Return whether the reference has faded out, relative to the recording, near its end; octaves inside of that."""
    near = softer_db[(inside >= 0) & (inside <= SLOPE_OCTAVES)]
    return len(near) > 0 and float(np.median(near)) < -SLOPE_DB


def _end_alike(ours: float, theirs: float, octaves: Array, more_db: Array) -> bool:
    """Return whether two recordings end alike; edges and frequencies in octaves, towards that end."""
    first, last = min(ours, theirs), max(ours, theirs)
    inside = more_db[(octaves <= first) & (octaves > first - NEAR_OCTAVES)]
    if last - first > SAME_OCTAVES:
        beyond = more_db[(octaves > first + NOT_AT_OCTAVES) & (octaves <= last)]
    else:
        beyond = more_db[octaves > last + NOT_AT_OCTAVES]
    if not len(beyond) or not len(inside):
        return True
    far = last - first <= SAME_OCTAVES and octaves.max() - last > SESSION_OCTAVES
    return abs(float(np.median(beyond) - np.median(inside))) < (FLOOR_JUMP_DB if far else JUMP_DB)
