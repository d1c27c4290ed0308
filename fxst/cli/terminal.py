"""Printing for all commands, escaped so that nothing from a file acts on the terminal."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

import typer

from fxst.untrusted import printable, to_json

__all__ = ["complain", "print_json", "say", "say_rows", "warn"]


def say(text: str, *, err: bool = False) -> None:
    """Print one line.

    Args:
        text: The text, any part of which may come from a file.
        err: Whether to print to standard error.
    """
    typer.echo(printable(text), err=err)


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
        typer.echo(textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * indent), err=err)


def warn(text: str) -> None:
    """Print a remark to standard error."""
    typer.secho(f"fxst: {printable(text)}", fg=typer.colors.YELLOW, err=True)


def complain(text: str) -> None:
    """Print an error to standard error."""
    typer.secho(f"fxst: {printable(text)}", fg=typer.colors.RED, err=True)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print plain data as standard JSON in printable ASCII."""
    typer.echo(to_json(value, indent=indent))
