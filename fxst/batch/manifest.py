"""The manifest of a batch's folder: a line of JSON for each finished file, with what it was rendered from.

A line is written when a file is complete but before it is renamed, and has the file's hash. So a line alone proves
nothing, but a file with the hash of a line was written by fxst. However a process ends, every file of fxst has a line.

Two processes may work on one folder. Each locks a file by one byte of the manifest, far beyond its end, at an offset
derived from the file's name. The system releases such locks when a process dies.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Self

import msgspec

from fxst import authorship, staging, untrusted
from fxst.batch.plan import MANIFEST, Job, Plan
from fxst.batch.references import Reference
from fxst.checkpoints import card
from fxst.configs import CHOOSING, ApplyConfig
from fxst.errors import AudioError, OutputError
from fxst.storage import copies
from fxst.version import __version__

try:
    import fcntl
except ImportError:  # not on Windows: two processes may then do the same work twice
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "FileState",
    "InputState",
    "Manifest",
    "ManifestRow",
    "Origin",
    "exclusive",
    "input_state",
    "is_in_manifest",
    "origin_for",
    "origin_of",
    "remove_empty",
    "unfinished",
]

_WITHOUT_EFFECT: Final = frozenset({
    "inputs", "output", "list_file", "recursive", "include", "exclude", "name", "references", "styles", "params",
    "ref_eq", "ref_dynamics",
    "params_dir", "model", "device", "preset", "plot", "report", "report_items", "jobs", "shard", "engine", "address",
    "resume", "overwrite", "dry_run", "format", "verbose",
})  # fmt: skip
"""Options that change no output, and those that name what is applied, which is identified by its content."""

_READ_BYTES: Final = 1 << 20
_LONGEST_LINE: Final = 16 << 20
"""More than a row with a hundred thousand references; a longer line is not a row, and is not kept in memory."""
_APPENDING: Final = 0
_IN_USE: Final = 1
"""Bytes to lock: one while a line is written, one shared by all processes that may write lines. Those of files start at
`_FIRST_LOCK`."""
_FIRST_LOCK: Final = 1 << 61


_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Size = Annotated[int, msgspec.Meta(ge=0, description="In bytes.")]


class InputState(msgspec.Struct, frozen=True):
    """A recording: its path below the folder that was named, its size, and its time of modification."""

    path: str
    size: _Size
    mtime_ns: int


class FileState(msgspec.Struct, frozen=True):
    """A file: its path (below the manifest's folder, if it is there), its size, and its hash."""

    path: str
    size: _Size
    sha256: _Sha256


class Origin(msgspec.Struct, frozen=True):
    """What a command does to every file.

    Args:
        applied: What is applied, by name and content: references, a style or a table.
        model: Name and hash of the model that chose the settings; None where a table was applied.
        options: Hash of all options that change the result.
        fxst: Version of fxst.
    """

    applied: tuple[FileState, ...]
    model: tuple[str, str] | None
    options: _Sha256
    fxst: str


class ManifestRow(msgspec.Struct, frozen=True):
    """One rendered file: what it was rendered from, how, and its hash.

    A row does not apply to a file that is missing or that has another hash.

    Args:
        input: The recording.
        origin: What was done to it.
        output: The rendered file.
        companions: The files written with it: its parameter table, and exports.
    """

    input: InputState
    origin: Origin
    output: FileState
    companions: tuple[FileState, ...]

    def to_json(self) -> str:
        """Return the row as one line; equal rows give equal lines."""
        return untrusted.to_json(msgspec.to_builtins(self))

    @classmethod
    def from_json(cls, line: bytes) -> "ManifestRow | None":
        """Read a line; return None where it is not a row."""
        try:
            return msgspec.convert(untrusted.from_json(line), cls)
        except (ValueError, RecursionError):  # a ValidationError is one
            return None


class Manifest:
    """The manifest of a folder.

    Args:
        folder: The folder for a batch's outputs.
        write: Whether lines will be added; the folder is then created if needed.
        part: The file of the lines, below the folder; that of a chunk has its own until the chunk is finished.

    Of a folder of objects, the rows of finished chunks are trusted: the objects are not read again.

    Raises:
        OutputError: It cannot be read or written.
    """

    damaged: int
    """Number of invalid lines, which are ignored."""

    def __init__(self, folder: Path, *, write: bool, part: str = MANIFEST) -> None:
        self.path = folder / part
        self._folder = Path(os.path.realpath(folder))
        self._of_objects = copies.url_of(self._folder) is not None
        self.damaged = 0
        self._rows: dict[str, dict[ManifestRow, None]] = {}
        self._states: dict[str, set[FileState]] = {}
        self._end = 0
        self._within_damage = False  # whether `_end` is inside a line that is too long for a row
        self._fd = -1
        how = os.O_RDWR | os.O_CREAT | os.O_APPEND if write else os.O_RDONLY
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # O_NONBLOCK: a pipe of this name must not block.
            self._fd = os.open(self.path, how | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            while write and not self._taken():
                os.close(self._fd)
                self._fd = os.open(self.path, how | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise OutputError(f"{str(self.path)!r} is not a file: move it away, or choose another folder.")
            self.refresh()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not write:
                return  # nothing is finished yet
            self.close()
            reason = (error.strerror or str(error)).lower()
            raise OutputError(
                f"{str(self.path)!r} cannot be used ({reason}): check its permissions, or choose another folder."
            ) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which releases all locks."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # every line is on the disk already
                os.close(self._fd)
            self._fd = -1

    def refresh(self) -> None:
        """Read the lines added since; an incomplete last line waits for the next call."""
        rest = b""
        position = self._end
        while self._fd >= 0 and (data := os.pread(self._fd, _READ_BYTES, position)):
            position += len(data)
            *lines, rest = (rest + data).split(b"\n")
            if lines and self._within_damage:
                self._within_damage = False
                self.damaged += 1
                del lines[0]
            if self._within_damage or len(rest) > _LONGEST_LINE:
                self._within_damage, rest = True, b""
            self.damaged += self.learn(lines)
        self._end = position - len(rest)

    def learn(self, lines: Iterable[bytes]) -> int:
        """Take rows from lines of this file or of another part; return how many are no rows."""
        damaged = 0
        for line in lines:
            row = ManifestRow.from_json(line)
            if row is not None:
                self._rows.setdefault(row.output.path, {})[row] = None
                for state in (row.output, *row.companions):
                    self._states.setdefault(state.path, set()).add(state)
            elif line.strip():
                damaged += 1
        return damaged

    def add(self, row: ManifestRow) -> Callable[[], None]:
        """Add a line, and flush it to the disk; a line that exists is not added again.

        Returns:
            A function that removes it, unless another process has added one since.

        Raises:
            OutputError: It cannot be written.
        """
        with self._locked(_APPENDING) as alone:
            self.refresh()
            if row in self._rows.get(row.output.path, {}):
                return lambda: None
            line = row.to_json().encode() + b"\n"
            start = self._end
            try:
                if self._within_damage:
                    line = b"\n" + line
                elif os.fstat(self._fd).st_size > self._end:  # an incomplete line of a dead process
                    if alone:
                        os.ftruncate(self._fd, self._end)
                    else:
                        line = b"\n" + line
                while line:
                    line = line[os.write(self._fd, line) :]
                staging.sync(self._fd)
            except OSError as error:
                if alone:
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._fd, start)
                raise staging.unwritable(self.path, error) from error
            self.refresh()
            end = self._end
        return lambda: self._take_back(row, start, end)

    def _take_back(self, row: ManifestRow, start: int, end: int) -> None:
        with self._locked(_APPENDING) as alone, contextlib.suppress(OSError):
            if alone and os.fstat(self._fd).st_size == end:
                os.ftruncate(self._fd, start)
                self._end = start
                del self._rows[row.output.path][row]

    @contextlib.contextmanager
    def locked(self, output: Path) -> Iterator[bool]:
        """Lock a file against other processes for the block; yield False where another process has the lock.

        Yield True where files cannot be locked.
        """
        place = int.from_bytes(hashlib.sha256(self.place(output).encode(errors="surrogateescape")).digest()[:7])
        with self._locked(_FIRST_LOCK + place, wait=False) as alone:
            yield alone is not False

    def place(self, path: Path) -> str:
        """Return the name of a file in rows: its path below the folder, links followed."""
        return Path(os.path.relpath(os.path.realpath(path), self._folder)).as_posix()

    def finished_row(self, job: Job, origin: Origin) -> ManifestRow | None:
        """Return the row of a job whose output exists, unchanged, with the same input and origin; else None."""
        source = input_state(job)
        for row in self._rows.get(self.place(job.output), ()):
            companions = {state.path for state in row.companions}
            if (
                (row.input, row.origin) == (source, origin)
                and (job.table is None or self.place(job.table) in companions)
                and (self._of_objects or self._are_there(row))
            ):
                return row
        return None

    def _are_there(self, row: ManifestRow) -> bool:
        """Return whether the files of a row exist, the output unchanged."""
        companions = (self._at(state.path) for state in row.companions)
        return all(map(os.path.lexists, companions)) and self._is_there(row.output.path, {row.output})

    def is_known(self, path: Path) -> bool:
        """Return whether the file at a path is as fxst wrote it, by any row."""
        return self._is_there(self.place(path), self._states.get(self.place(path), set()))

    def row(self, job: Job, source: InputState, origin: Origin, hidden: Mapping[Path, Path]) -> ManifestRow:
        """Return the row of a job whose files are complete but not yet renamed.

        Args:
            job: The job.
            source: The state of its recording when it was opened.
            origin: What was done to it.
            hidden: The hidden file of each name.
        """
        states = {place: _state(path, place) for target, path in hidden.items() for place in (self.place(target),)}
        output = states.pop(self.place(job.output))
        return ManifestRow(source, origin, output, tuple(states[place] for place in sorted(states)))

    def _taken(self) -> bool:
        """Lock the manifest against its removal; return whether it still exists."""
        if fcntl is None:
            return True
        with contextlib.suppress(OSError):  # some network drives, on which no process removes it
            fcntl.lockf(self._fd, fcntl.LOCK_SH, 1, _IN_USE)
        return os.fstat(self._fd).st_nlink > 0

    def _at(self, place: str) -> Path:
        return self._folder / place

    def _is_there(self, place: str, states: set[FileState]) -> bool:
        """Return whether a file is in one of these states; it is read only if its size matches."""
        path = self._at(place)
        try:
            found = path.stat()
            matches = stat.S_ISREG(found.st_mode) and found.st_size in {state.size for state in states}
            return matches and _state(path, place) in states
        except (OSError, ValueError):
            return False

    @contextlib.contextmanager
    def _locked(self, place: int, *, wait: bool = True) -> Iterator[bool | None]:
        """Lock a byte; yield False where another process has the lock, None where there are no locks."""
        if fcntl is None:
            yield None
            return
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:  # some network drives
            yield None
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, place)


def remove_empty(folder: Path) -> None:
    """Remove an empty manifest, unless another process uses it.

    Args:
        folder: The folder; it need not exist.
    """
    with exclusive(folder) as path:
        if path is not None and not path.stat().st_size:
            path.unlink()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[Path | None]:
    """Keep other processes from a folder's manifest for the block; yield None where one uses it, or there is none.

    This process must not have it open, or it would lose its locks.

    Args:
        folder: The folder; it need not exist.
    """
    path = folder / MANIFEST
    fd, alone = -1, False
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _IN_USE)
            alone = stat.S_ISREG(os.fstat(fd).st_mode)
    try:
        yield path if alone else None
    finally:
        if fd >= 0:
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(fd)


def origin_of(config: ApplyConfig, references: Sequence[Reference], album: Sequence[Job] = ()) -> Origin:
    """Return what a command does to every file.

    Args:
        config: The command.
        references: Its references.
        album: The recordings on all of which the settings, or the gain, of each depend.

    Raises:
        AudioError: The reference cannot be read.
        ModelError: There is no such model, or it is damaged.
    """
    options = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _WITHOUT_EFFECT and (config.by_model or field.name not in CHOOSING)
    }
    options["weights"] = [reference.weight for reference in references]
    if any(reference.role for reference in references):
        options["roles"] = [reference.role for reference in references]
    if album:
        options["album_inputs"] = [
            None if (state := input_state(job)) is None else msgspec.to_builtins(state) for job in album
        ]
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    model = None
    if config.by_model:
        folder = card.find(config.model, "style")
        model = (folder.resolve().name, str(card.read_card(folder, card.STYLE_FORMATS).get("sha256")))
    applied = [reference.path for reference in references]
    if not applied and config.params is not None:  # else each recording has a table of its own
        applied = [config.params]
    return Origin(tuple(map(_applied, applied)), model, digest, __version__)


def origin_for(job: Job, origin: Origin) -> Origin:
    """Return what a command does to a recording, which may have a table of its own.

    Args:
        job: The recording.
        origin: What the command does to every file.

    Raises:
        AudioError: The table cannot be read.
    """
    if job.applied is None or not job.applied.exists():  # without its table it fails
        return origin
    return msgspec.structs.replace(origin, applied=(_applied(job.applied),))


def _applied(path: Path) -> FileState:
    try:
        return _state(path, path.name)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AudioError(f"{str(path)!r} cannot be read ({reason}): check its permissions.") from error


def unfinished(planned: Plan, config: ApplyConfig, origin: Origin) -> tuple[tuple[Job, ...], int]:
    """Return the unfinished jobs of a batch, and the number of damaged lines of its manifest.

    Args:
        planned: The plan.
        config: The command.
        origin: What it does to every file.

    Raises:
        OutputError: The manifest cannot be read.
        SettingsError: A file exists that fxst did not write, or that was changed since.
    """
    assert planned.folder is not None, "only a batch has a manifest"
    with Manifest(planned.folder, write=False) as manifest:
        left = tuple(
            job for job in planned if not (config.resume and manifest.finished_row(job, origin_for(job, origin)))
        )
        replaced = (path for job in left for path in (job.output, job.table, *(file.path for file in job.exports)))
        authorship.check(filter(None, replaced), overwrite=config.overwrite, known=manifest.is_known)
        return left, manifest.damaged


def is_in_manifest(path: Path) -> bool:
    """Return whether a file is as a batch wrote it, by the manifest of a folder above it."""
    for folder in Path(os.path.realpath(path)).parents:
        if (folder / MANIFEST).is_file():
            with contextlib.suppress(OutputError), Manifest(folder, write=False) as manifest:
                return manifest.is_known(path)
    return False


def input_state(job: Job) -> InputState | None:
    """Return the state of a job's recording; None where it does not exist."""
    try:
        found = job.input.stat()
    except (OSError, ValueError):
        return None if job.state is None else InputState(job.place, *job.state)
    return InputState(job.place, found.st_size, found.st_mtime_ns)


def _state(path: Path, name: str) -> FileState:
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileState(name, os.fstat(file.fileno()).st_size, sha256)
