"""Scoring: every system on one item, by every metric."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fxst.chains.table import Table
from fxst.errors import AudioError, FxstError
from fxst.evaluation.detection import audible_effects
from fxst.evaluation.items import Item, Items
from fxst.evaluation.metrics import METRICS, RATES, Rate
from fxst.evaluation.sound import EvaluatedSound
from fxst.evaluation.systems import Output, System

__all__ = ["SETTINGS", "Score", "Scored", "score_item", "settings_error"]

SETTINGS: Final = "settings"
"""The metric that compares parameter tables, if the true one is known."""


@dataclass(frozen=True)
class Score:
    """One system's score on one item.

    Args:
        system: Name of the system.
        values: Value of each metric that applies; NaN is missing.
        error: Reason for a missing output.
        audible: Whether each effect is audible, by the labels of the true chain; None without settings.
    """

    system: str
    values: Mapping[str, float]
    error: str = ""
    audible: Mapping[str, bool] | None = None


@dataclass(frozen=True)
class Scored:
    """Scores of one item.

    Args:
        name: Name of the item.
        group: The voice or song.
        scores: A score for each system.
        drawn: Source of the audio, and every drawn parameter, as plain data.
        audible: Whether each effect of the chain is audible in the target; empty if this is unknown.
    """

    name: str
    group: str
    scores: tuple[Score, ...]
    drawn: Mapping[str, Any] = field(default_factory=dict)
    audible: Mapping[str, bool] = field(default_factory=dict)


Keep = Callable[[Item, Mapping[str, Output]], None]
"""Receives an item and its outputs."""


def score_item(
    items: Items, index: int, systems: Mapping[str, System], *, pesq: bool, keep: Keep | None = None
) -> Scored:
    """Score systems on one item.

    The output is compared with what each metric is against. A system that fails, or whose output is not finite or has
    another shape, has missing values.

    Args:
        items: The items.
        index: Number of the item.
        systems: The systems by name.
        pesq: Whether to measure PESQ, which takes longer than all other metrics together.
        keep: Receives the item and its outputs.
    """
    metrics = [m for m in METRICS if m.applies(has_targets=items.has_targets) and (pesq or m.name != "pesq")]
    nothing = dict.fromkeys((m.name for m in metrics), math.nan)
    rates = [rate for rate in RATES if rate.metric in nothing]
    nothing |= dict.fromkeys((rate.name for rate in rates), math.nan)
    name = items.names[index]
    try:
        item = items[index]
    except FxstError as error:
        return Scored(name, name, tuple(Score(system, nothing, str(error)) for system in systems))
    source = EvaluatedSound(item.input, sample_rate=item.sample_rate)
    reference = EvaluatedSound(item.reference, sample_rate=item.reference_sample_rate)
    target = reference if item.target is None else EvaluatedSound(item.target, sample_rate=item.sample_rate)
    against = {"target": target, "either": target, "reference": reference, "input": source}
    judged = {rate.metric for rate in rates}
    inputs = {m.name: m.measure(source, against[m.against]) for m in metrics if m.name in judged}
    true = {} if item.settings is None else audible_effects(item.settings, item.input, sample_rate=item.sample_rate)
    scores, outputs = [], {}
    for system, render in systems.items():
        try:
            output = checked_output(render, item)
        except FxstError as error:
            scores.append(Score(system, nothing, str(error)))
            continue
        outputs[system] = output
        sound = EvaluatedSound(output.audio, sample_rate=item.sample_rate)
        values = {m.name: m.measure(sound, against[m.against]) for m in metrics}
        values |= {rate.name: _passes(rate, values[rate.metric], inputs[rate.metric]) for rate in rates}
        values = {metric: value if math.isfinite(value) else math.nan for metric, value in values.items()}
        found: dict[str, bool] | None = None
        if item.settings is not None and output.settings is not None:
            error_of_settings = settings_error(output.settings, item.settings)
            if error_of_settings is not None:
                values[SETTINGS] = error_of_settings
            theirs = audible_effects(output.settings, item.input, sample_rate=item.sample_rate)
            # An effect that a system's chain lacks counts as inaudible.
            found = {label: theirs.get(label, False) for label in true}
        scores.append(Score(system, values, audible=found))
    if keep is not None:
        keep(item, outputs)
    return Scored(name, item.group, tuple(scores), item.drawn, true)


def _passes(rate: Rate, value: float, of_input: float) -> float:
    """Return 1 if an output passes a rate's limit, 0 if it does not, and NaN if that is unknown."""
    return float(rate.passes(value, of_input)) if math.isfinite(value) and math.isfinite(of_input) else math.nan


def checked_output(render: System, item: Item) -> Output:
    """Run a system on an item, and check its output.

    Raises:
        AudioError: The system failed, or its output is not finite or has another shape than the input.
    """
    try:
        output = render(item)
    except FxstError:
        raise
    except Exception as error:
        # Any error inside a system is its result on this item, and must not lose the others.
        raise AudioError(f"{type(error).__name__}: {error}") from error
    shape = np.shape(output.audio)
    if shape != item.input.shape:
        raise AudioError(f"The output has the shape {shape}, and the input {item.input.shape}.")
    if not np.isfinite(output.audio).all():
        raise AudioError("The output holds samples that are not finite.")
    return output


def settings_error(found: Table, true: Table) -> float | None:
    """Return the mean distance of two tables' knobs, in percent of their ranges.

    Effects that are not active in the true table are left out.

    Args:
        found: The predicted table.
        true: The table that rendered the target.

    Returns:
        None if the tables are of different chains, or no effect of the true one is active.
    """
    if found.chain.to_spec() != true.chain.to_spec() or not true.chain.knobs:
        return None
    distances = [
        abs(p.to_knob(ours.values[p.name]) - p.to_knob(theirs.values[p.name]))
        for ours, theirs in zip(true.chain.stages(found), true.chain.stages(true), strict=True)
        if theirs.active
        for p in theirs.effect.parameters
        if not p.constant
    ]
    return 100 * math.fsum(distances) / len(distances) if distances else None
