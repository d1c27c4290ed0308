"""Files that an evaluation writes while it runs: the journal of finished items, and their audio."""

import contextlib
import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from fxst import audio, authorship, staging
from fxst.audio import Samples
from fxst.data.shards import write_atomically
from fxst.errors import OutputError
from fxst.evaluation.items import Item, Items
from fxst.evaluation.scores import Score, Scored
from fxst.evaluation.systems import Output
from fxst.places import check_inside, check_names
from fxst.untrusted import from_json, to_json

__all__ = [
    "FORMAT_VERSION",
    "UNFINISHED",
    "Journal",
    "KeptAudio",
    "csv_text",
    "from_line",
    "is_journal",
    "make_folder",
    "to_line",
]

FORMAT_VERSION: Final = 3
UNFINISHED: Final = "unfinished.jsonl"
PAIRS: Final = "pairs.csv"

_IDENTITY: Final = re.compile("[0-9a-f]{64}")
_LONGEST_IDENTITY: Final = 100


class Journal:
    """The finished items on disk, so that an interrupted evaluation can continue.

    Args:
        folder: Folder of the journal; None keeps nothing.
        identity: Fingerprint of everything that the scores depend on; a journal with another one is discarded.

    Attributes:
        finished: Scores of an earlier run of the same evaluation, by item number.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self._path = None if folder is None else folder / UNFINISHED
        self._identity = identity
        self._file: IO[str] | None = None
        self.finished: dict[int, Scored] = {}

    def __enter__(self) -> Self:
        if self._path is not None:
            lines = self._lines(self._path)
            self.finished = dict(map(from_line, lines))
            # Rewritten: a killed run may have left an incomplete last line.
            with staging.writing(self._path):
                write_atomically(self._path, "".join([to_json(self._identity) + "\n", *lines]))
                self._file = open(self._path, "a", encoding="utf-8")  # closed with the journal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # `add` has reported it
                self._file.close()

    def add(self, index: int, scored: Scored) -> None:
        """Append a finished item.

        Raises:
            OutputError: It cannot be written.
        """
        if self._file is not None and self._path is not None:
            with staging.writing(self._path):
                self._file.write(to_line(index, scored))
                self._file.flush()

    def remove(self) -> None:
        """Delete the journal once the results are written."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _lines(self, path: Path) -> list[str]:
        try:
            first, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            if from_json(first) != self._identity:
                return []
        except (OSError, ValueError):
            return []
        return [line for line in lines if line.endswith("\n")]


def is_journal(path: Path) -> bool:
    """Return whether a file is a journal, of this evaluation or of another."""
    try:
        with open(path, encoding="utf-8") as file:
            identity = from_json(file.readline(_LONGEST_IDENTITY))
    except (OSError, ValueError):
        return False
    return isinstance(identity, str) and _IDENTITY.fullmatch(identity) is not None


def to_line(index: int, scored: Scored) -> str:
    """Return the line of a finished item."""
    return to_json({"index": index, **asdict(scored)}) + "\n"


def from_line(line: str) -> tuple[int, Scored]:
    """Return the number and the scores of an item, from its line."""
    found = from_json(line)
    scores = tuple(
        Score(
            score["system"],
            {name: math.nan if value is None else value for name, value in score["values"].items()},
            score["error"],
            score["audible"],
        )
        for score in found["scores"]
    )
    return found["index"], Scored(found["name"], found["group"], scores, found["drawn"], found["audible"])


class KeptAudio:
    """A folder for the audio of an evaluation: every item's input, reference and target, and every output.

    Args:
        folder: The folder; each kind of recording gets a subfolder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, systems: Iterable[str], items: Items, *, overwrite: bool) -> None:
        """Check that every file can be written, inside the folder.

        Args:
            systems: The systems with outputs.
            items: The items.
            overwrite: Whether files that fxst did not make may be replaced.

        Raises:
            SettingsError: A link leads out of the folder, an item's name is too long for a file name, or a file exists
                that fxst did not make.
        """
        folders = [self._folder / kind for kind in ("input", "reference", "target", *map(_file_name, systems))]
        check_names(folders[0] / f"{name}.wav" for name in items.names)
        files = [self._folder / PAIRS, *(folder / f"{name}.wav" for folder in folders for name in items.names)]
        check_inside(self._folder, (*folders, *files))
        authorship.check(files, overwrite=overwrite)

    def keep(self, item: Item, outputs: Mapping[str, Output]) -> None:
        """Write an item's recordings as 32-bit float.

        Raises:
            AudioError: A file cannot be written.
            SettingsError: A link leads out of the folder.
        """
        self._write("input", item.name, item.input, item.sample_rate)
        self._write("reference", item.name, item.reference, item.reference_sample_rate)
        if item.target is not None:
            self._write("target", item.name, item.target, item.sample_rate)
        for system, output in outputs.items():
            self._write(_file_name(system), item.name, output.audio, item.sample_rate)

    def list(self, items: Sequence[Scored], *, has_targets: bool) -> None:
        """Write `pairs.csv`, so that other systems can be scored on the same items.

        Args:
            items: The scored items.
            has_targets: Whether the targets are known.

        Raises:
            OutputError: It cannot be written.
        """
        columns = ("input", "reference", "target") if has_targets else ("input", "reference")
        rows: list[Sequence[str]] = [(*columns, "group")]
        for item in items:
            files = [f"{column}/{item.name}.wav" for column in columns]
            # An item that failed has no files, and would stop the others from being scored.
            if all((self._folder / file).exists() for file in files):
                rows.append([*files, item.group])
        staging.write(self._folder / PAIRS, csv_text(rows).encode())

    def _write(self, kind: str, name: str, x: Samples, sample_rate: int) -> None:
        path = self._folder / kind / f"{name}.wav"
        check_inside(self._folder, [path])
        make_folder(path.parent)
        with (
            authorship.noted(),
            audio.Writer(
                path, sample_rate=sample_rate, channels=len(x), subtype="FLOAT", format="WAV", frames=x.shape[1]
            ) as writer,
        ):
            writer.write(x)


def _file_name(system: str) -> str:
    return system.replace("/", "_")


def make_folder(folder: Path) -> None:
    """Make a folder if it does not exist.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {str(folder)!r} cannot be made ({(error.strerror or str(error)).lower()}): choose another."
        ) from error


def csv_text(rows: Any) -> str:
    """Return rows as CSV text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
