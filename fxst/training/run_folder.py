"""A run's folder: what it was begun with, its checkpoints, and its table of losses.

It holds `config.json`, `checkpoints/` (`best.ckpt`, `last.ckpt` to resume from, and `stages.ckpt` of a curriculum),
`logs/` (CSV and TensorBoard), `losses.csv`, `losses.png`, and the exported model.
"""

import contextlib
import hashlib
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
from fxst.configs import CHANGEABLE, ProxyConfig, TrainingConfig, flags
from fxst.data import manifest
from fxst.errors import AudioError, ModelError, NothingMatchedError, SettingsError
from fxst.untrusted import from_json, shell_word, to_json
from fxst.version import __version__

__all__ = [
    "CONFIG",
    "begin",
    "change",
    "command_of",
    "contents_of",
    "damaged",
    "is_of",
    "read_checkpoint",
    "read_config",
    "writable",
]

CONFIG: Final = "config.json"

_DATASETS: Final = ("dataset", "also")
"""Settings that name data, which a resumed run knows by its content."""

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
        AudioError: The data cannot be read.
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
    contents = list(map(_content, _data(config)))
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write(config, folder, _this_command(), contents)


def change(config: TrainingConfig, folder: Path) -> None:
    """Keep what a resumed run is changed to, so that it can be resumed again.

    Raises:
        ModelError: The folder's record is damaged.
        OutputError: It cannot be written.
    """
    record = _record(folder)
    if _settings(config) != record["config"]:
        longer = config.steps != record["config"]["steps"]
        command = f"{record['command']} && {_this_command()}" if longer else record["command"]
        with writable(folder):
            _write(config, folder, command, record["contents"])


def _write(config: TrainingConfig, folder: Path, command: str, contents: Sequence[str]) -> None:
    record = {
        "fxst_version": __version__,
        "kind": type(config).__name__,
        "command": command,
        "config": _settings(config),
        "contents": contents,
    }
    staging.write(folder / CONFIG, (to_json(record, indent=1) + "\n").encode())


def _this_command() -> str:
    return " ".join(map(shell_word, ["fxst", *sys.argv[1:]]))


def _settings(config: TrainingConfig) -> dict[str, Any]:
    """Return a configuration as JSON has it."""
    return {name: _located(name, value) for name, value in asdict(config).items() if name != "output"}


def _data(config: TrainingConfig) -> list[Path]:
    """Return the datasets of a run."""
    return [config.dataset, *getattr(config, "also", ())]


def _content(folder: Path) -> str:
    """Return a hash of a dataset: of its clips and their manifest; of a type of the user's own, of all its files.

    It is empty for what is not there, which the user's own code may read all the same.

    Raises:
        AudioError: It cannot be read.
    """
    if not folder.exists():
        return ""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else [folder]
    if (folder / manifest.CARD).is_file():
        files = [path for path in files if path.name == manifest.MANIFEST or path.match(manifest.SHARDS)]
    digest = hashlib.sha256()
    try:
        for path in files:
            with open(path, "rb") as file:
                name = path.relative_to(folder).as_posix()
                digest.update(f"{name!a} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AudioError(f"{str(path)!r} cannot be read ({reason}): check the dataset.") from error
    return digest.hexdigest()


def is_of(config: TrainingConfig, folder: Path) -> bool:
    """Return whether a folder holds a run that was begun with the same settings."""
    if not (folder / CONFIG).is_file():
        return False
    return bool(from_json(to_json(_settings(config))) == _record(folder)["config"])


def _located(name: str, value: Any) -> Any:
    """Make paths absolute: a run is resumed from any folder."""
    if isinstance(value, tuple):
        return [_located(name, item) for item in value]
    model = name == "begin_with" and value and Path(value, "card.json").is_file()
    return str(Path(value).absolute()) if model or isinstance(value, Path) else value


def command_of(folder: Path) -> str:
    """Return the command that a run was begun with, and those that made it longer."""
    return str(_record(folder)["command"])


def contents_of(folder: Path) -> list[str]:
    """Return a hash of each dataset of a run; of a run of an earlier version, none."""
    return list(_record(folder)["contents"])


def read_config(folder: Path, kinds: Sequence[type[Config]], changes: Mapping[str, Any]) -> Config:
    """Read what a run was begun with.

    Args:
        folder: The run's folder.
        kinds: The configurations that it may have.
        changes: What is to be changed, of `CHANGEABLE`; where its datasets are now; and what stays the same.

    Raises:
        AudioError: A dataset cannot be read.
        ModelError: The file is damaged.
        NothingMatchedError: A dataset is no longer there.
        SettingsError: There is no such run, a change is not allowed, or a dataset has changed.
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
    kept = record["config"]
    if other := [
        options.get(name, f"--{name}")
        for name, value in changes.items()
        if name not in known or not (name in CHANGEABLE or _is_same(name, value, kept.get(name)))
    ]:
        raise SettingsError(f"A run is resumed with its own settings: leave out {', '.join(other)}.")
    with damaged(folder / CONFIG):
        hints = get_type_hints(kind)
        needed = {item.name for item in fields(kind) if item.default is MISSING}
        if not needed <= record["config"].keys() <= known:
            raise ValueError("other settings")
        settings = {name: _typed(hints[name], value) for name, value in record["config"].items()}
        config = kind(**{**settings, **changes, "output": folder})
    _check_data(config, folder, record["contents"])
    return config


def _is_same(name: str, value: Any, kept: Any) -> bool:
    """Return whether a setting is what it was; datasets may have moved."""
    if name in _DATASETS:
        return not isinstance(value, tuple) or len(value) == len(kept)
    return bool(from_json(to_json(_located(name, value))) == kept)


def _check_data(config: TrainingConfig, folder: Path, contents: Sequence[str]) -> None:
    """Check that a resumed run has the data that it was begun with, wherever that is now.

    Raises:
        AudioError: It cannot be read.
        NothingMatchedError: It is not there.
        SettingsError: It has changed.
    """
    command = "fxst proxy train" if isinstance(config, ProxyConfig) else "fxst style train"
    for number, (path, content) in enumerate(zip(_data(config), contents, strict=False)):
        if not content:  # the user's own code reads it
            continue
        data = f"{shell_word(config.dataset)} --also DATASET" if number else "DATASET"
        remedy = f"`{command} {data} -o {shell_word(folder)} --resume`"
        if not path.exists():
            raise NothingMatchedError(
                f"The dataset {str(path)!r} of the run {str(folder)!r} is no longer there: name its folder with "
                f"{remedy}."
            )
        if _content(path) != content:
            raise SettingsError(
                f"The dataset {str(path)!r} is not the one that the run {str(folder)!r} was begun with: name that one "
                f"with {remedy}, or start a new run with another -o."
            )


def _record(folder: Path) -> dict[str, Any]:
    with damaged(folder / CONFIG):
        record = from_json((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(record["config"], dict):
            raise ValueError("no settings")
        contents = record.get("contents", [])
        if not isinstance(contents, list):
            raise ValueError("no list of contents")
        return {name: record[name] for name in ("kind", "command", "config")} | {"contents": contents}


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
