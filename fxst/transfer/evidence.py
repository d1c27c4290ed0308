"""What two recordings tell of a style: where both have sound, and how far they differ in content, not in production."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array
from fxst.models.network import LongTerm

__all__ = ["Evidence", "Scope", "content_db", "scope"]

TELEPHONE_HZ: Final = (250.0, 6000.0)
"""A reference whose sound begins above the first or ends below the second is meant to sound like that. Otherwise it
just has no more: a sample rate, an encoder or a voice ends there."""

SAME_OCTAVES: Final = 0.35
JUMP_DB: Final = 23.0
"""Where the difference of two spectra goes on beyond an edge without such a jump, both recordings end there, or neither
does, as in two takes of one session: then the floors tell of the style as the sound does. Edges within the first
distance are one."""

NEAR_OCTAVES: Final = 0.6
NOT_AT_OCTAVES: Final = 0.15
"""A jump is from the median within the first distance inside an edge to the median beyond the second outside."""

JUDGED_HZ: Final = (80.0, 10_000.0)
PAIRS_WEIGHT: Final = 1.5
"""The content is compared between these frequencies. A decibel of difference between the curve and alike frames weighs
as much as this many between the curve and the spectra."""

SAME_CONTENT_DB: Final = 9.5
OTHER_CONTENT_DB: Final = 10.5
OTHER_SHARE: Final = 0.5
"""Up to the first difference in content the whole curve counts, and from the second on this share of it: the rest is
the difference of two voices, microphones or songs. In protocol P, 95 % of pairs of voices are below the first."""

OTHER_KIND_DB: Final = (12.0, 16.0)
"""Beyond the first, less of all effects is applied, and from the second on nothing but a gain."""

MOST_BOOST_DB: Final = 12.0
"""The largest boost where less than the whole curve counts."""


@dataclass(frozen=True)
class Scope:
    """The frequencies at which a curve may do something.

    Args:
        band_hz: Where both recordings have sound; the curve is free there.
        cut_hz: Where the recording has sound; a curve may cut down to these ends where the reference is produced to
            its own band.
        compared_to_hz: The highest frequency up to which the two are compared; infinite for all that both hold.
        alike: Whether both begin and end alike.
    """

    band_hz: tuple[float, float]
    cut_hz: tuple[float, float]
    compared_to_hz: float
    alike: bool

    def limited(self, curve_db: Array, hz: Array) -> Array:
        """Return a curve that is 0 where there is no evidence for it.

        Shape:
            curve_db, hz, result: (F,).
        """
        free = (hz >= self.band_hz[0]) & (hz <= self.band_hz[1])
        cut = (hz >= self.cut_hz[0]) & (hz <= self.cut_hz[1])
        return np.where(free, curve_db, np.where(cut, np.minimum(curve_db, 0), 0.0))


class Evidence:
    """What a recording and a reference tell of the style of the reference.

    Args:
        ours: The long-term spectrum of the recording.
        theirs: That of the reference.
        hz: The frequencies of their bands; NaN for those that the recording's sample rate does not hold.

    Attributes:
        scope: The frequencies at which a curve may do something.
        content_db: By how much the content differs; 0 until `judge`.
    """

    def __init__(self, ours: LongTerm, theirs: LongTerm, hz: Array) -> None:
        self._held: npt.NDArray[np.bool_] = np.isfinite(hz) & ours.held & theirs.held
        self._hz = hz[self._held]
        self._more_db = (theirs.levels_db - ours.levels_db)[self._held]
        self.scope = scope(ours.sound_hz, theirs.sound_hz, self._hz, self._more_db)
        self.content_db = 0.0

    def judge(self, curve_db: Array, pairs_db: Array) -> Array:
        """Judge how far the content differs; return what of a curve there is evidence for.

        Args:
            curve_db: The curve that a model found.
            pairs_db: By how much alike frames of the reference are above the recording's.

        Shape:
            curve_db, pairs_db, result: (bands,).
        """
        curve, pairs = (x[self._held].astype(np.float64) for x in (curve_db, pairs_db))
        self.content_db = content_db(curve, self._more_db, pairs, self._hz, self.scope)
        share = float(np.interp(self.content_db, (SAME_CONTENT_DB, OTHER_CONTENT_DB), (1, OTHER_SHARE)))
        if not self.scope.alike:
            share = min(share, OTHER_SHARE)
        if share < 1:
            curve = np.minimum(share * curve, MOST_BOOST_DB)
        limited = np.zeros(len(self._held))
        limited[self._held] = self.scope.limited(curve, self._hz)
        return limited

    @property
    def amount(self) -> float:
        """How much of a style to apply."""
        return float(np.interp(self.content_db, OTHER_KIND_DB, (1, 0)))

    @property
    def remark(self) -> str:
        """Why less than the whole style was applied; empty where all of it was."""
        if self.amount == 1:
            return ""
        much = f"{self.amount:.0%} of the style" if self.amount else "only the level"
        return f"{much} was applied: the reference is of another kind of sound, and tells little of what to do here"


def scope(ours: tuple[float, float], theirs: tuple[float, float], hz: Array, more_db: Array) -> Scope:
    """Return where a curve may do something, by the bands in which a recording and a reference have sound.

    Args:
        ours: The recording's band, in Hz.
        theirs: The reference's.
        hz: Frequencies that both sample rates hold, rising.
        more_db: By how much the reference's long-term spectrum is above the recording's there.

    Shape:
        hz, more_db: (F,).
    """
    octaves = np.log2(hz)
    low, high = max(ours[0], theirs[0]), min(ours[1], theirs[1])
    if _end_alike(-math.log2(ours[0]), -math.log2(theirs[0]), -octaves, more_db):
        low = float(hz[0])
    if _end_alike(math.log2(ours[1]), math.log2(theirs[1]), octaves, more_db):
        high = float(hz[-1])
    cut = (
        min(low, ours[0]) if theirs[0] > TELEPHONE_HZ[0] else low,
        max(high, ours[1]) if theirs[1] < TELEPHONE_HZ[1] else high,
    )
    alike = low <= hz[0] and high >= hz[-1]
    return Scope((low, high), cut, math.inf if cut[1] >= hz[-1] else cut[1], bool(alike))


def content_db(curve_db: Array, more_db: Array, pairs_db: Array, hz: Array, within: Scope) -> float:
    """Measure by how much the content of two recordings differs: what a curve leaves of the differences between them.

    Args:
        curve_db: The curve.
        more_db: By how much the reference's long-term spectrum is above the recording's.
        pairs_db: By how much alike frames of the reference are above the recording's.
        hz: The frequencies.
        within: Where both have sound.

    Shape:
        curve_db, more_db, pairs_db, hz: (F,).
    """
    low, high = max(JUDGED_HZ[0], within.band_hz[0]), min(JUDGED_HZ[1], within.band_hz[1])
    judged = (hz >= low) & (hz <= high)
    if not judged.any():
        return math.inf
    left, of_pairs = (x[judged] - curve_db[judged] for x in (more_db, pairs_db))
    return float(np.abs(left - np.median(left)).mean() + PAIRS_WEIGHT * np.abs(of_pairs - of_pairs.mean()).mean())


def _end_alike(ours: float, theirs: float, octaves: Array, more_db: Array) -> bool:
    """Return whether two recordings end alike; edges and frequencies in octaves, towards that end."""
    first, last = min(ours, theirs), max(ours, theirs)
    inside = more_db[(octaves <= first) & (octaves > first - NEAR_OCTAVES)]
    if last - first > SAME_OCTAVES:
        beyond = more_db[(octaves > first + NOT_AT_OCTAVES) & (octaves <= last)]
    else:
        beyond = more_db[octaves > last + NOT_AT_OCTAVES]
    return not len(beyond) or not len(inside) or abs(float(np.median(beyond) - np.median(inside))) < JUMP_DB
