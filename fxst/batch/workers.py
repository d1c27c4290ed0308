"""Worker processes: each has its own model, and a crash fails only one file.

A damaged recording may crash a decoder, or make it ask for more memory than there is. So no recording of a batch is
opened in the main process, the memory of each worker is limited, and a worker that dies is replaced.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fxst import interrupts, isolation, shortage, staging
from fxst.batch.files import Progress
from fxst.batch.plan import Job
from fxst.batch.preflight import Preflight
from fxst.batch.results import FileResult, failure
from fxst.batch.session import WAIT_SECONDS, Session
from fxst.effects.declarations import declared_in, run_declarations
from fxst.errors import FxstError

try:
    import resource
except ImportError:  # not on Windows, where memory is not limited
    resource = None  # type: ignore[assignment]

__all__ = ["Workers"]

_SPARE_BYTES: Final = 1 << 30
"""Memory that a worker may take after its model is loaded; any recording needs at most a tenth of it."""
_PROGRESS_SECONDS: Final = 0.1
_STOP_SECONDS: Final = 10.0
_ATTEMPTS: Final = 3
"""How often a file may end its worker before it is given up."""
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Workers:
    """Worker processes that are ready to render.

    Args:
        count: Their number.
        checked: The preflight of the command.
        progress: Called with the progress of the work on each file.

    Raises:
        FxstError: No file can be rendered: the model cannot be used, or a reference cannot be analysed.
    """

    def __init__(self, count: int, checked: Preflight, progress: Progress | None) -> None:
        self._checked = checked.without_jobs()
        self._progress = progress
        self._workers: list[_Worker] = []
        self._deaths: Counter[Job] = Counter()
        try:
            # The others load the model while the first one analyses the references.
            for _ in range(count):
                self._begin_worker()
            first = self._workers[0]
            first.send(("analyse", None))
            self._analysed = self._await(first, "analysed")
            for worker in self._workers[1:]:
                worker.send(("recall", self._analysed))
        except BaseException:
            self.stop()
            raise

    def run(self, jobs: Iterable[Job | FileResult]) -> Iterator[FileResult]:
        """Render files, and end the workers; yield the result of each file as it is done.

        Args:
            jobs: The files, taken as workers are free; a result among them is passed on.
        """
        try:
            yield from self.work(jobs)
            for worker in self._workers:
                worker.send(("end", None))
            self._join()
        finally:
            self.stop()

    def work(self, jobs: Iterable[Job | FileResult]) -> Iterator[FileResult]:
        """Render files; the workers stay for more.

        Args:
            jobs: The files, taken as workers are free; a result among them is passed on.
        """
        coming, ended = iter(jobs), False
        waiting: deque[Job] = deque()
        later: deque[tuple[float, Job]] = deque()  # files that another process renders, or that ended theirs
        while True:
            now = time.monotonic()
            while later and later[0][0] <= now:
                waiting.append(later.popleft()[1])
            for worker in self._workers:
                while worker.job is None and (waiting or not ended):
                    item = waiting.popleft() if waiting else next(coming, None)
                    if item is None:
                        ended = True
                    elif isinstance(item, FileResult):
                        yield item
                    else:
                        worker.begin(item)
            if not later and not any(worker.job for worker in self._workers):
                return
            pause = max(0.0, later[0][0] - now) if later else None
            for connection in wait([worker.connection for worker in self._workers], pause):
                worker = next(one for one in self._workers if one.connection is connection)
                job = worker.job
                try:
                    kind, content = worker.receive()
                except EOFError:
                    failed = self._replace(worker)
                    if failed is not None:
                        yield failed
                    elif job is not None:
                        later.append((time.monotonic(), job))
                    continue
                if kind == "progress" and self._progress is not None:
                    self._progress(*content)
                elif kind == "failed":
                    raise content
                elif kind == "busy" and job is not None:
                    worker.job = None
                    later.append((time.monotonic() + WAIT_SECONDS, job))
                elif kind == "result":
                    worker.job = None
                    yield content

    def stop(self) -> None:
        """Terminate all workers; unfinished files are removed."""
        for worker in self._workers:
            worker.process.terminate()
        self._join()

    def _join(self) -> None:
        """Wait for all workers to end; kill those that take too long."""
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self._workers:
            worker.connection.close()
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def _replace(self, worker: "_Worker") -> FileResult | None:
        """Replace a dead worker; return the failure of its file, or None where it is to be tried again."""
        worker.process.join()
        self._workers.remove(worker)
        if worker.job is None:
            raise FxstError(
                f"A worker process died {_cause(worker.process)} before it had begun: run the command again."
            )
        job = worker.job
        staging.sweep(job.output.parent, deep=False)
        self._begin_worker()
        self._workers[-1].send(("recall", self._analysed))
        self._deaths[job] += 1
        if self._deaths[job] < _ATTEMPTS:  # something else may have killed it, such as a lack of memory
            return None
        return failure(
            job,
            f"{str(job.input)!r}: the process that worked on it died {_cause(worker.process)}, {_ATTEMPTS} times: "
            "convert the recording to WAV first, or leave it out.",
            crashed=True,
        )

    def _begin_worker(self) -> None:
        with interrupts.deferred():  # so that a started worker is in the list, and is stopped
            self._workers.append(_Worker(self._checked, report=self._progress is not None))
        interrupts.check()

    def _await(self, worker: "_Worker", kind: str) -> Any:
        while True:
            try:
                found, content = worker.receive()
            except EOFError:
                worker.process.join()
                raise FxstError(
                    f"A worker process died {_cause(worker.process)} while it loaded: free memory, or try fewer --jobs."
                ) from None
            if found == "progress" and self._progress is not None:
                self._progress(*content)
            elif found == "failed":
                raise content
            elif found == kind:
                return content


class _Worker:
    """One worker process, as the main process sees it."""

    def __init__(self, checked: Preflight, *, report: bool) -> None:
        self.job: Job | None = None
        context = multiprocessing.get_context("spawn")  # a forked child of a process with threads may hang
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, tuple(declared_in), report), daemon=True
        )
        with _one_thread_each(), interrupts.kept_from_children(), isolation.safe_children():
            self.process.start()
        theirs.close()
        # Not as an argument of the process: a table can only be unpickled once the user's effects are declared.
        self.send(("preflight", checked))

    def begin(self, job: Job) -> None:
        self.job = job
        self.send(("work", job))

    def send(self, message: tuple[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died; `receive` will raise EOFError
            self.connection.send(message)

    def receive(self) -> tuple[str, Any]:
        try:
            kind, content = self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error
        return kind, content


class _StopError(BaseException):
    """The worker must end now."""


class _Stop:
    """Stops the work at SIGTERM: at once, or with the next block if the exception was lost."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the main one handles it

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _StopError

    def check(self) -> None:
        if self.requested:
            raise _StopError


def _work(connection: Connection, declarations: Sequence[Path], report: bool) -> None:
    """Run a worker: process the main process's messages until the last one."""
    stop = _Stop()
    try:
        # libmpg123 prints every frame that it decodes after a seek; errors are not reported this way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        isolation.guard()
        threading.Thread(target=_end_with_parent, daemon=True).start()
        for path in declarations:  # a new process does not have the user's effects
            run_declarations(path)
        session = Session(connection.recv()[1])
        _limit_memory()
        progress = _Report(connection, stop) if report else lambda path, done: stop.check()
        while True:
            kind, content = connection.recv()
            if kind == "end":
                return
            if kind == "analyse":
                connection.send(("analysed", session.analyse_references(progress)))
            elif kind == "recall":
                session.recall(content)
            else:
                result = _attempt(session, content, progress)
                connection.send(("busy", None) if result is None else ("result", result))
    except _StopError:
        staging.abandon()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    except FxstError as error:
        connection.send(("failed", error))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the main process has ended
        staging.abandon()
    except Exception as error:
        connection.send(("failed", FxstError(_unexpected(error))))


def _attempt(session: Session, job: Job, progress: Progress) -> FileResult | None:
    try:
        return session.render(job, progress)
    except Exception as error:  # a fault of fxst in one file must not affect the others
        return failure(job, f"{str(job.input)!r}: {_unexpected(error)}")


def _unexpected(error: Exception) -> str:
    if remedy := shortage.remedy(error):
        return remedy
    message = " ".join(str(error).split())
    return f"fxst failed unexpectedly ({type(error).__name__}: {message}): please report it."


class _Report:
    """Sends the progress of the work a few times a second, and its end."""

    def __init__(self, connection: Connection, stop: _Stop) -> None:
        self._connection = connection
        self._stop = stop
        self._next = 0.0

    def __call__(self, path: Path, done: float) -> None:
        self._stop.check()
        now = time.monotonic()
        if now >= self._next or done >= 1:
            self._next = now + _PROGRESS_SECONDS
            self._connection.send(("progress", (path, done)))


def _limit_memory() -> None:
    """Limit the memory of this process to `_SPARE_BYTES` more than now: a damaged header may ask for any amount."""
    if resource is None:
        return
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            used = next(1024 * int(line.split()[1]) for line in file if line.startswith("VmData:"))
    except (OSError, StopIteration, ValueError):  # not on Linux; elsewhere this limit has another meaning
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + _SPARE_BYTES
    if most == resource.RLIM_INFINITY or limit < most:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _end_with_parent() -> None:
    # A worker whose parent was killed would otherwise finish its file.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _cause(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"of {signal.Signals(-code).name}"
    return f"with exit code {code}"


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let new processes use one thread: those of several workers would only wait for each other."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
