"""What there is to score: recordings with a reference, and the target that shows what should come out."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fxst import audio
from fxst.audio import Samples
from fxst.chain import Chain
from fxst.data.examples import draw
from fxst.data.manifest import Dataset
from fxst.errors import AudioError, SettingsError

__all__ = ["DrawnItems", "Item", "Items", "PairedItems"]

REQUIRED_COLUMNS: Final = ("input", "reference", "target")
OUTPUT_COLUMN: Final = "output"


@dataclass(frozen=True)
class Item:
    """One task, with its solution.

    Args:
        input: The recording.
        reference: The recording that it should sound like.
        target: The input as it should become.
        sample_rate: Of input and target.
        reference_sample_rate: Of the reference.

    Shape:
        input, target: `(channels, time)`, the same; reference: `(channels, time)`, its own.
    """

    input: Samples
    reference: Samples
    target: Samples
    sample_rate: int
    reference_sample_rate: int


class Items(Protocol):
    """Items by number, each made when it is asked for: together they may be larger than memory."""

    @property
    def names(self) -> Sequence[str]:
        """What each item is called."""

    def __getitem__(self, index: int) -> Item:
        """Make an item.

        Raises:
            FxstError: It cannot be had.
        """


class PairedItems:
    """Items that a CSV file lists, with the columns input, reference, target, and perhaps output.

    Paths count from the CSV's folder. Every input, reference and target is looked at before any work begins.

    Args:
        path: The CSV file.

    Attributes:
        names: The lines, each by its number.
        has_outputs: Whether there is a column of outputs to score.

    Raises:
        SettingsError: The file cannot be read, or a column or path is missing.
        AudioError: An input, reference or target is no readable sound file.
    """

    def __init__(self, path: Path) -> None:
        self._lines = _read(path)
        self.has_outputs = any(OUTPUT_COLUMN in row for _, row in self._lines)
        for line, row in self._lines:
            for column in REQUIRED_COLUMNS:
                try:
                    audio.probe(row[column])
                except AudioError as error:
                    raise AudioError(f"{str(path)!r}, line {line}, {column}: {error}") from error
        self.names = tuple(f"line {line}" for line, _ in self._lines)

    def __getitem__(self, index: int) -> Item:
        """Read an item's recordings.

        Raises:
            AudioError: One is damaged, or the target is not of the input's rate and shape.
        """
        _, row = self._lines[index]
        (x, rate), (reference, reference_rate) = audio.read(row["input"]), audio.read(row["reference"])
        return Item(x, reference, _fitting(row["target"], x, rate), rate, reference_rate)

    def output(self, index: int, item: Item) -> Samples:
        """Read the output that was given for an item.

        Raises:
            AudioError: There is none, or it is not of the input's rate and shape.
        """
        _, row = self._lines[index]
        if OUTPUT_COLUMN not in row:
            raise AudioError("No output is named.")
        return _fitting(row[OUTPUT_COLUMN], item.input, item.sample_rate)


class DrawnItems:
    """Items drawn from a dataset the way training draws its examples, but with the exact effects.

    Each takes two passages of one speaker, dry, and random settings: the first passage is the input, the second
    with these settings the reference, the first with these settings the target. An item depends on the seed and
    its number alone.

    Args:
        dataset: The clips.
        split: Which speakers: those of `test` or `val` were never trained on.
        chain: The effects, whose settings are drawn evenly over the knobs.
        count: How many items.
        seed: Seed of the draw.

    Attributes:
        names: Split, seed and number of each.

    Raises:
        SettingsError: No speaker of the split has two clips.
    """

    def __init__(self, dataset: Dataset, *, split: str, chain: Chain, count: int, seed: int) -> None:
        self._dataset, self._split, self._chain, self._seed = dataset, split, chain, seed
        self.names = tuple(f"{split}-{seed}-{number}" for number in range(count))
        self[0]  # what cannot be drawn shows here, before any work

    def __getitem__(self, index: int) -> Item:
        """Draw an item."""
        import torch

        drawn = draw(
            self._dataset,
            self._split,
            n_knobs=len(self._chain.knobs),
            batch=1,
            clips=1,
            seed=self._seed,
            step=index,
        )
        settings = self._chain.settings(torch.from_numpy(drawn.knobs[0]))
        rate = self._dataset.sample_rate
        x, reference = drawn.input[0], drawn.reference[0]
        reference, target = (
            self._chain.exact(settings, sample_rate=rate, channels=1)(passage) for passage in (reference, x)
        )
        return Item(x, reference, target, rate, rate)


def _read(path: Path) -> list[tuple[int, dict[str, Path]]]:
    """Read the number of each line, and the paths in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Spreadsheets of half the world separate with semicolons.
        separator = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        given = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"{str(path)!r} cannot be read as a CSV file ({reason}): check the name.") from error
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise SettingsError(
            f"{str(path)!r} has no column {', '.join(missing)}: its first line must name the columns input, "
            "reference, target and, where there are outputs to score, output."
        )
    if not given:
        raise SettingsError(f"{str(path)!r} has no lines under its first: there is nothing to score.")
    rows = []
    for line, row in given:
        cells = {column: (row[column] or "").strip() for column in (*REQUIRED_COLUMNS, OUTPUT_COLUMN) if column in row}
        for column in REQUIRED_COLUMNS:
            if not cells[column]:
                raise SettingsError(f"{str(path)!r}, line {line}: the {column} is missing; name a sound file.")
        rows.append((line, {column: path.parent / cell for column, cell in cells.items() if cell}))
    return rows


def _fitting(path: Path, x: Samples, sample_rate: int) -> Samples:
    """Read a recording that has to fit the input sample for sample."""
    found, rate = audio.read(path)
    if rate != sample_rate or found.shape != x.shape:
        raise AudioError(
            f"{str(path)!r} has {_format(found, rate)}, and its input {_format(x, sample_rate)}: "
            "it must be of the input's rate, channels and length."
        )
    return found


def _format(x: Samples, sample_rate: int) -> str:
    channels = "1 channel" if len(x) == 1 else f"{len(x)} channels"
    return f"{channels} of {x.shape[1]:,} samples at {sample_rate:,} Hz"
