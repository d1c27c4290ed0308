"""The manifest parts of a batch: each chunk ends with one, which is created once and never changed.

The name of a part tells what it is of, so that a listing of names tells what is finished:
`parts/CHUNK-ORIGIN-DIGEST-DONE-FAILED.jsonl`. A chunk is finished when it has a part of the present origin and digest
without failures. A part with failures is kept too, and a later run tries its failed files again.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import msgspec

from fxst.coordination.chunks import Chunk, chunk_count, numbers_of_shard
from fxst.coordination.shards import Shard
from fxst.coordination.store import Store
from fxst.errors import SettingsError
from fxst.untrusted import from_json, to_json
from fxst.version import __version__

__all__ = ["FOLDER", "Batch", "FailureRow", "ManifestPart", "Status"]

FOLDER: Final = "fxst-batch"
"""The folder of a batch's parts, in its output folder."""

_PLAN: Final = "plan.json"
_SHARDS: Final = "shards"
_PART: Final = re.compile(r"parts/([0-9]{8,})-([0-9a-f]{16})-([0-9a-f]{16})-([0-9]+)-([0-9]+)\.jsonl")
_CHUNKS_A_WORKER: Final = 4
"""So that one slow chunk holds up little where files are few."""


class _Header(msgspec.Struct, tag_field="format", tag="fxst-batch"):
    """What all processes of a batch agree on."""

    format_version: Literal[1]
    fxst: str
    command: str
    origin: str
    chunks: Annotated[int, msgspec.Meta(ge=1)]
    files: Annotated[int, msgspec.Meta(ge=0)]
    about: dict[str, Any]


class FailureRow(msgspec.Struct, frozen=True):
    """A file that could not be done.

    Args:
        input: The file.
        status: `crashed` where it ended its process three times.
        error: Why, in a sentence.
        exit_code: That of a command for this file alone.
        output: The file that is missing.
    """

    input: str
    status: Literal["failed", "crashed"]
    error: str
    exit_code: int
    output: str = ""

    def to_json(self) -> str:
        """Return the row as one line."""
        return to_json(msgspec.to_builtins(self))

    @classmethod
    def from_json(cls, line: bytes) -> "FailureRow | None":
        """Read a line; return None where it is another row."""
        try:
            return msgspec.convert(from_json(line), cls)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class ManifestPart:
    """A manifest part, by its name.

    Args:
        number: The number of its chunk.
        origin: What was done to the files.
        digest: The chunk's fingerprint.
        done: Number of finished files.
        failed: Number of failures.
    """

    number: int
    origin: str
    digest: str
    done: int
    failed: int

    @property
    def name(self) -> str:
        """Its name in the store."""
        return f"parts/{self.number:08}-{self.origin}-{self.digest}-{self.done}-{self.failed}.jsonl"

    @classmethod
    def of_name(cls, name: str) -> "ManifestPart | None":
        """Read a name; return None where it is of no part."""
        found = _PART.fullmatch(name)
        return None if found is None else cls(int(found[1]), found[2], found[3], int(found[4]), int(found[5]))


@dataclass(frozen=True)
class Status:
    """How far a batch is.

    Args:
        files: Number of files when it was last begun.
        done: Number of finished files.
        failed: Number of files that failed.
        chunks: Number of chunks.
        missing_chunks: Number of chunks without a part.
        shards: Number of shards; None where it was not begun with `--shard`.
        missing_shards: The shards with a chunk without a part.
    """

    files: int
    done: int
    failed: int
    chunks: int
    missing_chunks: int
    shards: int | None
    missing_shards: tuple[int, ...]

    @property
    def missing(self) -> int:
        """Number of files without a result."""
        return max(0, self.files - self.done - self.failed) if self.missing_chunks else 0


class Batch:
    """A batch in a store.

    Args:
        store: The store.
        header: What all its processes agree on.
    """

    def __init__(self, store: Store, header: _Header) -> None:
        self.store = store
        self._header = header

    @classmethod
    def of(cls, store: Store) -> "Batch | None":
        """Return the batch in a store; None where none was begun.

        Raises:
            OutputError: The store cannot be read.
            SettingsError: The plan is damaged.
        """
        try:
            data = store.read(_PLAN)
        except FileNotFoundError:
            return None
        try:
            return cls(store, msgspec.convert(from_json(data), _Header))
        except (ValueError, RecursionError) as error:
            raise SettingsError(
                f"{FOLDER}/{_PLAN} is damaged, or of another version of fxst: move the folder {FOLDER} away to begin "
                "the batch again."
            ) from error

    @classmethod
    def begin(
        cls,
        store: Store,
        command: str,
        origin: str,
        files: int,
        *,
        shard: Shard | None,
        workers: int,
        about: dict[str, Any] | None = None,
    ) -> "Batch":
        """Begin a batch, or join one that another process has begun.

        Args:
            store: The store.
            command: The command, such as `apply`.
            origin: A fingerprint of what is done to the files, of 16 hexadecimal digits.
            files: Number of files.
            shard: This process's share; None for all.
            workers: Number of workers that share the chunks.
            about: What `fxst batch merge` needs.

        Raises:
            OutputError: The store cannot be used.
            SettingsError: The batch was begun by another command, or with another number of shards.
        """
        parallel = _CHUNKS_A_WORKER * (workers if shard is None else shard.count)
        header = _Header(
            1, __version__, command, origin, chunk_count(files, at_least=parallel), files, about if about else {}
        )
        found = cls.of(store)
        if found is None and not store.write_new(_PLAN, _to_bytes(header)):
            found = cls.of(store)
        if found is not None:
            theirs = found._header
            if theirs.command != command:
                raise SettingsError(
                    f"The output folder holds an unfinished batch of fxst {theirs.command}: choose another folder, or "
                    "merge it first (fxst batch merge)."
                )
            header.chunks = theirs.chunks
            if header != theirs:
                store.write(_PLAN, _to_bytes(header))
        batch = cls(store, header)
        if shard is not None and not store.write_new(_SHARDS, str(shard.count).encode()):
            before = batch.shards
            if before != shard.count:
                raise SettingsError(
                    f"This batch was begun with {before} shards, and now there are {shard.count}: write "
                    f"--shard {min(shard.index, (before or 1) - 1)}/{before}, or set FXST_SHARDS={before}."
                )
        return batch

    @property
    def command(self) -> str:
        """The command."""
        return self._header.command

    @property
    def about(self) -> dict[str, Any]:
        """What `fxst batch merge` needs."""
        return self._header.about

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return self._header.chunks

    @property
    def origin(self) -> str:
        """A fingerprint of what is done to the files."""
        return self._header.origin

    @property
    def shards(self) -> int | None:
        """The number of shards; None where it was not begun with `--shard`."""
        try:
            return int(self.store.read(_SHARDS))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise SettingsError(f"{FOLDER}/{_SHARDS} is damaged: remove it, and run the shards again.") from error

    def numbers(self, shard: Shard | None) -> range:
        """Return the numbers of the chunks of a share; of all for None."""
        return range(self.chunks) if shard is None else numbers_of_shard(shard.index, shard.count, self.chunks)

    @cached_property
    def parts(self) -> dict[int, tuple[ManifestPart, ...]]:
        """The parts of each chunk, as they were listed once."""
        found: dict[int, tuple[ManifestPart, ...]] = {}
        for name in self.store.names("parts/"):
            part = ManifestPart.of_name(name)
            if part is not None and part.number < self.chunks:
                found[part.number] = (*found.get(part.number, ()), part)
        return found

    def is_listed(self, chunk: Chunk) -> bool:
        """Return whether a chunk had a part without failures when the parts were listed."""
        return self._part(chunk, len(chunk.lines), 0) in self.parts.get(chunk.number, ())

    def is_finished(self, chunk: Chunk) -> bool:
        """Return whether a chunk has a part without failures now."""
        try:
            self.store.read(self._part(chunk, len(chunk.lines), 0).name)
        except FileNotFoundError:
            return False
        return True

    def seal(self, chunk: Chunk, rows: Sequence[str], failures: Sequence[FailureRow]) -> None:
        """Write the part of a chunk, unless there is one.

        Args:
            chunk: The chunk.
            rows: A line for each finished file.
            failures: The other files.
        """
        lines = [*sorted(rows), *sorted(failure.to_json() for failure in failures)]
        data = "".join(f"{line}\n" for line in lines).encode()
        self.store.write_new(self._part(chunk, len(rows), len(failures)).name, data)

    def rows(self, number: int, *, current: bool = False) -> Iterator[bytes]:
        """Yield the lines of the parts of a chunk.

        Args:
            number: Its number.
            current: Whether only the part that counts is read, rather than all, of whatever origin.
        """
        counts = self.current(number)
        for part in self.parts.get(number, ()) if not current else filter(None, [counts]):
            try:
                yield from self.store.read(part.name).splitlines()
            except FileNotFoundError:  # merged since it was listed
                continue

    def current(self, number: int) -> ManifestPart | None:
        """Return the part of a chunk that counts: that of the present origin with the most files, and no failures."""
        mine = [part for part in self.parts.get(number, ()) if part.origin == self.origin]
        return max(mine, key=lambda part: (part.done + part.failed, part.done, part.digest), default=None)

    def status(self) -> Status:
        """Return how far the batch is, by a listing of its parts."""
        current = [self.current(number) for number in range(self.chunks)]
        shards = self.shards
        missing = [
            shard
            for shard in range(shards or 0)
            if any(current[number] is None for number in numbers_of_shard(shard, shards or 1, self.chunks))
        ]
        return Status(
            self._header.files,
            sum(part.done for part in current if part is not None),
            sum(part.failed for part in current if part is not None),
            self.chunks,
            current.count(None),
            shards,
            tuple(missing),
        )

    def failures(self) -> Iterator[FailureRow]:
        """Yield the files that failed, chunk by chunk."""
        for number in range(self.chunks):
            part = self.current(number)
            if part is not None and part.failed:
                rows = map(FailureRow.from_json, self.store.read(part.name).splitlines())
                yield from (row for row in rows if row is not None)

    def remove(self) -> None:
        """Remove the batch: its plan first, since parts without a plan count for nothing."""
        for name in (_PLAN, _SHARDS):
            self.store.delete(name)
        for name in list(self.store.names("parts/")):
            self.store.delete(name)

    def _part(self, chunk: Chunk, done: int, failed: int) -> ManifestPart:
        return ManifestPart(chunk.number, self.origin, chunk.digest, done, failed)


def _to_bytes(header: _Header) -> bytes:
    return (to_json(msgspec.to_builtins(header), indent=2) + "\n").encode()
