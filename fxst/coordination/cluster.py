"""Work on a Ray cluster: actors that do a chunk at a time, of which any may die at any moment.

Ray places the actors and tells when one has died. What is finished is in the manifest parts, never in Ray.
"""

import collections
import contextlib
import logging
import os
import pickle
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from fxst import extras, interrupts, isolation
from fxst.effects.declarations import declared_in, run_declarations
from fxst.errors import FxstError, SettingsError
from fxst.untrusted import quoted
from fxst.version import __version__

__all__ = ["Lost", "Pool"]

Task = TypeVar("Task")

_ATTEMPTS: Final = 3
"""How many workers a task may cost."""
_WAIT_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 300.0
"""How long to wait for the first worker, or for another one when all have died."""


@dataclass(frozen=True)
class Lost(Generic[Task]):
    """A task of which every attempt cost a worker.

    Args:
        task: The task.
        reason: How the last worker ended.
    """

    task: Task
    reason: str


class Pool(contextlib.AbstractContextManager["Pool"]):
    """Actors of a Ray cluster, one for each processor.

    Args:
        address: The cluster's address; `auto` for that of this machine.
        workers: Number of actors; 0 for one per processor of the cluster.
        make: A module-level function, which each actor calls once with `content`; it returns a function that does a
            task.
        content: What it needs.

    Raises:
        FxstError: The cluster cannot be reached.
        SettingsError: The extra is not installed.
    """

    def __init__(
        self, address: str, workers: int, make: Callable[[Any], Callable[[Any], Any]], content: Callable[[], Any]
    ) -> None:
        extras.need("--engine ray", "ray", extra="ray")
        self._ray = _connected(address)
        self.workers = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._payload = pickle.dumps((make, content()))
        self._actors: dict[Any, None] = {}
        self._starting: dict[Any, Any] = {}
        self._failed_starts = 0
        self._start()  # while the caller still lists the files

    def __exit__(self, *_: object) -> None:
        for actor in (*self._actors, *self._starting.values()):
            with contextlib.suppress(Exception):  # it has died
                self._ray.kill(actor)
        self._ray.shutdown()

    def run(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Do tasks; yield the result of each as it is done, or `Lost`.

        Args:
            tasks: The tasks, taken as actors are free.

        Raises:
            FxstError: No actor can begin, or a task failed.
        """
        ray, errors = self._ray, self._ray.exceptions
        died = (errors.RayActorError, errors.WorkerCrashedError, errors.ObjectLostError, errors.NodeDiedError)
        coming, ended = iter(tasks), False
        again: collections.deque[Task] = collections.deque()
        deaths: collections.Counter[Task] = collections.Counter()
        running: dict[Any, tuple[Any, Task]] = {}
        seen = time.monotonic()
        while True:
            busy = {actor for actor, _ in running.values()}
            for actor in [actor for actor in self._actors if actor not in busy]:
                task = again.popleft() if again else None if ended else next(coming, None)
                if task is None:
                    ended = True
                    break
                running[actor.run.remote(task)] = actor, task
            if not running and not again:
                # The first task is taken before there is an actor for it, to see whether there is one.
                task = None if ended else next(coming, None)
                if task is None:
                    return
                again.append(task)
            self._start()
            done, _ = ray.wait([*running, *self._starting], num_returns=1, timeout=_WAIT_SECONDS)
            interrupts.check()
            if done or running:
                seen = time.monotonic()
            elif time.monotonic() - seen > _PATIENCE_SECONDS:
                raise FxstError(
                    f"No processor of the Ray cluster was free for {_PATIENCE_SECONDS:g} s: see `ray status`, and run "
                    "the command again to continue."
                )
            for reference in done:
                if reference in self._starting:
                    self._begun(reference, died)
                    continue
                actor, task = running.pop(reference)
                try:
                    state, result = ray.get(reference)
                except died as error:
                    self._actors.pop(actor, None)
                    deaths[task] += 1
                    if deaths[task] < _ATTEMPTS:
                        again.append(task)
                    else:
                        yield Lost(task, " ".join(str(error).split())[:200])
                    continue
                if state == "failed":
                    raise result
                yield result

    def _start(self) -> None:
        """Request actors in place of those that have died."""
        while len(self._actors) + len(self._starting) < self.workers:
            actor = _remote_actor(self._ray, self._payload)
            self._starting[actor.ready.remote()] = actor

    def _begun(self, reference: Any, died: tuple[type[BaseException], ...]) -> None:
        """Take an actor that is ready; check that it is of the same versions."""
        actor = self._starting.pop(reference)
        try:
            fxst, python = self._ray.get(reference)
        except died as error:
            self._failed_starts += 1
            if self._failed_starts >= _ATTEMPTS * self.workers and not self._actors:
                reason = " ".join(str(error).split())[-300:]
                raise FxstError(
                    f"No worker of the Ray cluster can begin ({reason}): check that fxst is installed on every node."
                ) from error
            return
        here = __version__, platform.python_version()
        if (fxst, python) != here:
            raise SettingsError(
                f"A node of the Ray cluster has fxst {fxst} with Python {python}, and this one has fxst {here[0]} with "
                f"Python {here[1]}: install the same on all (fxst doctor shows them)."
            )
        self._actors[actor] = None


class _Actor:
    """What runs on the cluster: it makes its worker once, and does a task at a time."""

    def __init__(self, folder: str, declarations: Sequence[Path], payload: bytes) -> None:
        isolation.guard()
        # Where the command was given, since names of files are relative to it.
        os.chdir(folder)
        # A process that is started from here would load Ray's own program, and with it Ray.
        main = sys.modules["__main__"]
        main.__spec__ = None
        vars(main).pop("__file__", None)
        for path in declarations:
            run_declarations(path)
        make, content = pickle.loads(payload)
        self._do = make(content)

    def ready(self) -> tuple[str, str]:
        return __version__, platform.python_version()

    def run(self, task: Any) -> tuple[str, Any]:
        try:
            return "done", self._do(task)
        except FxstError as error:
            return "failed", error


def _remote_actor(ray: Any, payload: bytes) -> Any:
    options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
    remote = ray.remote(_Actor).options(**options)
    return remote.remote(str(Path.cwd()), tuple(path.resolve() for path in declared_in), payload)


def _connected(address: str) -> Any:
    """Connect to a cluster; return the module `ray`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    import ray
    from ray._private import worker

    # Ray would print on standard output, where results go, that a node has died.
    worker._worker_logs_enabled = False
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # Elsewhere, since Ray adds the current folder to where its workers look for modules.
        with isolation.elsewhere():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise FxstError(
            f"The Ray cluster {quoted(address)} cannot be used ({reason}): start one with `ray start --head`, or name "
            "another --address."
        ) from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return ray
