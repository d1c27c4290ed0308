"""Scoring: every way of doing the task, on every item, by every metric."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fxst.audio import Samples
from fxst.errors import AudioError, FxstError
from fxst.evaluation.items import Item, Items
from fxst.evaluation.metrics import METRICS

__all__ = ["Progress", "Score", "System", "score"]

System = Callable[[int, Item], Samples]
"""A way of doing the task: given an item and its number, the output."""

Progress = Callable[[int, int], None]
"""Told how many items are done, and of how many."""


@dataclass(frozen=True)
class Score:
    """How far one system's output on one item is from the target.

    Args:
        item: The item's name.
        system: The system's name.
        values: What each metric says; NaN is missing.
        error: Why there is no output at all, where there is none.
    """

    item: str
    system: str
    values: Mapping[str, float]
    error: str = ""


def score(items: Items, systems: Mapping[str, System], progress: Progress | None = None) -> tuple[Score, ...]:
    """Score systems on items, item by item; only figures are kept.

    A system that fails on an item, or gives an output that is not finite or does not fit, has missing values there.

    Args:
        items: What to do.
        systems: Who does it.
        progress: Called after each item.

    Returns:
        The scores of all systems on the first item, then on the second, and so on.
    """
    scores: list[Score] = []
    for index, name in enumerate(items.names):
        try:
            item = items[index]
        except FxstError as error:
            scores.extend(_missing(name, system, str(error)) for system in systems)
        else:
            scores.extend(_score(index, item, name, system, render) for system, render in systems.items())
        if progress is not None:
            progress(index + 1, len(items.names))
    return tuple(scores)


def _score(index: int, item: Item, name: str, system: str, render: System) -> Score:
    try:
        output = np.asarray(render(index, item))
        if output.shape != item.target.shape:
            raise AudioError(f"The output has the shape {output.shape}, and the target {item.target.shape}.")
        if not np.isfinite(output).all():
            raise AudioError("The output holds samples that are not finite.")
    except FxstError as error:
        return _missing(name, system, str(error))
    except Exception as error:
        # Whatever goes wrong inside a system is that system's result on this item, and no reason to lose the others.
        return _missing(name, system, f"{type(error).__name__}: {error}")
    values = {m.name: m.measure(output, item.target, sample_rate=item.sample_rate) for m in METRICS}
    return Score(
        name, system, {metric: value if math.isfinite(value) else math.nan for metric, value in values.items()}
    )


def _missing(item: str, system: str, error: str) -> Score:
    return Score(item, system, {metric.name: math.nan for metric in METRICS}, error)
