"""Loops compiled by numba, and cached on disk where there is a writable folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["Compiled", "cache_folder", "inlined"]

inlined: Any = numba.njit
"""Compiles a function that only compiled loops call."""


class Compiled:
    """A compiled loop that releases the GIL. Where the cache cannot be used, every process compiles it again.

    Args:
        loop: The function.
    """

    def __init__(self, loop: Callable[..., Any]) -> None:
        # With NumPy's divisions, which give infinity: a loop that may raise an error is not vectorised.
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
        self._uncached: Any = numba.njit(**options)(loop)
        try:
            self._run: Any = numba.njit(cache=True, **options)(loop)
        except RuntimeError:  # numba finds no folder
            self._run = self._uncached

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self._run(*arguments)
        except OSError:  # full disk, or another user's cache; the loop has not run yet
            self._run = self._uncached
            return self._run(*arguments)


def cache_folder() -> Path | None:
    """Return the folder of numba's cache; None where numba finds none."""
    try:
        loop: Any = numba.njit(cache=True)(cache_folder)
    except RuntimeError:
        return None
    return Path(loop.stats.cache_path)
