"""`fxst config show`."""

from dataclasses import MISSING
from pathlib import Path
from typing import Any

import typer

from fxst.cli.app import app
from fxst.cli.commands import Command, Declared, command_group
from fxst.cli.options import command
from fxst.cli.settings import OptionValue, SettingsFile, commands, key_of, read_files, settings_of
from fxst.cli.terminal import print_json, say
from fxst.configs import ConfigShowConfig
from fxst.errors import unknown
from fxst.untrusted import quoted

__all__: list[str] = []

config_app = command_group("Settings files, and what they set.")
app.add_typer(config_app, name="config")


@command(config_app, ConfigShowConfig, "show")
def _show(config: ConfigShowConfig) -> None:
    root: Any = typer.main.get_command(app)
    known = {name: found for name, found in commands(root) if any(map(_is_option, found.declared.values()))}
    wanted = " ".join(config.command)
    shown = {name: found for name, found in known.items() if not wanted or f"{name} ".startswith(f"{wanted} ")}
    if not shown:
        raise typer.BadParameter(f"{unknown('command', wanted, known)}.")
    files = read_files(root)
    if config.json:
        print_json(
            {
                "format": "fxst-config",
                "format_version": 1,
                "files": {file.origin: _of_file(file) for file in files},
                "commands": {name: _of_command(name, found, files) for name, found in shown.items()},
            }
        )
        return

    from fxst.cli.grids import Console, Grid

    for file, what in zip(files, ("this folder", "the user"), strict=True):
        path = "no configuration folder" if file.path is None else quoted(file.path)
        say(f"File of {what}: {path}{', not there' if file.path and file.values is None else ''}")
    console = Console()
    for name, found in shown.items():
        console.print()
        console.print(f"fxst {name}", style="bold")
        grid = Grid("option", "value", "from")
        for key, entry in _of_command(name, found, files).items():
            preset = f"preset {entry['preset']}, in " if entry["preset"] else ""
            source = next((file.path for file in files if file.origin == entry["source"]), None)
            grid.add_row(f"--{key}", _text(entry["value"]), f"{preset}{source or 'default'}")
        console.print(grid)


def _is_option(declared: Any) -> bool:
    return not declared.item.metadata.get("argument")


def _of_file(file: SettingsFile) -> dict[str, Any]:
    return {"path": None if file.path is None else str(file.path), "exists": file.values is not None}


def _of_command(name: str, found: Command, files: tuple[SettingsFile, ...]) -> dict[str, dict[str, Any]]:
    """Return value and source of every option, by its name."""
    settings = settings_of(name, files, {})
    entries = {}
    for field, declared in found.declared.items():
        if _is_option(declared):
            setting = settings.get(field, OptionValue(_default(declared), "default"))
            entries[key_of(declared)] = {
                "value": _plain(setting.value), "source": setting.origin, "preset": setting.preset,
            }  # fmt: skip
    return entries


def _default(declared: Declared) -> Any:
    return None if declared.item.default is MISSING else declared.item.default


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
