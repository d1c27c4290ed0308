"""`fxst eval`."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer

from fxst.cli.app import app
from fxst.cli.options import command
from fxst.configs import EvalConfig
from fxst.errors import SettingsError

MOST_ERRORS: Final = 3

if TYPE_CHECKING:
    from rich.text import Text

    from fxst.evaluation.evaluate import Evaluation
    from fxst.evaluation.scores import Progress
    from fxst.evaluation.summary import Interval


@command(app, EvalConfig, "eval")
def _evaluate(config: EvalConfig) -> None:
    """Evaluate, show the table, and fail if a system did, or fell short of what was required."""
    if (config.pairs is None) == (config.data is None):
        raise typer.BadParameter("name either a CSV of recordings (--pairs) or a dataset (--data).")

    from fxst.evaluation.summary import Requirement

    for text in config.require:
        try:
            Requirement.parse(text)
        except SettingsError as error:
            raise typer.BadParameter(str(error), param_hint="--require") from error

    from fxst import load
    from fxst.evaluation.evaluate import evaluate

    models = [load(model, device=config.device) for model in config.models]
    with _progress_bar() as progress:
        evaluation = evaluate(config, models, progress)
    _show(evaluation)
    _tell_of_errors(evaluation)
    empty = [row.system for row in evaluation.rows if row.empty]
    for system in empty:
        typer.secho(f"fxst: {system} could not be measured on any item.", fg=typer.colors.RED, err=True)
    for sentence in evaluation.shortfalls:
        typer.secho(f"fxst: {sentence}", fg=typer.colors.RED, err=True)
    if empty or evaluation.shortfalls or any(score.error for score in evaluation.scores):
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress_bar() -> "Iterator[Progress | None]":
    """Show how many items are done, where a person watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("items", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(evaluation: "Evaluation") -> None:
    """Print a row for each system, and under it what share of the input's distances is left."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fxst.evaluation.metrics import METRICS
    from fxst.evaluation.summary import INPUT

    table = Table(box=None, pad_edge=False)
    table.add_column()
    for metric in METRICS:
        table.add_column(f"{metric.heading}\n{metric.unit}", justify="right", no_wrap=True)
    for row in evaluation.rows:
        figures = [row.figures[metric.name] for metric in METRICS]
        counts = [Text(f"\n{figure.missing} missing" if figure.missing else "", style="yellow") for figure in figures]
        cells = [_cell(figure.mean) + count for figure, count in zip(figures, counts, strict=True)]
        table.add_row(Text(row.system, style="bold"), *cells)
        if row.system != INPUT:
            table.add_row(Text("  of input", style="dim"), *(_cell(figure.ratio) for figure in figures))
    # As wide as the table is: a pipe has no width, and a narrow terminal wraps better than rich crops.
    console = Console(highlight=False)
    console.width = max(
        console.width, table.__rich_measure__(console, console.options.update(max_width=10_000)).maximum
    )
    console.print(table)
    count = len(evaluation.scores) // len(evaluation.rows)
    console.print(
        f"{count:,} {'item' if count == 1 else 'items'}; under each figure its 95 % bootstrap interval.", markup=False
    )
    if evaluation.config.output is not None:
        console.print(f"Written to: {evaluation.config.output}", markup=False, soft_wrap=True)


def _cell(interval: "Interval") -> "Text":
    """Write a figure, and its interval in the line below."""
    from rich.text import Text

    bounds = "" if math.isnan(interval.low) else f"{_number(interval.low)}-{_number(interval.high)}"
    return Text(_number(interval.value)).append(f"\n{bounds}", style="dim")


def _number(value: float) -> str:
    """Write a number with four digits that count, and no exponent."""
    if math.isnan(value):
        return "missing"
    magnitude = math.floor(math.log10(abs(value))) if value else 3
    return f"{value:,.{min(max(0, 3 - magnitude), 9)}f}"


def _tell_of_errors(evaluation: "Evaluation") -> None:
    """Tell why outputs are missing, a few a system; items.csv has them all."""
    errors = [score for score in evaluation.scores if score.error]
    told: Counter[str] = Counter()
    for score in errors:
        told[score.system] += 1
        if told[score.system] <= MOST_ERRORS:
            typer.secho(f"fxst: {score.item}, {score.system}: {score.error}", fg=typer.colors.YELLOW, err=True)
    for system, count in told.items():
        if count > MOST_ERRORS:
            typer.secho(f"fxst: {system}: {count - MOST_ERRORS:,} more.", fg=typer.colors.YELLOW, err=True)
