"""The envelope follower of compressors: v[n] = u[n] + c (v[n-1] - u[n]).

The coefficient c is the attack's while u[n] > v[n-1], else the release's. The state is float64, whatever u is.

Source:
    JUCE's `dsp::BallisticsFilter`.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array

__all__ = ["Follower"]

LOADING_PAYS: Final = 4_000_000
"""Values that Python follows in the time, 0.6 s, in which numba and its loop are loaded; they take 90 MB of memory."""


class Follower:
    """An envelope follower that keeps its state from block to block.

    It runs in Python, and once a process has followed many values, as a compiled loop where numba is installed. Both
    give the same values to the last bit.

    Args:
        attack: Coefficient c on [0, 1) while the level rises.
        release: Coefficient c on [0, 1) while it falls.
        begin: v before the first sample.
        channels: Channels of every block.
    """

    _followed: ClassVar[int] = 0  # in this process

    def __init__(self, attack: float, release: float, *, begin: float, channels: int) -> None:
        self._level = np.full(channels, begin)
        self._attack, self._release = np.full(channels, attack), np.full(channels, release)

    def __call__(self, u: npt.NDArray[Any]) -> Array:
        """Follow the next block.

        Shape:
            u: (channels, time), the signal's absolute value; result: as u.
        """
        v = np.empty(u.shape)
        Follower._followed += u.size
        loop = _compiled() if Follower._followed > LOADING_PAYS or "numba" in sys.modules else None
        if loop is not None:
            loop(np.ascontiguousarray(u), self._attack, self._release, self._level, v)
            return v
        for row, of_row in enumerate(u):
            attack, release = self._attack.item(row), self._release.item(row)
            level = self._level.item(row)
            values = (level := x + (attack if x > level else release) * (level - x) for x in of_row.tolist())
            v[row] = np.fromiter(values, np.float64, len(of_row))
            self._level[row] = level
        return v


@cache
def _compiled() -> Callable[..., None] | None:
    """Return the compiled loop; None without numba."""
    try:
        from fxst.dsp.follower_loops import follow_rows
    except ImportError:
        return None
    return follow_rows
