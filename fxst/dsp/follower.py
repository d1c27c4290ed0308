"""An envelope follower that goes on from block to block, in float64 whatever the signal.

numba compiles it; imported only where a table asks for it.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["Follower"]

Array = NDArray[Any]
_jit: Any = numba.njit  # numba's own types do not know what compiled functions take


def _rows(u: Array, attack: float, release: float, level: Array, v: Array) -> None:
    """Follow each row from its level on, which is kept for the next block."""
    for row in range(u.shape[0]):
        last = level[row]
        for n in range(u.shape[1]):
            c = attack if u[row, n] > last else release
            last = u[row, n] + c * (last - u[row, n])
            v[row, n] = last
        level[row] = last


try:
    _follow = _jit(nogil=True, cache=True)(_rows)
except RuntimeError:  # there is no folder to keep what was compiled in: it is compiled anew each time
    _follow = _jit(nogil=True)(_rows)


class Follower:
    """Follows levels: v[n] = u[n] + c (v[n-1] - u[n]).

    The same recursion as `fxst.dsp.ballistics.envelope`, without its gradient.

    Args:
        attack: Coefficient c on [0, 1) while the level rises.
        release: Coefficient c on [0, 1) while it falls.
        begin: v before the first sample.
        channels: Channels of every block.
    """

    def __init__(self, attack: float, release: float, *, begin: float, channels: int) -> None:
        self._attack, self._release = attack, release
        self._level = np.full(channels, begin)

    def __call__(self, u: NDArray[np.float32]) -> NDArray[np.float64]:
        """Follow the next block.

        Shape:
            u: (channels, time), the signal's absolute value; result: as u.
        """
        v = np.empty(u.shape)
        _follow(np.ascontiguousarray(u), self._attack, self._release, self._level, v)
        return v
