"""Parameter tables of one chain side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from fxst.chains.table import Table
from fxst.effects.parameters import Setting
from fxst.report.content import Track

__all__ = ["Comparison", "EffectRows", "comparisons"]

Row = tuple[Setting, ...]
"""One parameter in each table."""


@dataclass(frozen=True)
class EffectRows:
    """An effect in all tables.

    Args:
        label: Its name in the chain.
        bypassed: Whether each table bypasses it.
        rows: Its knobs; empty if all tables bypass it.
    """

    label: str
    bypassed: tuple[bool, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Comparison:
    """The tables of one chain.

    Args:
        chain: The chain's name.
        labels: The tables' tracks.
        effects: The knobs, by effect.
        constants: The constants of active effects.
        probabilities: Label and effect probabilities of each track whose model estimated them.
    """

    chain: str
    labels: tuple[str, ...]
    effects: tuple[EffectRows, ...]
    constants: tuple[Row, ...]
    probabilities: tuple[tuple[str, str], ...]


def comparisons(tracks: Sequence[Track]) -> tuple[Comparison, ...]:
    """Return the tables of all tracks side by side, by chain."""
    chains: dict[str, list[tuple[Track, Table]]] = {}
    for track in tracks:
        if track.settings is not None:
            chains.setdefault(repr(track.settings.chain), []).append((track, track.settings))
    return tuple(_compared(made) for made in chains.values())


def _compared(made: Sequence[tuple[Track, Table]]) -> Comparison:
    tables = [table for _, table in made]
    chain = tables[0].chain
    effects, constants = [], []
    for label in chain.labels:
        bypassed = tuple(label in table.bypassed for table in tables)
        every = [row for row in zip(*tables, strict=True) if row[0].effect == label and not all(bypassed)]
        turned = tuple(row for row in every if row[0].minimum != row[0].maximum)
        if turned or all(bypassed):
            effects.append(EffectRows(label, bypassed, turned))
        constants += [row for row in every if row[0].minimum == row[0].maximum]
    probabilities = tuple(
        (track.label, ", ".join(f"{label} {share:.0%}" for label, share in table.probabilities.items()))
        for track, table in made
        if table.probabilities
    )
    labels = tuple(track.label for track, _ in made)
    return Comparison(chain.name, labels, tuple(effects), tuple(constants), probabilities)
