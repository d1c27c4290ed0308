"""Interrupts of this process, and checks for them during work."""

import contextlib
import signal
from collections.abc import Iterator
from typing import ClassVar

__all__ = [
    "Terminated",
    "check",
    "check_deferrable",
    "deferred",
    "exit_code",
    "forget",
    "kept_from_children",
    "request",
    "requested",
]


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""

    exit_code: ClassVar[int] = 143


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of an interrupted program."""
    return interrupt.exit_code if isinstance(interrupt, Terminated) else 130


_requested: type[KeyboardInterrupt] | None = None
_deferring = 0


def request(kind: type[KeyboardInterrupt]) -> None:
    """Interrupt this thread: at once, or, while that is deferred, at its next check.

    The request is kept, since Python ignores exceptions in callbacks, and a library that is being loaded may turn one
    into another error.

    Args:
        kind: The exception to raise.

    Raises:
        KeyboardInterrupt: Of that kind, unless it is deferred.
    """
    global _requested
    _requested = kind
    check_deferrable()


def requested() -> type[KeyboardInterrupt] | None:
    """Return the requested interrupt; None where there is none."""
    return _requested


def check() -> None:
    """Raise the requested interrupt, if there is one.

    Raises:
        KeyboardInterrupt: There is one.
    """
    if _requested is not None:
        raise _requested


def check_deferrable() -> None:
    """Raise the requested interrupt, unless it is deferred.

    Raises:
        KeyboardInterrupt: There is one.
    """
    if not _deferring:
        check()


def forget() -> None:
    """Forget the requested interrupt."""
    global _requested
    _requested = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Defer interrupts during the block, which is short or calls `check` itself; call `check` after it."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Block Ctrl-C in processes that the block starts: a terminal sends it to all, and this process handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Started now, since its start would unblock Ctrl-C again. New processes inherit the blocked signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
