"""Many files: each is heard and rendered, and what goes wrong with one is told, while the others go on."""

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fxst import staging
from fxst.audio import probe
from fxst.batch.bench import WAIT_SECONDS, Bench, Order, finished
from fxst.batch.files import Progress
from fxst.batch.goals import goals_of
from fxst.batch.manifest import Origin, origin_of, remove_empty, unfinished
from fxst.batch.plan import Job, Plan, plan
from fxst.batch.recipe import FileResult
from fxst.batch.workers import Workers
from fxst.chains import table_files
from fxst.configs import ApplyConfig
from fxst.threads import processors
from fxst.transfer import profiles

__all__ = ["FileResult", "Survey", "apply_files", "survey"]


@dataclass(frozen=True)
class Survey:
    """What a command is about, and what of it is done already.

    Args:
        planned: All that it is about.
        left: What is still to be done.
        origin: What is done to every file of a batch; None for one recording by itself.
        damaged: How many lines of the batch's manifest are damaged.
    """

    planned: Plan
    left: tuple[Job, ...]
    origin: Origin | None
    damaged: int = 0


def survey(config: ApplyConfig) -> Survey:
    """Look at all that a command is about, and touch nothing.

    Args:
        config: The command.

    Raises:
        AudioError: The reference cannot be read.
        ModelError: There is no such model, or it is damaged.
        NothingMatchedError: There are no recordings where some were looked for.
        OutputError: There is no place for an output.
        SettingsError: The table or the plan makes no sense, or would replace what fxst has not made.
    """
    planned = plan(config)
    # What a moment tells, before a model is loaded, which takes seconds.
    for goal in goals_of(config):
        if goal.is_profile:
            profiles.read(goal.path)
        else:
            probe(goal.path)
    if not config.by_model and config.params is not None:
        table_files.read(config.params)
    if planned.folder is None:
        return Survey(planned, planned.jobs, None)
    origin = origin_of(config)
    left, damaged = unfinished(planned, config, origin)
    return Survey(planned, left, origin, damaged)


def apply_files(
    config: ApplyConfig, progress: Progress | None = None, *, found: Survey | None = None
) -> Generator[FileResult, None, None]:
    """Apply a style, or a parameter table, to files.

    What would go wrong for all files is raised at once and nothing is touched; what goes wrong with one file is
    told in its result, and the others go on. The reference is listened to once. One file is done in this process, and
    several in worker processes.

    Args:
        config: The command.
        progress: Is told how far the work on each file is.
        found: What `survey` found, where it was asked before.

    Returns:
        A result for each file, as it is done: the work goes on while the results are taken.

    Raises:
        AudioError: The reference cannot be read or is silent.
        ModelError: There is no such model, or it is damaged.
        NothingMatchedError: There are no recordings where some were looked for.
        OutputError: There is no place for an output.
        SettingsError: The table or the plan makes no sense, or would replace what fxst has not made.
    """
    found = survey(config) if found is None else found
    folder, left = found.planned.folder, set(found.left)
    done = [finished(job, config) for job in found.planned if job not in left]
    order = Order(config, folder, found.origin)
    staging.sweep(folder if folder is not None else found.planned[0].output.parent, deep=folder is not None)
    # Torch, and all that comes with it, is not loaded for nothing.
    if not left:
        return _after(done, iter(()), None)
    if len(left) == 1:
        bench = Bench(order)
        bench.recipe.listen(progress)
        return _after(done, _one_by_one(bench, found.left, progress), folder)
    workers = Workers(min(config.jobs or processors(), len(left)), order, progress)
    return _after(done, workers.run(found.left), folder)


def _after(
    done: Iterable[FileResult], results: Iterator[FileResult], folder: Path | None
) -> Generator[FileResult, None, None]:
    # A generator, which ends the workers when it is closed.
    missing = [] if folder is None else [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield from done
        yield from results
    finally:
        if folder is not None:  # where nothing was made, nothing is left
            remove_empty(folder)
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()


def _one_by_one(bench: Bench, jobs: Iterable[Job], progress: Progress | None) -> Iterator[FileResult]:
    waiting = deque(jobs)
    with contextlib.closing(bench):
        while waiting:
            job = waiting.popleft()
            result = bench.work_on(job, progress)
            if result is None:  # another process is at it
                waiting.append(job)
                time.sleep(WAIT_SECONDS)
            else:
                yield result
