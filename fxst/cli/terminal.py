"""Printing for all commands, escaped so that nothing from a file acts on the terminal."""

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from fxst.untrusted import printable, to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["above", "bar_console", "complain", "is_plain", "print_json", "say", "say_rows", "warn"]

_bars: "Console | None" = None
"""The console that shows progress bars now. What is printed past it would be erased when they are drawn again."""


def say(text: str, *, err: bool = False) -> None:
    """Print one line.

    Args:
        text: The text, any part of which may come from a file.
        err: Whether to print to standard error.
    """
    _print(printable(text), err=err)


def say_rows(rows: Sequence[tuple[str, str]], *, err: bool = False) -> None:
    """Print a name and a text on each row, the texts below each other and as wide as the terminal.

    This is without rich, which takes as long to load as a second of audio to render.

    Args:
        rows: The names and texts, any part of which may come from a file.
        err: Whether to print to standard error.
    """
    names, texts = ([printable(cell) for cell in column] for column in zip(*rows, strict=True))
    indent = max(map(len, names)) + len(":  ")
    width = max(shutil.get_terminal_size().columns, 2 * indent)
    for name, text in zip(names, texts, strict=True):
        first = f"{name}:".ljust(indent)
        _print(textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * indent), err=err)


def warn(text: str) -> None:
    """Print a remark to standard error."""
    _print(f"fxst: {printable(text)}", err=True, colour=typer.colors.YELLOW)


def complain(text: str) -> None:
    """Print an error to standard error."""
    _print(f"fxst: {printable(text)}", err=True, colour=typer.colors.RED)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print plain data as standard JSON in printable ASCII."""
    _print(to_json(value, indent=indent), err=False)


def is_plain() -> bool:
    """Return whether the terminal is one that may know neither colours nor a cursor that moves."""
    return os.environ.get("TERM", "").lower() in ("", "dumb", "unknown") and os.name != "nt"


@contextlib.contextmanager
def above(console: "Console") -> Iterator[None]:
    """Print above the progress bars of a console during the block."""
    global _bars
    _bars = console if console.is_terminal and not is_plain() else None  # which shows no bars
    try:
        yield
    finally:
        _bars = None


def bar_console(*, err: bool) -> "Console | None":
    """Return the console that shows progress bars, if a stream goes to a terminal as well.

    Args:
        err: Whether the stream is standard error.
    """
    return _bars if (sys.stderr if err else sys.stdout).isatty() else None


def _print(text: str, *, err: bool, colour: str | None = None) -> None:
    console = bar_console(err=err)
    if console is not None:
        from rich.text import Text

        # Long lines are left for the terminal to wrap, so that they can be copied.
        console.print(Text(text, style=colour or ""), soft_wrap=True)
    elif colour is None or is_plain() or os.environ.get("NO_COLOR"):
        typer.echo(text, err=err)
    else:
        typer.secho(text, fg=colour, err=err)
