"""Charts of an entry: spectra, equalisers, and gain reduction."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from fxst.chains.table import Table, equaliser_response
from fxst.dsp import Array, Samples
from fxst.effects import Compressor, ParametricEQ
from fxst.report.charts import Chart, Line, frequency_chart, time_chart
from fxst.report.content import ReportEntry, Track
from fxst.report.media import LoudExcerpt, main_track
from fxst.report.recordings import Recording

__all__ = [
    "LONGEST_CURVE",
    "STYLES",
    "charts_of",
    "deepest",
    "equaliser_chart",
    "equaliser_line",
    "reduction_charts",
    "spectra_chart",
    "spectra_charts",
    "styles",
]


LONGEST_CURVE: Final = 600
"""Points in a curve: more than the pixels of a chart."""

STYLES: Final = {"output": 8, "reference": 3}
"""Number of classes in the style sheet for each role, used in turn."""

_SPECTRUM_RANGE_DB: Final = 80.0
_LOWEST_HZ: Final = 20.0
_HIGHEST_HZ: Final = 20_000.0
_EQUALISER_POINTS: Final = 240
_SMALLEST_EQUALISER_RANGE_DB: Final = 6.0
_SMALLEST_REDUCTION_RANGE_DB: Final = 6.0
# A release of 2 s, the longest, has a time constant of 0.32 s: earlier audio has no effect after this time.
_RUN_UP_SECONDS: Final = 5.0


def styles(tracks: Sequence[Track]) -> tuple[str, ...]:
    """Return each track's class in the style sheet, for its curves and its button."""
    seen: Counter[str] = Counter()
    result = []
    for track in tracks:
        number = seen[track.role] % STYLES[track.role] + 1 if track.role in STYLES else ""
        result.append(f"{track.role}{number}")
        seen[track.role] += 1
    return tuple(result)


def charts_of(entry: ReportEntry, excerpt: LoudExcerpt) -> Iterator[Chart]:
    """Yield the charts of an entry.

    Args:
        entry: The entry.
        excerpt: The excerpt of the input that is played.
    """
    yield from spectra_charts(entry)
    yield from _stereo(entry)
    yield from _equalisers(entry)
    yield from reduction_charts(entry, excerpt)


def spectra_charts(entry: ReportEntry) -> Iterator[Chart]:
    """Yield the chart of the spectra, if a recording is long enough for one."""
    curves = []
    for track, style in zip(entry.tracks, styles(entry.tracks), strict=True):
        survey = track.recording.survey
        if len(survey.bands_hz) > 1:  # a few milliseconds have no spectrum
            curves.append(Line(track.label, style, survey.bands_hz, survey.bands_db))
    if curves:
        yield spectra_chart(curves)


def _stereo(entry: ReportEntry) -> Iterator[Chart]:
    """Yield the charts of the mid and of the side signals, if a recording has a stereo image."""
    mids, sides = [], []
    for track, style in zip(entry.tracks, styles(entry.tracks), strict=True):
        survey = track.recording.survey
        if survey.stereo is not None and len(survey.bands_hz) > 1 and math.isfinite(survey.stereo.side_db):
            mids.append(Line(track.label, style, survey.bands_hz, survey.stereo.mid_bands_db))
            sides.append(Line(track.label, style, survey.bands_hz, survey.stereo.side_bands_db))
    if mids:
        yield spectra_chart(mids, title="Mid signal, (L + R) / 2, in third octaves")
        yield spectra_chart(sides, title="Side signal, (L \u2212 R) / 2, in third octaves")


def spectra_chart(
    curves: Sequence[Line],
    *,
    span_hz: tuple[float, float] | None = None,
    title: str = "Long-term spectra in third octaves",
) -> Chart:
    """Lay out the spectra of recordings.

    Args:
        curves: The spectra, in Hz and dB.
        span_hz: The frequencies shown; by default those of the curves.
        title: What they are of.
    """
    high = 10 * math.ceil(max(float(curve.y.max()) for curve in curves) / 10)
    lowest = 10 * math.floor(min(float(curve.y.min()) for curve in curves) / 10)
    return frequency_chart(
        curves,
        title=title,
        description=f"Level in third octaves, over all of each recording, of {_listed(curves)}.",
        y_label="level (dBFS)",
        low=max(min(lowest, high - 20), high - _SPECTRUM_RANGE_DB),
        high=high,
        span_hz=span_hz,
    )


def _equalisers(entry: ReportEntry) -> Iterator[Chart]:
    sample_rate = main_track(entry).recording.sample_rate
    curves = [
        curve
        for track, style, table in _with_settings(entry)
        for curve in equaliser_line(track.label, style, table, sample_rate=sample_rate)
    ]
    if curves:
        yield equaliser_chart(curves)


def equaliser_line(label: str, style: str, table: Table, *, sample_rate: int) -> Iterator[Line]:
    """Yield the response of a table's equaliser, if it has one.

    Args:
        label: Name in the legend.
        style: Class in the style sheet.
        table: The table.
        sample_rate: Sample rate of the recording, in Hz.
    """
    if any(isinstance(effect, ParametricEQ) for effect in table.chain.effects):
        frequencies = np.geomspace(_LOWEST_HZ, min(_HIGHEST_HZ, sample_rate / 2.0001), _EQUALISER_POINTS)
        yield Line(label, style, frequencies, equaliser_response(table, frequencies, sample_rate=sample_rate))


def equaliser_chart(curves: Sequence[Line], *, span_hz: tuple[float, float] | None = None) -> Chart:
    """Lay out the responses of equalisers.

    Args:
        curves: The responses, in Hz and dB.
        span_hz: The frequencies shown; by default those of the curves.
    """
    extent = max(_SMALLEST_EQUALISER_RANGE_DB, *(float(np.abs(curve.y).max()) for curve in curves))
    extent = 3 * math.ceil(extent / 3)
    farthest = (float(curve.y[np.abs(curve.y).argmax()]) for curve in curves)
    extremes = "; ".join(f"{curve.label} at most {db:+.1f} dB" for curve, db in zip(curves, farthest, strict=True))
    return frequency_chart(
        curves,
        title="Equaliser, all bands together",
        description=f"Gain over frequency. {extremes}.",
        y_label="gain (dB)",
        low=-extent,
        high=extent,
        span_hz=span_hz,
    )


def reduction_charts(entry: ReportEntry, excerpt: LoudExcerpt) -> Iterator[Chart]:
    """Yield the chart of the gain reduction of compressors, if there are any.

    Args:
        entry: The entry.
        excerpt: The excerpt of the input that is played.
    """
    inputs = [track for track in entry.tracks if track.role == "input"]
    if not inputs:
        return  # the chain's input is unknown
    curves = []
    for track, style, table in _with_settings(entry):
        several = sum(isinstance(effect, Compressor) for effect in table.chain.effects) > 1
        for label, reduction in _reduction_of(table, inputs[0].recording, excerpt):
            if reduction.size:
                db = deepest(20 * np.log10(reduction.min(axis=0).astype(np.float64)))
                name = f"{track.label}: {label}" if several else track.label
                curves.append(Line(name, style, np.linspace(0, excerpt.seconds, len(db)), db))
    if not curves:
        return
    low = min(-_SMALLEST_REDUCTION_RANGE_DB, *(float(curve.y.min()) for curve in curves))
    summaries = "; ".join(f"{curve.label} at most {abs(curve.y.min()):.1f} dB" for curve in curves)
    yield time_chart(
        curves,
        title="Gain reduction, without make-up gain",
        description=f"How far each compressor turns the signal down over time. {summaries}.",
        low=-3.0 * math.ceil(-low / 3),
        start=excerpt.start,
    )


def _reduction_of(table: Table, recording: Recording, excerpt: LoudExcerpt) -> Iterator[tuple[str, Samples]]:
    """Yield the gain reduction of every active compressor in an excerpt."""
    rate = recording.sample_rate
    stages = [stage for stage in table.chain.stages(table) if stage.active]
    last = max((index for index, stage in enumerate(stages) if isinstance(stage.effect, Compressor)), default=-1)
    if last < 0:
        return
    first = max(0.0, excerpt.start - _RUN_UP_SECONDS)
    x = recording.read(start=first, seconds=excerpt.start - first + excerpt.seconds)
    begin = round((excerpt.start - first) * rate)
    for index, (label, effect, values, _) in enumerate(stages[: last + 1]):  # up to the last compressor
        if isinstance(effect, Compressor):
            gain = effect.gain_reduction(x, values, sample_rate=rate)
            yield label, gain[:, begin:]
        if index < last:
            x = effect.exact(values, sample_rate=rate, channels=len(x))(x)


def deepest(db: Array) -> Array:
    """Decimate a curve and keep its minima.

    Shape:
        `(time,)` to `(at most 600,)`.
    """
    count = min(len(db), LONGEST_CURVE)
    starts = np.arange(count) * len(db) // max(count, 1)
    return np.minimum.reduceat(db, starts) if count else db


def _with_settings(entry: ReportEntry) -> Iterator[tuple[Track, str, Table]]:
    for track, style in zip(entry.tracks, styles(entry.tracks), strict=True):
        if track.settings is not None:
            yield track, style, track.settings


def _listed(curves: Sequence[Line]) -> str:
    *before, last = [curve.label for curve in curves]
    return f"{', '.join(before)} and {last}" if before else last
