"""What of an equaliser's curve there is evidence for: where both recordings have sound, and how alike they are."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.dsp import Array

__all__ = ["Scope", "believed", "content_db", "scope"]

TELEPHONE_HZ: Final = (250.0, 6000.0)
"""A reference whose sound begins above the first or ends below the second is meant to sound like that. Otherwise it
just has no more: a sample rate, an encoder or a voice ends there."""

SAME_OCTAVES: Final = 0.35
JUMP_DB: Final = 25.0
"""Where the difference of two spectra goes on beyond an edge without such a jump, both recordings end there, or neither
does, as in two takes of one session: then the floors tell of the style as the sound does. Edges within the first
distance are one."""

NEAR_OCTAVES: Final = 0.6
NOT_AT_OCTAVES: Final = 0.15
"""That is judged within the first distance of the edges, and beyond the second."""

JUDGED_HZ: Final = (80.0, 10_000.0)
PAIRS_WEIGHT: Final = 1.5
"""How alike two recordings are is judged between these frequencies. A decibel of difference between the curve and
alike frames weighs as much as this many between the curve and the spectra."""

CONTENT_DB: Final = (9.0, 10.0, 13.0, 17.0)
SHARES: Final = (1.0, 0.6, 0.6, 0.0)
"""By how much the content differs, and how much of the curve is then believed; straight lines in between. Fitted to
other voices and other songs as references. In protocol P, nine of ten pairs of voices are below the first."""

MOST_BOOST_DB: Final = 12.0
"""The largest boost where less than all of a curve is believed."""


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
    if _alike(-math.log2(ours[0]), -math.log2(theirs[0]), -octaves, more_db):
        low = float(hz[0])
    if _alike(math.log2(ours[1]), math.log2(theirs[1]), octaves, more_db):
        high = float(hz[-1])
    cut = (
        min(low, ours[0]) if theirs[0] > TELEPHONE_HZ[0] else low,
        max(high, ours[1]) if theirs[1] < TELEPHONE_HZ[1] else high,
    )
    alike = low == hz[0] and high == hz[-1]
    return Scope((low, high), cut, math.inf if cut[1] >= hz[-1] else cut[1], alike)


def _alike(ours: float, theirs: float, octaves: Array, more_db: Array) -> bool:
    """Return whether two recordings end alike; edges and frequencies in octaves, towards that end."""
    first, last = min(ours, theirs), max(ours, theirs)
    inside = more_db[(octaves <= first) & (octaves > first - NEAR_OCTAVES)]
    if last - first > SAME_OCTAVES:
        beyond = more_db[(octaves > first + NOT_AT_OCTAVES) & (octaves <= last)]
    else:
        beyond = more_db[octaves > last + NOT_AT_OCTAVES]
    return not len(beyond) or not len(inside) or abs(float(np.median(beyond) - np.median(inside))) < JUMP_DB


def content_db(curve_db: Array, more_db: Array, pairs_db: Array, hz: Array, within: Scope) -> float:
    """Measure by how much the content of two recordings differs: what a curve leaves of all differences between them.

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
    return float(
        np.abs(left - np.median(left)).mean() + PAIRS_WEIGHT * np.abs(of_pairs - of_pairs.mean()).mean()
    )


def believed(curve_db: Array, content: float) -> Array:
    """Return what of a curve to believe, by how much the content of the two recordings differs in dB.

    Shape:
        curve_db, result: (F,).
    """
    share = float(np.interp(content, CONTENT_DB, SHARES))
    return curve_db if share == 1 else np.minimum(share * curve_db, MOST_BOOST_DB)
