"""Worker processes: ordered results, bounded memory, and no hang when a worker dies."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from fxst import interrupts, isolation
from fxst.effects.declarations import declared_in, run_declarations
from fxst.errors import FxstError
from fxst.threads import processors

__all__ = ["WorkerPool", "processors"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_JOBS_AHEAD_A_WORKER = 3


class WorkerPool(contextlib.AbstractContextManager["WorkerPool"]):
    """Worker processes, started on the first task.

    A single worker is a process of its own too: a decoder that crashes on a damaged file must not end the build.

    Args:
        count: Number of workers.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._executor: ProcessPoolExecutor | None = None

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            with interrupts.deferred():
                self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Apply a function to each task; results come in the order of the tasks, a few computed ahead.

        Args:
            function: A module-level function, which workers can import.
            tasks: The tasks.

        Raises:
            FxstError: a worker process died.
        """
        ahead: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                # Submitting may start another worker.
                with interrupts.deferred(), interrupts.kept_from_children(), isolation.safe_children():
                    ahead.append(self._pool().submit(function, task))
                interrupts.check()
                if len(ahead) > self._count * _JOBS_AHEAD_A_WORKER:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise FxstError(
                "A worker process died, possibly out of memory: run the same command again with fewer --workers to "
                "continue."
            ) from error

    def _pool(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # Not fork: a forked child of a multithreaded program may hang.
            methods = multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            if "forkserver" in methods:
                context.set_forkserver_preload(["fxst.data.cutting"])
            self._executor = ProcessPoolExecutor(
                self._count, mp_context=context, initializer=_begin, initargs=(tuple(declared_in),)
            )
        return self._executor


def _begin(declarations: Sequence[Path]) -> None:
    isolation.guard()
    # Ctrl-C reaches every process of the terminal; the main process handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # libmpg123 prints every frame that it decodes after a seek; errors do not go this way.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for path in declarations:  # a new process lacks the user's effects
        run_declarations(path)


def _end_with_parent() -> None:
    # Otherwise a worker of a killed parent would wait for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
