"""Content of a report page."""

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
        label: Name of the track.
        role: Its role. An input, its outputs and its target share one time line; a reference has its own.
        recording: The complete recording.
        settings: The parameter table that rendered it from the entry's input, if there is one.
    """

    label: str
    role: Role
    recording: Recording
    settings: Table | None = None


@dataclass(frozen=True)
class FigureTable:
    """A table of text.

    Args:
        caption: Its caption.
        header: A heading for each column.
        rows: The cells; the first of each row is its heading.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds figures."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.header)
        return tuple(
            bool(number) and all(_FIGURE.match(cell.strip()) for cell in column)
            for number, column in enumerate(columns)
        )


@dataclass(frozen=True)
class ReportEntry:
    """One player with its charts and tables.

    Args:
        title: Heading of the entry.
        tracks: Tracks in the order of the buttons.
        figures: Table of figures.
        notes: Notes for the user, a sentence each.
    """

    title: str
    tracks: tuple[Track, ...]
    figures: FigureTable | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """A report page.

    Args:
        title: Its heading.
        lead: Introduction, a paragraph each.
        grids: Summary tables.
        entries: The players.
    """

    title: str
    lead: tuple[str, ...] = ()
    grids: tuple[FigureTable, ...] = ()
    entries: tuple[ReportEntry, ...] = ()
