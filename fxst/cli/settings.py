"""Values of options from settings files and presets, for every command.

There are two files: `fxst.toml` in the current folder, and one in the user's configuration folder. The first may be a
stranger's, as everything in that folder may: it names nothing that is run, replaces nothing, and writes in that folder
only.
"""

import math
import os
import stat
import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from fxst.cli.commands import Command, Declared
from fxst.configs import PRESETS, flags
from fxst.errors import SettingsError
from fxst.untrusted import brief, quoted

__all__ = ["FILE", "PROJECT", "OptionValue", "SettingsFile", "commands", "key_of", "read_files", "settings_of"]

FILE: Final = "fxst.toml"

PROJECT: Final = "project"
USER: Final = "user"

_LARGEST_BYTES: Final = 1 << 20

_NEVER_FROM_A_PROJECT: Final = ("overwrite", "engine", "address")
"""Options that the file of the current folder may not set: it may replace nothing, and send work nowhere."""
_WRITTEN: Final = ("output", "params", "plot", "report", "audio")
"""Options that name what is written: the file of the current folder may name only what is in that folder."""
_RECORDINGS: Final = ("references", "styles")
_MODELS: Final = ("model", "models", "begin_with")
"""Options whose texts name files: a recording with its weight, and a shipped model or a folder."""
_SOURCES: Final = ("references", "styles", "params", "params_dir")
_BARE: Final = ("-", "json", "csv")
"""What stands for no file where a path is expected."""
_NUMBERS: Final = ("LUFS", "DBTP", "SECONDS", "PERCENT")
"""What texts that may be numbers hold, by their placeholder in the help."""


class SettingsFile(NamedTuple):
    """A settings file.

    Args:
        origin: `project` or `user`.
        path: The file; None where the user has no configuration folder.
        values: Values of options, by command and field; None if there is no such file.
    """

    origin: str
    path: Path | None
    values: Mapping[str, Mapping[str, Any]] | None


class OptionValue(NamedTuple):
    """The value of an option that the command line does not give.

    Args:
        value: The value.
        origin: `project` or `user`; None for the command line, which may name a preset.
        preset: The preset that has it; None where it is named itself.
    """

    value: Any
    origin: str | None
    preset: str | None = None


def commands(root: Any) -> Iterator[tuple[str, Command]]:
    """Yield every command with its name, such as `style train`.

    Args:
        root: The program, or a group of its commands.
    """
    for name, command in root.commands.items():
        if isinstance(command, Command):
            yield name, command
        else:
            yield from ((f"{name} {inner}", found) for inner, found in commands(command))


def key_of(declared: Declared) -> str:
    """Return the name of an option in settings files."""
    return _keys(declared)[0]


def read_files(root: Any) -> tuple[SettingsFile, ...]:
    """Read the settings files, that of the current folder first.

    Args:
        root: The program, whose commands have the options.

    Raises:
        SettingsError: One cannot be read, or has an unknown key or a wrong value.
    """
    places = ((PROJECT, Path(FILE)), (USER, _user_file()))
    return tuple(SettingsFile(origin, path, _read(path, origin, root) if path else None) for origin, path in places)


def settings_of(command: str, files: tuple[SettingsFile, ...], given: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Return what the command line, the settings files and a preset set, by field.

    What is nearer to the command takes precedence: the command line, the current folder's file, the user's. A preset
    counts where it is named, after what is named there itself; only the first one counts. So do the options that name
    what is applied: with `--params` on the command line, a reference of a file would turn that table into an output.

    Args:
        command: The command's name.
        files: The settings files.
        given: What the command line gives, by field.
    """
    found: dict[str, OptionValue] = {}
    levels: list[tuple[str | None, Mapping[str, Any]]] = [(None, given)]
    levels += [(file.origin, (file.values or {}).get(command, {})) for file in files]
    for origin, values in levels:
        first, source = "preset" not in found, any(_names_source(field, one.value) for field, one in found.items())
        for field, value in values.items():
            if not (source and _names_source(field, value)):
                found.setdefault(field, OptionValue(value, origin))
        named = values.get("preset")
        if first and named is not None:
            for field, value in PRESETS.get(named, {}).items():
                found.setdefault(field, OptionValue(value, origin, named))
    return found


def _names_source(field: str, value: Any) -> bool:
    """Return whether an option of `fxst apply` names what is applied."""
    return field in _SOURCES and not (field == "params" and str(value) in _BARE)


def _user_file() -> Path | None:
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".config"
    except RuntimeError:  # a user without a home
        return None
    # A home that this user may not enter, as with some ways to change the user, has no settings of theirs.
    return base / "fxst" / FILE if not base.exists() or os.access(base, os.X_OK) else None


def _read(path: Path, origin: str, root: Any) -> Mapping[str, Mapping[str, Any]] | None:
    data = _content(path)
    if data is None:
        return None
    import tomllib

    try:
        tables = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n") + "\n")
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is one
        raise SettingsError(
            f"{quoted(path)} is not valid TOML ({error}): correct it, or leave it out with --no-config."
        ) from error
    found: dict[str, dict[str, Any]] = {}
    _collect(tables, (), root, _Place(path, origin), found)
    return found


def _content(path: Path) -> bytes | None:
    """Read a settings file; return None where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe of this name must not block
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"{quoted(path)} cannot be read ({reason}): check it, or leave it out with --no-config."
        ) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SettingsError(f"{quoted(path)} is not a file: move it away, or leave it out with --no-config.")
    with open(fd, "rb") as file:
        data = file.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise SettingsError(f"{quoted(path)} is too large for settings: it may have 1 MiB.")
    return data


class _Place(NamedTuple):
    """Where a value stands, for messages."""

    path: Path
    origin: str
    table: str = ""

    def error(self, text: str) -> SettingsError:
        table = f", [{self.table}]" if self.table else ""
        return SettingsError(f"{quoted(self.path)}{table}: {text}.")


def _collect(
    tables: Mapping[str, Any], names: tuple[str, ...], group: Any, place: _Place, found: dict[str, dict[str, Any]]
) -> None:
    """Take the tables of a group of commands."""
    for name, table in tables.items():
        inner = (*names, name)
        if name == "effects" and not names:
            raise place.error(
                "effects is not taken from a file, for it names programs: give --effects before the command"
            )
        if name not in group.commands:
            what = "command" if isinstance(table, dict) else "table"
            whole = ".".join(inner)
            known = [".".join((*names, other)) for other in group.commands]
            raise place.error(
                f"there is no {what} {whole!r}{_meant(whole, known)}; options stand in the table of their command, "
                "such as [apply]"
            )
        if not isinstance(table, dict):
            raise place.error(f"{'.'.join(inner)} is a command: write [{'.'.join(inner)}], and its options below it")
        command, here = group.commands[name], place._replace(table=".".join(inner))
        if isinstance(command, Command):
            found[" ".join(inner)] = _options(table, command, here)
        else:
            _collect(table, inner, command, here, found)


def _options(table: Mapping[str, Any], command: Command, place: _Place) -> dict[str, Any]:
    options = {key: declared for declared in command.declared.values() for key in _keys(declared)}
    values: dict[str, Any] = {}
    for written, value in table.items():
        key = written.replace("_", "-")
        if key not in options:
            argument = any(
                key in (field, str(declared.item.metadata.get("metavar")).lower())
                for field, declared in command.declared.items()
            )
            if argument:
                raise place.error(f"{written} is no option: name it on the command line")
            raise place.error(f"there is no option {written!r}{_meant(key, options)}")
        declared = options[key]
        field = declared.item.name
        if field in values:
            raise place.error(f"{written} is set twice")
        try:
            values[field] = _value(declared, value, place)
        except ValueError as error:
            raise place.error(f"{written} must be {error}, and is {brief(value)}") from error
        if place.origin == PROJECT:
            _check_project(field, values[field], written, place)
    return values


def _meant(name: str, known: Any) -> str:
    close = get_close_matches(name.lower(), list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _keys(declared: Declared) -> list[str]:
    """Return the names of an option in settings files; an argument has none."""
    if declared.item.metadata.get("argument"):
        return []
    names = (flag.split("/")[0] for flag in flags(declared.item))
    return [name.removeprefix("--") for name in names if name.startswith("--")]


def _check_project(field: str, value: Any, written: str, place: _Place) -> None:
    """Check what the file of the current folder may not do."""
    if field in _NEVER_FROM_A_PROJECT:
        raise place.error(
            f"{written} is not taken from the current folder, which may be a stranger's: give it on the command line, "
            "or set it in your own settings file"
        )
    here = Path.cwd().resolve()
    if field in _WRITTEN and not Path(value).resolve().is_relative_to(here):
        raise place.error(
            f"{written} leads out of this folder, to {quoted(str(value))}: give it on the command line, or set it in "
            "your own settings file"
        )


def _value(declared: Declared, value: Any, place: _Place) -> Any:
    """Return the value of an option; raise ValueError with what it must be."""
    hint = declared.hint
    if get_origin(hint) is types.UnionType:
        (hint,) = (kind for kind in get_args(hint) if kind is not types.NoneType)
    if get_origin(hint) is not tuple:
        return _one(declared, hint, value, place)
    kind = get_args(hint)[0]
    return [_one(declared, kind, item, place) for item in (value if isinstance(value, list) else [value])]


def _one(declared: Declared, hint: Any, value: Any, place: _Place) -> Any:
    meta, field = declared.item.metadata, declared.item.name
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"one of {', '.join(get_args(hint))}{_meant(str(value), get_args(hint))}")
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint in (int, float):
        low, high = meta["min"], meta["max"]
        fits = is_number and (low is None or value >= low) and (high is None or value <= high)
        if not fits or (hint is int and not isinstance(value, int)):
            limits = "" if low is None else f" from {low:g}" + ("" if high is None else f" to {high:g}")
            raise ValueError(f"a {'whole ' if hint is int else ''}number{limits}")
        return hint(value)
    as_number = meta["metavar"] in _NUMBERS
    if is_number and as_number:
        return f"{value:.9g}"
    if not isinstance(value, str):
        raise ValueError(f"{'a number or ' if as_number else ''}a text in quotes")
    from fxst.storage.urls import is_object

    if is_object(value) and (hint is Path or field in _RECORDINGS):
        raise ValueError("a file: the URL of an object is for the command line")
    if hint is Path or field in _RECORDINGS or (field in _MODELS and os.sep in value):
        value = _located(value, place)
    return Path(value) if hint is Path else value


def _located(name: str, place: _Place) -> str:
    """Return a file's name as the current folder has it: in settings files it is relative to their folder."""
    try:
        name = os.path.expanduser(name) if name.startswith("~") else name  # noqa: PTH111  (`./` must stay)
    except RuntimeError as error:
        raise place.error(f"{name!r} needs a home: write the whole path") from error
    return name if place.origin == PROJECT or name in _BARE else os.path.join(place.path.parent, name)  # noqa: PTH118
