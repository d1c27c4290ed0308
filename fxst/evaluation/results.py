"""Files of a finished evaluation: scores by item, the list of items, and the summary."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fxst
from fxst import records, staging
from fxst.evaluation.journal import FORMAT_VERSION, UNFINISHED, csv_text
from fxst.evaluation.metrics import COLUMNS
from fxst.evaluation.scores import SETTINGS
from fxst.evaluation.summary import CONFIDENCE, DRAWS, Interval, groups_of
from fxst.untrusted import to_json

if TYPE_CHECKING:
    from fxst.evaluation.task import Evaluation

__all__ = [
    "FILES",
    "ITEMS",
    "ITEM_LIST",
    "SUMMARY",
    "write_results",
]

ITEMS: Final = "items.csv"
ITEM_LIST: Final = "items.jsonl"
SUMMARY: Final = "summary.json"
FILES: Final = (ITEMS, ITEM_LIST, SUMMARY, UNFINISHED)
"""Files in the output folder of an evaluation."""
NAMES: Final = (*(column.name for column in COLUMNS), SETTINGS)


def write_results(evaluation: "Evaluation", folder: Path) -> None:
    """Write the scores of each item, the list of the items, and the summary.

    Raises:
        OutputError: A file cannot be written.
    """
    measured = {name for item in evaluation.items for score in item.scores for name in score.values}
    names = [name for name in NAMES if name in measured]
    rows: list[Any] = [("item", "group", "system", *names, "error")]
    for item in evaluation.items:
        for score in item.scores:
            values = (score.values.get(name, math.nan) for name in names)
            cells = ("" if math.isnan(value) else repr(value) for value in values)
            rows.append((item.name, item.group, score.system, *cells, score.error))
    listed = ({"item": item.name, "group": item.group, **item.drawn} for item in evaluation.items)
    with staging.together():
        staging.write(folder / ITEMS, csv_text(rows).encode())
        staging.write(folder / ITEM_LIST, "".join(to_json(entry) + "\n" for entry in listed).encode())
        staging.write(folder / SUMMARY, (to_json(summary(evaluation), indent=1) + "\n").encode())


def summary(evaluation: "Evaluation") -> dict[str, Any]:
    """Return all results as plain data, a `records.Summary`."""
    config = {key: _plain(value) for key, value in asdict(evaluation.config).items()}
    measured = {name for row in evaluation.rows for name in row.figures}
    found = {
        "format_version": FORMAT_VERSION,
        "fxst": fxst.__version__,
        "config": config,
        "chain": None if evaluation.task.chain is None else evaluation.task.chain.to_spec(),
        "compared_with": "target" if evaluation.task.items.has_targets else "reference",
        "items": len(evaluation.items),
        "groups": len(groups_of(evaluation.items)),
        "bootstrap": {"draws": DRAWS, "confidence": CONFIDENCE, "over": "groups, then items"},
        "metrics": {
            m.name: {
                "heading": m.heading,
                "unit": m.unit,
                "published": m.published,
                "higher_is_better": m.higher_is_better,
            }
            for m in COLUMNS
            if m.name in measured
        },
        "rows": [
            {
                "system": row.system,
                "judged": row.system in evaluation.task.judged,
                "figures": {
                    name: {
                        "mean": _bounds(figure.mean),
                        "ratio": _bounds(figure.ratio),
                        "missing": figure.missing,
                    }
                    for name, figure in row.figures.items()
                },
                "detection": {
                    label: {
                        "balanced_accuracy": _bounds(detection.balanced_accuracy),
                        "audible": detection.audible,
                        "inaudible": detection.inaudible,
                        "missing": detection.missing,
                    }
                    for label, detection in row.detection.items()
                },
            }
            for row in evaluation.rows
        ],
        "training": evaluation.task.training,
        "shortfalls": list(evaluation.shortfalls),
    }
    return records.plain(records.Summary, **found)


def _bounds(interval: Interval) -> dict[str, float | None]:
    return _without_nan(asdict(interval))


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    # JSON has no NaN.
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
