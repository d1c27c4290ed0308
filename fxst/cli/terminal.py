"""What commands print: the one way out, on which nothing that a file holds acts on a terminal."""

from typing import Any

import typer

from fxst.untrusted import printable, to_json

__all__ = ["complain", "print_json", "say", "warn"]


def say(text: str, *, err: bool = False) -> None:
    """Print one line of words.

    Args:
        text: The words, of which any part may come from a file.
        err: Whether they go to standard error.
    """
    typer.echo(printable(text), err=err)


def warn(text: str) -> None:
    """Print what a person should know to standard error."""
    typer.secho(f"fxst: {printable(text)}", fg=typer.colors.YELLOW, err=True)


def complain(text: str) -> None:
    """Print what went wrong to standard error."""
    typer.secho(f"fxst: {printable(text)}", fg=typer.colors.RED, err=True)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print plain data for programs, as standard JSON in printable ASCII."""
    typer.echo(to_json(value, indent=indent))
