"""Rendering a batch chunk by chunk, so that several processes or machines can share it.

Each chunk ends with one manifest part. Until then its rows are in a file of its own, as those of a batch in one process
are in the folder's manifest: a file is finished when a row of any part says so.
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from fxst import authorship, interrupts, staging
from fxst.batch.files import Progress
from fxst.batch.manifest import Manifest
from fxst.batch.parts import key_of, merge, open_part, rows_before, store_of
from fxst.batch.plan import Job, Plan, output_places, plan_chunk
from fxst.batch.preflight import Preflight
from fxst.batch.results import FileResult, failure
from fxst.batch.selection import InputRecording, streamed
from fxst.batch.session import finished
from fxst.batch.workers import Workers
from fxst.configs import ApplyConfig
from fxst.coordination.chunks import Chunk, Sorted
from fxst.coordination.parts import Batch, FailureRow
from fxst.errors import FxstError, NothingMatchedError, SettingsError
from fxst.storage import copies
from fxst.threads import processors
from fxst.untrusted import quoted, to_json

__all__ = ["ChunkRunner", "apply_chunks", "as_listed", "chunk_of", "line_of", "listed", "worker_count"]

COMMAND: Final = "apply"


def worker_count(config: ApplyConfig) -> int:
    """Return the number of worker processes of this machine."""
    return 1 if config.jobs is None else config.jobs or processors()


def apply_chunks(checked: Preflight, progress: Progress | None) -> Generator[FileResult, None, None]:
    """Render a batch, or a share of it, chunk by chunk; yield the result of each file.

    A batch that one command does whole ends with one manifest, as if it had had no parts.

    Args:
        checked: The preflight of the command.
        progress: Called with the progress of the work on each file.

    Raises:
        NothingMatchedError: No recordings were found.
        SettingsError: The batch was begun by another command, or with another number of shards.
    """
    config, folder = checked.config, checked.plan.folder
    assert folder is not None, "only a batch has chunks"
    with contextlib.ExitStack() as stack:
        if config.engine == "ray":
            from fxst.batch import cluster

            pool: Any = stack.enter_context(cluster.ApplyPool(checked))
            workers = pool.workers
        else:
            workers = worker_count(config)
        files = stack.enter_context(listed(checked))
        if not len(files):
            raise NothingMatchedError("No recordings were found: name a folder that holds some, and check --include.")
        about = {"inputs": [copies.shown(str(path.resolve())) for path in config.inputs]}
        heard = (one.path for one in checked.plan.references if not one.is_profile)
        about["references"] = [copies.shown(str(path.resolve())) for path in heard]
        batch = Batch.begin(
            store_of(folder), COMMAND, _origin(checked), len(files), shard=checked.shard, workers=workers, about=about
        )
        chunks = (chunk_of(number, files, batch) for number in batch.numbers(checked.shard))
        if config.engine == "ray":
            yield from pool.run(batch, chunks)
        else:
            with contextlib.closing(ChunkRunner(checked, batch, workers, progress)) as runner:
                yield from runner.run(chunks)
        if checked.shard is None and copies.url_of(folder) is None:
            # Listed again: other processes may have finished chunks.
            again = Batch.of(store_of(folder))
            if again is not None and not again.status().missing_chunks:
                merge(folder, again)


def listed(checked: Preflight) -> Sorted:
    """Return the recordings of a batch, sorted by the keys of their outputs.

    Raises:
        SettingsError: The output folder is one of the inputs, or a recording's name cannot be made.
    """
    config = checked.config
    place = output_places(config, checked.plan.references)
    done = config.output.resolve()
    for path in config.inputs:
        if path.resolve() == done or done in path.resolve().parents:
            raise SettingsError(f"{quoted(path)} lies in the output folder: choose another -o.")

    def rows() -> Iterator[tuple[str, str]]:
        for recording in streamed(config):
            interrupts.check()
            output, _ = place(recording)
            state = recording.state or copies.state(recording.path) or ()
            yield key_of(output), line_of(output, state, recording)

    return Sorted(rows())


def line_of(output: PurePosixPath, state: Sequence[int], recording: InputRecording) -> str:
    """Return the line of a recording in the list of a batch: what identifies it, and where it is.

    Args:
        output: Its output, below the output folder.
        state: Its size and its time of modification; empty where it does not exist.
        recording: The recording.
    """
    identity = json.dumps([str(output), str(recording.given), *state])
    return f"{identity}\t{json.dumps([str(recording.path), str(recording.place)])}"


def _of_line(line: str) -> tuple[str, InputRecording]:
    """Return the output and the recording of a line."""
    identity, _, where = line.partition("\t")
    output, given, *listed = json.loads(identity)
    name, place = json.loads(where)
    path = Path(name)
    # A file is asked again when it is rendered; an object is not.
    state = (listed[0], listed[1]) if listed and copies.url_of(path) is not None else None
    return output, InputRecording(path, PurePosixPath(place), PurePosixPath(given), state)


def chunk_of(number: int, files: Sorted, batch: Batch) -> Chunk:
    """Return a chunk of a batch.

    Args:
        number: Its number.
        files: The recordings of the batch.
        batch: The batch.
    """
    lines = files.lines(number, batch.chunks)
    digest = hashlib.sha256(batch.origin.encode())
    for line in lines:
        digest.update(line.partition("\t")[0].encode() + b"\n")
    return Chunk(number, lines, digest.hexdigest()[:16])


def _origin(checked: Preflight) -> str:
    return hashlib.sha256(to_json(msgspec.to_builtins(checked.origin)).encode()).hexdigest()[:16]


def as_listed(checked: Preflight, line: str) -> FileResult:
    """Return the result of a file of a chunk whose part is there, which is not looked at again."""
    assert checked.plan.folder is not None, "only a batch has chunks"
    output, recording = _of_line(line)
    return FileResult(recording.path, checked.plan.folder / output, None, checked.table, was_finished=True)


@dataclass
class _Progress:
    """A chunk that is being rendered: its results so far."""

    chunk: Chunk
    left: int
    rows: list[str] = field(default_factory=list)
    failures: list[FailureRow] = field(default_factory=list)


class ChunkRunner:
    """Renders chunks in worker processes, and writes their manifest parts.

    Args:
        checked: The preflight of the command.
        batch: The batch.
        workers: Number of worker processes.
        progress: Called with the progress of the work on each file.
    """

    def __init__(self, checked: Preflight, batch: Batch, workers: int, progress: Progress | None = None) -> None:
        assert checked.plan.folder is not None, "only a batch has chunks"
        self._checked = checked
        self._batch = batch
        self._count = workers
        self._progress = progress
        self._folder: Path = checked.plan.folder
        self._workers: Workers | None = None
        self._before = rows_before(self._folder)
        self._begun: dict[tuple[Path, Path], _Progress] = {}
        self._swept: set[Path] = set()
        self._only: str | None = None
        self._crashed: Mapping[str, str] = {}

    def close(self) -> None:
        """Stop the workers."""
        if self._workers is not None:
            self._workers.stop()
            self._workers = None
        self._before.close()

    def run(
        self, chunks: Iterable[Chunk], *, only: str | None = None, crashed: Mapping[str, str] | None = None
    ) -> Iterator[FileResult]:
        """Render chunks; yield the result of each file.

        Args:
            chunks: The chunks, taken as workers are free.
            only: The one line of them to render, without a part; None for all.
            crashed: The lines to give up, with the reason of each.
        """
        self._only, self._crashed = only, crashed or {}
        items = self._items(chunks)
        for item in items:
            if isinstance(item, FileResult):
                yield item
                continue
            # Without work torch is not loaded.
            if self._workers is None:
                self._workers = Workers(self._count, self._checked, self._progress)
            for result in self._workers.work(itertools.chain([item], items)):
                self._take(result)
                yield result

    def _items(self, chunks: Iterable[Chunk]) -> Iterator[Job | FileResult]:
        """Yield the unfinished files of chunks, and the results of the others."""
        for chunk in chunks:
            interrupts.check()
            resume = self._checked.config.resume
            if resume and (self._batch.is_listed(chunk) or self._batch.is_finished(chunk)):
                yield from (as_listed(self._checked, line) for line in chunk.lines)
                continue
            yield from self._prepared(chunk)

    def _prepared(self, chunk: Chunk) -> Iterator[Job | FileResult]:
        origin, resume = self._checked.origin, self._checked.config.resume
        assert origin is not None, "a batch has one"
        jobs, results = self._planned(chunk)
        left: list[Job] = []
        with Manifest(self._folder, write=False, part=open_part(chunk.number)) as manifest:
            manifest.learn(self._batch.rows(chunk.number))
            manifest.learn(line.encode() for line in self._before.lines(chunk.number, self._batch.chunks))

            def known(path: Path) -> bool:
                manifest.refresh()  # another process may have written it just now
                return manifest.is_known(path)

            for job in jobs:
                row = manifest.finished_row(job, origin) if resume else None
                if row is not None:
                    results.append(finished(job, self._checked.table, row))
                    continue
                files = filter(None, (job.output, job.table, *(export.path for export in job.exports)))
                try:
                    authorship.check(files, overwrite=self._checked.config.overwrite, known=known)
                except SettingsError as error:
                    results.append(failure(job, str(error), error.exit_code))
                    continue
                left.append(job)
        if self._only is not None:
            yield from left
            return
        progress = _Progress(chunk, len(left) + len(results))
        places = [(job.input, job.output) for job in left] + [(result.input, result.output) for result in results]
        self._begun |= dict.fromkeys(places, progress)
        if not progress.left:
            self._seal(progress)
        for job in left:
            if job.output.parent not in self._swept:
                self._swept.add(job.output.parent)
                staging.sweep(job.output.parent, deep=False)
        for result in results:
            self._take(result)
            yield result
        yield from left

    def _planned(self, chunk: Chunk) -> tuple[list[Job], list[FileResult]]:
        """Return the jobs of a chunk, and the failures of files that have none."""
        lines = chunk.lines if self._only is None else (self._only,)
        recordings = [_of_line(line)[1] for line in lines]
        try:
            jobs = self._jobs(chunk, recordings)
        except FxstError as error:
            whole = error
        else:
            given_up = {self._folder / _of_line(line)[0]: reason for line, reason in self._crashed.items()}
            results = [
                failure(job, f"{str(job.input)!r}: {given_up[job.output]}", crashed=True)
                for job in jobs
                if job.output in given_up
            ]
            return [job for job in jobs if job.output not in given_up], results
        jobs, results = [], []
        for recording, line in zip(recordings, lines, strict=True):
            try:
                jobs += self._jobs(chunk, [recording])
            except FxstError as error:
                job = Job(recording.path, self._folder / _of_line(line)[0], None, place=str(recording.given))
                results.append(failure(job, str(error), error.exit_code))
        if not results:  # each can be done, but not all of them
            return [], [failure(job, str(whole), whole.exit_code) for job in jobs]
        return jobs, results

    def _jobs(self, chunk: Chunk, recordings: list[InputRecording]) -> list[Job]:
        planned: Plan = plan_chunk(self._checked.config, self._checked.plan, recordings)
        return [replace(job, part=open_part(chunk.number)) for job in planned]

    def _take(self, result: FileResult) -> None:
        """Note a result; the last one of a chunk completes its part."""
        progress = self._begun.pop((result.input, result.output), None)
        if progress is None:  # of a chunk that was finished before
            return
        if result.row is not None:
            progress.rows.append(result.row.to_json())
        else:
            status = "crashed" if result.crashed else "failed"
            output = str(PurePosixPath(result.output.relative_to(self._folder)))
            name = copies.shown(str(result.input))
            row = FailureRow(name, status, result.error, result.exit_code, output)  # type: ignore[arg-type]
            progress.failures.append(row)
        progress.left -= 1
        if not progress.left:
            self._seal(progress)

    def _seal(self, progress: _Progress) -> None:
        self._batch.seal(progress.chunk, progress.rows, progress.failures)
        if not progress.failures:  # what is known of files that failed now is only there
            with contextlib.suppress(OSError):
                (self._folder / open_part(progress.chunk.number)).unlink(missing_ok=True)
