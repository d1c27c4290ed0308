"""The manifest parts of a batch of `fxst apply`: rows that chunks have, and how they become one manifest."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from fxst import authorship, staging
from fxst.batch.manifest import ManifestRow, exclusive
from fxst.batch.naming import one_name
from fxst.batch.plan import MANIFEST
from fxst.batch.results import FileResult
from fxst.chains import table_files
from fxst.configs import BatchMergeConfig
from fxst.coordination.chunks import Sorted
from fxst.coordination.parts import FOLDER, Batch, FailureRow, Status
from fxst.coordination.shards import array_expression
from fxst.coordination.store import LocalStore, Store
from fxst.errors import FxstError, OutputError, SettingsError
from fxst.storage import copies
from fxst.storage.objects import CloudStore
from fxst.untrusted import quoted

__all__ = [
    "check_complete",
    "is_begun",
    "key_of",
    "merge",
    "merge_finished",
    "open_part",
    "rows_before",
    "settle",
    "status_of",
    "store_of",
]

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
    for name in list(batch.store.names("open/")):
        batch.store.delete(name)


def status_of(folder: Path) -> tuple[Status, list[FailureRow]]:
    """Return how far the batch of a folder is, and its failures.

    Args:
        folder: The output folder.

    Raises:
        SettingsError: It holds no batch.
    """
    batch = Batch.of(store_of(folder)) if folder.is_dir() else None
    if batch is not None:
        return batch.status(), list(batch.failures())
    if copies.state(folder / MANIFEST) is None:
        raise SettingsError(f"{quoted(folder)} holds no batch: name the output folder of one.")
    rows = map(ManifestRow.from_json, _merged(folder))
    done = len({row.output.path for row in rows if row is not None})
    return Status(done, done, 0, 1, 0, None, ()), []


def merge_finished(config: BatchMergeConfig) -> tuple[Status, list[FailureRow]]:
    """Merge the parts of a folder's batch, of which none may be missing; return what it holds, and its failures.

    Args:
        config: The command.

    Raises:
        FxstError: Parts are missing.
        OutputError: The manifest or the page cannot be written.
        SettingsError: The folder holds no batch, or its parts are merged and a page is requested.
    """
    status, failures = status_of(config.folder)
    batch = Batch.of(store_of(config.folder))
    check_complete(config.folder, status)
    if batch is None:
        if config.report is not None:
            raise SettingsError(f"{quoted(config.folder)} is merged: write the page with fxst apply --report.")
        return status, failures
    if config.report is not None and copies.url_of(config.folder) is not None:
        raise SettingsError("--report plays recordings of this machine, and the outputs are objects: leave it out.")
    if config.report is not None:
        authorship.check([config.report], overwrite=config.overwrite)
        _write_report(config, batch, failures)
    merge(config.folder, batch)
    return status, failures


def check_complete(folder: Path, status: Status) -> None:
    """Check that no chunk of a batch is missing.

    Args:
        folder: Its output folder.
        status: How far it is.

    Raises:
        FxstError: One is.
    """
    if status.missing_chunks:
        shards = array_expression(list(status.missing_shards))
        remedy = f"run the shards {shards}" if shards else "run the command again"
        raise FxstError(
            f"{status.missing_chunks:,} of {status.chunks:,} chunks of {quoted(folder)} lack a result: {remedy}."
        )


def _write_report(config: BatchMergeConfig, batch: Batch, failures: Iterable[FailureRow]) -> None:
    from fxst.batch.report import TransferReport

    assert config.report is not None, "merge_finished() asks for it"
    references = [Path(name) for name in batch.about.get("references", [])]
    page = TransferReport(config.report, references=references, items=config.report_items)
    for number in range(batch.chunks):
        for row in map(ManifestRow.from_json, batch.rows(number)):
            if row is not None:
                page.add(_as_result(config.folder, row, [Path(name) for name in batch.about.get("inputs", [])]))
    for failure in failures:
        missing = FileResult(Path(failure.input), config.folder / failure.output, None, None, error=failure.error)
        page.add(missing)
    page.write()


def _as_result(folder: Path, row: ManifestRow, inputs: Iterable[Path]) -> FileResult:
    """Return the result that a row stands for."""
    places = [path / row.input.path if path.is_dir() else path.parent / row.input.path for path in inputs]
    found = next((path for path in places if path.exists()), Path(row.input.path))
    table = None
    for state in row.companions:
        with contextlib.suppress(SettingsError):  # an export, or a table that was edited
            if state.path.endswith((".params.json", ".params.csv")):
                table = table_files.read(folder / state.path)
    return FileResult(found, folder / row.output.path, None, table)


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
