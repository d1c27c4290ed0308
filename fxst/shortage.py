"""Errors that tell of a machine with too little left, and not of a fault: of memory, of open files, of processes."""

import contextlib
import errno
from typing import Final

from fxst.errors import FxstError

try:
    import resource
except ImportError:  # not on Windows, which has no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["check_memory", "open_more_files", "told"]

_LEAST_BYTES: Final = 256 << 20
"""NumPy's OpenBLAS ends the program in its own words where it gets less."""

_NO_MEMORY: Final = (
    "failed to map segment",  # the loader of libraries
    "cannot create shared object",
    "cannot allocate memory",  # the system
    "can't allocate memory",  # torch on a CPU
    "not enough memory",
    "out of memory",  # torch on a device
    "unable to allocate",  # NumPy
    "can't start new thread",  # each has a stack
    "std::bad_alloc",
)
_MEMORY: Final = (
    "There is not enough memory for this: close other programs, raise the limit (`ulimit -v`, `ulimit -d`, a "
    "container's), or try fewer --jobs or --workers."
)
_FILES: Final = "Too many files are open for this: raise the limit (`ulimit -n`), or try fewer --jobs or --workers."
_PROCESSES: Final = (
    "No other process or thread can be started: raise the limit (`ulimit -u`, a container's), or try fewer --jobs or "
    "--workers."
)


def check_memory() -> None:
    """Check that this process may take what loading NumPy takes.

    Raises:
        FxstError: It may not.
    """
    if any(limit < _LEAST_BYTES for limit in _limits()):
        raise FxstError(_MEMORY)


def open_more_files() -> None:
    """Let this process open as many files as it may at most: each worker takes a few."""
    if resource is None:
        return
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != most:
        with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _limits() -> list[int]:
    """Give what this process may take, by each limit that it has."""
    if resource is None:
        return []
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return [limit for limit in limits if limit != resource.RLIM_INFINITY]


def told(error: BaseException) -> str | None:
    """Say what there was too little of, and what to do about it; None where an error tells of something else.

    Args:
        error: It; what it came of, and what was dealt with when it came, count too.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        number = cause.errno if isinstance(cause, OSError) else None
        if number in (errno.EMFILE, errno.ENFILE):
            return _FILES
        if number == errno.EAGAIN:
            return _PROCESSES
        if isinstance(cause, MemoryError) or number == errno.ENOMEM:
            return _MEMORY
        if isinstance(cause, SystemError) and _limits():  # a library that lacked memory, and did not say so
            return _MEMORY
        if isinstance(cause, ImportError | RuntimeError | OSError | SystemError):
            said = str(cause).lower()
            if any(words in said for words in _NO_MEMORY):
                return _MEMORY
        cause = cause.__cause__ or cause.__context__
    return None
