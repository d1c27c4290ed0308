"""What the report's tests share: a page as `fxst eval` makes it, with sounds that tell where they are."""

import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.report import FigureTable, InMemory, Page, ReportEntry, Track, write_report

SAMPLE_RATE = 24_000
SECONDS = 5.5
CHAIN = CHAINS["eq-comp"]
SWEEP_HZ_A_SECOND = 600.0
BEGIN_HZ = {"Input": 500.0, "Output": 4000.0, "Target": 7500.0}
REFERENCE_HZ = 200.0


def track(label, role, x, settings=None, *, sample_rate=SAMPLE_RATE):
    """A track in memory."""
    return Track(label, role, InMemory(x, sample_rate=sample_rate), settings)


def table(seed):
    knobs = np.random.default_rng(seed).uniform(0.2, 0.8, len(CHAIN.knobs))
    return Table(CHAIN, CHAIN.settings(knobs))


def sweep(begin_hz, seconds=SECONDS):
    """A sine that rises by the same each second, so that its pitch tells the time."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * (begin_hz + SWEEP_HZ_A_SECOND / 2 * time) * time))[None].astype(np.float32)


def entry(number):
    """An entry of five tracks; the first two sweep, the others hold noise."""
    generator = np.random.default_rng(number)

    def sound(begin_hz):
        if number < 2:
            return sweep(begin_hz)
        return (0.1 * generator.standard_normal((1, round(SECONDS * SAMPLE_RATE)))).astype(np.float32)

    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    reference = (0.3 * np.sin(2 * np.pi * REFERENCE_HZ * time))[None].astype(np.float32)
    return ReportEntry(
        f"entry {number}",
        (
            track("Input", "input", sound(BEGIN_HZ["Input"])),
            track("Reference", "reference", reference),
            track("Output", "output", sound(BEGIN_HZ["Output"]), table(number)),
            track("Another", "output", sound(BEGIN_HZ["Output"]), table(number + 100)),
            track("Target", "target", sound(BEGIN_HZ["Target"]), table(number + 200)),
        ),
        FigureTable("Figures", ("System", "MRSTFT", "PESQ"), (("Output", "0.61", "3.02"), ("Another", "0.80", "2.50"))),
    )


@pytest.fixture(scope="session")
def ten_entries():
    """A page of ten entries with five tracks of 5.5 s each, and a summary wider than a telephone."""
    header = ("Row", *(f"metric {number}" for number in range(13)))
    rows = tuple((name, *["1.23 [1.10, 1.36]"] * 13) for name in ("input", "output", "another"))
    return Page(
        "Ten entries",
        ("What this page is about.",),
        (FigureTable("Summary", header, rows),),
        tuple(entry(number) for number in range(10)),
    )


@pytest.fixture(scope="session")
def ten_entries_html(ten_entries, tmp_path_factory):
    """The file of that page."""
    path = tmp_path_factory.mktemp("report") / "ten.html"
    write_report(path, ten_entries)
    return path
