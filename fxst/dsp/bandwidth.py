"""Where the sound of a recording begins and ends, whatever its sample rate promises."""

from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array

__all__ = ["sound_band"]

FALL_DB: Final = 25.0
WITHIN_OCTAVES: Final = 0.4
"""A band ends where its level falls so far within this distance, down to a floor."""

FLOOR_DB: Final = (-45.0, -60.0)
"""What is no louder than this, relative to the loudest frequency, is a floor: at the low and at the high end. At the
high end voices and music are soft anyway."""

STEADY_DB: Final = 2.0
"""And so is noise, whose level deviates no more than this from frame to frame."""

WALL_DB_AN_OCTAVE: Final = 60.0
WALL_OCTAVES: Final = 0.35
"""The edge is at the top of a fall that is so steep, which is no further away than this."""


def sound_band(hz: Array, levels_db: Array, deviations_db: Array) -> tuple[float, float]:
    """Find the lowest and the highest frequency at which a recording has sound.

    Steep filters, lower sample rates and lossy encoders leave only a floor beyond an edge. A voice that becomes softer
    towards its ends has no edge.

    Args:
        hz: Frequencies, equally spaced in octaves.
        levels_db: The long-term spectrum: the power per hertz there, in dB.
        deviations_db: How far short-time levels deviate from their mean.

    Returns:
        The edges; the first and the last frequency where there are none.

    Shape:
        hz, levels_db, deviations_db: (bands,), two bands or more.
    """
    spacing = float(np.log2(hz[1] / hz[0]))
    relative_db, steady = levels_db - levels_db.max(), deviations_db < STEADY_DB
    low = _edge(relative_db[::-1], steady[::-1], spacing, FLOOR_DB[0])
    high = _edge(relative_db, steady, spacing, FLOOR_DB[1])
    return float(hz[::-1][low]), float(hz[high])


def _edge(levels_db: Array, steady: npt.NDArray[np.bool_], spacing: float, floor_db: float) -> int:
    """Return the index of the last band before a steep fall to a floor; the last of all where there is none."""
    last, half = len(levels_db) - 1, max(1, round(WITHIN_OCTAVES / spacing))
    loudest_from = np.maximum.accumulate(levels_db[::-1])[::-1]
    is_floor = np.logical_and.accumulate(((levels_db < floor_db) | steady)[::-1])[::-1]
    beyond = np.minimum(np.arange(last + 1) + half, last)
    fallen = np.flatnonzero((levels_db - loudest_from[beyond] >= FALL_DB) & is_floor[beyond])
    if not len(fallen):
        return last
    edge = int(fallen[-1])
    lowest = max(1, edge - round(WALL_OCTAVES / spacing))
    while edge > lowest and levels_db[edge - 1] - levels_db[edge] >= spacing * WALL_DB_AN_OCTAVE:
        edge -= 1
    return edge
