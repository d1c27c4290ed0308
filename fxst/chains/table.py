"""Parameter tables in memory: the value of every parameter of a chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from fxst.chains.amounts import written
from fxst.chains.chain import Chain
from fxst.effects import ParametricEQ
from fxst.effects.parameters import Setting
from fxst.errors import SettingsError

__all__ = ["AMOUNT", "CURVE_LIMITS", "LOUDNESS", "Table", "equaliser_response", "short"]

AMOUNT: Final = "amount"
"""Key of a table's provenance for the amount of the chosen settings in it."""
CURVE_LIMITS: Final = "curve_limits"
"""Key of a table's provenance for the limits on the equaliser's curve."""
LOUDNESS: Final = "loudness"
"""Key of a table's provenance for the gain after the chain."""


@dataclass(frozen=True)
class Table(Sequence[Setting]):
    """A parameter table: a chain and a row for each of its parameters.

    It is a sequence of its rows. Two tables are equal if they render alike, whatever their provenance.

    Args:
        chain: The effects.
        rows: The rows.
        provenance: Its origin: the version of fxst, the model, the names of input and reference.
        probabilities: A model's probability that each effect is active, by label, from 0 to 1; empty if it has none.

    Raises:
        SettingsError: A row is missing, unknown, duplicate or out of the effect's range.
    """

    chain: Chain
    rows: tuple[Setting, ...]
    provenance: Mapping[str, str] = field(default_factory=dict, compare=False)
    probabilities: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self.chain.stages(self.rows)

    @overload
    def __getitem__(self, index: int) -> Setting: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Setting, ...]: ...
    def __getitem__(self, index: int | slice) -> Setting | tuple[Setting, ...]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        made = f" by {self.provenance['model']}" if "model" in self.provenance else ""
        return f"<Table of chain {self.chain.name!r}{made}: {', '.join(self.chain.labels)}>"

    def __str__(self) -> str:
        """Return the table as text, one parameter a line."""
        cells = [(row.effect, row.parameter, short(row.value), row.unit) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            f"{e:{widths[0]}}  {p:{widths[1]}}  {value:>{widths[2]}} {unit}".rstrip() for e, p, value, unit in cells
        )
        return "\n".join(lines)

    @property
    def bypassed(self) -> tuple[str, ...]:
        """Labels of the effects that leave the sound unchanged: bypassed, or transparent at their values."""
        return tuple(stage.label for stage in self.chain.stages(self.rows) if not stage.active)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return the values as `{effect: {parameter: value}}`."""
        return {
            label: {row.parameter: row.value for row in self.rows if row.effect == label} for label in self.chain.labels
        }

    def with_values(self, changes: Mapping[str, Mapping[str, float]]) -> "Table":
        """Return this table with some values changed; a bypassed effect whose values change becomes active.

        Args:
            changes: The new values, as `{effect: {parameter: value}}`.

        Raises:
            SettingsError: A row does not exist, or a value is out of the effect's range.
        """
        left = {(effect, name): value for effect, values in changes.items() for name, value in values.items()}
        rows = [
            replace(
                row,
                value=float(left.pop((row.effect, row.parameter), row.value)),
                bypass=row.bypass and row.effect not in changes,
            )
            for row in self.rows
        ]
        if left:
            unknown = ", ".join(f"{effect} {name}" for effect, name in left)
            raise SettingsError(f"Chain {self.chain.name} has no {unknown}; look at the table for the names it has.")
        return replace(self, rows=tuple(rows))

    def at_amount(self, amount: float | Mapping[str, float]) -> "Table":
        """Return this table at another amount, noted in its provenance; see `Chain.at_amount`.

        Args:
            amount: 0 leaves the sound unchanged, 1 is this table; in a mapping, by effect.

        Raises:
            SettingsError: An amount is out of range, or its effect is not in the chain or cannot be scaled.
        """
        note = written(self.chain.amounts(amount))
        if AMOUNT in self.provenance:
            note = f"{self.provenance[AMOUNT]}, and of that {note}"
        provenance = {**self.provenance, AMOUNT: note}
        return replace(self, rows=self.chain.at_amount(self.rows, amount), provenance=provenance)

    def linked(self, linked: bool) -> "Table":
        """Return this table with linked compressors, one gain for all channels, or with unlinked ones."""
        return replace(self, chain=self.chain.linked(linked))


def short(value: float) -> str:
    """Format a value to four digits; a file has all of them.

    >>> short(-3.14159), short(12345.6), short(0.00004)
    ('-3.142', '12350', '0')
    """
    # Formatted twice: 12350 would be 1.235e+04 otherwise.
    return f"{float(f'{round(value, 3) + 0.0:.4g}'):.15g}"


def equaliser_response(table: Table, frequencies: NDArray[np.float64], *, sample_rate: int) -> NDArray[np.float64]:
    """Return the magnitude response of all active equalisers of a table together, in dB.

    Shape:
        frequencies, result: (F,).
    """
    total = np.zeros_like(frequencies)
    for stage in table.chain.stages(table):
        if isinstance(stage.effect, ParametricEQ) and stage.active:
            values = {name: np.array([value]) for name, value in stage.values.items()}
            total += stage.effect.response_db(values, frequencies, sample_rate=sample_rate)[0]
    return total
