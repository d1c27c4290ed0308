"""Faults of a recording that do not prevent rendering, found while it is read."""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from fxst.audio import Samples

__all__ = ["Inspection"]

_LEAST_OFFSET: Final = 0.02
_LEAST_CLIPPED: Final = 1e-3
"""Loud masters reach full scale too, but rarely in one sample of a thousand."""
_FULL_SCALE: Final = 1 - 2.0**-15
"""The largest 16-bit sample; those of more bits are higher."""
_RUN: Final = 3
"""This many consecutive samples at full scale are clipping."""


class Inspection:
    """Measures the DC offset and the clipping of a recording block by block."""

    def __init__(self) -> None:
        self._frames = 0
        self._sums = np.zeros(1)
        self._clipped = np.zeros(1)

    def watch(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Yield the blocks of a recording unchanged.

        Shape:
            Each block: `(channels, time)`.
        """
        for block in blocks:
            self._frames += block.shape[1]
            self._sums = self._sums + block.sum(axis=1)
            if max(float(block.max()), -float(block.min())) >= _FULL_SCALE:
                level = np.abs(block)
                # Samples above full scale are those of a floating-point file, and not clipped.
                full = (level >= _FULL_SCALE) & (level <= 1)
                last = full.shape[1] - _RUN + 1
                runs = np.logical_and.reduce([full[:, first : last + first] for first in range(_RUN)])
                self._clipped = self._clipped + runs.sum(axis=1)
            yield block

    def remarks(self) -> tuple[str, ...]:
        """Return the faults found, a sentence each."""
        if not self._frames:
            return ()
        offset = float(np.abs(self._sums).max()) / self._frames
        clipped = float(np.max(self._clipped)) / self._frames
        found = []
        if offset >= _LEAST_OFFSET:
            found.append(f"the input has a DC offset of {offset:.0%} of full scale: remove it first")
        if clipped >= _LEAST_CLIPPED:
            found.append(f"the input is clipped: {clipped:.1%} of its samples lie in runs at full scale")
        return tuple(found)
