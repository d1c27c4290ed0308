"""The output of a training command: its result, how to continue, and the model's folder."""

from pathlib import Path
from typing import Protocol

import typer

from fxst import interrupts
from fxst.cli.terminal import say

__all__ = ["tell_result"]


class TrainingResult(Protocol):
    """The fields that the result of every training has."""

    @property
    def folder(self) -> Path: ...
    @property
    def steps(self) -> int: ...
    @property
    def interrupted(self) -> bool: ...


def tell_result(result: TrainingResult, findings: str) -> None:
    """Print the result of a training and the model's folder; exit with 130 or 143 if it was interrupted.

    Args:
        result: The result.
        findings: Sentences on the model's quality.
    """
    from fxst.cli.grids import Console

    console = Console(err=True, soft_wrap=True)
    state = "interrupted" if result.interrupted else "finished"
    console.print(f"Training {state} after {result.steps} steps. {findings}")
    if result.interrupted:
        console.print("Continue it with the same command and --resume.")
    say(str(result.folder))
    if result.interrupted:
        kind = interrupts.was_asked() or KeyboardInterrupt
        interrupts.forget()  # it is handled
        raise typer.Exit(interrupts.exit_code(kind()))
