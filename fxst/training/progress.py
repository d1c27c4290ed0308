"""What a training reports while it runs, and how it is asked to end."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fxst import interrupts
from fxst.errors import FxstError

__all__ = ["DivergedError", "Monitor", "Progress", "Report", "StoppedError", "leave_signals"]


class Progress(NamedTuple):
    """How far a stage has come.

    Args:
        stage: The stage's name.
        step: Steps that are done.
        steps: Steps that there are.
        figures: What the stage measures, such as its loss.
    """

    stage: str
    step: int
    steps: int
    figures: Mapping[str, float] = MappingProxyType({})


Report = Callable[[Progress], None]

_KINDS: Final = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: interrupts.Terminated}


class StoppedError(Exception):
    """Ctrl-C or SIGTERM has asked the training to end, and its step is done."""


class DivergedError(FxstError):
    """The training cannot go on, for its loss is not finite."""


class Monitor(contextlib.AbstractContextManager["Monitor"]):
    """Reports progress; in its block, Ctrl-C and SIGTERM wait for the end of a step.

    Args:
        report: Gets every step.

    Attributes:
        last: The last step that was reported.
    """

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._stack = contextlib.ExitStack()
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}
        self.last: Progress | None = None

    @property
    def signal(self) -> int | None:
        """Which signal has come, if any; SIGUSR1 where Slurm is about to end the job."""
        kind = interrupts.requested()
        if kind is not None:
            self._signal = signal.SIGTERM if issubclass(kind, interrupts.Terminated) else signal.SIGINT
        return self._signal

    def __enter__(self) -> "Monitor":
        self._stack.enter_context(interrupts.deferred())
        if threading.current_thread() is threading.main_thread():
            for number, kind in _KINDS.items():
                handler = signal.getsignal(number)
                self._stack.callback(signal.signal, number, handler)
                # The command line has handlers of its own, and a job in the background ignores Ctrl-C.
                if handler in (signal.default_int_handler, signal.SIG_DFL):
                    signal.signal(number, lambda *_, kind=kind: interrupts.request(kind))
            if "SLURM_JOB_ID" in os.environ and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
                self._stack.callback(signal.signal, signal.SIGUSR1, signal.SIG_DFL)
                signal.signal(signal.SIGUSR1, lambda number, _: self.take(number))
            self._handlers = {number: signal.getsignal(number) for number in _KINDS}
        return self

    def __exit__(self, *_: object) -> None:
        if self.signal is not None:
            interrupts.forget()  # it is known here, and is not to end what follows
        self._stack.close()

    def take(self, number: int) -> None:
        """Take in a signal, which another process may have got."""
        self._signal = self._signal or number

    def hold_signals(self) -> None:
        """Take back the signals, where a library has set handlers of its own during the block."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def report(self, progress: Progress) -> None:
        """Report a step."""
        self.last = progress
        if self._report is not None:
            self._report(progress)

    def check(self) -> None:
        """End the training where that was asked for.

        Raises:
            StoppedError: It was.
        """
        if self.signal is not None:
            raise StoppedError


def leave_signals(_: int) -> None:
    """Let a process that prepares batches leave signals to the main one: a terminal sends them to both.

    It still ends where the main process itself sends SIGTERM, as multiprocessing does when a program ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()


def _end_with_the_main_process() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
