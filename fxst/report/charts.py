"""Curves as inline SVG: crisp at any size, coloured by the page's style sheet, and told apart by their dashes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.dsp import Array
from fxst.report.markup import text

__all__ = ["Curve", "Panel", "frequency_chart", "legend", "panel_height", "sample", "time_chart"]


# The text is 12 units high: beside two others on a wide screen, and alone on a narrow one, a chart is about as
# many pixels wide.
WIDTH: Final = 424.0
LEFT: Final = 48.0
RIGHT: Final = 10.0
TOP: Final = 10.0
BOTTOM: Final = 36.0
HEIGHT: Final = 260.0
PANEL_HEAD: Final = 26.0

_FREQUENCIES: Final = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
_STEPS_OF_LEVELS: Final = (1, 2, 5, 10, 20, 50)
_STEPS_OF_GAINS: Final = (1, 2, 3, 6, 12, 24, 48)
_STEPS_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
_LONGEST_PANEL_LABEL: Final = 56


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Args:
        label: What it shows.
        style: The style sheet's class, which gives it a colour and its dashes.
        x: Where.
        y: How much.
    """

    label: str
    style: str
    x: Array
    y: Array


@dataclass(frozen=True)
class Panel:
    """A curve that has a strip of a chart to itself.

    Args:
        curve: The curve, in seconds and in decibels of 0 or less.
        heading: What stands above it.
    """

    curve: Curve
    heading: str


def panel_height(count: int) -> float:
    """Choose how high each of so many strips is: as a chart when they are few, readable when they are many."""
    return max(84.0, 190.0 / count)


def sample(style: str) -> str:
    """Draw a short piece of a curve, for legends and buttons."""
    return (
        '<svg class="sample" viewBox="0 0 30 8" width="30" height="8" aria-hidden="true" focusable="false">'
        f'<line class="curve {style}" x1="1" y1="4" x2="29" y2="4"/></svg>'
    )


def legend(curves: Sequence[Curve]) -> str:
    """List curves with a piece of each."""
    items = "".join(f"<li>{sample(curve.style)}{text(curve.label)}</li>" for curve in curves)
    return f'<ul class="legend">{items}</ul>'


def frequency_chart(
    key: str, curves: Sequence[Curve], *, title: str, description: str, y_label: str, low: float, high: float
) -> str:
    """Draw curves over a logarithmic frequency axis.

    Args:
        key: A name that no other chart of the page has.
        curves: What to draw, in Hz and in dB.
        title: What a screen reader calls it.
        description: What it shows, for those who cannot see it.
        y_label: The name of the vertical axis.
        low: The lowest level shown.
        high: The highest.
    """
    first = min(float(curve.x[0]) for curve in curves)
    last = max(float(curve.x[-1]) for curve in curves)
    bottom = HEIGHT - BOTTOM

    def across(hz: Array) -> Array:
        return LEFT + np.log(hz / first) / math.log(last / first) * (WIDTH - LEFT - RIGHT)

    def down(db: Array) -> Array:
        return bottom - (db - low) / (high - low) * (bottom - TOP)

    marks = [hz for hz in _FREQUENCIES if first * 0.999 <= hz <= last * 1.001]
    parts = _levels(low, high, down, steps=_STEPS_OF_GAINS if low == -high else _STEPS_OF_LEVELS)
    for hz in marks:
        x = float(across(np.array(float(hz))))
        parts.append(f'<path class="grid" d="M{_n(x)} {_n(TOP)}V{_n(bottom)}"/>')
        name = f"{hz // 1000}k" if hz >= 1000 else f"{hz}"
        parts.append(f'<text class="tick" x="{_n(x)}" y="{_n(bottom + 15)}" text-anchor="middle">{name}</text>')
    parts.append(_axis_names("frequency (Hz)", y_label, bottom, HEIGHT))
    # What is too low to be shown leaves the frame, and is not drawn along its edge.
    frame = f'x="{_n(LEFT)}" y="{_n(TOP)}" width="{_n(WIDTH - LEFT - RIGHT)}" height="{_n(bottom - TOP)}"'
    parts.append(f'<clipPath id="{key}-frame"><rect {frame}/></clipPath><g clip-path="url(#{key}-frame)">')
    parts += [f'<path class="curve {curve.style}" d="{_path(across(curve.x), down(curve.y))}"/>' for curve in curves]
    parts.append("</g>")
    return _svg(key, parts, title=title, description=description, height=HEIGHT)


def time_chart(key: str, panels: Sequence[Panel], *, title: str, description: str, low: float, start: float) -> str:
    """Draw curves over time, each in a strip of its own, hanging down from 0 dB.

    Args:
        key: A name that no other chart of the page has.
        panels: What to draw, one below the other.
        title: What a screen reader calls it.
        description: What it shows, for those who cannot see it.
        low: The lowest level shown, below 0 dB.
        start: Where in the recording the time axis begins, in seconds.
    """
    seconds = max(float(panel.curve.x[-1]) for panel in panels) or 1.0  # a single sample has no length
    span = WIDTH - LEFT - RIGHT
    tall = panel_height(len(panels))
    height = len(panels) * (PANEL_HEAD + tall) + BOTTOM

    def across(t: Array) -> Array:
        return LEFT + t / seconds * span

    parts = []
    step = _step(seconds, 6, _STEPS_SECONDS)
    # Round numbers of the recording's own time, wherever the excerpt begins.
    marks = np.arange(math.ceil(start / step - 1e-6), math.floor((start + seconds) / step + 1e-6) + 1) * step
    bottom = 0.0
    for number, panel in enumerate(panels):
        top = number * (PANEL_HEAD + tall) + PANEL_HEAD
        bottom = top + tall

        def down(db: Array, top: float = top) -> Array:
            return top + db / low * tall

        heading = panel.heading
        if len(heading) > _LONGEST_PANEL_LABEL:
            heading = heading[: _LONGEST_PANEL_LABEL - 1] + "…"
        parts.append(f'<text class="heading" x="{_n(LEFT)}" y="{_n(top - 7)}">{text(heading)}</text>')
        parts += _levels(low, 0, down, steps=_STEPS_OF_GAINS, most=4 if len(panels) > 1 else 7)
        parts += [
            f'<path class="grid" d="M{_n(float(across(np.array(mark - start))))} {_n(top)}V{_n(bottom)}"/>'
            for mark in marks
        ]
        line = _path(across(panel.curve.x), down(panel.curve.y))
        left = _n(float(across(panel.curve.x)[0]))
        parts.append(f'<path class="area {panel.curve.style}" d="{line}V{_n(top)}H{left}Z"/>')
        parts.append(f'<path class="curve meter {panel.curve.style}" d="{line}"/>')
    for mark in marks:
        x = float(across(np.array(mark - start)))
        parts.append(f'<text class="tick" x="{_n(x)}" y="{_n(bottom + 15)}" text-anchor="middle">{mark:g}</text>')
    parts.append(_axis_names("time in the recording (s)", "gain (dB)", bottom, height))
    parts.append(
        f'<line class="playhead" x1="{_n(LEFT)}" y1="{_n(PANEL_HEAD)}" x2="{_n(LEFT)}" y2="{_n(bottom)}" '
        f'data-left="{_n(LEFT)}" data-width="{_n(span)}" data-seconds="{seconds:.4f}" visibility="hidden"/>'
    )
    return _svg(key, parts, title=title, description=description, height=height)


def _svg(key: str, parts: Sequence[str], *, title: str, description: str, height: float) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {_n(WIDTH)} {_n(height)}" role="img" '
        f'aria-labelledby="{key}-title {key}-description">'
        f'<title id="{key}-title">{text(title)}</title>'
        f'<desc id="{key}-description">{text(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _levels(
    low: float, high: float, down: Callable[[Array], Array], *, steps: Sequence[float], most: int = 8
) -> list[str]:
    """Draw the horizontal lines, and write the decibels beside them."""
    step = _step(high - low, most, steps)
    parts = []
    for db in np.arange(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1) * step:
        y = float(down(np.array(db)))
        style = "grid zero" if db == 0 else "grid"
        parts.append(f'<path class="{style}" d="M{_n(LEFT)} {_n(y)}H{_n(WIDTH - RIGHT)}"/>')
        name = f"{db:g}".replace("-", "\u2212")
        parts.append(f'<text class="tick" x="{_n(LEFT - 5)}" y="{_n(y + 4)}" text-anchor="end">{name}</text>')
    return parts


def _axis_names(x_label: str, y_label: str, bottom: float, height: float) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<text class="axis" x="{_n(middle)}" y="{_n(height - 5)}" text-anchor="middle">{text(x_label)}</text>'
        f'<text class="axis" transform="translate(11 {_n((TOP + bottom) / 2)}) rotate(-90)" '
        f'text-anchor="middle">{text(y_label)}</text>'
    )


def _step(span: float, most: int, steps: Sequence[float]) -> float:
    """Choose the smallest of some steps that parts a range no more often than wanted."""
    return next((step for step in steps if span / step <= most), steps[-1])


def _path(x: Array, y: Array) -> str:
    points = [f"{_n(a)} {_n(b)}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return "M" + "L".join(points)


def _n(value: float) -> str:
    """Write a coordinate to a tenth of a unit."""
    return f"{round(value, 1) + 0.0:g}"
