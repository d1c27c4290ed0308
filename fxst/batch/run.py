"""Rendering all recordings of a command; if one fails, the others continue."""

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from fxst import staging
from fxst.batch.chunked import apply_chunks, worker_count
from fxst.batch.files import Progress
from fxst.batch.manifest import remove_empty
from fxst.batch.parts import settle
from fxst.batch.plan import Job
from fxst.batch.preflight import Preflight, preflight
from fxst.batch.results import FileResult
from fxst.batch.session import WAIT_SECONDS, Session, finished
from fxst.batch.workers import Workers
from fxst.configs import ApplyConfig
from fxst.errors import OutputError

__all__ = ["apply_files"]


def apply_files(
    config: ApplyConfig, progress: Progress | None = None, *, checked: Preflight | None = None
) -> Generator[FileResult, None, None]:
    """Apply a style, or a parameter table, to recordings.

    An error that concerns all of them is raised before anything is written. An error of one recording is in its result,
    and the others continue. The references are analysed once. One recording is rendered in this process, several in
    worker processes.

    Args:
        config: The command.
        progress: Called with the progress of the work on each file.
        checked: The preflight of the command, if it was made before.

    Returns:
        A generator, which yields the result of each file as it is done.

    Raises:
        AudioError: A reference cannot be read or is silent.
        ModelError: There is no such model, or it is damaged.
        NothingMatchedError: No recordings were found.
        OutputError: An output cannot be written.
        SettingsError: The table, a profile or the plan is invalid, or the command would replace files that fxst has not
            written.
    """
    checked = preflight(config) if checked is None else checked
    if checked.chunked:
        return apply_chunks(checked, progress)
    folder, left = checked.plan.folder, set(checked.left)
    done = [finished(job, checked.table) for job in checked.plan if job not in left]
    staging.sweep(folder if folder is not None else checked.plan[0].output.parent, deep=folder is not None)
    # Without work torch is not loaded.
    if not left:
        return _results(done, iter(()), None)
    if len(left) == 1:
        session = Session(checked)
        session.analyse_references(progress)
        return _results(done, _one_by_one(session, checked.left, progress), folder)
    workers = Workers(min(worker_count(config), len(left)), checked, progress)
    return _results(done, workers.run(checked.left), folder)


def _results(
    done: Iterable[FileResult], results: Iterator[FileResult], folder: Path | None
) -> Generator[FileResult, None, None]:
    # A generator, which stops the workers when it is closed.
    missing = [] if folder is None else [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield from done
        yield from results
        if folder is not None:
            # Each row is on the disk already, in the order of the work.
            with contextlib.suppress(OSError, OutputError):
                settle(folder)
    finally:
        if folder is not None:  # nothing rendered leaves nothing behind
            remove_empty(folder)
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()


def _one_by_one(session: Session, jobs: Iterable[Job], progress: Progress | None) -> Iterator[FileResult]:
    waiting = deque(jobs)
    with contextlib.closing(session):
        while waiting:
            job = waiting.popleft()
            result = session.render(job, progress)
            if result is None:  # another process renders it
                waiting.append(job)
                time.sleep(WAIT_SECONDS)
            else:
                yield result
