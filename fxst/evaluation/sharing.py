"""An evaluation that several processes or machines share: chunks of items, each with a manifest part of its scores."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from fxst.configs import EvalConfig, check_used
from fxst.coordination.chunks import Chunk, Sorted
from fxst.coordination.parts import FOLDER, Batch
from fxst.coordination.shards import Shard, shard_of
from fxst.coordination.store import LocalStore
from fxst.errors import FxstError, SettingsError
from fxst.evaluation.journal import from_line, to_line
from fxst.evaluation.scores import Scored
from fxst.evaluation.task import Task
from fxst.threads import processors
from fxst.untrusted import brief

__all__ = ["COMMAND", "config_of", "on_cluster", "score_share", "scored_before", "shard_in"]

COMMAND: Final = "eval"

Scorer = Callable[[Sequence[int]], Iterable[Scored]]
"""Scores items, in order."""


def shard_in(config: EvalConfig) -> Shard | None:
    """Return the share of an evaluation that `--shard` names; refuse what is not possible for a share.

    Raises:
        SettingsError: It is no share, or options do not go with it.
    """
    check_used(config, {"address": (config.engine == "ray", "a cluster (--engine ray)")})
    shared = "--shard" if config.shard is not None else "--engine ray" if config.engine == "ray" else ""
    if shared and config.output is None:
        raise SettingsError(f"{shared} keeps scores in a folder: name one with --output.")
    if config.shard is None:
        return None
    if config.engine == "ray":
        raise SettingsError("--engine ray shares the items itself: leave out --shard.")
    if config.report is not None or config.require:
        option = "--report" if config.report is not None else "--require"
        raise SettingsError(f"{option} needs all results: name it when the shards are done, without --shard.")
    return shard_of(config.shard, os.environ)


def scored_before(config: EvalConfig, task: Task) -> tuple[Batch | None, dict[int, Scored]]:
    """Return the batch of an evaluation, if it was begun, and the scores of its parts."""
    batch = None if config.output is None else Batch.of(_store(config.output))
    if batch is None or batch.command != COMMAND or batch.origin != _origin(task):
        return None, {}
    lines = (line for number in range(batch.chunks) for line in batch.rows(number, current=True))
    return batch, dict(from_line(line.decode()) for line in lines)


def score_share(
    config: EvalConfig, task: Task, shard: Shard, score: Scorer, progress: Callable[[int, int], None] | None
) -> int:
    """Score a share of the items, chunk by chunk; return how many the share has.

    Args:
        config: The command.
        task: The task.
        shard: The share.
        score: Scores items.
        progress: Called with the number of scored items and the total.
    """
    with _items(task) as items:
        batch = _begin(config, task, shard, config.workers or processors())
        chunks = [_chunk(number, items, batch) for number in batch.numbers(shard)]
        left = [chunk for chunk in chunks if not batch.is_listed(chunk)]
        total = sum(len(chunk.lines) for chunk in chunks)
        done = total - sum(len(chunk.lines) for chunk in left)
        scores = iter(score([index for chunk in left for index in _indices(chunk)]))
        for chunk in left:
            rows = []
            for index in _indices(chunk):
                rows.append(to_line(index, next(scores)).rstrip("\n"))
                done += 1
                if progress is not None:
                    progress(done, total)
            batch.seal(chunk, rows, [])
        return total


def on_cluster(config: EvalConfig, task: Task, make: Callable[[Any], Callable[[Any], Any]]) -> Iterator[int]:
    """Score all items on a Ray cluster; yield the number of each chunk's items as it is done.

    Args:
        config: The command.
        task: The task.
        make: A module-level function that returns, for a command, a function from item numbers to scores.

    Raises:
        FxstError: The cluster cannot be used, or items end their workers.
    """
    from fxst.coordination.cluster import Lost, Pool

    content = replace(config, engine="local", address="auto")
    with Pool(config.address, config.workers, make, lambda: content) as pool, _items(task) as items:
        batch = _begin(config, task, None, pool.workers)
        chunks = {number: _chunk(number, items, batch) for number in batch.numbers(None)}
        tasks = ((one.number, _indices(one)) for one in chunks.values() if one.lines and not batch.is_listed(one))
        for result in pool.run(tasks):
            if isinstance(result, Lost):
                names = ", ".join(task.items.names[index] for index in result.task[1])
                raise FxstError(
                    f"Among the items {brief(names)}, one ended its worker three times ({result.reason}): run the "
                    "command without --engine ray to see which."
                )
            number, scores = result
            indices = _indices(chunks[number])
            rows = [to_line(index, scored).rstrip("\n") for index, scored in zip(indices, scores, strict=True)]
            batch.seal(chunks[number], rows, [])
            yield len(rows)


def config_of(batch: Batch) -> EvalConfig:
    """Return the command of a shared evaluation.

    Raises:
        SettingsError: It is not there.
    """
    try:
        config = msgspec.convert(batch.about["config"], EvalConfig, dec_hook=lambda kind, value: kind(value))
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{FOLDER}/plan.json is damaged: run fxst eval again, without --shard.") from error
    return replace(config, shard=None)


def _begin(config: EvalConfig, task: Task, shard: Shard | None, workers: int) -> Batch:
    assert config.output is not None, "shard_in() asks for it"
    about = {"config": msgspec.to_builtins(replace(config, shard=None), enc_hook=str)}
    count = len(task.items.names)
    return Batch.begin(_store(config.output), COMMAND, _origin(task), count, shard=shard, workers=workers, about=about)


def _store(folder: Path) -> LocalStore:
    return LocalStore(folder / FOLDER)


def _origin(task: Task) -> str:
    return task.identity[:16]


@contextlib.contextmanager
def _items(task: Task) -> Iterator[Sorted]:
    with Sorted((name, json.dumps([index, name])) for index, name in enumerate(task.items.names)) as items:
        yield items


def _chunk(number: int, items: Sorted, batch: Batch) -> Chunk:
    lines = items.lines(number, batch.chunks)
    return Chunk(number, lines, hashlib.sha256("\n".join([batch.origin, *lines]).encode()).hexdigest()[:16])


def _indices(chunk: Chunk) -> tuple[int, ...]:
    return tuple(json.loads(line)[0] for line in chunk.lines)
