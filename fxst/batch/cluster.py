"""Rendering a batch on a Ray cluster: each actor renders chunks as a shard does, in a worker process of its own."""

import contextlib
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxst.batch.chunked import ChunkRunner, as_listed
from fxst.batch.parts import store_of
from fxst.batch.preflight import Preflight
from fxst.batch.results import FileResult
from fxst.coordination.chunks import Chunk
from fxst.coordination.cluster import Lost, Pool
from fxst.coordination.parts import Batch
from fxst.storage import copies

__all__ = ["ApplyPool"]


@dataclass(frozen=True)
class _Task:
    """A chunk to render.

    Args:
        chunk: The chunk.
        only: The one line of it to render, without a part; None for all.
        crashed: The lines to give up, with the reason.
    """

    chunk: Chunk
    only: str | None = None
    crashed: tuple[tuple[str, str], ...] = ()


class ApplyPool(contextlib.AbstractContextManager["ApplyPool"]):
    """The actors that render a batch.

    Args:
        checked: The preflight of the command.

    Raises:
        FxstError: The cluster cannot be reached.
        SettingsError: The extra is not installed.
    """

    def __init__(self, checked: Preflight) -> None:
        self._checked = checked
        config = checked.config
        self._pool = Pool(config.address, config.jobs or 0, _make, lambda: pickle.dumps(checked))
        self.workers = self._pool.workers

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def run(self, batch: Batch, chunks: Iterable[Chunk]) -> Iterator[FileResult]:
        """Render chunks; yield the result of each file.

        Args:
            batch: The batch.
            chunks: The chunks, taken as actors are free.
        """
        listed: deque[FileResult] = deque()
        lost: dict[int, _Split] = {}

        def tasks() -> Iterator[_Task]:
            for chunk in chunks:
                if self._checked.config.resume and batch.is_listed(chunk):
                    listed.extend(as_listed(self._checked, line) for line in chunk.lines)
                else:
                    yield _Task(chunk)

        waiting: Iterable[_Task] = tasks()
        while True:
            more: list[_Task] = []
            for result in self._pool.run(waiting):
                while listed:
                    yield listed.popleft()
                if not isinstance(result, Lost):
                    yield from result
                elif result.task.only is None:  # which of its files ends a worker is found one by one
                    lost[result.task.chunk.number] = _Split(result.task.chunk, [])
                    more += (_Task(result.task.chunk, line) for line in result.task.chunk.lines)
                else:
                    lost[result.task.chunk.number].crashed.append((result.task.only, result.reason))
            while listed:
                yield listed.popleft()
            if not more and lost:
                more = [_Task(split.chunk, None, tuple(split.crashed)) for split in lost.values()]
                lost.clear()
            if not more:
                return
            waiting = more


@dataclass
class _Split:
    """A chunk whose files are rendered one by one, and those that ended their workers."""

    chunk: Chunk
    crashed: list[tuple[str, str]]


def _make(content: bytes) -> Callable[[_Task], list[FileResult]]:
    """Return what renders chunks, in an actor."""
    checked: Preflight = pickle.loads(content)
    copies.use(checked.copies)
    folder: Path | None = checked.plan.folder
    assert folder is not None, "only a batch has chunks"
    runners: list[Any] = []

    def render(task: _Task) -> list[FileResult]:
        if not runners:
            batch = Batch.of(store_of(folder))
            assert batch is not None, "it was begun before the first task"
            runners.append(ChunkRunner(checked, batch, 1))
        runner: ChunkRunner = runners[0]
        return list(runner.run([task.chunk], only=task.only, crashed=dict(task.crashed)))

    return render
