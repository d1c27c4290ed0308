"""What a page shows."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from fxst.chains.table import Table
from fxst.report.recordings import Recording

__all__ = ["FigureTable", "Page", "ReportEntry", "Role", "Track"]

Role = Literal["input", "reference", "output", "target"]

_FIGURE: Final = re.compile(r"[-+\u2212±<>≤≥]?\s*[\d.∞]|[-\u2013\u2014]?$|n/a$")


@dataclass(frozen=True)
class Track:
    """A recording that an entry plays and draws.

    Args:
        label: What it is called.
        role: What it is to the others. An input, its outputs and its target share one time line; a reference has
            its own.
        recording: The recording itself, all of it.
        settings: The parameter table that made it from the entry's input, where there is one.
    """

    label: str
    role: Role
    recording: Recording
    settings: Table | None = None


@dataclass(frozen=True)
class FigureTable:
    """A table of text.

    Args:
        caption: What it tells.
        header: A heading for each column.
        rows: The cells; the first of each row is its name.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether its cells are figures."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.header)
        return tuple(
            bool(number) and all(_FIGURE.match(cell.strip()) for cell in column)
            for number, column in enumerate(columns)
        )


@dataclass(frozen=True)
class ReportEntry:
    """A recording and what became of it: one player, its curves and its tables.

    Args:
        title: What it is called.
        tracks: What can be heard, in the order of the buttons.
        figures: Figures about it.
        notes: What a listener should know, a sentence each.
    """

    title: str
    tracks: tuple[Track, ...]
    figures: FigureTable | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: Its heading.
        lead: What it is about, a paragraph each.
        grids: The summary.
        entries: What there is to hear.
    """

    title: str
    lead: tuple[str, ...] = ()
    grids: tuple[FigureTable, ...] = ()
    entries: tuple[ReportEntry, ...] = ()
