"""Files of parameter tables, for users to read, edit and apply again.

Two formats hold the same numbers. JSON is complete: the rows, the chain, and the provenance. CSV is for spreadsheets:
its rows rebuild the chain, and nothing else is kept. Values read back exactly as written.
"""

import contextlib
import copyreg
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from fxst import staging, untrusted
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.documents import DocumentKind
from fxst.effects import EFFECTS, Dynamics, Effect, ParametricEQ, undeclared
from fxst.effects.parameters import Parameter, Setting
from fxst.errors import SettingsError
from fxst.untrusted import brief, quoted

__all__ = ["SUFFIXES", "TableFile", "from_json", "read", "staged", "to_json", "write"]

FORMAT: Final[Literal["fxst-settings"]] = "fxst-settings"
FORMAT_VERSION: Final[Literal[2]] = 2

SUFFIXES: Final = (".json", ".csv")
"""File-name extensions of parameter tables."""


class TableFile(msgspec.Struct, omit_defaults=True):
    """A parameter table: the value of every parameter of a chain, as `fxst apply` writes it and users edit it.

    Args:
        format: Name of the file format.
        version: Version of the format.
        made_by: Its origin: the version of fxst, the model and its hash, the names of input and reference.
        settings: A row for each parameter.
        chain: The complete chain.
        effect_probability: The model's probability that each effect is active, by label.
    """

    format: Literal["fxst-settings"]
    version: Literal[2]
    made_by: dict[str, str]
    settings: tuple[Setting, ...]
    chain: dict[str, Any]
    effect_probability: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1)]] = {}


_COLUMNS: Final = ("chain", "effect", "parameter", "value", "unit", "minimum", "maximum", "scale")
_LINKED: Final = "linked"
"""Extra column if a compressor is unlinked."""
_BYPASS: Final = "bypass"
"""Extra column if an effect is bypassed."""
_KIND: Final = DocumentKind(
    "parameter table",
    FORMAT,
    FORMAT_VERSION,
    largest_bytes=1 << 20,
    writer="fxst apply",
    remedy="apply the style again",
    instead="a style profile with --style",
)
_MOST_ROWS: Final = 2000
_BAND: Final = re.compile(r"((?:low_shelf|peak|high_shelf)\d*)_(?:gain_db|f0_hz|q)")


def write(table: Table, path: Path) -> None:
    """Write a parameter table, as JSON or CSV by the extension of its name.

    The file appears under its name only when it is complete.

    Args:
        table: The table.
        path: The file.

    Raises:
        OutputError: The file cannot be written.
        SettingsError: The name has another extension.
    """
    with staged(table, path):
        pass


def staged(table: Table, path: Path) -> contextlib.AbstractContextManager[None]:
    """Write a parameter table that appears under its name when the block ends, and not at all if it fails.

    So a recording and its table appear together or not at all.

    Args:
        table: The table.
        path: The file.

    Raises:
        OutputError: The file cannot be written.
        SettingsError: The name has another extension.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SettingsError(f"The table {quoted(path)} must be .json or .csv.")
    return staging.staged(path, (to_json(table) if suffix == ".json" else _to_csv(table)).encode())


def read(path: Path) -> Table:
    """Read a parameter table, JSON or CSV, whatever its name, edited or not.

    A CSV may come from a spreadsheet, with a byte-order mark, semicolons or tabs between columns, and decimal commas if
    there are semicolons.

    Args:
        path: The file.

    Raises:
        SettingsError: The file is missing, not a table, of an unknown version, or contains an invalid value.
    """
    name = quoted(path)
    text = _KIND.read(path)
    try:
        return from_json(text) if text.lstrip().startswith("{") else _from_csv(text)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error


def to_json(table: Table) -> str:
    """Return a parameter table as JSON text."""
    # Formatted by hand, a row a line, as users edit this file.
    file = TableFile(
        FORMAT, FORMAT_VERSION, dict(table.provenance), table.rows, table.chain.to_spec(), dict(table.probabilities)
    )
    document = msgspec.to_builtins(file)
    rows = ",\n".join(f"  {untrusted.to_json(_plain(row))}" for row in table.rows)
    parts = [
        f' "{key}": ' + (f"[\n{rows}\n ]" if key == "settings" else untrusted.to_json(value))
        for key, value in document.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _plain(row: Setting) -> dict[str, Any]:
    """Return a row as plain data, with `bypass` only where it is true."""
    return {key: value for key, value in vars(row).items() if key != "bypass" or value}


def from_json(text: str) -> Table:
    """Return the parameter table of JSON text.

    Args:
        text: The text, edited or not.

    Raises:
        SettingsError: The text is not a table, or contains an invalid value.
    """
    document = _KIND.parse(text)
    chain, rows, provenance = (document.get(key) for key in ("chain", "settings", "made_by"))
    if not isinstance(chain, dict) or not isinstance(rows, list):
        raise SettingsError('"chain" or "settings" is missing; apply the style again to restore them.')
    chain = Chain.from_spec(chain)
    known = {(label, p.name): p for label, p in _parameters(chain)}
    settings = tuple(_row_of_json(row, f"row {number}", known) for number, row in enumerate(rows, 1))
    made_by = provenance if isinstance(provenance, dict) else {}
    probabilities = document.get("effect_probability")
    probabilities = {
        str(label): float(value)
        for label, value in (probabilities.items() if isinstance(probabilities, dict) else ())
        if label in chain.labels and isinstance(value, int | float) and 0 <= value <= 1
    }
    return Table(chain, settings, {str(key): str(value) for key, value in made_by.items()}, probabilities)


def _row_of_json(row: Any, where: str, known: Mapping[tuple[str, str], Parameter]) -> Setting:
    if not isinstance(row, dict) or not {"effect", "parameter", "value"} <= row.keys():
        raise SettingsError(f"{where} needs an effect, a parameter and a value.")
    value = _number(row["value"], where, "value")
    parameter = known.get((str(row["effect"]), str(row["parameter"])))
    if parameter is None:
        raise SettingsError(
            f"{where}: the chain has no {brief(row['effect'])} {brief(row['parameter'])}; correct the names, or "
            "remove the row."
        )
    for key in ("unit", "minimum", "maximum"):
        # An edit here is refused, not ignored: a frequency in kHz would be read as Hz.
        if key in row and row[key] != getattr(parameter, key):
            raise SettingsError(
                f"{where}: the {key} is {getattr(parameter, key)!r} and cannot be {brief(row[key])} here."
            )
    bypass = row.get("bypass", False)
    if not isinstance(bypass, bool):
        raise SettingsError(f"{where}: bypass is {brief(bypass)}, and must be true or false.")
    limits = parameter.minimum, parameter.maximum
    return Setting(str(row["effect"]), parameter.name, value, parameter.unit, *limits, bypass)


def _to_csv(table: Table) -> str:
    scales = {(label, p.name): p.scale for label, p in _parameters(table.chain)}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    # Most tables have linked channels and omit the column.
    apart = {label for label, effect in _effects(table.chain) if isinstance(effect, Dynamics) and not effect.linked}
    bypass = any(row.bypass for row in table.rows)
    writer.writerow([*_COLUMNS, *([_LINKED] if apart else []), *([_BYPASS] if bypass else [])])
    for row in table.rows:
        numbers = (repr(float(number)) for number in (row.minimum, row.maximum))
        scale = scales[row.effect, row.parameter]
        more = ["no" if row.effect in apart else ""] if apart else []
        more += ["yes" if row.bypass else ""] if bypass else []
        writer.writerow(
            [table.chain.name, row.effect, row.parameter, repr(float(row.value)), row.unit, *numbers, scale, *more]
        )
    return file.getvalue()


def _from_csv(text: str) -> Table:
    lines = text.splitlines(keepends=True)
    separator, first = ",", 1
    if lines and lines[0].startswith("sep="):  # Excel's separator line
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
    if twice := [column for column in (*_COLUMNS, _LINKED, _BYPASS) if header.count(column) > 1]:
        raise SettingsError(f"the first line names the column {twice[0]} twice; keep one of them.")
    places = {column: header.index(column) for column in (*_COLUMNS, _LINKED, _BYPASS) if column in header}
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
            raise SettingsError(f"{where} sets {brief(key[0])} {brief(key[1])} again; keep one row.")
        numbers = [_number(cell[c], where, c, comma=separator != ",") for c in ("value", "minimum", "maximum")]
        linked, bypass = (cell.get(column, "").lower() for column in (_LINKED, _BYPASS))
        for column, word in ((_LINKED, linked), (_BYPASS, bypass)):
            if word not in ("", "yes", "no"):
                raise SettingsError(f"{where}: {column} is {brief(word)}, and must be yes, no, or empty.")
        parsed[key] = _CsvRow(where, linked != "no", bypass == "yes", cell["unit"], cell["scale"], *numbers)
        names.add(cell["chain"])
    if len(names) != 1:
        raise SettingsError("the rows must all name one chain, and there must be rows.")
    chain = _chain_of_rows(names.pop(), parsed)
    settings = (
        Setting(label, p.name, row.value, p.unit, p.minimum, p.maximum, row.bypass)
        for label, p in _parameters(chain)
        for row in (parsed[label, p.name],)
    )
    return Table(chain, tuple(settings))


@dataclass(frozen=True)
class _CsvRow:
    where: str
    linked: bool
    bypass: bool
    unit: str
    scale: str
    value: float
    minimum: float
    maximum: float


def _chain_of_rows(name: str, rows: Mapping[tuple[str, str], _CsvRow]) -> Chain:
    """Rebuild a chain: effects in the order of their rows, or in a named chain's own order."""
    labels = list(dict.fromkeys(label for label, _ in rows))
    named = CHAINS.get(name)
    if named is None:
        shapes = {label: _shape(label, [key[1] for key in rows if key[0] == label]) for label in labels}
    elif chain := next((one for one in (named, named.predicted) if set(labels) == set(one.labels)), None):
        # Without the matched effects, the rows are of an older table, or of a model without them.
        shapes = dict(_effects(chain))
    else:
        raise SettingsError(
            f"chain {brief(name)} consists of {', '.join(named.labels)}, and the rows are of "
            f"{brief(', '.join(labels))}; restore the rows, or give the chain a name of your own."
        )
    chain = Chain(name, tuple(_ranged(label, effect, rows) for label, effect in shapes.items()))
    if chain.labels != tuple(shapes):
        raise SettingsError(
            f"the effects must be named {', '.join(chain.labels):.200}, not {brief(', '.join(shapes))}."
        )
    return chain


def _shape(label: str, names: Sequence[str]) -> Effect:
    """Return the effect of these rows; the names contain an equaliser's bands."""
    kind = EFFECTS.get(label) or EFFECTS.get(label.rstrip("0123456789"))
    if kind is None:
        raise SettingsError(undeclared("effect", label, EFFECTS))
    if kind is not ParametricEQ:
        return kind()  # type: ignore[call-arg]  # subclasses give `parameters` a default
    bands = dict.fromkeys(match[1] for name in names if (match := _BAND.fullmatch(name)))
    kinds: Any = tuple(band.rstrip("0123456789") for band in bands)
    return ParametricEQ(kinds=kinds)


def _ranged(label: str, effect: Effect, rows: Mapping[tuple[str, str], _CsvRow]) -> Effect:
    """Return an effect with the ranges of the rows."""
    known = {p.name for p in effect.parameters}
    for key, row in rows.items():
        if key[0] == label and key[1] not in known:
            raise SettingsError(f"{row.where}: {label} has no {brief(key[1])}; correct the name, or remove the row.")
    parameters = []
    for p in effect.parameters:
        if (label, p.name) not in rows:
            raise SettingsError(f"no row for {label} {p.name}; restore it.")
        row = rows[label, p.name]
        if row.unit != p.unit or row.scale not in ("linear", "log"):
            raise SettingsError(f"{row.where}: {p.name} has unit {p.unit!r} and scale linear or log; restore them.")
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
        if isinstance(given, str):
            return untrusted.number(given.replace(",", ".") if comma else given)
        if not isinstance(given, bool) and isinstance(given, int | float):
            return float(given)  # finite in JSON, but an integer may be too large
    except (ValueError, OverflowError):
        pass
    raise SettingsError(f"{where}: the {column} is {brief(given)}, and must be a finite number.")


# A table is pickled as its file, since the class of a user's own effect is in no module.
copyreg.pickle(Table, lambda table: (from_json, (to_json(table),)))
