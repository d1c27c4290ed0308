"""Being told to end: Ctrl-C and SIGTERM leave no part of a file, and each has its exit code."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar, NoReturn

__all__ = ["Interrupts", "Terminated", "exit_code", "terminable"]


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""

    exit_code: ClassVar[int] = 143


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Tell what a program ends with that was interrupted so."""
    return interrupt.exit_code if isinstance(interrupt, Terminated) else 130


class Interrupts:
    """What was asked for while a block runs.

    An interrupt is raised wherever the program is. In a callback Python ignores it, and a library that is being loaded
    makes another error of it: so what was asked for is kept, to be asked again.
    """

    def __init__(self) -> None:
        self._asked: type[KeyboardInterrupt] | None = None

    def ask(self, kind: type[KeyboardInterrupt]) -> NoReturn:
        """Interrupt, now or at the next check."""
        self._asked = kind
        raise kind

    def check(self) -> None:
        """Interrupt where that was asked for and came to nothing.

        Raises:
            KeyboardInterrupt: It was.
        """
        if self._asked is not None:
            raise self._asked


@contextlib.contextmanager
def terminable() -> Iterator[Interrupts]:
    """Let SIGTERM interrupt the block as Ctrl-C does, once; neither is lost."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is begun is being cleared away
        interrupts.ask(Terminated)

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        interrupts.ask(KeyboardInterrupt)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in the background
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    except Exception:
        interrupts.check()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
