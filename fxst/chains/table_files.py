"""Parameter tables: what every knob of a chain is set to, in memory and as files to read, edit and apply again.

Two forms hold the same numbers. JSON has all: the rows, the chain in full, and what the table was made from.
CSV is for spreadsheets: its rows rebuild the chain, and nothing else is kept. Values are written so that they
read back as the very same numbers.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, overload

from fxst import staging
from fxst.chains.amounts import written
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.effects import EFFECTS, Dynamics, Effect, ParametricEQ, undeclared
from fxst.effects.parameters import Parameter, Setting
from fxst.errors import OutputError, SettingsError

__all__ = ["SUFFIXES", "Table", "from_json", "read", "short", "staged", "staged_text", "to_json", "write"]

FORMAT: Final = "fxst-settings"
FORMAT_VERSION: Final = 1
AMOUNT: Final = "amount"
"""Where a table says how much of what was chosen is in it."""
LOUDNESS: Final = "loudness"
"""Where a table says which gain was behind the chain when it was rendered."""

SUFFIXES: Final = (".json", ".csv")
"""The file-name endings of parameter tables."""

_COLUMNS: Final = ("chain", "effect", "parameter", "value", "unit", "minimum", "maximum", "scale")
_LINKED: Final = "linked"
"""One more column, where some compressor's channels are not linked."""
_LARGEST_BYTES: Final = 1 << 20
_MOST_ROWS: Final = 2000
_BAND: Final = re.compile(r"((?:low_shelf|peak|high_shelf)\d*)_(?:gain_db|f0_hz|q)")


@dataclass(frozen=True)
class Table(Sequence[Setting]):
    """A parameter table: the chain and a row for each of its parameters, known to fit each other.

    It is a sequence of its rows. Two tables are equal when they render alike, wherever they come from.

    Args:
        chain: The effects that it sets.
        settings: The rows.
        provenance: What it was made from: the version of fxst, the model, the names of input and reference.
        confidence: How sure a model was that an effect is wanted, by its label, from 0 to 1; empty where none said.

    Raises:
        SettingsError: A row is missing, unknown, twice there, or out of the effect's range.
    """

    chain: Chain
    settings: tuple[Setting, ...]
    provenance: Mapping[str, str] = field(default_factory=dict, compare=False)
    confidence: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self.chain.values(self.settings)

    @overload
    def __getitem__(self, index: int) -> Setting: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Setting, ...]: ...
    def __getitem__(self, index: int | slice) -> Setting | tuple[Setting, ...]:
        return self.settings[index]

    def __len__(self) -> int:
        return len(self.settings)

    def __str__(self) -> str:
        """Write the table for reading aloud, one parameter a line."""
        cells = [(row.effect, row.parameter, short(row.value), row.unit) for row in self.settings]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            f"{e:{widths[0]}}  {p:{widths[1]}}  {value:>{widths[2]}} {unit}".rstrip() for e, p, value, unit in cells
        )
        return "\n".join(lines)

    @property
    def out_of_the_way(self) -> tuple[str, ...]:
        """Name the effects that let sound pass as it is."""
        effects = zip(self.chain.labels, self.chain.effects, self.chain.values(self.settings), strict=True)
        return tuple(label for label, effect, values in effects if effect.is_transparent(values))

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Give the values as `{effect: {parameter: value}}`."""
        return {
            label: {row.parameter: row.value for row in self.settings if row.effect == label}
            for label in self.chain.labels
        }

    def with_values(self, changes: Mapping[str, Mapping[str, float]]) -> "Table":
        """Return this table with some values changed.

        Args:
            changes: What to change, as `{effect: {parameter: value}}`.

        Raises:
            SettingsError: There is no such row, or a value is out of the effect's range.
        """
        left = {(effect, name): value for effect, values in changes.items() for name, value in values.items()}
        rows = [replace(row, value=float(left.pop((row.effect, row.parameter), row.value))) for row in self.settings]
        if left:
            unknown = ", ".join(f"{effect} {name}" for effect, name in left)
            raise SettingsError(f"Chain {self.chain.name} has no {unknown}; look at the table for the names it has.")
        return replace(self, settings=tuple(rows))

    def at_amount(self, amount: float | Mapping[str, float]) -> "Table":
        """Return this table turned down, or up, and noted as such; see `Chain.at_amount`.

        Args:
            amount: 0 leaves the sound as it is, 1 is this table; in a mapping, by effect.

        Raises:
            SettingsError: An amount is out of range, or its effect is not in the chain, or cannot be turned down.
        """
        note = written(self.chain.amounts(amount))
        if AMOUNT in self.provenance:
            note = f"{self.provenance[AMOUNT]}, and of that {note}"
        provenance = {**self.provenance, AMOUNT: note}
        return replace(self, settings=self.chain.at_amount(self.settings, amount), provenance=provenance)

    def linked(self, linked: bool) -> "Table":
        """Return this table for one gain on all channels in each compressor, or for every channel on its own."""
        return replace(self, chain=self.chain.linked(linked))


def short(value: float) -> str:
    """Write a value for reading, with no digits that cannot be heard; a file has them all.

    >>> short(-3.14159), short(12345.6), short(0.00004)
    ('-3.142', '12350', '0')
    """
    # Through a number again: of 12350 the format alone would make 1.235e+04.
    return f"{float(f'{round(value, 3) + 0.0:.4g}'):.15g}"


def write(table: Table, path: Path) -> None:
    """Write a parameter table, as JSON or CSV by the ending of its name.

    The file appears under its name only when it is whole.

    Args:
        table: What to write.
        path: Where the file goes.

    Raises:
        OutputError: The file cannot be written.
        SettingsError: The name has another ending.
    """
    with staged(table, path):
        pass


def staged(table: Table, path: Path) -> contextlib.AbstractContextManager[None]:
    """Write a parameter table that appears under its name when the block ends, and not at all when it fails.

    So that a recording and its table come together or neither does.

    Args:
        table: What to write.
        path: Where the file goes.

    Raises:
        OutputError: The file cannot be written.
        SettingsError: The name has another ending.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SettingsError(f"{_name(path)} has no table extension: use .json or .csv.")
    return staged_text(to_json(table) if suffix == ".json" else _to_csv(table), path)


@contextlib.contextmanager
def staged_text(text: str, path: Path) -> Iterator[None]:
    """Write a text that appears under its name when the block ends, and not at all when it fails.

    Args:
        text: What to write.
        path: Where the file goes.

    Raises:
        OutputError: The file cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            raise OutputError(f"{_name(path)} is a folder or a device: name a file.")
        hidden, fd = staging.begin(target)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    try:
        try:
            with open(fd, "w", encoding="utf-8", newline="", closefd=False) as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield
        try:
            staging.finish(hidden, fd, target)
        except OSError as error:
            raise _unwritable(path, error) from error
    except BaseException:
        staging.discard(hidden, fd)
        raise


def read(path: Path) -> Table:
    """Read a parameter table, JSON or CSV, whatever its name; edited by hand or in a spreadsheet, or not.

    A CSV may come from a spreadsheet with its byte-order mark, with semicolons or tabs between columns, and with
    decimal commas where semicolons are.

    Args:
        path: The file.

    Raises:
        SettingsError: It is missing, no table, of an unknown version, or sets something that cannot be.
    """
    name = _name(path)
    text = _text(path)
    try:
        return from_json(text) if text.lstrip().startswith("{") else _from_csv(text)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def _text(path: Path) -> str:
    name = _name(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{name} is a folder, a pipe or a device: name a parameter table.")
        with open(path, "rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        raise SettingsError(f"{name} does not exist: check the name of the parameter table.") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name} cannot be read ({_reason(error)}): check its permissions.") from error
    if len(data) > _LARGEST_BYTES:
        raise SettingsError(f"{name} is larger than any parameter table: name one that `fxst apply` wrote.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name} is not UTF-8 text: save the table as JSON or as CSV in UTF-8.") from error
    if "\0" in text:
        raise SettingsError(f"{name} is not a text file: name a parameter table.")
    return text


def to_json(table: Table) -> str:
    """Write a parameter table as the text of a JSON file."""
    # By hand, so that each row is a line: this is a file that people edit.
    rows = ",\n".join("  " + json.dumps(asdict(row)) for row in table.settings)
    head: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION, "made_by": dict(table.provenance)}
    if table.confidence:
        head["wanted"] = dict(table.confidence)
    parts = [f' "{key}": {json.dumps(value)}' for key, value in head.items()]
    parts += [f' "settings": [\n{rows}\n ]', f' "chain": {json.dumps(table.chain.to_spec())}']
    return "{\n" + ",\n".join(parts) + "\n}\n"


def from_json(text: str) -> Table:
    """Read a parameter table from the text of a JSON file.

    Args:
        text: As `to_json` wrote it, edited or not.

    Raises:
        SettingsError: It is no table, or sets something that cannot be.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"not valid JSON ({error}); mend it there, or apply the style again.") from error
    if document.get("format") != FORMAT:
        raise SettingsError(
            f"not a parameter table: its format is {_cell(document.get('format'))}, not {FORMAT!r}; name one that "
            "`fxst apply` wrote, or a style profile with --style."
        )
    if document.get("version") != FORMAT_VERSION:
        raise SettingsError(
            f"version {_cell(document.get('version'))} of the table's format, and this fxst reads {FORMAT_VERSION}; "
            "update fxst."
        )
    chain, rows, provenance = (document.get(key) for key in ("chain", "settings", "made_by"))
    if not isinstance(chain, dict) or not isinstance(rows, list):
        raise SettingsError('"chain" or "settings" is missing; apply the style again to have them back.')
    chain = Chain.from_spec(chain)
    known = {(label, p.name): p for label, p in _parameters(chain)}
    settings = tuple(_row_of_json(row, f"row {number}", known) for number, row in enumerate(rows, 1))
    made_by = provenance if isinstance(provenance, dict) else {}
    wanted = document.get("wanted")
    sure = {
        str(label): float(value)
        for label, value in (wanted.items() if isinstance(wanted, dict) else ())
        if label in chain.labels and isinstance(value, int | float) and 0 <= value <= 1
    }
    return Table(chain, settings, {str(key): str(value) for key, value in made_by.items()}, sure)


def _row_of_json(row: Any, where: str, known: Mapping[tuple[str, str], Parameter]) -> Setting:
    if not isinstance(row, dict) or not {"effect", "parameter", "value"} <= row.keys():
        raise SettingsError(f"{where} needs an effect, a parameter and a value.")
    value = _number(row["value"], where, "value")
    parameter = known.get((str(row["effect"]), str(row["parameter"])))
    if parameter is None:
        raise SettingsError(
            f"{where}: the chain has no {_cell(row['effect'])} {_cell(row['parameter'])}; correct the names, or "
            "remove the row."
        )
    for key in ("unit", "minimum", "maximum"):
        # Ignoring an edit would be worse than refusing it: a frequency in kHz would be taken for Hz.
        if key in row and row[key] != getattr(parameter, key):
            raise SettingsError(
                f"{where}: the {key} is {getattr(parameter, key)!r} and cannot be {_cell(row[key])} here."
            )
    return Setting(str(row["effect"]), parameter.name, value, parameter.unit, parameter.minimum, parameter.maximum)


def _to_csv(table: Table) -> str:
    scales = {(label, p.name): p.scale for label, p in _parameters(table.chain)}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    # Most tables have linked channels, and do without the column that would say so.
    apart = {label for label, effect in _effects(table.chain) if isinstance(effect, Dynamics) and not effect.linked}
    writer.writerow([*_COLUMNS, *([_LINKED] if apart else [])])
    for row in table.settings:
        numbers = (repr(float(number)) for number in (row.minimum, row.maximum))
        scale = scales[row.effect, row.parameter]
        linked = ["no" if row.effect in apart else ""] if apart else []
        writer.writerow(
            [table.chain.name, row.effect, row.parameter, repr(float(row.value)), row.unit, *numbers, scale, *linked]
        )
    return file.getvalue()


def _from_csv(text: str) -> Table:
    lines = text.splitlines(keepends=True)
    separator, first = ",", 1
    if lines and lines[0].startswith("sep="):  # Excel's own way to say it
        separator, first = lines.pop(0)[4:5], 2
    elif lines:
        separator = max(",;\t", key=lines[0].count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    except (csv.Error, TypeError, ValueError) as error:
        raise SettingsError(f"not a CSV file ({error}); save the table as CSV again.") from error
    if len(rows) > _MOST_ROWS:
        raise SettingsError(f"has {len(rows)} rows, more than any parameter table: name one that `fxst apply` wrote.")
    header = [cell.lower() for cell in rows[0]] if rows else []
    if missing := [column for column in _COLUMNS if column not in header]:
        raise SettingsError(
            f"not a parameter table: the first line must name the columns, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    places = {column: header.index(column) for column in (*_COLUMNS, _LINKED) if column in header}
    parsed: dict[tuple[str, str], _CsvRow] = {}
    names = set()
    for number, row in enumerate(rows[1:], first + 1):
        if not any(row):
            continue
        where = f"row {number}"
        if len(row) <= max(places.values()):
            raise SettingsError(f"{where} has {len(row)} columns, and the first line names {len(header)}.")
        cell = {column: row[place] for column, place in places.items()}
        key = (cell["effect"], cell["parameter"])
        if key in parsed:
            raise SettingsError(f"{where} sets {_cell(key[0])} {_cell(key[1])} again; keep one row.")
        numbers = [_number(cell[c], where, c, comma=separator != ",") for c in ("value", "minimum", "maximum")]
        linked = cell.get(_LINKED, "").lower()
        if linked not in ("", "yes", "no"):
            raise SettingsError(f"{where}: linked is {_cell(linked)}, and must be yes, no, or empty.")
        parsed[key] = _CsvRow(where, linked != "no", cell["unit"], cell["scale"], *numbers)
        names.add(cell["chain"])
    if len(names) != 1:
        raise SettingsError("the rows must all name one chain, and there must be rows.")
    chain = _chain_of_rows(names.pop(), parsed)
    settings = (
        Setting(label, p.name, parsed[label, p.name].value, p.unit, p.minimum, p.maximum)
        for label, p in _parameters(chain)
    )
    return Table(chain, tuple(settings))


@dataclass(frozen=True)
class _CsvRow:
    where: str
    linked: bool
    unit: str
    scale: str
    value: float
    minimum: float
    maximum: float


def _chain_of_rows(name: str, rows: Mapping[tuple[str, str], _CsvRow]) -> Chain:
    """Rebuild a chain: effects in the order of their rows, a named chain's in its own."""
    labels = list(dict.fromkeys(label for label, _ in rows))
    named = CHAINS.get(name)
    if named is None:
        shapes = {label: _shape(label, [key[1] for key in rows if key[0] == label]) for label in labels}
    elif set(labels) == set(named.labels):
        shapes = dict(zip(named.labels, named.effects, strict=True))
    else:
        raise SettingsError(
            f"chain {name} consists of {', '.join(named.labels)}, and the rows are of {_cell(', '.join(labels))}; "
            "put the rows back, or give the chain a name of your own."
        )
    chain = Chain(name, tuple(_ranged(label, effect, rows) for label, effect in shapes.items()))
    if chain.labels != tuple(shapes):
        raise SettingsError(
            f"the effects are to be called {', '.join(chain.labels):.200}, not {_cell(', '.join(shapes))}."
        )
    return chain


def _shape(label: str, names: Sequence[str]) -> Effect:
    """Make the effect that these rows belong to; an equaliser's bands are told by the names."""
    kind = EFFECTS.get(label) or EFFECTS.get(label.rstrip("0123456789"))
    if kind is None:
        raise SettingsError(undeclared(label))
    if kind is not ParametricEQ:
        return kind()  # type: ignore[call-arg]  # subclasses give `parameters` a default
    bands = dict.fromkeys(match[1] for name in names if (match := _BAND.fullmatch(name)))
    kinds: Any = tuple(band.rstrip("0123456789") for band in bands)
    return ParametricEQ(kinds=kinds)


def _ranged(label: str, effect: Effect, rows: Mapping[tuple[str, str], _CsvRow]) -> Effect:
    """Give an effect the ranges that the rows tell."""
    known = {p.name for p in effect.parameters}
    for key, row in rows.items():
        if key[0] == label and key[1] not in known:
            raise SettingsError(f"{row.where}: {label} has no {_cell(key[1])}; correct the name, or remove the row.")
    parameters = []
    for p in effect.parameters:
        if (label, p.name) not in rows:
            raise SettingsError(f"no row for {label} {p.name}; put it back.")
        row = rows[label, p.name]
        if row.unit != p.unit or row.scale not in ("linear", "log"):
            raise SettingsError(f"{row.where}: {p.name} has unit {p.unit!r} and scale linear or log; put them back.")
        default = min(max(p.default, row.minimum), row.maximum)
        scale: Any = row.scale
        try:
            parameters.append(Parameter(p.name, row.minimum, row.maximum, default, p.unit, scale))
        except SettingsError as error:
            raise SettingsError(f"{row.where}: {error}") from error
    if isinstance(effect, Dynamics):
        effect = replace(effect, linked=all(row.linked for key, row in rows.items() if key[0] == label))
    return replace(effect, parameters=tuple(parameters))


def _effects(chain: Chain) -> Iterator[tuple[str, Effect]]:
    return zip(chain.labels, chain.effects, strict=True)


def _parameters(chain: Chain) -> Iterator[tuple[str, Parameter]]:
    for label, effect in _effects(chain):
        for parameter in effect.parameters:
            yield label, parameter


def _number(given: Any, where: str, column: str, *, comma: bool = False) -> float:
    try:
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise TypeError
        number = float(given.replace(",", ".") if comma and isinstance(given, str) else given)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(f"{where}: the {column} is {_cell(given)}, and must be a finite number.")
    return number


def _cell(given: Any) -> str:
    """Quote what a file says, in one short line whatever it is."""
    quoted = repr(given)
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}..."


def _unwritable(path: Path, error: BaseException) -> OutputError:
    return OutputError(f"{_name(path)} cannot be written ({_reason(error)}): choose another place for the table.")


def _name(path: Path) -> str:
    # repr keeps the message to one line whatever the name holds.
    return repr(os.fspath(path))


def _reason(error: BaseException) -> str:
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
