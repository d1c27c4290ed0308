"""rich's tables and console with escaped text: nothing from a file acts on the terminal or is markup."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fxst.cli.terminal import is_plain
from fxst.untrusted import printable

__all__ = ["Console", "Grid"]

_LEAST_FOLDED: Final = 20
"""A column that is wrapped has at least so many characters."""
_BETWEEN_COLUMNS: Final = 2


class Console(RichConsole):
    """A console without markup, which escapes control characters other than its own.

    Args:
        err: Whether it writes to standard error.
        soft_wrap: Whether long lines are left for the terminal to wrap.
    """

    def __init__(self, *, err: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(
            stderr=err,
            soft_wrap=soft_wrap,
            markup=False,
            emoji=False,
            highlight=False,
            color_system=None if is_plain() else "auto",
        )

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does, with each string on one line, and a table that is too wide as a list."""
        super().print(*(self._fitting(item) for item in objects), **how)

    def _fitting(self, item: Any) -> Any:
        if isinstance(item, Grid) and item.least_width() > self.width:
            return Text("\n".join(item.listed(self.width)))
        return printable(item) if isinstance(item, str) else item

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, and escape what cells did not escape."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, keep="\n"), style)


class Grid(Table):
    """A table without borders, in which each string is one line; words that do not fit are folded, and never cut.

    Args:
        headings: The columns' headings.
        show_header: Whether to show them.
    """

    def __init__(self, *headings: str, show_header: bool = True) -> None:
        self._texts: list[list[str]] = []
        super().__init__(box=None, pad_edge=False, show_header=show_header)
        for heading in headings:
            self.add_column(heading)

    def add_column(self, *heading: RenderableType, **how: Any) -> None:
        """Add a column; with `overflow="fold"` its cells are wrapped in a narrow terminal."""
        how.setdefault("no_wrap", how.get("overflow") != "fold")
        super().add_column(*heading, **how)

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """Add a row; a cell of several lines is a `Text`, whose parts the caller escapes."""
        row = [Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells]
        texts = [cell.plain if isinstance(cell, Text) else "" for cell in row]
        self._texts.append(texts + [""] * (len(self.columns) - len(texts)))
        super().add_row(*row, **how)

    def least_width(self) -> int:
        """Return the width without which a cell would be cut."""
        return sum(map(self._least_width, range(len(self.columns)))) + _BETWEEN_COLUMNS * (len(self.columns) - 1)

    def listed(self, width: int) -> Iterator[str]:
        """Yield the lines of the table as a list: the first cell of each row, and below it the others.

        Args:
            width: The width of the terminal.
        """
        headings = [" ".join(str(column.header).split()) for column in self.columns]
        for row in self._texts:
            for index, (heading, cell) in enumerate(zip(headings, row, strict=False)):
                named = f"{heading}: " if index and heading else ""
                for line in filter(None, cell.splitlines()):
                    indent = "  " * bool(index)
                    yield from textwrap.wrap(
                        f"{named}{line}", width, initial_indent=indent, subsequent_indent=f"{indent}  "
                    )

    def _least_width(self, index: int) -> int:
        column = self.columns[index]
        heading = str(column.header) if self.show_header else ""
        texts = [*heading.splitlines(), *(line for row in self._texts for line in row[index].splitlines())]
        longest = max(map(len, texts), default=0)
        return min(longest, _LEAST_FOLDED) if column.overflow == "fold" else longest
