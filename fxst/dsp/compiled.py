"""Loops compiled by numba, and cached on disk where there is a writable folder."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np

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
        self._known: set[tuple[Any, ...]] = set()
        try:
            self._run: Any = numba.njit(cache=True, **options)(loop)
        except RuntimeError:  # numba finds no folder
            self._run = self._uncached

    def __call__(self, *arguments: Any) -> Any:
        kinds = tuple(map(_kind, arguments))
        try:
            if kinds in self._known:
                return self._run(*arguments)
            with _one_process_at_a_time(self._run.stats.cache_path):
                result = self._run(*arguments)
        except OSError:  # full disk, or another user's cache; the loop has not run yet
            self._run = self._uncached
            return self._run(*arguments)
        self._known.add(kinds)
        return result


def _kind(argument: Any) -> Any:
    return (argument.dtype.str, argument.ndim) if isinstance(argument, np.ndarray) else type(argument)


@contextlib.contextmanager
def _one_process_at_a_time(folder: str | None) -> Iterator[None]:
    """Hold the lock of the cache while a loop is compiled, or read, for new types.

    Two processes that compile one loop for different types may else store both under one name, and every process after
    them would run the wrong one.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # not on Windows, or nothing can be written there
            import fcntl

            if folder is not None:
                Path(folder).mkdir(parents=True, exist_ok=True)
                fd = os.open(Path(folder) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def cache_folder() -> Path | None:
    """Return the folder of numba's cache; None where numba finds none."""
    try:
        loop: Any = numba.njit(cache=True)(cache_folder)
    except RuntimeError:
        return None
    return Path(loop.stats.cache_path)
