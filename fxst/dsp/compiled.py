"""Loops that numba compiles, and keeps compiled for the next program where a folder for that can be written to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["Compiled", "cache_folder", "inlined"]

inlined: Any = numba.njit
"""Compiles a function that only compiled loops call."""


class Compiled:
    """A loop without Python's lock. Where it cannot be kept, or read back, every program compiles it anew.

    Args:
        loop: The function.
    """

    def __init__(self, loop: Callable[..., Any]) -> None:
        self._anew: Any = numba.njit(nogil=True)(loop)
        try:
            self._run: Any = numba.njit(nogil=True, cache=True)(loop)
        except RuntimeError:  # numba finds no folder
            self._run = self._anew

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._run(*arguments)
        except OSError:  # the disk is full, or what lies in the folder is another person's; the loop has not begun
            self._run = self._anew
            return self._run(*arguments)


def cache_folder() -> Path | None:
    """Tell where numba keeps what it compiles; None where it finds no folder."""
    try:
        loop: Any = numba.njit(cache=True)(cache_folder)
    except RuntimeError:
        return None
    return Path(loop.stats.cache_path)
