"""`fxst doctor`."""

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.terminal import complain, print_json, say
from fxst.configs import DoctorConfig

if TYPE_CHECKING:
    from fxst.doctor import Check

NARROW: Final = 60
"""A terminal of fewer columns has no room for a table."""

COLOURS: Final = {"ok": "green", "missing": "yellow", "failed": "red"}


@command(app, DoctorConfig, "doctor")
def _doctor(config: DoctorConfig) -> None:
    """Check everything, and fail if something required is missing or failed."""
    from fxst.doctor import examine, is_well

    checks = list(examine())
    well = is_well(checks)
    if config.format == "json":
        from fxst import records

        print_json(records.plain(records.DoctorReport, format_version=1, well=well, checks=list(map(asdict, checks))))
    else:
        _show(checks)
    for check in checks:
        if check.required and check.state != "ok":
            complain(f"{check.part} is needed: {check.remedy}.")
    if not well:
        raise typer.Exit(1)


def _show(checks: "list[Check]") -> None:
    if shutil.get_terminal_size().columns < NARROW:
        for check in checks:
            say(f"{check.part}: {check.state}")
            for text in filter(None, _details(check)):
                say(f"  {text}")  # which the terminal wraps, and a copied remedy stays whole
        return

    from rich.text import Text

    from fxst.cli.grids import Console, Grid

    grid = Grid(show_header=False)
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    group = ""
    for check in checks:
        state = Text(check.state, style=COLOURS[check.state])
        grid.add_row(
            "" if check.group == group else check.group, check.part, state, "; ".join(filter(None, _details(check)))
        )
        group = check.group
    Console().print(grid)


def _details(check: "Check") -> tuple[str, str, str]:
    """Return what was found, the purpose of a part that is not ok, and the remedy; each may be empty."""
    return check.found, f"for {check.purpose}" if check.purpose and check.state != "ok" else "", check.remedy
