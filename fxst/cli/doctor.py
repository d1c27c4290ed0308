"""`fxst doctor`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.configs import DoctorConfig

if TYPE_CHECKING:
    from fxst.doctor import Check

COLOURS: Final = {"ok": "green", "missing": "yellow", "failed": "red"}


@command(app, DoctorConfig, "doctor")
def _doctor(config: DoctorConfig) -> None:
    """Look at everything, and fail if something required is not well."""
    from fxst.doctor import examine, is_well

    checks = list(examine())
    well = is_well(checks)
    if config.format == "json":
        told = {
            "format": "fxst-doctor",
            "format_version": 1,
            "well": well,
            "checks": [asdict(check) for check in checks],
        }
        typer.echo(json.dumps(told, indent=1))
    else:
        _show(checks)
    for check in checks:
        if check.required and check.state != "ok":
            typer.secho(f"fxst: {check.part} is needed: {check.remedy}.", fg=typer.colors.RED, err=True)
    if not well:
        raise typer.Exit(1)


def _show(checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    group = ""
    for check in checks:
        words = [check.found, f"for {check.purpose}" if check.purpose and check.state != "ok" else "", check.remedy]
        state = Text(check.state, style=COLOURS[check.state])
        grid.add_row("" if check.group == group else check.group, check.part, state, "; ".join(filter(None, words)))
        group = check.group
    Console(markup=False, highlight=False).print(grid)
