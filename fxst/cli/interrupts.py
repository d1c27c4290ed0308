"""Handling of Ctrl-C and SIGTERM: they leave no partial files, and each has its message and exit code."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from time import monotonic
from types import FrameType
from typing import Any, Final

from fxst import interrupts
from fxst.interrupts import Terminated

__all__ = ["begin", "terminable"]

_KINDS: Final = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
_TOGETHER_SECONDS: Final = 0.5
"""Signals within this time of the first count as one, for `timeout` sends two. A later one ends the program at once."""
_AGAIN_SECONDS: Final = 0.05


def begin() -> None:
    """From now on, let both signals end the program at once where nothing else handles them."""
    main = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        _end(number, main)

    _handle(end)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM interrupt the block as Ctrl-C does, once; neither is lost. A second one ends the program at once."""
    interrupts.forget()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main = os.getpid()
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = monotonic()
        if os.getpid() != main or (first is not None and now - first > _TOGETHER_SECONDS):
            _end(number, main)
        elif first is None:
            first = now
            interrupts.request(_KINDS[signal.Signals(number)])

    def interrupt_again(number: int, frame: FrameType | None) -> None:
        interrupts.check_deferrable()

    def ask_again(unraisable: Any) -> None:
        # An interrupt raised in a callback is only reported. A timer raises it again after the callback.
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            hook(unraisable)

    before = _handle(interrupt) | {signal.SIGALRM: signal.signal(signal.SIGALRM, interrupt_again)}
    hook, sys.unraisablehook = sys.unraisablehook, ask_again
    try:
        yield
        interrupts.check()
    except Exception:
        interrupts.check()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handler: Any) -> dict[signal.Signals, Any]:
    """Set the handler of both signals, except one that is ignored, as in the background; return the old handlers."""
    numbers = [number for number in _KINDS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in numbers}


def _end(number: int, main: int) -> None:
    """End this process now. In a forked process only SIGTERM does so: the main process handles Ctrl-C."""
    if os.getpid() == main:
        # While this module is being loaded it has no function yet, and no file either.
        abandon = getattr(sys.modules.get("fxst.staging"), "abandon", None)
        if abandon is not None:
            abandon()
        with contextlib.suppress(OSError):
            os.write(2, b"fxst: interrupted\n")
    elif number == signal.SIGINT:
        return
    os._exit(128 + number)
