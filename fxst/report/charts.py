"""Layout of curves as charts, in the units of an SVG drawing; the page's template draws them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.dsp import Array

__all__ = ["Chart", "Line", "Strip", "frequency_chart", "frequency_label", "time_chart"]

Mark = tuple[float, str]
"""Position on an axis in units of the drawing, and its label."""

# Text is 12 units high: three charts side by side on a wide screen, or one on a narrow one, are about this many pixels
# wide.
WIDTH: Final = 424.0
LEFT: Final = 48.0
RIGHT: Final = 10.0
TOP: Final = 10.0
BOTTOM: Final = 36.0
HEIGHT: Final = 260.0
STRIP_HEAD: Final = 26.0

_FREQUENCIES: Final = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_STEPS_OF_LEVELS: Final = (1, 2, 5, 10, 20, 50)
_STEPS_OF_GAINS: Final = (1, 2, 3, 6, 12, 24, 48)
_STEPS_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_LONGEST_HEADING: Final = 56


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        label: Name in the legend.
        style: Class in the style sheet, which sets colour and dashes.
        x: Horizontal values.
        y: Vertical values.
    """

    label: str
    style: str
    x: Array
    y: Array


@dataclass(frozen=True)
class Strip:
    """A panel of a chart, with its curves.

    Args:
        top: Its upper edge.
        bottom: Its lower edge.
        levels: Marks of its vertical axis.
        lines: Its curves: class in the style sheet, and SVG path data from left to right.
        heading: Its title.
    """

    top: float
    bottom: float
    levels: tuple[Mark, ...]
    lines: tuple[tuple[str, str], ...]
    heading: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, laid out in the units of its drawing.

    Args:
        title: Its title.
        description: Its content, for screen readers.
        axes: Names of the horizontal and the vertical axis.
        marks: Marks of the horizontal axis, which all panels share.
        strips: Its panels, from top to bottom.
        legend: Curves in the legend.
        seconds: Length of the time axis; None for a frequency axis.
    """

    title: str
    description: str
    axes: tuple[str, str]
    marks: tuple[Mark, ...]
    strips: tuple[Strip, ...]
    legend: tuple[Line, ...] = ()
    seconds: float | None = None

    @property
    def height(self) -> float:
        """Height of the drawing."""
        return self.strips[-1].bottom + BOTTOM


def frequency_chart(
    curves: Sequence[Line],
    *,
    title: str,
    description: str,
    y_label: str,
    low: float,
    high: float,
    span_hz: tuple[float, float] | None = None,
) -> Chart:
    """Lay out curves over a logarithmic frequency axis.

    Args:
        curves: The curves, in Hz and dB.
        title: Title of the chart.
        description: Its content, for screen readers.
        y_label: Name of the vertical axis.
        low: Lowest level shown.
        high: Highest level shown.
        span_hz: The frequencies shown; by default those of the curves.
    """
    first, last = span_hz or (
        min(float(curve.x[0]) for curve in curves),
        max(float(curve.x[-1]) for curve in curves),
    )

    def across(hz: Array) -> Array:
        return LEFT + np.log(hz / first) / math.log(last / first) * (WIDTH - LEFT - RIGHT)

    def down(db: Array) -> Array:
        return TOP + (high - db) / (high - low) * (HEIGHT - BOTTOM - TOP)

    levels = _levels(low, high, down, steps=_STEPS_OF_GAINS if low == -high else _STEPS_OF_LEVELS)
    marks = _marks([hz for hz in _FREQUENCIES if first * 0.999 <= hz <= last * 1.001], across, frequency_label)
    strip = Strip(TOP, HEIGHT - BOTTOM, levels, tuple(_line(curve, across, down) for curve in curves))
    return Chart(title, description, ("frequency (Hz)", y_label), marks, (strip,), tuple(curves))


def time_chart(curves: Sequence[Line], *, title: str, description: str, low: float, start: float) -> Chart:
    """Lay out curves over time, each in its own panel, down from 0 dB.

    Args:
        curves: The curves from top to bottom, in seconds and in decibels of 0 or less.
        title: Title of the chart.
        description: Its content, for screen readers.
        low: Lowest level shown, below 0 dB.
        start: Start of the time axis in the recording, in seconds.
    """
    seconds = max(float(curve.x[-1]) for curve in curves) or 1.0  # a single sample has no length
    tall = round(max(84.0, 190.0 / len(curves)), 1)  # the height of a chart, but readable for many

    def across(t: Array) -> Array:
        return LEFT + t / seconds * (WIDTH - LEFT - RIGHT)

    strips = []
    for number, curve in enumerate(curves):
        top = number * (STRIP_HEAD + tall) + STRIP_HEAD

        def down(db: Array, top: float = top) -> Array:
            return top + db / low * tall

        levels = _levels(low, 0, down, steps=_STEPS_OF_GAINS, most=4 if len(curves) > 1 else 7)
        heading = curve.label
        if len(heading) > _LONGEST_HEADING:
            heading = heading[: _LONGEST_HEADING - 1] + "…"
        strips.append(Strip(top, top + tall, levels, (_line(curve, across, down),), heading))
    # Round numbers of the recording's own time.
    times = _multiples(_step(seconds, 6, _STEPS_SECONDS), start, start + seconds)
    marks = _marks(times, lambda t: across(t - start), "{:g}".format)
    return Chart(title, description, ("time in the recording (s)", "gain (dB)"), marks, tuple(strips), (), seconds)


def frequency_label(hz: float) -> str:
    """Format a frequency as axes do: 100, 1k, 10k."""
    return f"{hz / 1000:g}k" if hz >= 1000 else f"{hz:g}"


def _levels(
    low: float, high: float, down: Callable[[Array], Array], *, steps: Sequence[float], most: int = 8
) -> tuple[Mark, ...]:
    levels = _multiples(_step(high - low, most, steps), low, high)
    return _marks(levels, down, lambda db: f"{db:g}".replace("-", "\u2212"))


def _marks(values: Sequence[float], place: Callable[[Array], Array], label: Callable[[float], str]) -> tuple[Mark, ...]:
    return tuple((round(float(place(np.array(float(value)))), 1), label(value)) for value in values)


def _multiples(step: float, low: float, high: float) -> list[float]:
    """Return the multiples of a step within a range."""
    return [step * n for n in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _step(span: float, most: int, steps: Sequence[float]) -> float:
    """Return the smallest step that divides a range into at most so many parts."""
    return next((step for step in steps if span / step <= most), steps[-1])


def _line(curve: Line, across: Callable[[Array], Array], down: Callable[[Array], Array]) -> tuple[str, str]:
    # Rounded to a tenth of a unit; adding 0 turns -0 into 0.
    x, y = across(curve.x).round(1) + 0.0, down(curve.y).round(1) + 0.0
    return curve.style, "M" + "L".join(f"{a:g} {b:g}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
