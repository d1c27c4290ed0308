"""What is drawn is what was measured: read back from the drawings."""

import re
from pathlib import Path

import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.effects import Compressor
from fxst.report import InMemory, ReportEntry, Track, curves, page
from fxst.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from fxst.report.curves import LONGEST_CURVE, charts_of, deepest, styles
from fxst.report.media import excerpts

RATE = 24_000
CHAIN = CHAINS["eq-comp"]
FLAT = Table(CHAIN, CHAIN.defaults())


def track(label, role, x, settings=None, *, sample_rate=RATE):
    """A track in memory."""
    return Track(label, role, InMemory(x, sample_rate=sample_rate), settings)


def drawn(entry):
    """Every chart of an entry by its heading."""
    draw = page.templates().get_template("charts.html").module.drawing
    return {chart.title: draw(chart, "key") for chart in charts_of(entry, excerpts(entry, seconds=10)[0])}


def points(svg, style):
    """The corners of the curve of one style, in the drawing's units."""
    (path,) = re.findall(rf'class="curve (?:meter )?{style}" d="M([^"]*)"', svg)
    return np.array([[float(number) for number in pair.split()] for pair in path.split("L")]).T


def ticks(svg, anchor):
    """What is written at an axis, and where."""
    found = re.findall(rf'class="tick" x="([^"]*)" y="([^"]*)" text-anchor="{anchor}">([^<]*)<', svg)
    return [(float(x), float(y), words.replace("\N{MINUS SIGN}", "-")) for x, y, words in found]


def in_decibels(svg, down):
    """Read heights off the vertical axis."""
    axis = [(place - 4, float(words)) for _, place, words in ticks(svg, "end")]
    slope, zero = np.polyfit([place for place, _ in axis], [db for _, db in axis], 1)
    return slope * down + zero


def test_a_tone_stands_out_at_its_frequency_and_its_level():
    time = np.arange(2 * RATE) / RATE
    tone = np.stack([np.sin(2 * np.pi * 1000 * time)] * 2).astype(np.float32)
    tone[1] *= -1  # out of phase: as a sum of channels it would be silence
    svg = drawn(ReportEntry("tone", (track("Input", "input", tone),)))["Long-term spectra in third octaves"]
    x, y = points(svg, "input")
    at = {words: place for place, _, words in ticks(svg, "middle")}
    levels = {words: place - 4 for _, place, words in ticks(svg, "end")}
    assert x[y.argmin()] == pytest.approx(at["1k"], abs=0.2)
    assert y.min() == pytest.approx(levels["0"], abs=0.2)
    decade = at["1k"] - at["100"]
    assert at["10k"] - at["1k"] == pytest.approx(decade, abs=0.2)
    assert at["2k"] - at["1k"] == pytest.approx(decade * np.log10(2), abs=0.2)
    assert x.min() == LEFT
    assert x.max() == pytest.approx(WIDTH - RIGHT, abs=0.1)


def test_the_equaliser_is_drawn_as_it_renders():
    table = FLAT.with_values({"parametric_eq": {"low_shelf_gain_db": 12.0, "high_shelf_gain_db": -9.0}})
    x = np.zeros((1, RATE), np.float32)
    entry = ReportEntry("eq", (track("Input", "input", x), track("Output", "output", x, table)))
    svg = drawn(entry)["Equaliser, all bands together"]
    across, down = points(svg, "output1")
    impulse = np.zeros((1, 1 << 16), np.float32)
    impulse[0, 0] = 1
    rows = table[: len(CHAINS["eq"].defaults())]
    response = np.abs(np.fft.rfft(CHAINS["eq"].exact(rows, sample_rate=RATE, channels=1)(impulse)[0]))
    hz = 20 * (RATE / 2.0001 / 20) ** ((across - LEFT) / (WIDTH - LEFT - RIGHT))
    expected = np.interp(hz, np.arange(len(response)) * RATE / (1 << 16), 20 * np.log10(response))
    np.testing.assert_allclose(in_decibels(svg, down), expected, atol=0.15)
    assert 0 <= TOP <= down.min()
    assert down.max() <= HEIGHT - BOTTOM


def test_what_reaches_the_compressor_has_passed_the_equaliser():
    # A constant lies wholly in the low shelf: 0.25 is raised by 12 dB to -0.04 dBFS, which the ratio then lowers.
    table = FLAT.with_values(
        {"parametric_eq": {"low_shelf_gain_db": 12.0}, "compressor": {"threshold_db": -20.0, "ratio": 4.0}}
    )
    x = np.full((1, RATE), 0.25, np.float32)
    entry = ReportEntry("steady", (track("Input", "input", x), track("Output", "output", x, table)))
    svg = drawn(entry)["Gain reduction, without make-up gain"]
    expected = (20 * np.log10(0.25) + 12 + 20) * 3 / 4
    _, down = points(svg, "output1")
    assert in_decibels(svg, down)[-1] == pytest.approx(-expected, abs=0.1)


def test_the_deepest_reduction_is_told_in_words():
    table = FLAT.with_values({"compressor": {"threshold_db": -20.0, "ratio": 4.0}})
    x = np.full((1, RATE), 0.5, np.float32)
    entry = ReportEntry("steady", (track("Input", "input", x), track("Output", "output", x, table)))
    expected = (20 * np.log10(0.5) + 20) * 3 / 4
    assert f"Output at most {expected:.1f} dB" in drawn(entry)["Gain reduction, without make-up gain"]


def test_an_excerpts_meter_shows_what_the_whole_recordings_would(speech):
    x = np.concatenate([0.05 * speech(RATE, 2, seconds=2)] * 4 + [speech(RATE, 2, seconds=2)] * 5, axis=1)
    table = FLAT.with_values({"compressor": {"threshold_db": -15.0, "ratio": 6.0}})
    entry = ReportEntry("long", (track("Input", "input", x), track("Output", "output", x, table)))
    excerpt = excerpts(entry, seconds=10)[0]
    assert excerpt.start > 5
    gain = Compressor().gain_reduction(x, table.to_dict()["compressor"], sample_rate=RATE)
    first = round(excerpt.start * RATE)
    whole = 20 * np.log10(gain[:, first : first + 10 * RATE].min(axis=0))
    svg = drawn(entry)["Gain reduction, without make-up gain"]
    _, down = points(svg, "output1")
    np.testing.assert_allclose(in_decibels(svg, down), deepest(whole), atol=0.02)


def test_thinning_keeps_every_dip():
    db = np.zeros(240_000)
    dips = np.random.default_rng(0).choice(len(db), 20, replace=False)
    db[dips] = -np.arange(1.0, 21.0)
    thin = deepest(db)
    assert len(thin) == LONGEST_CURVE
    assert set(-np.arange(1.0, 21.0)) <= set(thin)
    assert thin.max() == 0
    for length in (0, 1, 599, 600, 601):
        assert len(deepest(np.zeros(length))) == min(length, LONGEST_CURVE)


def test_only_what_is_known_is_drawn():
    x = np.zeros((1, RATE), np.float32)
    unknown = ReportEntry("plain", (track("Input", "input", x), track("Output", "output", x)))
    assert list(drawn(unknown)) == ["Long-term spectra in third octaves"]
    eq = Table(CHAINS["eq"], CHAINS["eq"].defaults())
    only_eq = ReportEntry("eq", (track("Input", "input", x), track("Output", "output", x, eq)))
    assert list(drawn(only_eq)) == ["Long-term spectra in third octaves", "Equaliser, all bands together"]


def test_no_two_tracks_look_alike():
    x = np.zeros((1, 8), np.float32)
    roles = ("input", *["reference"] * 3, *["output"] * 5, "target")
    marks = styles([track("", role, x) for role in roles])
    assert len(set(marks)) == len(roles)


def test_every_style_is_in_the_style_sheet():
    """One more output than there are styles begins again; none is drawn without colour or like another."""
    sheet = Path(curves.__file__).with_name("page.css").read_text()
    for role, count in curves.STYLES.items():
        drawn = [re.findall(rf"^\.{role}{number} {{ (.*) }}$", sheet, re.M) for number in range(1, count + 1)]
        assert all(len(rules) == 1 for rules in drawn)
        dashes = [re.sub(r"stroke: [^;]*;", "", *rules) for rules in drawn]
        assert len(set(dashes)) == len(dashes)
