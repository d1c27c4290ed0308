"""A dataset build that several processes or machines share: each cuts the clips of its chunks of recordings.

Only the first round of clips is shared, which is nearly all of the work. `fxst batch merge`, or the same command
without `--shard`, makes the dataset of what was cut, and cuts what is missing.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from fxst.configs import DatasetConfig
from fxst.coordination.chunks import Chunk, Sorted
from fxst.coordination.parts import FOLDER, Batch
from fxst.coordination.shards import Shard
from fxst.coordination.store import LocalStore
from fxst.data.cutting import Cut, CuttingJob, cut
from fxst.errors import SettingsError

__all__ = ["COMMAND", "CutTask", "SharedCuts", "config_of", "cut_all", "store_of"]

COMMAND: Final = "dataset build"
_ARRAYS: Final = ("windows", "samples", "rms_db", "scale")


@dataclass(frozen=True)
class CutTask:
    """The jobs of a chunk.

    Args:
        folder: The folder of the dataset.
        origin: A fingerprint of the recordings and settings.
        chunk: The number of the chunk.
        jobs: The jobs, by their numbers.
    """

    folder: Path
    origin: str
    chunk: int
    jobs: tuple[tuple[int, CuttingJob], ...]

    def __hash__(self) -> int:
        return hash((self.origin, self.chunk))


def store_of(folder: Path) -> LocalStore:
    """Return the store of the parts of a dataset that is being built.

    Args:
        folder: The folder of the dataset.
    """
    return LocalStore(folder / FOLDER)


def cut_all(task: CutTask) -> int:
    """Cut the clips of a chunk into the store; return the chunk's number.

    Args:
        task: The jobs.
    """
    store = store_of(task.folder)
    for number, job in task.jobs:
        store.write_new(_name(task.origin, number), _to_bytes(cut(job)))
    return task.chunk


class SharedCuts:
    """What was cut of a dataset.

    Args:
        folder: The folder of the dataset.
        note: What its clips depend on.
    """

    def __init__(self, folder: Path, note: str) -> None:
        self._folder = folder
        self._store = store_of(folder)
        self._origin = hashlib.sha256(note.encode()).hexdigest()[:16]

    @cached_property
    def jobs(self) -> frozenset[int]:
        """The jobs of the first round that are cut."""
        prefix = _name(self._origin, 0).removesuffix(f"{0:08}")
        return frozenset(int(name.removeprefix(prefix)) for name in self._store.names(prefix))

    def load(self, job: int) -> Cut:
        """Return the clips of a job of the first round that is cut."""
        return _from_bytes(self._store.read(_name(self._origin, job)))

    def share(
        self,
        config: DatasetConfig,
        jobs: Mapping[str, list[tuple[int, CuttingJob]]],
        shard: Shard | None,
        workers: int,
        do: Callable[[Iterable[CutTask]], Iterator[int]],
        progress: Callable[[int, int], None],
    ) -> int:
        """Cut the clips of a share of the recordings; return how many recordings it has.

        Args:
            config: The command.
            jobs: The jobs of each recording, by its name.
            shard: The share; None for all.
            workers: Number of workers.
            do: Calls `cut_all` for each of the tasks, in any order.
            progress: Called with the number of recordings that are cut, and the total.
        """
        about = {"config": msgspec.to_builtins(config, enc_hook=str)}
        batch = Batch.begin(self._store, COMMAND, self._origin, len(jobs), shard=shard, workers=workers, about=about)
        with Sorted((name, json.dumps(name)) for name in jobs) as names:
            chunks = [self._chunk(number, names, batch) for number in batch.numbers(shard)]
        total = sum(len(chunk.lines) for chunk in chunks)
        left = {chunk.number: chunk for chunk in chunks if not batch.is_listed(chunk)}
        done = total - sum(len(chunk.lines) for chunk in left.values())
        tasks = (
            CutTask(
                self._folder.absolute(),
                self._origin,
                chunk.number,
                tuple(job for name in chunk.lines for job in jobs[json.loads(name)]),
            )
            for chunk in left.values()
        )
        for number in do(tasks):
            chunk = left[number]
            batch.seal(chunk, list(chunk.lines), [])
            done += len(chunk.lines)
            progress(done, total)
        return total

    def remove(self) -> None:
        """Remove what was cut, once it is in the dataset."""
        batch = Batch.of(self._store)
        if batch is not None:
            batch.remove()
        for name in list(self._store.names("cuts/")):
            self._store.delete(name)

    def _chunk(self, number: int, names: Sorted, batch: Batch) -> Chunk:
        lines = names.lines(number, batch.chunks)
        return Chunk(number, lines, hashlib.sha256("\n".join([batch.origin, *lines]).encode()).hexdigest()[:16])


def config_of(batch: Batch) -> DatasetConfig:
    """Return the command of a shared build.

    Raises:
        SettingsError: It is not there.
    """
    try:
        return msgspec.convert(batch.about["config"], DatasetConfig, dec_hook=lambda kind, value: kind(value))
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{FOLDER}/plan.json is damaged: run fxst dataset build again, without --shard.") from error


def _name(origin: str, job: int) -> str:
    return f"cuts/{origin}-{job:08}"


def _to_bytes(found: Cut) -> bytes:
    file = io.BytesIO()
    file.write(json.dumps({"problem": found.problem, "usable": found.usable}).encode() + b"\n")
    for name in _ARRAYS:
        np.save(file, getattr(found, name), allow_pickle=False)
    return file.getvalue()


def _from_bytes(data: bytes) -> Cut:
    file = io.BytesIO(data)
    told: dict[str, Any] = json.loads(file.readline())
    arrays = {name: np.load(file, allow_pickle=False) for name in _ARRAYS}
    return Cut(**arrays, **told)
