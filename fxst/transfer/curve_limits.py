"""What of an equaliser's curve there is evidence for: the band in which both recordings have sound, and by how much."""

import math
import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.dsp import Array

__all__ = ["Scope", "scope"]

TELEPHONE_HZ: Final = (250.0, 6000.0)
"""A reference whose sound begins above the first or ends below the second is meant to sound like that. Above, it just
has no more: a sample rate, an encoder or a voice ends there."""

SAME_OCTAVES: Final = 0.35
JUMP_DB: Final = 25.0
"""Where both recordings end at the same frequency, and the difference of their spectra goes on beyond it without such
a jump, the floors are of one kind, as in two takes of one session, and tell of the style as the sound does."""

NEAR_OCTAVES: Final = 0.6
NOT_AT_OCTAVES: Final = 0.15
"""That is judged within the first distance of the edges, but the second, in which they end."""


@dataclass(frozen=True)
class Scope:
    """The frequencies at which a curve may do something.

    Args:
        band_hz: Where both recordings have sound; the curve is free there.
        cut_hz: Where the recording has sound; a curve may cut down to these ends where the reference is produced to
            its own band.
        compared_to_hz: The highest frequency up to which the two are compared.
    """

    band_hz: tuple[float, float]
    cut_hz: tuple[float, float]
    compared_to_hz: float

    def limited(self, curve_db: Array, hz: Array) -> Array:
        """Return a curve that is 0 where there is no evidence for it.

        Shape:
            curve_db, hz, result: (F,).
        """
        low, high = self.band_hz
        free = (hz >= low) & (hz <= high)
        cut = ~free & (hz >= self.cut_hz[0]) & (hz <= self.cut_hz[1])
        C=float(os.environ.get("CLAMP","99"))
        curve_db=np.clip(curve_db,-C,C)*float(os.environ.get("ALPHA","1"))
        return np.where(free, curve_db, np.where(cut, np.minimum(curve_db, 0), 0.0))


def scope(ours: tuple[float, float], theirs: tuple[float, float], hz: Array, more_db: Array) -> Scope:
    """Return where a curve may do something, by the bands in which a recording and a reference have sound.

    Args:
        ours: The recording's band, in Hz.
        theirs: The reference's.
        hz: Frequencies that both sample rates hold.
        more_db: By how much the reference's long-term spectrum is above the recording's there.

    Shape:
        hz, more_db: (F,).
    """
    every = float(hz[0]), float(hz[-1])
    low, high = max(ours[0], theirs[0]), min(ours[1], theirs[1])
    if _alike(ours[0], theirs[0], -np.log2(hz), more_db):
        low = every[0]
    if _alike(ours[1], theirs[1], np.log2(hz), more_db):
        high = every[1]
    cut = (
        min(low, ours[0]) if theirs[0] > TELEPHONE_HZ[0] else low,
        max(high, ours[1]) if theirs[1] < TELEPHONE_HZ[1] else high,
    )
    return Scope((low, high), cut, math.inf if cut[1] == every[1] else cut[1])


def _alike(ours: float, theirs: float, octaves: Array, more_db: Array) -> bool:
    """Return whether the edges of two recordings are no difference of theirs; octaves rise towards that end."""
    if abs(math.log2(ours / theirs)) > SAME_OCTAVES:
        return False
    first, last = sorted(math.copysign(1.0, octaves[0]) * math.log2(x) for x in (ours, theirs))
    inside = more_db[(octaves <= first) & (octaves > first - NEAR_OCTAVES)]
    beyond = more_db[octaves > last + NOT_AT_OCTAVES]
    return not len(beyond) or not len(inside) or abs(float(np.median(beyond) - np.median(inside))) < JUMP_DB
