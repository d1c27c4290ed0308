"""Printing for all commands, escaped so that nothing from a file acts on the terminal."""

from typing import Any

import typer

from fxst.untrusted import printable, to_json

__all__ = ["complain", "print_json", "say", "warn"]


def say(text: str, *, err: bool = False) -> None:
    """Print one line.

    Args:
        text: The text, any part of which may come from a file.
        err: Whether to print to standard error.
    """
    typer.echo(printable(text), err=err)


def warn(text: str) -> None:
    """Print a remark to standard error."""
    typer.secho(f"fxst: {printable(text)}", fg=typer.colors.YELLOW, err=True)


def complain(text: str) -> None:
    """Print an error to standard error."""
    typer.secho(f"fxst: {printable(text)}", fg=typer.colors.RED, err=True)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print plain data as standard JSON in printable ASCII."""
    typer.echo(to_json(value, indent=indent))
