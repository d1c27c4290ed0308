"""A run's folder: what it was begun with, its checkpoints, and its table of losses.

It holds `config.json`, `checkpoints/` (`best.ckpt`, `last.ckpt` to resume from, and `stages.ckpt` of a curriculum),
`logs/` (CSV and TensorBoard), `losses.csv`, `losses.png`, and the exported model.
"""

import contextlib
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import torch

from fxst import staging
from fxst.configs import CHANGEABLE, TrainingConfig, flags
from fxst.errors import ModelError, SettingsError
from fxst.untrusted import from_json, shell_word, to_json
from fxst.version import __version__

__all__ = ["CONFIG", "begin", "damaged", "is_of", "read_checkpoint", "read_config", "writable"]

CONFIG: Final = "config.json"

Config = TypeVar("Config", bound=TrainingConfig)


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Report that a run's folder cannot be written, where a block fails for that.

    Raises:
        OutputError: It does.
    """
    try:
        yield
    except OSError as error:
        raise staging.unwritable(folder, error) from error


def begin(config: TrainingConfig, folder: Path, *, first: bool = True) -> None:
    """Make a run's folder, and keep in it what the run is begun with.

    Args:
        config: The run's settings.
        folder: Its folder.
        first: Whether this is the first of its processes; the others only check.

    Raises:
        OutputError: It cannot be written.
        SettingsError: It holds something already.
    """
    with writable(folder):
        leftovers = {path.name for path in folder.iterdir()} if folder.exists() else set()
        # A run that ended before its first checkpoint leaves nothing that anyone would miss.
        begun = any(folder.glob("checkpoints/*.ckpt"))
        if begun or not leftovers <= {CONFIG, "cached-examples", "logs", "checkpoints"}:
            resume = " to continue its run, give it with --resume instead of the dataset, or" if begun else ""
            raise SettingsError(f"The folder {str(folder)!r} is not empty:{resume} choose another with -o.")
        if not first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "fxst_version": __version__,
            "kind": type(config).__name__,
            "command": " ".join(map(shell_word, ["fxst", *sys.argv[1:]])),
            "config": {name: _located(name, value) for name, value in asdict(config).items() if name != "output"},
        }
        staging.write(folder / CONFIG, (to_json(record, indent=1) + "\n").encode())


def is_of(config: TrainingConfig, folder: Path) -> bool:
    """Return whether a folder holds a run that was begun with the same settings."""
    if not (folder / CONFIG).is_file():
        return False
    settings = {name: _located(name, value) for name, value in asdict(config).items() if name != "output"}
    return bool(from_json(to_json(settings)) == _record(folder)["config"])


def _located(name: str, value: Any) -> Any:
    """Make paths absolute: a run is resumed from any folder."""
    if isinstance(value, tuple):
        return [_located(name, item) for item in value]
    model = name == "begin_with" and value and Path(value, "card.json").is_file()
    return str(Path(value).absolute()) if model or isinstance(value, Path) else value


def command_of(folder: Path) -> str:
    """Return the command that a run was begun with."""
    return str(_record(folder)["command"])


def read_config(folder: Path, kinds: Sequence[type[Config]], changes: Mapping[str, Any]) -> Config:
    """Read what a run was begun with.

    Args:
        folder: The run's folder.
        kinds: The configurations that it may have.
        changes: What is to be changed, of `CHANGEABLE`.

    Raises:
        ModelError: The file is damaged.
        SettingsError: There is no such run, or a change is not allowed.
    """
    if not (folder / CONFIG).is_file():
        raise SettingsError(f"{str(folder)!r} holds no run to resume: name the folder of a run, or leave out --resume.")
    record = _record(folder)
    kind = next((kind for kind in kinds if kind.__name__ == record["kind"]), None)
    if kind is None:
        raise SettingsError(
            f"The run in {str(folder)!r} is from the other training command: use fxst style train or fxst proxy train."
        )
    known = {item.name for item in fields(kind)}
    options = {item.name: flags(item)[0] for other in kinds for item in fields(other) if "flags" in item.metadata}
    if other := [options.get(name, f"--{name}") for name in changes if name not in CHANGEABLE or name not in known]:
        raise SettingsError(f"A run is resumed with its own settings: leave out {', '.join(other)}.")
    with damaged(folder / CONFIG):
        hints = get_type_hints(kind)
        needed = {item.name for item in fields(kind) if item.default is MISSING}
        if not needed <= record["config"].keys() <= known:
            raise ValueError("other settings")
        config = {name: _typed(hints[name], value) for name, value in record["config"].items()}
        return kind(**{**config, **changes, "output": folder})


def _record(folder: Path) -> dict[str, Any]:
    with damaged(folder / CONFIG):
        record = from_json((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(record["config"], dict):
            raise ValueError("no settings")
        return {"kind": record["kind"], "command": record["command"], "config": record["config"]}


def _typed(hint: Any, value: Any) -> Any:
    """Turn a value of JSON into one of a configuration's field."""
    if get_origin(hint) is types.UnionType:
        return None if value is None else _typed(get_args(hint)[0], value)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_typed(get_args(hint)[0], item) for item in value)
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint not in (int, str) or type(value) is not hint:
        raise ValueError(f"{value!r} is not a value of {hint}")
    return value


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Report that a file is damaged, where a block fails for that.

    Raises:
        ModelError: It does.
    """
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(
            f"{str(path)!r} is damaged, or was not written by this command; start a new run in another folder."
        ) from error


def read_checkpoint(path: Path, parts: AbstractSet[str]) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain data, and never an object, whose making could run a program.

    Args:
        path: The file.
        parts: What it must hold.

    Raises:
        ModelError: It is no such file, or damaged.
    """
    with damaged(path):
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not kept.keys() >= parts:
            raise ValueError("parts are missing")
        return kept
