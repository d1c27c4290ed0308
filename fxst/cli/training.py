"""How a training command ends: what it came to, how to go on, and where the model is."""

from pathlib import Path
from typing import Protocol

import typer

from fxst import interrupts
from fxst.cli.terminal import say

__all__ = ["tell_result"]


class TrainingResult(Protocol):
    """What every training gives back."""

    @property
    def folder(self) -> Path: ...
    @property
    def steps(self) -> int: ...
    @property
    def interrupted(self) -> bool: ...


def tell_result(result: TrainingResult, findings: str) -> None:
    """Tell what a training came to, and print the folder of the model; exit 130 or 143 when it was interrupted.

    Args:
        result: Of the training.
        findings: How good the model is.
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
        interrupts.forget()  # for it is told
        raise typer.Exit(interrupts.exit_code(kind()))
