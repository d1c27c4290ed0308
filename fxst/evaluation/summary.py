"""Summaries of scores: means and ratios with confidence intervals, and requirements on them."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Final

import numpy as np

from fxst.dsp import Array
from fxst.errors import SettingsError
from fxst.evaluation.metrics import COLUMNS
from fxst.evaluation.scores import SETTINGS, Scored
from fxst.untrusted import number

__all__ = [
    "FEW_GROUPS",
    "INPUT",
    "Detection",
    "Figure",
    "Interval",
    "Requirement",
    "SystemRow",
    "compared_with",
    "detection_sentence",
    "groups_of",
    "in_digits",
    "summarise",
    "sure_over",
    "which_is_better",
]

INPUT: Final = "input"
"""The row of the unprocessed input."""

FEW_GROUPS: Final = 8
"""With fewer voices, bootstrap intervals are too narrow: with three, 84 % contain the true mean instead of 95 %."""

DRAWS: Final = 2000
CONFIDENCE: Final = 0.95
ROUNDING: Final = 1e-9
"""A mean distance below this is a rounding error, and has no ratios."""

_NO_RATIO: Final = {column.name for column in COLUMNS if not column.ratio}


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval over other items of the kind.

    Args:
        value: The figure; NaN if nothing could be measured.
        low: Lower bound; NaN for fewer than two items.
        high: Upper bound; NaN for fewer than two items.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figure:
    """One metric of one system.

    Args:
        mean: The mean over all items that have a value.
        ratio: The mean over the input's, both over the items where both have a value; NaN if it has no meaning, or the
            input's is 0.
        missing: Number of items without a value.
    """

    mean: Interval
    ratio: Interval
    missing: int


@dataclass(frozen=True)
class Detection:
    """A system's accuracy in detecting whether one effect is audible.

    Args:
        balanced_accuracy: The mean of sensitivity and specificity: the share of items with the effect audible in which
            the system applies it, and of the other items in which it does not. Chance is a half. NaN without both
            kinds of item.
        audible: Number of items with a decision in which the effect is audible.
        inaudible: Number of items with a decision in which it is not.
        missing: Number of items without a decision.
    """

    balanced_accuracy: Interval
    audible: int
    inaudible: int
    missing: int


@dataclass(frozen=True)
class SystemRow:
    """All metrics of one system.

    Args:
        system: Name of the system.
        figures: A figure for each metric that applies.
        detection: Detection of each effect, by label; empty without settings, and if the true ones are unknown.
    """

    system: str
    figures: Mapping[str, Figure]
    detection: Mapping[str, Detection] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether no metric has a value."""
        return all(math.isnan(figure.mean.value) for figure in self.figures.values())


def summarise(items: Sequence[Scored], *, seed: int) -> tuple[SystemRow, ...]:
    """Return the means of all systems, with bootstrap intervals.

    Groups (voices, songs) are resampled with replacement, and from each drawn group as many of its items: items of one
    voice are not independent, and intervals over items alone would be too narrow for new voices. All systems share the
    same draws, and a ratio is one of means over the same items, so that an item's difficulty cancels.

    Args:
        items: The scored items, including the input's scores.
        seed: Random seed.

    Source:
        B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13: percentile intervals.
    """
    # The voice of an item that cannot be read is unknown.
    groups = [item.group if _measured(item) else None for item in items]
    draws = _draws(groups, np.random.default_rng(seed))
    systems = _metrics_by_system(items)
    inputs = _values(items, INPUT, systems[INPUT])
    return tuple(
        SystemRow(system, _figures(_values(items, system, metrics), inputs, draws), _detection(items, system, draws))
        for system, metrics in systems.items()
    )


def _metrics_by_system(items: Sequence[Scored]) -> dict[str, list[str]]:
    """List the metrics that each system has on any item, in the order of the tables."""
    order = [column.name for column in COLUMNS] + [SETTINGS]
    found: dict[str, set[str]] = {}
    for item in items:
        for score in item.scores:
            found.setdefault(score.system, set()).update(score.values)
    return {system: [name for name in order if name in names] for system, names in found.items()}


def _values(items: Sequence[Scored], system: str, metrics: Sequence[str]) -> dict[str, Array]:
    scores = [score for item in items for score in item.scores if score.system == system]
    return {name: np.array([score.values.get(name, math.nan) for score in scores]) for name in metrics}


def _detection(items: Sequence[Scored], system: str, draws: Array) -> dict[str, Detection]:
    found = [score.audible for item in items for score in item.scores if score.system == system]
    if not any(found):
        return {}
    detection = {}
    for label in next(item.audible for item in items if item.audible):
        verdicts = np.array([math.nan if audible is None else float(audible[label]) for audible in found])
        truth = np.array([float(item.audible.get(label, math.nan)) for item in items])
        decided = ~np.isnan(verdicts)
        hits, rejections = np.where(truth == 1, verdicts, math.nan), np.where(truth == 0, 1 - verdicts, math.nan)
        audible, inaudible = (int((decided & (truth == value)).sum()) for value in (1, 0))
        balanced, drawn = ((_mean(hits, times) + _mean(rejections, times)) / 2 for times in (None, draws))
        interval = _interval(balanced, drawn, items=min(audible, inaudible))
        detection[label] = Detection(interval, audible, inaudible, missing=int((~decided).sum()))
    return detection


def detection_sentence(row: SystemRow) -> str:
    """Describe how well a system detects effects, in a sentence; empty if nothing is known.

    Args:
        row: The system.
    """
    if all(math.isnan(detection.balanced_accuracy.value) for detection in row.detection.values()):
        return ""
    shares = []
    for label, detection in row.detection.items():
        value, low, high = (100 * x for x in astuple(detection.balanced_accuracy))
        share = "-" if math.isnan(value) else f"{value:.0f} %"
        bounds = "" if math.isnan(low) else f" ({low:.0f}-{high:.0f})"
        missing = f", {detection.missing:,} missing" if detection.missing else ""
        shares.append(f"{label} {share}{bounds}{missing}")
    return f"Balanced accuracy of {row.system} in detecting effects: {'; '.join(shares)}."


def sure_over(groups: int) -> str:
    """Describe what an interval is over, and when it is too narrow.

    Args:
        groups: Number of voices or songs.
    """
    if groups < 2:
        return "over the items of one voice or song"
    few = f" (too narrow for fewer than {FEW_GROUPS} voices)" if groups < FEW_GROUPS else ""
    return f"over voices, then items{few}"


def which_is_better(rows: Sequence[SystemRow]) -> str:
    """Say which way the figures of these systems are better, in a sentence."""
    scores = [c.heading for c in COLUMNS if c.higher_is_better and any(c.name in row.figures for row in rows)]
    return f"Lower is better, except for {' and '.join(scores)}." if scores else "Lower is better."


def compared_with(*, has_targets: bool) -> str:
    """Say what the outputs are compared with."""
    return "target (AF and nearer: reference)" if has_targets else "reference"


def groups_of(items: Sequence[Scored]) -> set[str]:
    """Return the voices or songs with at least one value."""
    return {item.group for item in items if _measured(item)}


def _measured(item: Scored) -> bool:
    return any(not math.isnan(value) for score in item.scores for value in score.values.values())


def _draws(groups: Sequence[str | None], generator: np.random.Generator) -> Array:
    """Return how often each draw takes each item, `(draws, items)`."""
    names = sorted({group for group in groups if group is not None})
    draws = np.zeros((DRAWS, len(groups)))
    if not names:
        return draws
    times = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    for name, of_group in zip(names, times.T, strict=True):
        members = np.flatnonzero([group == name for group in groups])
        # A group that is drawn twice gives twice as many items, drawn again each time.
        draws[:, members] = generator.multinomial(of_group * len(members), np.full(len(members), 1 / len(members)))
    return draws


def _figures(values: Mapping[str, Array], inputs: Mapping[str, Array], draws: Array) -> dict[str, Figure]:
    figures = {}
    for metric, ours in values.items():
        theirs = inputs.get(metric, np.full_like(ours, np.nan))
        measured = ~np.isnan(ours)
        both = measured & ~np.isnan(theirs) & (metric not in _NO_RATIO)
        paired, baseline = (np.where(both, x, np.nan) for x in (ours, theirs))
        mean = _interval(_mean(ours), _mean(ours, draws), items=measured.sum())
        ratio = _interval(_share(paired, baseline), _share(paired, baseline, draws), items=both.sum())
        figures[metric] = Figure(mean, ratio, missing=int((~measured).sum()))
    return figures


def _mean(values: Array, draws: Array | None = None) -> Array:
    """Return the mean of the values that are not missing, in each draw; NaN if all are."""
    times = np.ones((1, len(values))) if draws is None else draws
    present = ~np.isnan(values)
    return _ratio(times @ np.where(present, values, 0.0), times @ present)


def _share(values: Array, baseline: Array, draws: Array | None = None) -> Array:
    """Return the ratio of two means, in each draw; NaN if the second is 0."""
    reference = _mean(baseline, draws)
    return _ratio(_mean(values, draws), np.where(reference > ROUNDING, reference, 0.0))


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _interval(value: Array, drawn: Array, *, items: int) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    # An interval needs more than one item.
    known = items > 1 and not math.isnan(value.item())
    low, high = np.nanquantile(drawn, (tail, 1 - tail)) if known else (math.nan, math.nan)
    return Interval(value.item(), float(low), float(high))


def in_digits(value: float) -> str:
    """Format a number: four significant digits, at most five decimal places.

    >>> in_digits(1234.5), in_digits(0.4567), in_digits(0.00000123)
    ('1,234', '0.4567', '0.00000')
    """
    magnitude = math.floor(math.log10(abs(value))) if value else 3
    return f"{value:,.{min(max(0, 3 - magnitude), 5)}f}"


@dataclass(frozen=True)
class Requirement:
    """A bound on a figure, such as `mrstft_ratio<=0.45`.

    Args:
        text: The requirement as given.
        system: The system; empty for every model and output.
        metric: The metric.
        figure: `mean`, `ratio` or `missing`.
        relation: `<=`, `>=`, `<` or `>`.
        bound: The number.
    """

    text: str
    system: str
    metric: str
    figure: str
    relation: str
    bound: float

    @staticmethod
    def parse(text: str) -> "Requirement":
        """Parse a requirement: a metric's name, optionally with `_ratio` or `_missing`, a relation and a number.

        A system's name and a full stop may precede it: `closed-form.mrstft<=1`.

        Raises:
            SettingsError: The text is not a requirement.

        >>> Requirement.parse("mrstft_ratio<=0.45").bound
        0.45
        """
        found = _REQUIREMENT.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            bound = number(found["bound"])
        except ValueError:
            raise SettingsError(
                f"{text!r} is not a valid bound: write one like mrstft_ratio<=0.45, with one of "
                f"{', '.join(_NAMES)}, optionally _ratio or _missing, and a number."
            ) from None
        if found["figure"] == "ratio" and found["metric"] in _NO_RATIO:
            raise SettingsError(f"{text!r} is not a valid bound: its ratio means nothing; bound {found['metric']}.")
        return Requirement(
            text, found["system"] or "", found["metric"], found["figure"] or "mean", found["relation"], bound
        )

    def value(self, row: SystemRow) -> float:
        """Return the figure that is bounded; NaN if the metric does not apply to the system."""
        figure = row.figures.get(self.metric)
        if figure is None:
            return math.nan
        return figure.missing if self.figure == "missing" else getattr(figure, self.figure).value

    def met_by(self, row: SystemRow) -> bool:
        """Return whether a system meets the requirement; a missing figure does not."""
        return _RELATIONS[self.relation](self.value(row), self.bound)


_RELATIONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_NAMES: Final = (*(column.name for column in COLUMNS), SETTINGS)
_REQUIREMENT: Final = re.compile(
    rf"\s*(?:(?P<system>.+)\.)?(?P<metric>{'|'.join(_NAMES)})(?:_(?P<figure>ratio|missing))?"
    r"\s*(?P<relation><=|>=|<|>)\s*(?P<bound>\S+)\s*"
)
