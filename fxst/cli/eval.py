"""`fxst eval`."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import typer

from fxst import extras, interrupts
from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.terminal import above, complain, is_plain, say, warn
from fxst.configs import EvalConfig
from fxst.errors import SettingsError
from fxst.untrusted import printable

MOST_ERRORS: Final = 3

if TYPE_CHECKING:
    from rich.text import Text

    from fxst.cli.grids import Console
    from fxst.evaluation.evaluate import Progress
    from fxst.evaluation.summary import Figure, Interval
    from fxst.evaluation.task import Evaluation


@command(app, EvalConfig, "eval")
def _evaluate(config: EvalConfig) -> None:
    """Evaluate, print the tables, and fail if a system failed or missed a requirement."""
    if (config.pairs is None) == (config.data is None):
        raise typer.BadParameter("name either a folder of recordings (--data) or a CSV of recordings (--pairs).")

    from fxst.evaluation.summary import Requirement

    for text in config.require:
        try:
            Requirement.parse(text)
        except SettingsError as error:
            raise typer.BadParameter(str(error), param_hint="--require") from error

    from fxst.evaluation.evaluate import evaluate, evaluate_share

    try:
        with _progress_bar() as progress:
            if config.shard is not None:
                count = evaluate_share(config, progress)
                items = "item" if count == 1 else "items"
                say(f"fxst: shard {config.shard} is done: {count:,} {items}; fxst batch merge makes one result of all")
                return
            evaluation = evaluate(config, progress)
    except KeyboardInterrupt as interrupt:
        hint = "" if config.output is None else "; run the same command again to continue"
        raise type(interrupt)(f"interrupted{hint}") from interrupt
    _show(evaluation)
    _show_errors(evaluation)
    empty = [row.system for row in evaluation.rows if row.empty]
    for system in empty:
        complain(f"{system} could not be measured on any item.")
    for sentence in evaluation.shortfalls:
        complain(sentence)
    failed = any(score.error for item in evaluation.items for score in item.scores)
    if empty or failed or evaluation.shortfalls:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress_bar() -> "Iterator[Progress | None]":
    """Show how many items are done, if standard error is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fxst.cli.grids import Console

    console = Console(err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal or is_plain()) as bar,
        above(console),
    ):
        task = bar.add_task("items", total=None)

        def update(done: int, total: int) -> None:
            interrupts.check()
            bar.update(task, completed=done, total=total)

        yield update


def _show(evaluation: "Evaluation") -> None:
    """Print the published metrics, the others, then distances to the reference and rates: figures and their shares."""
    from fxst.cli.grids import Console
    from fxst.evaluation.metrics import COLUMNS, Rate, pesq_available
    from fxst.evaluation.scores import SETTINGS
    from fxst.evaluation.summary import compared_with, detection_sentence, groups_of, sure_over, which_is_better

    measured = {name for row in evaluation.rows for name in row.figures}
    tables: tuple[list[tuple[str, str, str]], ...] = ([], [], [])
    published, others, compared = tables
    for column in COLUMNS:
        if column.name in measured:
            late = isinstance(column, Rate) or column.against == "reference"
            table = published if column.published else compared if late else others
            table.append((column.name, column.heading, column.unit))
    if SETTINGS in measured:
        others.append((SETTINGS, "settings", "% of range"))
    console = Console()
    for columns in tables:
        if columns:
            _show_table(console, evaluation, columns)
            console.print()

    _show_training(console, evaluation)

    sentences = [sentence for row in evaluation.rows if (sentence := detection_sentence(row))]
    for sentence in sentences:
        console.print(sentence)
    if sentences:
        console.print()

    count, groups = len(evaluation.items), len(groups_of(evaluation.items))
    console.print(
        f"{count:,} {'item' if count == 1 else 'items'} of {groups:,} "
        f"{'voice or song' if groups == 1 else 'voices or songs'}, output against "
        f"{compared_with(has_targets=evaluation.task.items.has_targets)}. Below each figure is its 95 % bootstrap "
        f"interval {sure_over(groups)}; below each row is its share of the input's. {which_is_better(evaluation.rows)}",
    )
    if not evaluation.task.judged:
        console.print("No model was measured: name one with --model, such as --model studio.")
    if "pesq" in measured and not pesq_available():
        console.print(f"PESQ is missing: {extras.install('pesq')} (or leave it out with --no-pesq).")
    for path in (evaluation.config.output, evaluation.config.audio, evaluation.config.report):
        if path is not None:
            console.print(f"Written to: {path}", soft_wrap=True)


def _show_table(console: "Console", evaluation: "Evaluation", columns: Sequence[tuple[str, str, str]]) -> None:
    from rich.text import Text

    from fxst.cli.grids import Grid
    from fxst.evaluation.summary import INPUT

    table = Grid()
    table.add_column()
    for _, heading, unit in columns:
        table.add_column(f"{heading}\n{unit}", justify="right", no_wrap=True)
    for row in evaluation.rows:
        figures = [row.figures.get(name) for name, _, _ in columns]
        table.add_row(Text(printable(row.system), style="bold"), *(_mean(figure) for figure in figures))
        if row.system != INPUT:
            ratios = (Text("") if figure is None else _cell(figure.ratio, missing="") for figure in figures)
            table.add_row(Text("  of input", style="dim"), *ratios)
    # As wide as the table: a pipe has no width, and a narrow terminal wraps lines where rich would crop them.
    wide = table.__rich_measure__(console, console.options.update(max_width=10_000)).maximum
    narrow, console.width = console.width, max(console.width, wide)
    console.print(table)
    console.width = narrow


def _show_training(console: "Console", evaluation: "Evaluation") -> None:
    """Print how the models were trained, if there are several with such cards."""
    from rich.text import Text

    from fxst.cli.grids import Grid

    training = evaluation.task.training
    if len(training) < 2:
        return
    table = Grid()
    for heading in ("model", "gradient", "steps", "examples", "ms a step", "peak MB"):
        table.add_column(heading, justify="left" if heading in ("model", "gradient") else "right", no_wrap=True)
    for name, facts in training.items():
        cells = (
            "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in facts.values()
        )
        table.add_row(Text(printable(name), style="bold"), *cells)
    console.print(table)
    console.print()


def _mean(figure: "Figure | None") -> "Text":
    from rich.text import Text

    if figure is None:
        return Text("-", style="dim")
    count = Text(f"\n{figure.missing} missing" if figure.missing else "", style="yellow")
    return _cell(figure.mean, missing="missing") + count


def _cell(interval: "Interval", *, missing: str) -> "Text":
    """Format a figure, with its interval in the line below."""
    from rich.text import Text

    from fxst.evaluation.summary import in_digits

    if math.isnan(interval.value):
        return Text(missing)
    to = "-" if interval.low >= 0 else " to "  # a hyphen before a negative number would be unclear
    bounds = "" if math.isnan(interval.low) else f"{in_digits(interval.low)}{to}{in_digits(interval.high)}"
    return Text(in_digits(interval.value)).append(f"\n{bounds}", style="dim")


def _show_errors(evaluation: "Evaluation") -> None:
    """Print skipped files and the errors of outputs, a few of each; items.jsonl and items.csv have all."""
    from fxst.evaluation.protocol import UNREADABLE

    left_out = sorted({file for item in evaluation.items for file in item.drawn.get(UNREADABLE, ())})
    if left_out:
        more = f", and {len(left_out) - 1:,} more" if len(left_out) > 1 else ""
        warn(f"skipped, since it cannot be read as audio: {left_out[0]}{more}.")

    shown: Counter[str] = Counter()
    for item in evaluation.items:
        # An error of an item is the same for every system, and shown once.
        by_error: dict[str, list[str]] = {}
        for score in item.scores:
            if score.error:
                by_error.setdefault(score.error, []).append(score.system)
        for error, systems in by_error.items():
            who = ", ".join(systems) if len(systems) < len(item.scores) else "item"
            shown[who] += 1
            if shown[who] <= MOST_ERRORS:
                warn(f"{item.name}, {who}: {error}")
    for who, count in shown.items():
        if count > MOST_ERRORS:
            warn(f"{who}: {count - MOST_ERRORS:,} more.")
