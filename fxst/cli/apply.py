"""`fxst apply`."""

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.configs import ApplyConfig

if TYPE_CHECKING:
    from fxst.batch.files import Progress
    from fxst.batch.report import TransferReport
    from fxst.batch.run import FileResult
    from fxst.tables import Table


@command(app, ApplyConfig, "apply")
def apply(config: ApplyConfig) -> None:
    """Apply, tell of each file what came of it, and fail if one failed."""
    if config.reference is None and config.params is None:
        raise typer.BadParameter("name a recording to sound like (--ref), or a parameter table to apply (--params).")

    # A table that is applied is the same for all files; of several new ones, each lies beside its output.
    to_show = config.reference is None or (len(config.inputs) == 1 and not config.inputs[0].is_dir())
    failed = False
    references = () if config.reference is None else (config.reference,)
    page = _page(config, references)
    with _progress_bar() as progress:
        for result in _begin(config, progress):
            if page is not None:
                page.add(result)
            if result.settings is None:
                failed = True
                typer.secho(f"fxst: {result.error}", fg=typer.colors.RED, err=True)
                continue
            if to_show:
                _show(result.settings)
                to_show = False
            typer.echo(
                f"wrote {str(result.output)!r}" + (f", settings in {str(result.table)!r}" if result.table else "")
            )
            if config.plot is not None:
                from fxst.plots import plot_transfer

                plot_transfer(
                    config.plot,
                    input=result.input,
                    output=result.output,
                    references=references,
                    settings=result.settings,
                )
                typer.echo(f"wrote {str(config.plot)!r}")
            for warning in result.warnings:
                typer.secho(f"fxst: {str(result.input)!r}: {warning}", fg=typer.colors.YELLOW, err=True)
    if page is not None:
        page.write()
        typer.echo(f"wrote {str(config.report)!r}")
    if failed:
        raise typer.Exit(1)


def _page(config: ApplyConfig, references: "Sequence[Path]") -> "TransferReport | None":
    """Begin the page, where one is wanted."""
    if config.report is None:
        return None
    from fxst.batch.report import TransferReport

    return TransferReport(config.report, references=references, items=config.report_items)


def _begin(config: ApplyConfig, progress: "Progress | None") -> "Iterator[FileResult]":
    """Load what is needed and begin to apply.

    Torch brings half a million objects that stay. Looking through them for garbage, while they come and once more
    when the program ends, would take a third of the time that loading takes.
    """
    gc.disable()
    try:
        from fxst.batch.run import apply_files

        return apply_files(config, progress)
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _progress_bar() -> "Iterator[Progress | None]":
    """Show how far the work on a file is, where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    # rich would send what is printed meanwhile to its own console, which is not where a pipe reads.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda path, done: bar.update(task, description=_plain(path), completed=done, total=1.0)


def _plain(path: Path) -> str:
    """Write a file's name so that nothing in it moves the cursor."""
    return repr(path.name)


def _show(table: "Table") -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    from fxst.tables import short

    grid = Grid("effect", "parameter", box=None, pad_edge=False)
    grid.add_column("value", justify="right")
    grid.add_column("unit")
    grid.add_column("range", justify="right")
    shown = ""
    away = table.out_of_the_way
    for row in table:
        span = "fixed" if row.minimum == row.maximum else f"{row.minimum:.4g} to {row.maximum:.4g}"
        if row.effect != shown and row.effect in away:
            grid.add_row(row.effect, "out of the way")
        elif row.effect not in away:
            grid.add_row(row.effect if row.effect != shown else "", row.parameter, short(row.value), row.unit, span)
        shown = row.effect
    console = Console(markup=False, highlight=False)
    console.print(grid)
    if table.confidence:
        shares = ", ".join(f"{label} {share:.0%}" for label, share in table.confidence.items())
        console.print(f"wanted, as the model hears it: {shares}")
