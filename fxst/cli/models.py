"""`fxst models list`, `info` and `verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from fxst.cli.app import app
from fxst.cli.commands import command_group
from fxst.cli.options import command
from fxst.cli.terminal import complain, print_json, say
from fxst.configs import ModelsInfoConfig, ModelsListConfig, ModelsVerifyConfig
from fxst.errors import ModelError
from fxst.untrusted import printable

if TYPE_CHECKING:
    from fxst.checkpoints.catalogue import CatalogueEntry

SOURCES: Final = 3
"""How many sources of a dataset are named without --verbose."""

models_app = command_group("List, describe and verify models.")
app.add_typer(models_app, name="models")


@command(models_app, ModelsListConfig, "list")
def _list(config: ModelsListConfig) -> None:
    """List the readable models, then the errors of the others."""
    from fxst.checkpoints import catalogue

    entries, problems = [], []
    for folder in catalogue.shipped():
        try:
            entries.append(catalogue.describe(folder))
        except ModelError as error:
            problems.append(str(error))
    if config.format == "json":
        _print_json("ModelsReport", models=[entry.to_dict() for entry in entries])
    else:
        _show_list(entries)
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(ModelError.exit_code)


@command(models_app, ModelsInfoConfig, "info")
def _info(config: ModelsInfoConfig) -> None:
    from fxst.checkpoints import catalogue

    entry = catalogue.describe(catalogue.locate(config.model))
    if config.format == "json":
        _print_json("ModelReport", **entry.to_dict(), limits=list(entry.limits), card=entry.card)
    else:
        _show_entry(entry, most_sources=None if config.verbose else SOURCES)


@command(models_app, ModelsVerifyConfig, "verify")
def _verify(config: ModelsVerifyConfig) -> None:
    """Load each model, and fail if one cannot be used."""
    from fxst.checkpoints import catalogue

    checked: list[dict[str, Any]] = []
    for model in config.models or catalogue.shipped():
        result: dict[str, Any] = {"name": Path(model).name, "folder": None, "whole": False, "sha256": None}
        result["error"] = None
        try:
            folder = model if isinstance(model, Path) else catalogue.locate(model)
            result["folder"] = str(folder)
            entry = catalogue.verify(folder)
            result |= {"name": entry.name, "whole": True, "sha256": entry.card["sha256"]}
        except ModelError as error:
            result["error"] = str(error)
        checked.append(result)
        if config.format == "table":
            if result["whole"]:
                say(f"{result['name']} is intact: {result['folder']}")
            else:
                complain(result["error"])
    if config.format == "json":
        _print_json("VerifyReport", models=checked)
    if not all(result["whole"] for result in checked):
        raise typer.Exit(ModelError.exit_code)


def _print_json(report: str, **parts: Any) -> None:
    from fxst import records

    print_json(records.plain(getattr(records, report), format_version=1, **parts))


def _show_list(entries: "list[CatalogueEntry]") -> None:
    from fxst.cli.grids import Console, Grid

    grid = Grid("model", "kind", "chain")
    grid.add_column("knobs", justify="right")
    grid.add_column("size", justify="right", no_wrap=True)
    grid.add_column("figure", overflow="fold")
    for entry in entries:
        name = f"{entry.name} (default)" if entry.is_default else entry.name
        figure = entry.figure.text if entry.figure else ""
        knobs = str(len(entry.chain.knobs))
        grid.add_row(name, entry.kind, entry.chain.name, knobs, _size(entry), figure)
    Console().print(grid)


def _show_entry(entry: "CatalogueEntry", *, most_sources: int | None) -> None:
    from rich.text import Text

    from fxst.cli.grids import Console, Grid

    grid = Grid(show_header=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")

    def add(title: str, *lines: object) -> None:
        shown = [printable(str(line)) for line in lines if line not in (None, "")]
        if shown:
            grid.add_row(title, Text("\n".join(shown)))

    called = {"style": "style model", "proxy": "proxy"}[entry.kind]
    add("model", f"{entry.name}, a {called}" + (", which fxst apply uses by default" if entry.is_default else ""))
    add("folder", entry.folder)
    add("weights", _size(entry))
    add("sha256", entry.card.get("sha256"))
    add("figure", entry.figure.text if entry.figure else "")
    add("figures", *(f"{name} {_number(value)}" for name, value in entry.figures.items()))
    add("limits", *entry.limits)
    add("data", *entry.data(most_sources=most_sources))
    add("recordings", entry.recordings)
    steps, seconds = entry.get("training", "steps"), entry.get("training", "seconds")
    add("training", f"{steps} steps in {seconds} s" if steps and seconds else "", *_history(entry))
    add("command", entry.get("training", "command"))
    add("made by", f"fxst {entry.get('fxst_version')}" if entry.get("fxst_version") else "")
    add("chain", f"{entry.chain.name}: {', '.join(entry.chain.labels)}; {len(entry.chain.knobs)} knobs")
    add("knobs", *(f"{label} {p.name}: {p.minimum:g} to {p.maximum:g} {p.unit}" for label, p in entry.chain.knobs))
    Console().print(grid)


def _size(entry: "CatalogueEntry") -> str:
    size = entry.weights_bytes
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _history(entry: "CatalogueEntry") -> list[Any]:
    history = entry.get("training", "history")
    return history if isinstance(history, list) else []


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
