"""Every command's settings: the only home of their names, types, defaults and help.

One frozen dataclass a command. The command line derives its arguments and options from the fields, the
library functions take the dataclass itself, and model cards quote it. Nothing here imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ApplyConfig", "DatasetConfig", "EvalConfig", "StyleConfig", "argument", "option"]


def argument(help: str, *, metavar: str | None = None, default: Any = ...) -> Any:
    """Declare a positional argument of a command; `default` makes it optional."""
    metadata = {"help": help, "argument": True, "metavar": metavar}
    if default is ...:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def option(
    default: Any,
    help: str,
    *,
    flags: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    metavar: str | None = None,
) -> Any:
    """Declare an option; without `flags` it is named after the field (`n_mels` is `--n-mels`)."""
    metadata = {"help": help, "flags": tuple(flags), "min": minimum, "max": maximum, "metavar": metavar}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DatasetConfig:
    """Cut a folder of recordings into clips to train on."""

    sources: tuple[Path, ...] = argument("Folders or files of recordings.", metavar="SOURCE...")
    output: Path = option(Path("data"), "Folder to write the dataset to.", flags=("--output", "-o"))
    clips: int = option(1000, "How many clips to cut; 0 takes every one there is.", flags=("--clips", "-n"), minimum=0)
    seconds: float = option(0.53, "Length of a clip, in seconds.", minimum=0.01)
    sample_rate: int = option(24_000, "Sample rate of the clips, in Hz.", minimum=8000)
    seed: int = option(0, "Seed of every random choice: same seed, same dataset.")
    workers: int = option(0, "Worker processes; 0 is one for each processor.", minimum=0)


@dataclass(frozen=True)
class StyleConfig:
    """Train a style-transfer model."""


@dataclass(frozen=True)
class ApplyConfig:
    """Make recordings sound as if they had been produced like another one."""


@dataclass(frozen=True)
class EvalConfig:
    """Measure style transfer."""
