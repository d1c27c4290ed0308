"""The references of a command: recordings and style profiles, each with its weight."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fxst.batch.selection import recordings_in
from fxst.configs import ApplyConfig
from fxst.errors import NothingMatchedError, SettingsError
from fxst.transfer.profiles import SUFFIX
from fxst.untrusted import number, quoted

__all__ = ["Reference", "find_references", "names_of", "references_of", "split_weight"]


@dataclass(frozen=True)
class Reference:
    """A reference: a recording or a style profile.

    Args:
        path: The file.
        weight: Its weight.
        given: What the command names: the file, or the folder that it was found in.
        is_profile: Whether it is a style profile.
        role: What is taken from it alone: `eq` or `dynamics`; nothing for the rest.
    """

    path: Path
    weight: float
    given: Path
    is_profile: bool = False
    role: str = ""


def references_of(config: ApplyConfig) -> tuple[Reference, ...]:
    """Find the references of a command.

    Args:
        config: The command.

    Raises:
        NothingMatchedError: A folder of references holds no sound files.
        SettingsError: All weights are 0.
    """
    profiles = (_weighted(given) for given in config.styles)
    references = (
        *find_references(config.references, outside=config.output),
        *(Reference(path, weight, path, is_profile=True) for path, weight in profiles),
    )
    if references and not sum(reference.weight for reference in references):
        raise SettingsError("All references and styles have the weight 0: give one a weight above 0.")
    for role, given in (("eq", config.ref_eq), ("dynamics", config.ref_dynamics)):
        if given is not None:
            path = Path(given)
            is_profile = path.suffix.lower() == SUFFIX
            found = [Reference(path, 1.0, path, is_profile=True)] if is_profile else _found(path, 1.0, config.output)
            references += tuple(replace(reference, role=role) for reference in found)
    return references


def find_references(given: Sequence[str], *, outside: Path | None = None) -> tuple[Reference, ...]:
    """Find the recordings of names such as `a.wav`, `a.wav:2` and `folder`.

    A folder stands for all recordings below it, which share its weight. A file whose name ends in `:2` is that file.

    Args:
        given: The names.
        outside: A folder to leave out.

    Raises:
        NothingMatchedError: A folder holds no sound files.
    """
    return tuple(reference for name in given for reference in _found(*_weighted(name), outside))


def names_of(references: Sequence[Reference]) -> dict[str, str]:
    """Return the names of references and style profiles, for the provenance of a table."""
    names_by_kind: dict[str, list[str]] = {}
    weights: dict[tuple[bool, Path], float] = {}
    for reference in references:
        if reference.role:
            names_by_kind[f"reference_{reference.role}"] = [reference.given.name or str(reference.given)]
            continue
        key = reference.is_profile, reference.given
        weights[key] = weights.get(key, 0.0) + reference.weight
    for (is_profile, given), weight in weights.items():
        name = given.name or str(given)
        names_by_kind.setdefault("style" if is_profile else "reference", []).append(
            name if len(set(weights.values())) == 1 else f"{name}:{weight:g}"
        )
    return {kind: ", ".join(names) for kind, names in sorted(names_by_kind.items())}


def _found(path: Path, weight: float, outside: Path | None) -> Iterator[Reference]:
    if not path.is_dir():
        yield Reference(path, weight, path)
        return
    found = tuple(recordings_in(path, outside=outside, recursive=True))
    if not found:
        raise NothingMatchedError(f"{os.fspath(path)!r} holds no sound files: name another reference.")
    yield from (Reference(recording, weight / len(found), path) for recording in found)


def _weighted(given: str) -> tuple[Path, float]:
    """Split a name from its weight, which is 1 by default."""
    name, weight = split_weight(given)
    if not weight or Path(given).exists():
        return Path(given), 1.0
    try:
        if (found := number(weight[1:])) >= 0:
            return Path(name), found
    except ValueError:
        pass
    raise SettingsError(f"{given!r}: a weight is a number of 0 or more, such as {quoted(f'{name}:2')}.")


def split_weight(given: str) -> tuple[str, str]:
    """Split a name from what may be its weight, with the colon; empty where nothing is meant as one."""
    name, colon, weight = given.rpartition(":")
    return (name, colon + weight) if colon and name and _is_numeric(weight) else (given, "")


def _is_numeric(text: str) -> bool:
    """Return whether a text is meant as a number, in any spelling."""
    try:
        float(text)
    except ValueError:
        return False
    return True
