"""Being told to end: Ctrl-C and SIGTERM leave no part of a file, and each has its exit code."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar, NoReturn

__all__ = ["Terminated", "exit_code", "terminable"]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""

    exit_code: ClassVar[int] = 143


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Tell what a program ends with that was interrupted so."""
    return interrupt.exit_code if isinstance(interrupt, Terminated) else 130


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM interrupt the block as Ctrl-C does, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is begun is being cleared away
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
