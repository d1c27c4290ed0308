"""The report page of an evaluation: its tables, and items from the best to the worst to play."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fxst.errors import FxstError
from fxst.evaluation.metrics import COLUMNS
from fxst.evaluation.scores import SETTINGS, Scored, checked_output
from fxst.evaluation.summary import (
    INPUT,
    Figure,
    Interval,
    SystemRow,
    compared_with,
    detection_sentence,
    groups_of,
    in_digits,
    sure_over,
    which_is_better,
)
from fxst.report import FigureTable, InMemory, Page, ReportEntry, Track, write_report

if TYPE_CHECKING:
    from fxst.evaluation.task import Evaluation, Task

__all__ = ["write_evaluation"]

HEADINGS: Final = {m.name: f"{m.heading} ({m.unit})" if m.unit else m.heading for m in COLUMNS} | {
    SETTINGS: "settings (% of range)"
}
RANKED_BY: Final = ("mrstft", "ltas_db")
"""Metrics that rank the items; the first that was measured counts."""


def write_evaluation(evaluation: "Evaluation", path: Path) -> None:
    """Write the report page of an evaluation; the items are rendered again, as only their metrics were kept.

    Args:
        evaluation: The results.
        path: The page.

    Raises:
        FxstError: The page cannot be written.
    """
    task, rows = evaluation.task, evaluation.rows
    shown = _spread(evaluation)
    goal = compared_with(has_targets=task.items.has_targets)
    count, groups = len(evaluation.items), len(groups_of(evaluation.items))
    lead = [
        f"{count:,} {'item' if count == 1 else 'items'} of {groups:,} "
        f"{'voice or song' if groups == 1 else 'voices or songs'}; every output is compared with the {goal}. "
        f"{which_is_better(rows)} In brackets each figure's 95 % bootstrap interval {sure_over(groups)}.",
    ]
    if len(shown) < len(evaluation.items):
        lead.append(
            f"The {len(shown)} items below are spread evenly from the best to the worst, by {_judge(task)}'s output."
        )
    lead += filter(None, map(detection_sentence, rows))
    lead += [f"Fell short: {sentence}" for sentence in evaluation.shortfalls]
    grids = [_summary("Mean distances", rows, "mean"), _summary("Share of the input's distances", rows[1:], "ratio")]
    entries = [_entry(task, index, evaluation.items[index]) for index in shown]
    # An item that cannot be read has nothing to play; its note goes to the top.
    lead += [f"{entry.title}: {note}" for entry in entries if not entry.tracks for note in entry.notes]
    write_report(path, Page("fxst eval", tuple(lead), tuple(grids), tuple(entry for entry in entries if entry.tracks)))


def _judge(task: "Task") -> str:
    """Return the row that ranks the items: the first judged one, else the last baseline."""
    return task.judged[0] if task.judged else list(task.systems)[-1]


def _spread(evaluation: "Evaluation") -> list[int]:
    """Choose items evenly from the best to the worst, for a representative page."""
    judge = _judge(evaluation.task)

    def badness(index: int) -> float:
        values = next(score.values for score in evaluation.items[index].scores if score.system == judge)
        value = next((values[name] for name in RANKED_BY if name in values), math.nan)
        return math.inf if math.isnan(value) else value

    ranked = sorted(range(len(evaluation.items)), key=badness)
    count = min(evaluation.config.report_items, len(ranked))
    return [ranked[place] for place in np.linspace(0, len(ranked) - 1, count).round().astype(int)]


def _summary(caption: str, rows: Iterable[SystemRow], figure: str) -> FigureTable:
    rows = list(rows)
    names = [name for name in HEADINGS if any(name in row.figures for row in rows)]
    if figure == "ratio":
        names = [name for name in names if any(_known(row, name) for row in rows)]
    cells = [
        (
            row.system,
            *(
                _cell(getattr(row.figures[name], figure)) + (_missing(row.figures[name]) if figure == "mean" else "")
                if name in row.figures
                else "-"
                for name in names
            ),
        )
        for row in rows
    ]
    return FigureTable(caption, ("", *(HEADINGS[name] for name in names)), tuple(cells))


def _known(row: SystemRow, name: str) -> bool:
    return name in row.figures and not math.isnan(row.figures[name].ratio.value)


def _cell(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "missing"
    bounds = "" if math.isnan(interval.low) else f" ({in_digits(interval.low)} to {in_digits(interval.high)})"
    return in_digits(interval.value) + bounds


def _missing(figure: Figure) -> str:
    """Return the count of missing items, if the mean is of any."""
    return f", {figure.missing:,} missing" if figure.missing and not math.isnan(figure.mean.value) else ""


def _entry(task: "Task", index: int, scored: Scored) -> ReportEntry:
    notes = [f"{score.system}: {score.error}" for score in scored.scores if score.error]
    tracks: list[Track] = []
    try:
        item = task.items[index]
    except FxstError as error:
        return ReportEntry(scored.name, (), None, (str(error),))
    rate = item.sample_rate
    tracks.append(Track("input", "input", InMemory(item.input, sample_rate=rate)))
    tracks.append(Track("reference", "reference", InMemory(item.reference, sample_rate=item.reference_sample_rate)))
    for system, render in task.systems.items():
        if system != INPUT:
            try:
                output = checked_output(render, item)
            except FxstError:
                continue  # its error is in the notes
            tracks.append(Track(system, "output", InMemory(output.audio, sample_rate=rate), output.settings))
    if item.target is not None:
        tracks.append(Track("target", "target", InMemory(item.target, sample_rate=rate), item.settings))
    title = scored.name if scored.group == scored.name else f"{scored.name}: {scored.group}"
    return ReportEntry(title, tuple(tracks), _figures(scored), tuple(notes))


def _figures(scored: Scored) -> FigureTable:
    names = [name for name in HEADINGS if any(name in score.values for score in scored.scores)]
    return FigureTable(
        "Distances of this item",
        ("", *(HEADINGS[name] for name in names)),
        tuple((score.system, *_values(score.values.get(name, math.nan) for name in names)) for score in scored.scores),
    )


def _values(values: Iterable[float]) -> Sequence[str]:
    return ["-" if math.isnan(value) else in_digits(value) for value in values]
