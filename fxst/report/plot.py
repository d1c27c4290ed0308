"""Plots: the spectra of a style transfer, and its equaliser, drawn like the charts of a report."""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from fxst import audio, staging
from fxst.chains.table import Table
from fxst.dsp import Array
from fxst.dsp.spectra import LongTermSpectrum
from fxst.report.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Chart, Line
from fxst.report.curves import STYLES, equaliser_chart, equaliser_line, spectra_chart
from fxst.report.page import style_sheet, templates

__all__ = ["equaliser_svg", "long_term_spectrum", "plot_transfer"]


LOWEST_HZ: Final = 20.0
DOTS_A_UNIT: Final = 2.0
"""Resolution of a .png; text is 12 units high."""

_HEAD: Final = 22.0
_LEGEND_ROW: Final = 17.0
_LEGEND_COLUMN: Final = 122.0
_SAMPLE: Final = 30.0


def long_term_spectrum(path: Path) -> tuple[Array, Array]:
    """Measure a file's long-term average spectrum in third octaves, in bounded memory.

    Returns:
        Centre frequencies in Hz, and the mean power of the channels in each band in dB, full-scale sine 0 dB.

    Raises:
        AudioError: The file cannot be read.
    """
    spectrum = LongTermSpectrum(sample_rate=audio.probe(path).sample_rate)
    for block in audio.stream(path):
        spectrum.process(block)
    return spectrum.mean_third_octaves()


def plot_transfer(
    path: Path,
    *,
    input: Path,  # noqa: A002
    output: Path,
    references: Sequence[Path] = (),
    settings: Table,
) -> None:
    """Draw the spectra of input, output and references, and the response of the equaliser, if there is one.

    Args:
        path: The picture, as .png, .svg or .pdf.
        input: The recording.
        output: The rendered recording.
        references: The references; none if a table was applied.
        settings: The parameter table that rendered the output.

    Raises:
        AudioError: A recording cannot be read.
        OutputError: The picture cannot be written.
    """
    span_hz = (LOWEST_HZ, audio.probe(input).sample_rate / 2)
    files = [("input", "input", input), ("output", "output1", output)]
    for number, file in enumerate(references, 1):
        label = f"reference {number}" if len(references) > 1 else "reference"
        files.append((label, f"reference{(number - 1) % STYLES['reference'] + 1}", file))
    spectra = [Line(label, style, *long_term_spectrum(file)) for label, style, file in files]
    picture = _Picture()
    if spectra := [line for line in spectra if len(line.x) > 1]:  # a few milliseconds have no spectrum
        picture.add(spectra_chart(spectra, span_hz=span_hz))
    if equaliser := list(equaliser_line("equaliser", "output1", settings, sample_rate=round(2 * span_hz[1]))):
        picture.add(equaliser_chart(equaliser, span_hz=span_hz))
    if not picture.texts:
        picture.add_heading("The recordings are too short for a spectrum.")
    suffix = path.suffix.lower()
    staging.write(path, _svg(picture) if suffix == ".svg" else _with_matplotlib(picture, suffix.removeprefix(".")))


def equaliser_svg(settings: Table, *, sample_rate: int) -> bytes:
    """Draw the response of a table's equaliser as SVG; empty where it has none.

    Args:
        settings: The table.
        sample_rate: Sample rate of the recording, in Hz.
    """
    picture = _Picture()
    if equaliser := list(equaliser_line("equaliser", "output1", settings, sample_rate=sample_rate)):
        picture.add(equaliser_chart(equaliser))
    return _svg(picture) if equaliser else b""


@dataclass(frozen=True)
class _Text:
    """A text: its place, its anchor as in SVG, and its class in the style sheet."""

    x: float
    y: float
    anchor: str
    style: str
    words: str


@dataclass(frozen=True)
class _Stroke:
    """A line: its class in the style sheet, its corners, and the upper and lower edge between which it is shown."""

    style: str
    points: tuple[tuple[float, float], ...]
    frame: tuple[float, float]

    @property
    def path(self) -> str:
        """Its SVG path data."""
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in self.points)


@dataclass
class _Picture:
    """Charts one below the other, as lines and texts."""

    height: float = 0.0
    strokes: list[_Stroke] = field(default_factory=list)
    texts: list[_Text] = field(default_factory=list)

    def add_heading(self, words: str) -> None:
        """Add a heading."""
        self.height += _HEAD
        self.texts.append(_Text(LEFT, self.height - 6, "start", "heading", words))

    def add(self, chart: Chart) -> None:
        """Add a chart below the others."""
        self.add_heading(f"{chart.title}: {chart.axes[1]}")
        right, top = WIDTH - RIGHT, self.height
        for strip in chart.strips:
            frame = (top + strip.top, top + strip.bottom)
            for y, label in strip.levels:
                style = "grid zero" if label == "0" else "grid"
                self.strokes.append(_Stroke(style, ((LEFT, top + y), (right, top + y)), frame))
                self.texts.append(_Text(LEFT - 5, top + y + 4, "end", "tick", label))
            for x, _ in chart.marks:
                self.strokes.append(_Stroke("grid", ((x, frame[0]), (x, frame[1])), frame))
            for style, path in strip.lines:
                corners = (corner.split() for corner in path.removeprefix("M").split("L"))
                points = tuple((float(x), top + float(y)) for x, y in corners)
                self.strokes.append(_Stroke(f"curve {style}", points, frame))
        bottom = top + chart.strips[-1].bottom
        for x, label in chart.marks:
            self.texts.append(_Text(x, bottom + 15, "middle", "tick", label))
        self.texts.append(_Text((LEFT + right) / 2, bottom + BOTTOM - 5, "middle", "axis", chart.axes[0]))
        self.height = bottom + BOTTOM
        if len(chart.legend) > 1:
            self._add_legend(chart.legend)

    def _add_legend(self, lines: Sequence[Line]) -> None:
        columns = int((WIDTH - RIGHT - LEFT) // _LEGEND_COLUMN)
        for index, line in enumerate(lines):
            x, y = LEFT + index % columns * _LEGEND_COLUMN, self.height + index // columns * _LEGEND_ROW + TOP
            self.strokes.append(_Stroke(f"curve {line.style}", ((x, y), (x + _SAMPLE, y)), (y - 4, y + 4)))
            self.texts.append(_Text(x + _SAMPLE + 6, y + 4, "start", "label", line.label))
        self.height += -(-len(lines) // columns) * _LEGEND_ROW + TOP


def _svg(picture: _Picture) -> bytes:
    frames = sorted({stroke.frame for stroke in picture.strokes})
    drawn = templates().get_template("plot.svg").render(picture=picture, frames=frames, rules=_rules())
    return drawn.encode("utf-8")


def _with_matplotlib(picture: _Picture, kind: str) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(WIDTH / 72, picture.height / 72))  # matplotlib's unit is a point of 1/72 inch
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(picture.height, 0))
    axes.set_axis_off()
    looks = dict(_looks())
    for stroke in picture.strokes:
        colour, width, dashes = looks[stroke.style.split()[-1]]
        style = (0, tuple(length / width for length in dashes)) if dashes else "-"
        (line,) = axes.plot(*zip(*stroke.points, strict=True), color=colour, linewidth=width, linestyle=style)
        top, bottom = stroke.frame
        line.set_clip_path(Rectangle((LEFT, top), WIDTH - LEFT - RIGHT, bottom - top, transform=axes.transData))
    sides = {"start": "left", "middle": "center", "end": "right"}
    for text in picture.texts:
        weight = "bold" if text.style == "heading" else "normal"
        axes.text(text.x, text.y, text.words, ha=sides[text.anchor], va="baseline", size=9, weight=weight)
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=72 * DOTS_A_UNIT)
    return file.getvalue()


@cache
def _rules() -> str:
    """Return the style sheet's rules for charts, in the colours for a white page; not every program knows variables."""
    sheet = style_sheet()
    light = dict(re.findall(r"--(\w+): (#\w+);", sheet[: sheet.index("@media")]))
    charts = sheet[sheet.index(".plot text") : sheet.index(".playhead")]
    return re.sub(r"var\(--(\w+)\)", lambda variable: light[variable[1]], charts)


def _looks() -> Iterator[tuple[str, tuple[str, float, tuple[float, ...]]]]:
    """Yield the classes of lines, each with its colour, width and dashes."""
    for name, rule in re.findall(r"^\.(\w+) \{(.*)\}$", _rules(), re.MULTILINE):
        if colour := re.search(r"stroke: (#\w+)", rule):
            dashes = re.search(r"stroke-dasharray: ([\d ]+)", rule)
            lengths = tuple(map(float, dashes[1].split())) if dashes else ()
            yield name, (colour[1], 1.0 if name in ("grid", "zero") else 2.0, lengths)
