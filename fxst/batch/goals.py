"""What recordings are to sound like: references and style profiles, each with its weight."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxst.batch.selection import recordings_in
from fxst.configs import ApplyConfig
from fxst.errors import NothingMatchedError, SettingsError
from fxst.untrusted import number, quoted

__all__ = ["Goal", "goals_of", "references_of", "told_of"]


@dataclass(frozen=True)
class Goal:
    """One recording, or one profile, to sound like.

    Args:
        path: The file.
        weight: How much it counts beside others.
        given: What was named: the file, or the folder that it was found in.
        is_profile: Whether it is a style profile, and no recording.
    """

    path: Path
    weight: float
    given: Path
    is_profile: bool = False


def goals_of(config: ApplyConfig) -> tuple[Goal, ...]:
    """Find all that a command's recordings are to sound like.

    Args:
        config: The command.

    Raises:
        NothingMatchedError: A folder of references holds no sound files.
        SettingsError: All weights are 0.
    """
    profiles = (_weighted(given) for given in config.styles)
    goals = (
        *references_of(config.references, outside=config.output),
        *(Goal(path, weight, path, is_profile=True) for path, weight in profiles),
    )
    if goals and not sum(goal.weight for goal in goals):
        raise SettingsError("All references and styles have the weight 0: give one a weight above 0.")
    return goals


def references_of(given: Sequence[str], *, outside: Path | None = None) -> tuple[Goal, ...]:
    """Find the recordings that are meant by names such as `a.wav`, `a.wav:2` and `folder`.

    A folder stands for all recordings below it, which share its weight. A file whose name ends in `:2` is that file.

    Args:
        given: The names.
        outside: A folder that nothing is taken from.

    Raises:
        NothingMatchedError: A folder holds no sound files.
    """
    return tuple(goal for name in given for goal in _of_reference(*_weighted(name), outside))


def told_of(goals: Sequence[Goal]) -> dict[str, str]:
    """Say what recordings are to sound like, for a table to tell."""
    told: dict[str, list[str]] = {}
    weights: dict[tuple[bool, Path], float] = {}
    for goal in goals:
        key = goal.is_profile, goal.given
        weights[key] = weights.get(key, 0.0) + goal.weight
    for (is_profile, given), weight in weights.items():
        name = given.name or str(given)
        told.setdefault("style" if is_profile else "reference", []).append(
            name if len(set(weights.values())) == 1 else f"{name}:{weight:g}"
        )
    return {kind: ", ".join(names) for kind, names in told.items()}


def _of_reference(path: Path, weight: float, outside: Path | None) -> Iterator[Goal]:
    if not path.is_dir():
        yield Goal(path, weight, path)
        return
    found = tuple(recordings_in(path, outside=outside, recursive=True))
    if not found:
        raise NothingMatchedError(f"{os.fspath(path)!r} holds no sound files: name another reference.")
    yield from (Goal(recording, weight / len(found), path) for recording in found)


def _weighted(given: str) -> tuple[Path, float]:
    """Divide a name from the weight behind it, which is 1 where there is none."""
    name, colon, weight = given.rpartition(":")
    if not (colon and name and _is_numeric(weight)) or Path(given).exists():
        return Path(given), 1.0
    try:
        if (found := number(weight)) >= 0:
            return Path(name), found
    except ValueError:
        pass
    raise SettingsError(f"{given!r}: a weight is a number from 0 on, such as {quoted(f'{name}:2')}.")


def _is_numeric(text: str) -> bool:
    """Whether somebody meant a number, in whatever spelling."""
    try:
        float(text)
    except ValueError:
        return False
    return True
