"""Whether this process was asked to end, for whoever is in the midst of work to ask."""

import contextlib
import signal
from collections.abc import Iterator
from typing import ClassVar

__all__ = [
    "Terminated",
    "ask",
    "check",
    "check_deferrable",
    "deferred",
    "exit_code",
    "forget",
    "kept_from_children",
    "was_asked",
]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""

    exit_code: ClassVar[int] = 143


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Tell what a program ends with that was interrupted so."""
    return interrupt.exit_code if isinstance(interrupt, Terminated) else 130


_asked: type[KeyboardInterrupt] | None = None
_deferring = 0


def ask(kind: type[KeyboardInterrupt]) -> None:
    """Interrupt this thread's work: at once, or where that is deferred, when it checks.

    Python ignores what is raised in a callback, and a library that is being loaded makes another error of it. So what
    was asked for is kept.

    Args:
        kind: What to raise.

    Raises:
        KeyboardInterrupt: Of that kind, unless it is deferred.
    """
    global _asked
    _asked = kind
    check_deferrable()


def was_asked() -> type[KeyboardInterrupt] | None:
    """Tell how this process was asked to end; None where it was not."""
    return _asked


def check() -> None:
    """Interrupt where that was asked for and has come to nothing so far.

    Raises:
        KeyboardInterrupt: It was.
    """
    if _asked is not None:
        raise _asked


def check_deferrable() -> None:
    """Do so unless it is deferred.

    Raises:
        KeyboardInterrupt: It was.
    """
    if not _deferring:
        check()


def forget() -> None:
    """Begin anew: nothing was asked for."""
    global _asked
    _asked = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let nothing interrupt the block, which is short, or checks by itself; `check` follows it."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Keep Ctrl-C from processes that the block starts: a terminal sends it to all, and this one answers it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Its start would let Ctrl-C through again. A signal that is held back stays so in the process that is begun.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
