"""Errors caused by a lack of memory, open files or processes, and not by a fault."""

import contextlib
import errno
from typing import Final

from fxst.errors import FxstError

try:
    import resource
except ImportError:  # not on Windows, which has no such limits
    resource = None  # type: ignore[assignment]

__all__ = ["check_memory", "open_more_files", "remedy"]

_LEAST_BYTES: Final = 256 << 20
"""With less, NumPy's OpenBLAS ends the program with a message of its own."""

_NO_MEMORY: Final = (
    "failed to map segment",  # the loader of shared libraries
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
    """Check that this process has enough memory to load NumPy.

    Raises:
        FxstError: It has not.
    """
    if any(limit < _LEAST_BYTES for limit in _limits()):
        raise FxstError(_MEMORY)


def open_more_files() -> None:
    """Raise the limit of open files as far as possible: each worker needs a few."""
    if resource is None:
        return
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != most:
        with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it states
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _limits() -> list[int]:
    """Return the memory limits of this process in bytes."""
    if resource is None:
        return []
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return [limit for limit in limits if limit != resource.RLIM_INFINITY]


def remedy(error: BaseException) -> str | None:
    """Return the message for a lack of resources; None for any other error.

    Args:
        error: The error; its causes and contexts count too.
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
        if isinstance(cause, SystemError) and _limits():  # a library that lacked memory without a message
            return _MEMORY
        if isinstance(cause, ImportError | RuntimeError | OSError | SystemError):
            message = str(cause).lower()
            if any(words in message for words in _NO_MEMORY):
                return _MEMORY
        cause = cause.__cause__ or cause.__context__
    return None
