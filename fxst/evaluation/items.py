"""Items to score: an input, a reference, and the target if it is known."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from fxst import audio
from fxst.audio import Samples
from fxst.chains.table import Table
from fxst.errors import AudioError, SettingsError
from fxst.untrusted import encoding_of

__all__ = ["Item", "Items", "PairedItems", "fitting"]

REQUIRED_COLUMNS: Final = ("input", "reference")
TARGET_COLUMN: Final = "target"
OUTPUT_COLUMN: Final = "output"
GROUP_COLUMN: Final = "group"
FILE_COLUMNS: Final[tuple[str, ...]] = (*REQUIRED_COLUMNS, TARGET_COLUMN, OUTPUT_COLUMN)


@dataclass(frozen=True)
class Item:
    """One item of an evaluation.

    Args:
        name: Name of the item.
        group: The voice or song; items of one group are not independent.
        input: The input recording.
        reference: The reference recording.
        target: The ideal output; None if it is unknown.
        sample_rate: Sample rate of input and target in Hz.
        reference_sample_rate: Sample rate of the reference in Hz.
        settings: The parameter table that rendered the target; None if it was rendered otherwise.
        drawn: Source of the audio, and every drawn parameter, as plain data.

    Shape:
        input, target: `(channels, time)`, equal; reference: `(channels, time)`.
    """

    name: str
    group: str
    input: Samples
    reference: Samples
    target: Samples | None
    sample_rate: int
    reference_sample_rate: int
    settings: Table | None = None
    drawn: Mapping[str, Any] = field(default_factory=dict)


class Items(Protocol):
    """Items by number, each read or rendered on access: together they may exceed memory."""

    @property
    def names(self) -> Sequence[str]:
        """Name of each item."""

    @property
    def has_targets(self) -> bool:
        """Whether the targets are known."""

    def __getitem__(self, index: int) -> Item:
        """Return an item.

        Raises:
            FxstError: The item cannot be read or rendered.
        """


class PairedItems:
    """Items of a CSV file with the columns input, reference, and optionally target, output and group.

    Paths are relative to the CSV's folder. Every input, reference and target is probed before any work begins.

    Args:
        path: The CSV file.
        limit: Number of lines to read; None for all.

    Attributes:
        names: The name of each input without its extension. If two share one, each is preceded by the folders that
            differ; if an input is listed twice, the names are line numbers.
        has_targets: Whether there is a column of targets.
        outputs: The outputs to score, by item name; empty without such a column.

    Raises:
        SettingsError: The file cannot be read, or a column or path is missing.
        AudioError: An input, reference or target is not a readable sound file.
    """

    def __init__(self, path: Path, *, limit: int | None) -> None:
        lines = _read(path)[:limit]
        for line, row in lines:
            for column in (*REQUIRED_COLUMNS, TARGET_COLUMN):
                try:
                    if column in row:
                        audio.probe(path.parent / row[column])
                except AudioError as error:
                    raise AudioError(f"{str(path)!r}, line {line}, {column}: {error}") from error
        self.names = _names([path.parent / row["input"] for _, row in lines]) or tuple(
            f"line {line}" for line, _ in lines
        )
        self.has_targets = TARGET_COLUMN in lines[0][1]
        self._folder = path.parent
        self._rows = [row for _, row in lines]
        self._has_outputs = any(OUTPUT_COLUMN in row for row in self._rows)

    @property
    def lines(self) -> list[dict[str, str]]:
        """The cells of each line, by column."""
        return self._rows

    @property
    def files(self) -> list[Path]:
        """The files of all items."""
        return [self._folder / row[column] for row in self._rows for column in FILE_COLUMNS if column in row]

    @property
    def outputs(self) -> dict[str, Path | None]:
        """The file to score for each item; None if a line has none."""
        if not self._has_outputs:
            return {}
        cells = (row.get(OUTPUT_COLUMN) for row in self._rows)
        return {name: self._folder / cell if cell else None for name, cell in zip(self.names, cells, strict=True)}

    def __getitem__(self, index: int) -> Item:
        """Read an item's recordings.

        Raises:
            AudioError: A file is damaged, or the target's rate or shape differs from the input's.
        """
        row = self._rows[index]
        x, rate = audio.read(self._folder / row["input"])
        reference, reference_rate = audio.read(self._folder / row["reference"])
        target = fitting(self._folder / row[TARGET_COLUMN], x, rate) if self.has_targets else None
        files = {column: row[column] for column in FILE_COLUMNS if column in row}
        group = row.get(GROUP_COLUMN) or self.names[index]
        return Item(self.names[index], group, x, reference, target, rate, reference_rate, drawn=files)


def _names(inputs: Sequence[Path]) -> tuple[str, ...]:
    """Return the shortest distinct names of the inputs; nothing if there are none."""
    stems = tuple(path.stem for path in inputs)
    if len(set(stems)) == len(stems):
        return stems
    paths_of_stems = [path.parent.resolve() / path.stem for path in inputs]
    shared = os.path.commonpath([path.parent for path in paths_of_stems])
    paths = tuple(path.relative_to(shared).as_posix() for path in paths_of_stems)
    return paths if len(set(paths)) == len(paths) else ()


def fitting(path: Path, x: Samples, sample_rate: int) -> Samples:
    """Read a recording whose format must equal that of another one.

    Args:
        path: The recording.
        x: The other recording.
        sample_rate: Its sample rate in Hz.

    Raises:
        AudioError: It cannot be read, or its rate, channel count or length differs.
    """
    found, rate = audio.read(path)
    if rate != sample_rate or found.shape != x.shape:
        raise AudioError(
            f"{str(path)!r} has {_format(found, rate)}, and its input {_format(x, sample_rate)}: "
            "it must be of the input's rate, channels and length."
        )
    return found


def _read(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the number and the cells of each line."""
    try:
        data = path.read_bytes()
        text = data.decode(encoding_of(data))
        # Spreadsheets separate with commas, semicolons or tabs, by locale.
        separator = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        given = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise SettingsError(f"{str(path)!r} is not a CSV file in UTF-8: save it as one, or check the name.") from error
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"{str(path)!r} cannot be read as a CSV file ({reason}): check the name.") from error
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise SettingsError(
            f"{str(path)!r} has no column {', '.join(missing)}: its first line must name the columns input, reference "
            "and optionally target, output (to be scored) and group (the speaker)."
        )
    known = [column for column in (*FILE_COLUMNS, GROUP_COLUMN) if column in columns]
    if twice := [column for column in known if columns.count(column) > 1]:
        raise SettingsError(f"{str(path)!r} names the column {twice[0]} twice: keep one of them.")
    if not given:
        raise SettingsError(f"{str(path)!r} has no lines below its first: there is nothing to score.")
    known = [column for column in (*FILE_COLUMNS, GROUP_COLUMN) if column in columns]
    rows = [(line, {column: (row[column] or "").strip() for column in known}) for line, row in given]
    for column in (*REQUIRED_COLUMNS, TARGET_COLUMN):
        empty = [line for line, row in rows if not row.get(column, "-")]
        if empty:
            # A mean over distances to targets and to references would be meaningless.
            hint = "; leave out the column if there are no targets" if column == TARGET_COLUMN else ""
            raise SettingsError(f"{str(path)!r}, line {empty[0]}: the {column} is missing; name a sound file{hint}.")
    return [(line, {column: cell for column, cell in row.items() if cell}) for line, row in rows]


def _format(x: Samples, sample_rate: int) -> str:
    channels = "1 channel" if len(x) == 1 else f"{len(x)} channels"
    return f"{channels} of {x.shape[1]:,} samples at {sample_rate:,} Hz"
