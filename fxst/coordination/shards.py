"""Which share of a batch a process does: `--shard 3/100`, or what a scheduler's variables say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fxst.errors import SettingsError
from fxst.untrusted import brief, whole_number

__all__ = ["AUTO", "COUNT_VARIABLE", "INDEX_VARIABLE", "Shard", "array_expression", "shard_of"]

AUTO: Final = "auto"
INDEX_VARIABLE: Final = "FXST_SHARD_INDEX"
COUNT_VARIABLE: Final = "FXST_SHARDS"
_INDICES: Final = (INDEX_VARIABLE, "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
_SLURM_COUNT: Final = "SLURM_ARRAY_TASK_COUNT"


@dataclass(frozen=True)
class Shard:
    """A share of a batch.

    Args:
        index: Its number, from 0.
        count: The number of all shards.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(text: str, environment: Mapping[str, str]) -> Shard:
    """Read the value of `--shard`: `3/100`, or `auto`.

    `auto` takes the number from `FXST_SHARD_INDEX`, Slurm's `SLURM_ARRAY_TASK_ID` or Kubernetes'
    `JOB_COMPLETION_INDEX`, and the count from `FXST_SHARDS`, or from Slurm where an array is whole.

    Args:
        text: The value.
        environment: The variables of the process.

    Raises:
        SettingsError: It is no shard, or the variables do not name one.
    """
    if text == AUTO:
        return _of_environment(environment)
    parts = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if parts is None:
        raise SettingsError(
            f"--shard {brief(text)} is no shard: write 0/100 for the first of a hundred, or auto in a job array."
        )
    return _checked(int(parts[1]), int(parts[2]), "--shard")


def _of_environment(environment: Mapping[str, str]) -> Shard:
    given = {name: environment[name] for name in _INDICES if environment.get(name)}
    if not given:
        half = f"{COUNT_VARIABLE} is set, but " if environment.get(COUNT_VARIABLE) else ""
        raise SettingsError(
            f"--shard auto finds no number: {half}none of {', '.join(_INDICES)} is. Run it in a job array, or write "
            "--shard 0/100."
        )
    numbers = {name: _number(name, text) for name, text in given.items()}
    if len(set(numbers.values())) > 1:
        told = ", ".join(f"{name}={number}" for name, number in numbers.items())
        raise SettingsError(f"--shard auto finds two numbers ({told}): unset one, or write --shard 0/100.")
    source, index = next(iter(numbers.items()))
    if environment.get(COUNT_VARIABLE):
        return _checked(index, _number(COUNT_VARIABLE, environment[COUNT_VARIABLE]), source)
    if source != "SLURM_ARRAY_TASK_ID" or not environment.get(_SLURM_COUNT):
        raise SettingsError(
            f"--shard auto finds the number {source}={index}, and not of how many: set {COUNT_VARIABLE} to the number "
            "of shards."
        )
    count = _number(_SLURM_COUNT, environment[_SLURM_COUNT])
    first, last = (
        _number(name, environment.get(name) or text)
        for name, text in (("SLURM_ARRAY_TASK_MIN", "0"), ("SLURM_ARRAY_TASK_MAX", str(count - 1)))
    )
    if (first, last) != (0, count - 1):
        raise SettingsError(
            f"Slurm's array runs from {first} to {last} with {count:,} {'task' if count == 1 else 'tasks'}, which is "
            f"not 0 to {count - 1}: shards count from 0. For a whole array write --array=0-{count - 1}; for a part of "
            f"one set {COUNT_VARIABLE} to the number of all shards."
        )
    return _checked(index, count, source)


def _number(name: str, text: str) -> int:
    try:
        return whole_number(text)
    except ValueError as error:
        raise SettingsError(f"{name} is {brief(text)}, which is no whole number: correct or unset it.") from error


def _checked(index: int, count: int, source: str) -> Shard:
    if not 0 <= index < count:
        raise SettingsError(
            f"{source}: there is no shard {index} of {count}: shards count from 0"
            + (f", so the last one is {count - 1}/{count}." if count > 0 else ", and there is at least one.")
        )
    return Shard(index, count)


def array_expression(numbers: list[int]) -> str:
    """Return numbers as Slurm's `--array` takes them.

    >>> array_expression([0, 1, 2, 5, 7, 8])
    '0-2,5,7-8'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
