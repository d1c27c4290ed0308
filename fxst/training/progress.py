"""What a training reports while it runs, and how it is asked to end."""

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

__all__ = ["Monitor", "Progress", "Report", "StoppedError", "leave_signals"]


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


class StoppedError(Exception):
    """Ctrl-C or SIGTERM has asked the training to end, and its step is done."""


class Monitor(contextlib.AbstractContextManager["Monitor"]):
    """Reports progress; in its block, Ctrl-C and SIGTERM wait for the end of a step. A second one ends it at once.

    Args:
        report: Gets every step.

    Attributes:
        signal: Which signal came, if any.
        last: The last step that was reported.
    """

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._before: dict[int, Any] = {}
        self.signal: int | None = None
        self.last: Progress | None = None

    def __enter__(self) -> "Monitor":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # a job in the background ignores Ctrl-C
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()

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
    """Let a process that prepares batches leave signals to the main one: a terminal sends them to both."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
