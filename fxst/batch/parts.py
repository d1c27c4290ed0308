"""The manifest parts of a batch of `fxst apply`: rows that chunks have, and how they become one manifest."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from fxst import staging
from fxst.batch.manifest import ManifestRow, exclusive
from fxst.batch.naming import one_name
from fxst.batch.plan import MANIFEST
from fxst.coordination.chunks import Sorted
from fxst.coordination.parts import FOLDER, Batch
from fxst.coordination.store import LocalStore, Store
from fxst.errors import OutputError
from fxst.storage import copies
from fxst.storage.objects import CloudStore

__all__ = ["is_begun", "key_of", "merge", "open_part", "rows_before", "settle", "store_of"]

_OPEN: Final = f"{FOLDER}/open"


def store_of(folder: Path) -> Store:
    """Return the store of a batch's parts.

    Args:
        folder: The output folder.
    """
    url = copies.url_of(folder)
    return LocalStore(folder / FOLDER) if url is None else CloudStore(url / FOLDER)


def is_begun(folder: Path) -> bool:
    """Return whether a folder holds a batch of which chunks have parts of their own, which are not merged yet."""
    return folder.is_dir() and Batch.of(store_of(folder)) is not None


def open_part(number: int) -> str:
    """Return the file, below the output folder, of the rows of a chunk that is not finished yet."""
    return f"{_OPEN}/{number:08}.jsonl"


def key_of(place: PurePosixPath) -> str:
    """Return the key of an output, by which its chunk is found.

    Files whose outputs or companions could have one name share a key, so that such a clash is found within a chunk.

    Args:
        place: The output, below the output folder.
    """
    return one_name(str(place.with_suffix("")))


def rows_before(folder: Path) -> Sorted:
    """Return the rows of a folder's merged manifest, sorted by key."""
    return Sorted(_keyed(_merged(folder)))


def settle(folder: Path) -> None:
    """Sort a folder's manifest, so that equal batches have equal manifests, whatever the order of their work.

    Nothing is changed where another process uses the manifest, or a line of it is no row.

    Args:
        folder: The output folder.
    """
    with exclusive(folder) as path:
        if path is None:
            return
        lines = list(_lines(path))
        if any(ManifestRow.from_json(line) is None for line in lines):
            return
        with Sorted(_keyed(lines)) as rows:
            if [line.encode() for line in rows.in_order()] != lines:
                _write(path, rows.in_order())


def merge(folder: Path, batch: Batch) -> None:
    """Merge the parts of a batch into its folder's manifest, and remove them.

    Args:
        folder: The output folder.
        batch: The batch.

    Raises:
        OutputError: The manifest cannot be written.
    """

    def lines() -> Iterator[bytes]:
        yield from _merged(folder)
        for number in range(batch.chunks):
            yield from batch.rows(number)
            yield from _lines(folder / open_part(number))

    with Sorted(_keyed(lines())) as rows:
        if len(rows):
            with copies.published([folder / MANIFEST], overwrite=True):
                _write(folder / MANIFEST, rows.in_order())
    batch.remove()
    with contextlib.suppress(OSError):
        for path in (folder / _OPEN).glob("*.jsonl"):
            path.unlink()
        for name in ("open", "parts", ""):
            if (folder / FOLDER / name).exists():
                (folder / FOLDER / name).rmdir()


def _merged(folder: Path) -> Iterator[bytes]:
    """Yield the lines of a folder's merged manifest."""
    path = folder / MANIFEST
    if copies.url_of(path) is None or copies.find(path) is not None:
        with copies.fetched(path):
            yield from _lines(path)


def _keyed(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        row = ManifestRow.from_json(line)
        if row is not None:
            yield key_of(PurePosixPath(row.output.path)), row.to_json()


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            for line in file:
                if line.strip():
                    yield line.rstrip(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"{str(path)!r} cannot be read ({reason}): check its permissions.") from error


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write lines as a file, atomically, unless it holds just these."""
    with staging.writing(path):
        hidden, fd = staging.begin(path)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                for line in lines:
                    file.write(f"{line}\n".encode())
        except BaseException:
            staging.discard(hidden, fd)
            raise
        staging.finish(hidden, fd, path)
