"""rich's tables and console with escaped text: nothing from a file acts on the terminal or is markup."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fxst.untrusted import printable

__all__ = ["Console", "Grid"]


class Console(RichConsole):
    """A console without markup, which escapes control characters other than its own.

    Args:
        err: Whether it writes to standard error.
        soft_wrap: Whether long lines are left for the terminal to wrap.
    """

    def __init__(self, *, err: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=err, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does, with each string on one line."""
        super().print(*(printable(item) if isinstance(item, str) else item for item in objects), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, and escape what cells did not escape."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, keep="\n"), style)


class Grid(Table):
    """A table without borders, in which each string is one line.

    Args:
        headings: The columns' headings.
        show_header: Whether to show them.
    """

    def __init__(self, *headings: str, show_header: bool = True) -> None:
        super().__init__(*headings, box=None, pad_edge=False, show_header=show_header)

    def add_row(self, *cells: RenderableType | None, **how: Any) -> None:
        """Add a row; a cell of several lines is a `Text`, whose parts the caller escapes."""
        super().add_row(*(Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells), **how)
