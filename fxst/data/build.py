"""Dataset builds: find the recordings, select the clips, cut them, and write the tables.

The same settings and recordings give the same bytes, for any number of workers and interruptions: names and seed
decide everything, and results are stored in the order of the work.
"""

import contextlib
import csv
import fcntl
import hashlib
import io
import itertools
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fxst import staging
from fxst.configs import DatasetConfig, check_used
from fxst.coordination.cluster import Lost, Pool
from fxst.coordination.parts import FOLDER
from fxst.coordination.shards import Shard, shard_of
from fxst.data import cutting
from fxst.data.manifest import CARD, COLUMNS, FORMAT, FORMAT_VERSION, MANIFEST, REPORT, clips_in_a_shard, read_card
from fxst.data.selection import Candidates
from fxst.data.shards import Position, Shards, write_atomically
from fxst.data.sharing import CutTask, SharedCuts, cut_all
from fxst.data.sources import SPLITS, Problem, SourceRecording, assign_splits, find_recordings, located, root_folder
from fxst.errors import AudioError, FxstError, NothingMatchedError, SettingsError
from fxst.places import check_inside
from fxst.untrusted import from_json, quoted, to_json
from fxst.workers import WorkerPool, processors

__all__ = ["DatasetSummary", "Progress", "build", "build_share"]

Progress = Callable[[int, int], None]

NOTES = "unfinished"
"""Subfolder of the dataset that exists during the build."""

_MEASURED_AT_ONCE = 64
_JOB_SECONDS = 120.0
"""Longest audio that a worker holds and returns at a time."""


@dataclass(frozen=True)
class DatasetSummary:
    """Summary of a dataset.

    Args:
        folder: Folder of the dataset.
        clips: Number of clips in each split.
        speakers: Number of speakers in each split.
        seconds: Length of all clips together.
        damaged_files: Number of damaged recordings; the report lists them.
        notes: Notes for the user, in sentences.
        was_finished: Whether it had been built before.
        elapsed_seconds: Duration of the build.
    """

    folder: Path
    clips: dict[str, int]
    speakers: dict[str, int]
    seconds: float
    damaged_files: int
    notes: tuple[str, ...]
    was_finished: bool
    elapsed_seconds: float


def build(config: DatasetConfig, *, progress: Progress | None = None) -> DatasetSummary:
    """Cut recordings into a dataset of clips, or continue an interrupted build of the same settings.

    It starts processes, so a script must call it under `if __name__ == "__main__":`.

    Args:
        config: The settings.
        progress: Called with the number of finished clips and the total.

    Raises:
        AudioError: a source does not exist, or none yields a clip.
        NothingMatchedError: the sources hold no recording.
        SettingsError: the folder holds something else, or a setting is invalid.
        FxstError: a worker process died.
        OutputError: the folder cannot be written.
    """
    started = time.monotonic()
    if not math.isfinite(config.seconds) or round(config.seconds * config.sample_rate) < 1:
        raise SettingsError(f"A clip cannot be {config.seconds} seconds long: choose another --seconds.")
    settings = _settings(config)
    _shard(config)
    was_finished = _check_folder(config.output, settings)
    if not was_finished:
        try:
            _Build(config, settings, progress).run()
        except OSError as error:
            raise staging.unwritable(config.output, error) from error
    else:
        for name in (NOTES, FOLDER):
            if (config.output / name).exists():
                # The last run was killed between finishing the dataset and tidying up.
                shutil.rmtree(config.output / name)
    card = read_card(config.output)
    return DatasetSummary(
        config.output,
        card["clips"],
        card["speakers"],
        card["seconds"],
        card["damaged_files"],
        tuple(card["notes"]),
        was_finished,
        time.monotonic() - started,
    )


def build_share(config: DatasetConfig, *, progress: Progress | None = None) -> int:
    """Cut the clips of a share of the recordings, which `--shard` names; `fxst batch merge` makes the dataset of all.

    Args:
        config: The settings.
        progress: Called with the number of recordings that are cut, and the total.

    Returns:
        The number of recordings of the share.

    Raises:
        As for `build`.
    """
    shard = _shard(config)
    if _check_folder(config.output, _settings(config)):
        return 0
    return _Build(config, _settings(config), progress).share(shard)


def _shard(config: DatasetConfig) -> Shard | None:
    """Return the share that `--shard` names."""
    check_used(config, {"address": (config.engine == "ray", "a cluster (--engine ray)")})
    if config.shard is None:
        return None
    if config.engine == "ray":
        raise SettingsError("--engine ray shares the recordings itself: leave out --shard.")
    return shard_of(config.shard, os.environ)


def _settings(config: DatasetConfig) -> dict[str, Any]:
    return {
        "sources": [str(located(source)) for source in config.sources],
        "clips": config.clips,
        "seconds": config.seconds,
        "sample_rate": config.sample_rate,
        "seed": config.seed,
    }


def _check_folder(folder: Path, settings: dict[str, Any]) -> bool:
    """Return whether the folder holds the finished dataset; refuse one that holds anything else."""
    begun = folder / NOTES / "settings.json"
    found: dict[str, Any] | None = None
    if (folder / CARD).exists():
        found = read_card(folder)["settings"]
    elif begun.exists():
        found = _begun_with(begun)
    elif folder.exists() and (not folder.is_dir() or {item.name for item in folder.iterdir()} - {NOTES, FOLDER}):
        raise SettingsError(f"{str(folder)!r} is not empty and not a dataset: choose another --output.")
    if not (folder / CARD).exists():
        # The target of a link in there would be emptied or overwritten.
        check_inside(folder, (path for part in (folder, folder / NOTES) for path in _entries(part)))
    if found is not None and found != settings:
        other = ", ".join(key for key in settings if found.get(key) != settings[key])
        raise SettingsError(
            f"{str(folder)!r} holds a dataset with other settings ({other}): choose another --output, or remove it."
        )
    return (folder / CARD).exists()


def _begun_with(path: Path) -> dict[str, Any]:
    try:
        settings = from_json(path.read_text(encoding="utf-8"))["settings"]
        if isinstance(settings, dict):
            return settings
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise SettingsError(f"{quoted(path)} is damaged: choose another --output, or remove the folder.")


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


class _Build:
    """One run of a build."""

    def __init__(self, config: DatasetConfig, settings: dict[str, Any], progress: Progress | None) -> None:
        self.config = config
        self.settings = settings
        self.progress: Progress = progress or (lambda done, total: None)
        self.clip_samples = round(config.seconds * config.sample_rate)
        self.notes_folder = config.output / NOTES
        self.bases = [root_folder(source) for source in config.sources]

    def run(self) -> None:
        recordings, problems = find_recordings(self.config.sources, leave_out=self.config.output)
        if not recordings:
            raise NothingMatchedError(
                f"No recordings were found in {self._sources()}: name a folder that holds sound files."
            )
        if self.config.engine == "ray":
            self.share(None)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._claimed_folder())
            workers = stack.enter_context(WorkerPool(min(self.config.workers or processors(), len(recordings))))
            lengths = self._measured(recordings, workers)
            self._note_settings(recordings, lengths)
            shards = stack.enter_context(Shards(self.config.output, self.notes_folder, clip_samples=self.clip_samples))
            self._cut(recordings, lengths, workers, shards)
            problems += self._problems(recordings, lengths, shards)
            self._write_tables(recordings, lengths, shards, problems)
        self._shared(recordings, lengths).remove()
        shutil.rmtree(self.notes_folder)

    def share(self, shard: Shard | None) -> int:
        """Cut the clips of the first round, those of a share or on a cluster; return the number of recordings."""
        recordings, _ = find_recordings(self.config.sources, leave_out=self.config.output)
        if not recordings:
            raise NothingMatchedError(
                f"No recordings were found in {self._sources()}: name a folder that holds sound files."
            )
        with contextlib.ExitStack() as stack:
            count = self.config.workers or processors()
            workers = stack.enter_context(WorkerPool(min(count, len(recordings))))
            lengths = self._measured(recordings, workers)
            drawn, numbers = self._candidates(recordings, lengths).draw(self.config.clips or None)
            edges = self._job_edges(drawn)
            jobs: dict[str, list[tuple[int, cutting.CuttingJob]]] = {}
            for job in range(len(edges) - 1):
                recording = recordings[drawn[edges[job]]]
                cut = self._job(recordings, drawn, numbers, edges, job)
                jobs.setdefault(f"{recording.root}/{recording.name}", []).append((job, cut))

            def do(tasks: Iterable[CutTask]) -> Iterator[int]:
                return workers.map(cut_all, tasks)

            if self.config.engine == "ray":
                pool = stack.enter_context(Pool(self.config.address, self.config.workers, _cutter, lambda: None))
                count, do = pool.workers, partial(_on_cluster, pool)
            return self._shared(recordings, lengths).share(self.config, jobs, shard, count, do, self.progress)

    def _shared(self, recordings: Sequence[SourceRecording], lengths: Sequence[cutting.Length]) -> SharedCuts:
        return SharedCuts(self.config.output, self._note(recordings, lengths))

    @contextlib.contextmanager
    def _claimed_folder(self) -> Iterator[None]:
        """Lock the folder for this process, and remove it again if the build has nothing to store."""
        existed = self.config.output.exists()
        self.notes_folder.mkdir(parents=True, exist_ok=True)
        with open(self.notes_folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SettingsError(f"{str(self.config.output)!r} is being built by another process: wait.") from error
            except OSError:  # some network drives have no locks
                pass
            try:
                yield
            except AudioError:
                shutil.rmtree(self.notes_folder)
                if not existed:
                    self.config.output.rmdir()
                raise

    def _measured(self, recordings: Sequence[SourceRecording], workers: WorkerPool) -> list[cutting.Length]:
        paths = map(self._path, recordings)
        groups = iter(lambda: list(itertools.islice(paths, _MEASURED_AT_ONCE)), [])
        return list(itertools.chain.from_iterable(workers.map(cutting.measure, groups)))

    def _note(self, recordings: Sequence[SourceRecording], lengths: Sequence[cutting.Length]) -> str:
        """Return what the clips depend on."""
        digest = hashlib.sha256()
        for recording, length in zip(recordings, lengths, strict=True):
            digest.update(repr((recording, length)).encode("utf-8", "surrogateescape"))
        return to_json({"settings": self.settings, "recordings": digest.hexdigest()})

    def _note_settings(self, recordings: Sequence[SourceRecording], lengths: Sequence[cutting.Length]) -> None:
        note = self._note(recordings, lengths)
        path = self.notes_folder / "settings.json"
        if path.exists() and path.read_text(encoding="utf-8") != note:
            raise SettingsError(
                f"{str(self.config.output)!r} was started from other recordings than those there now: "
                "choose another --output, or remove it."
            )
        write_atomically(path, note)

    def _cut(
        self,
        recordings: Sequence[SourceRecording],
        lengths: Sequence[cutting.Length],
        workers: WorkerPool,
        shards: Shards,
    ) -> None:
        candidates = self._candidates(recordings, lengths)
        shared = self._shared(recordings, lengths)
        # Clips of an earlier run: the same rounds are drawn again, and only missing clips are cut.
        stored: dict[int, Counter[int]] = {}
        for clip in shards.clips():
            stored.setdefault(clip.round, Counter())[clip.recording] += 1
        resume_at = shards.position
        total = min(self.config.clips or len(candidates), len(candidates))
        drawn_before = 0
        for number in itertools.count():
            missing = self.config.clips - int(candidates.accepted.sum()) if self.config.clips else None
            drawn, numbers = candidates.draw(missing)
            if not len(drawn):
                break
            for recording, clips in stored.get(number, {}).items():
                candidates.accept(recording, clips)
            edges = self._job_edges(drawn)
            jobs = range(
                0 if number > resume_at.round else resume_at.job if number == resume_at.round else len(edges) - 1,
                len(edges) - 1,
            )
            known = shared.jobs if number == 0 else frozenset()
            tasks = (self._job(recordings, drawn, numbers, edges, job) for job in jobs if job not in known)
            cuts = workers.map(cutting.cut, tasks)
            for job in jobs:
                cut = shared.load(job) if job in known else next(cuts)
                recording = int(drawn[edges[job]])
                resumed = (number, job) == (resume_at.round, resume_at.job)
                position = Position(number, job, resume_at.stored if resumed else 0)
                candidates.accept(recording, shards.append(cut, recording, position))
                done = int(candidates.accepted.sum()) if self.config.clips else drawn_before + int(edges[job + 1])
                self.progress(done, total)
            drawn_before += len(drawn)
            candidates.drop(fault.recording for fault in shards.faults if fault.round == number and not fault.usable)
        shards.finish()

    def _candidates(self, recordings: Sequence[SourceRecording], lengths: Sequence[cutting.Length]) -> Candidates:
        windows = [math.floor(length.seconds * self.config.sample_rate / self.clip_samples) for length in lengths]
        return Candidates([item.speaker for item in recordings], windows, seed=self.config.seed)

    def _job(
        self,
        recordings: Sequence[SourceRecording],
        drawn: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
        edges: npt.NDArray[np.int64],
        job: int,
    ) -> cutting.CuttingJob:
        """Return what a job of a round cuts."""
        return cutting.CuttingJob(
            self._path(recordings[drawn[edges[job]]]),
            numbers[edges[job] : edges[job + 1]],
            self.clip_samples,
            self.config.sample_rate,
        )

    def _job_edges(self, drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the edges of the jobs: at each recording, and within it where a job would hold too much audio."""
        most = max(1, int(_JOB_SECONDS * self.config.sample_rate / self.clip_samples))
        places = np.arange(len(drawn))
        first_of_recording = np.searchsorted(drawn, drawn, side="left")
        return np.append(np.flatnonzero((places - first_of_recording) % most == 0), len(drawn))

    def _path(self, recording: SourceRecording) -> str:
        return str(self.bases[recording.root] / recording.name)

    def _problems(
        self, recordings: Sequence[SourceRecording], lengths: Sequence[cutting.Length], shards: Shards
    ) -> list[Problem]:
        first = {index: length.problem for index, length in enumerate(lengths) if length.problem is not None}
        for fault in shards.faults:
            first.setdefault(fault.recording, fault.problem)
        return [Problem(self._path(recordings[index]), problem) for index, problem in sorted(first.items())]

    def _write_tables(
        self,
        recordings: Sequence[SourceRecording],
        lengths: Sequence[cutting.Length],
        shards: Shards,
        problems: Sequence[Problem],
    ) -> None:
        split_of, notes = self._splits(recordings, lengths)
        clips: Counter[str] = Counter(dict.fromkeys(SPLITS, 0))
        speakers: dict[str, set[str]] = {split: set() for split in SPLITS}
        seconds = self.clip_samples / self.config.sample_rate
        # Row by row into a draft: a million clips are a hundred megabytes of text.
        draft = self.notes_folder / MANIFEST
        with open(draft, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for number, clip in enumerate(shards.clips()):
                recording, split = recordings[clip.recording], split_of[clip.recording]
                clips[split] += 1
                speakers[split].add(recording.speaker)
                offset = clip.window * self.clip_samples / self.config.sample_rate
                table.writerow(
                    (number, split, recording.speaker, recording.root, recording.name, f"{offset:.6f}",
                     f"{seconds:.6f}", f"{clip.rms_db:.2f}", f"{clip.scale:.9g}")
                )  # fmt: skip
            file.flush()
            staging.sync(file.fileno())
        total = clips.total()
        if not total:
            first = f"; of {len(problems)} damaged files the first: {problems[0].problem}" if problems else ""
            raise AudioError(
                f"No clip of {seconds:g} s with sound in it could be cut from {self._sources()}{first}"
                + ("" if problems else ": choose other recordings or a smaller --seconds.")
            )
        if self.config.clips and total < self.config.clips:
            notes.append(f"Only {total:,} of the {self.config.clips:,} requested clips could be cut.")
        notes += [f"No clip is in {split}." for split in SPLITS if not clips[split]]
        notes += self._rate_notes(lengths)
        draft.replace(self.config.output / MANIFEST)
        report = io.StringIO()
        csv.writer(report, lineterminator="\n").writerows(
            [("file", "problem"), *((problem.file, problem.problem) for problem in problems)]
        )
        write_atomically(self.config.output / REPORT, report.getvalue())
        card = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "settings": self.settings,
            "sample_rate": self.config.sample_rate,
            "clip_samples": self.clip_samples,
            "clips_in_a_shard": clips_in_a_shard(self.clip_samples),
            "clips": dict(clips),
            "speakers": {split: len(names) for split, names in speakers.items()},
            "seconds": round(total * seconds, 6),
            "damaged_files": len(problems),
            "notes": notes,
        }
        write_atomically(self.config.output / CARD, to_json(card, indent=2) + "\n")

    def _rate_notes(self, lengths: Sequence[cutting.Length]) -> list[str]:
        """Return a note on recordings without the treble that clips of this sample rate have."""
        readable = [length.sample_rate for length in lengths if length.problem is None]
        lower = [rate for rate in readable if rate < self.config.sample_rate]
        if not lower:
            return []
        count = (
            "All recordings have"
            if len(lower) == len(readable)
            else f"{len(lower):,} of {len(readable):,} recordings have"
        )
        lowest = min(lower)
        return [
            f"{count} a sample rate below {self.config.sample_rate} Hz (the lowest: {lowest} Hz), so their clips lack "
            "treble that others of this rate have: build with --sample-rate "
            f"{max(lowest, 8000)}, or leave these recordings out."
        ]

    def _splits(
        self, recordings: Sequence[SourceRecording], lengths: Sequence[cutting.Length]
    ) -> tuple[list[str], list[str]]:
        """Return the split of each recording, and notes on it for the user."""
        groups = [item.speaker for item in recordings]
        notes = []
        # Unreadable recordings count neither as speakers nor as files to hold out.
        readable = {group for group, length in zip(groups, lengths, strict=True) if length.problem is None}
        if len(readable) < len(SPLITS):
            groups = [f"{item.root}/{item.name}" for item in recordings]
            readable = {group for group, length in zip(groups, lengths, strict=True) if length.problem is None}
            notes.append(
                "Fewer than three speakers: split by file, so train, val and test share speakers."
                if len(readable) >= len(SPLITS)
                else "Fewer than three recordings: all clips are in train."
            )
        split_of = assign_splits(readable, seed=self.config.seed)
        return [split_of.get(group, "train") for group in groups], notes

    def _sources(self) -> str:
        return ", ".join(repr(str(source)) for source in self.config.sources)


def _cutter(_: None) -> Callable[[CutTask], int]:
    """Return what cuts chunks in an actor."""
    return cut_all


def _on_cluster(pool: Pool, tasks: Iterable[CutTask]) -> Iterator[int]:
    for result in pool.run(tasks):
        if isinstance(result, Lost):
            raise FxstError(
                f"Among {result.task.jobs[0][1].path!r} and the recordings of its chunk, one ended its worker three "
                f"times ({result.reason}): run the command without --engine ray."
            )
        yield result
