"""The curve of the equaliser stays within the limits that a person names, as it is rendered, at any rate and amount."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

RATE = 24_000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, speech):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    x = speech(RATE, 1, 3)[0]
    soundfile.write("voice.wav", x, RATE, subtype="PCM_16")
    bright = np.diff(x, prepend=0) * 4 + 0.05 * np.cumsum(x - x.mean()) / 10  # far too bright
    soundfile.write("ref.wav", bright / np.abs(bright).max() / 2, RATE, subtype="PCM_16")


def curve_db(fxst, table, rate):
    """Measure the response of the rendered equaliser alone, by an impulse through the program."""
    document = json.loads(Path(table).read_text())
    for row in document["settings"]:
        row["bypass"] = row["effect"] != "parametric_eq" or row.get("bypass", False)
    Path("alone.json").write_text(json.dumps(document))
    click = np.zeros(rate, np.float32)
    click[100] = 0.25
    soundfile.write("click.wav", click, rate, subtype="FLOAT")
    code, _, err = fxst(
        "apply", "click.wav", "--params", "alone.json", "-o", "rung.wav", "--ceiling", "none", "--overwrite"
    )
    assert code == 0, err
    response = np.abs(np.fft.rfft(soundfile.read("rung.wav")[0] / 0.25))
    hz = np.fft.rfftfreq(rate, 1 / rate)
    audible = (hz >= 20) & (hz < 0.498 * rate)
    return 20 * np.log10(response[audible]), hz[audible]


def test_a_models_curve_is_refitted_within_the_limits_at_any_amount(fxst):
    code, _, err = fxst("apply", "voice.wav", "--ref", "ref.wav", "-o", "free.wav")
    assert code == 0, err
    free, hz = curve_db(fxst, "free.params.json", RATE)
    assert free.max() > 4  # there is something to limit
    limits = ("--max-boost", "3", "--max-cut", "2.5")
    for name, more in {"all": (), "more": ("--amount", "eq=150")}.items():
        code, _, err = fxst("apply", "voice.wav", "--ref", "ref.wav", "-o", f"{name}.wav", *limits, *more)
        assert code == 0, err
        held, _ = curve_db(fxst, f"{name}.params.json", RATE)
        assert held.max() <= 3.01
        assert held.min() >= -2.51
        assert held.max() > 1.5  # and it is not just turned down
        note = table_files.read(Path(f"{name}.params.json")).provenance["curve_limits"]
        assert note == "at most 3 dB of boost, at most 2.5 dB of cut"
    nearest = np.clip(free, -2.5, 3)
    held, _ = curve_db(fxst, "all.params.json", RATE)
    octaves = np.gradient(np.log2(hz))
    assert np.average(np.abs(held - nearest), weights=octaves) < 1.2


def alone(chain):
    """Return a table of a chain of which only the equaliser is to be set."""
    return Table(chain, chain.bypassed(chain.defaults()))


def extreme(chain, rate, path):
    """Write a table whose bands overlap, so that a limit on each would not limit their sum."""
    table = alone(CHAINS[chain])
    gains = {row.parameter: 9.0 for row in table if row.parameter.endswith("gain_db")}
    near = {row.parameter: rate / 8 for row in table if row.parameter.endswith("f0_hz")} if chain == "studio" else {}
    values = {"parametric_eq": {**gains, **near}}
    table = table.with_values(values)
    table_files.write(table, path)


@pytest.mark.parametrize(("chain", "rate"), [("studio", 44_100), ("studio", 8000), ("eq", 24_000)])
@pytest.mark.parametrize(("option", "low", "high"), [("--max-boost", -np.inf, 6.0), ("--max-cut", -4.0, np.inf)])
def test_an_applied_table_is_held_too_at_the_rate_of_each_recording(fxst, tmp_path, chain, rate, option, low, high):
    extreme(chain, rate, tmp_path / "bands.json")
    if option == "--max-cut":
        table = table_files.read(tmp_path / "bands.json")
        gains = {row.parameter: -row.value for row in table if row.parameter.endswith("gain_db")}
        table_files.write(table.with_values({"parametric_eq": gains}), tmp_path / "bands.json")
    click = np.zeros(rate, np.float32)
    click[100] = 1e-3
    soundfile.write("click.wav", click, rate, subtype="FLOAT")
    limit = str(max(abs(x) for x in (low, high) if np.isfinite(x)))
    for name, more in {"free": (), "held": (option, limit)}.items():
        code, _, err = fxst(
            "apply", "click.wav", "--params", "bands.json", "-o", f"{name}.wav", "--ceiling", "none", *more
        )
        assert code == 0, err
    hz = np.fft.rfftfreq(rate, 1 / rate)
    free, held = (
        20 * np.log10(np.abs(np.fft.rfft(soundfile.read(f"{name}.wav")[0] / 1e-3))[(hz > 20) & (hz < 0.498 * rate)])
        for name in ("free", "held")
    )
    assert max(free.max() - high, low - free.min()) > 3
    assert held.max() <= high + 0.01
    assert held.min() >= low - 0.01
    assert np.abs(held).max() > 0.6 * float(limit)


def test_a_smoothed_curve_has_no_steep_places_and_the_same_slope_at_large(fxst):
    values = {"peak4_gain_db": 18.0, "peak4_f0_hz": 1000.0, "peak4_q": 8.0, "low_shelf_gain_db": 4.0}
    table = alone(CHAINS["studio"]).with_values({"parametric_eq": values})
    table_files.write(table, Path("notch.json"))
    click = np.zeros(RATE, np.float32)
    click[100] = 1e-3
    soundfile.write("click.wav", click, RATE, subtype="FLOAT")
    curves = {}
    hz = np.fft.rfftfreq(RATE, 1 / RATE)
    within = (hz > 30) & (hz < 10_000)
    for octaves in ("0", "1"):
        code, _, err = fxst("apply", "click.wav", "--params", "notch.json", "-o", f"{octaves}.wav", "--smooth", octaves)
        assert code == 0, err
        response = np.fft.rfft(soundfile.read(f"{octaves}.wav")[0] / 1e-3)
        curves[octaves] = 20 * np.log10(np.abs(response[within]))
    at = np.log2(hz[within])
    assert curves["0"].max() > 17
    # The mean over an octave of a peak of 18 dB, a seventh of an octave wide between its flanks' feet.
    average = np.array([np.trapezoid(curves["0"][near], at[near]) for x in at if (near := np.abs(at - x) <= 0.5).any()])
    assert np.average(np.abs(curves["1"] - average), weights=np.gradient(at)) < 0.6
    assert np.abs(np.diff(curves["1"]) / np.diff(at)).max() < np.abs(np.diff(curves["0"]) / np.diff(at)).max() / 4


@pytest.mark.parametrize(
    "given", [("--max-boost", "-1"), ("--max-cut", "61"), ("--smooth", "5"), ("--max-boost", "loud")]
)
def test_limits_that_are_none_are_refused(fxst, given):
    code, _, err = fxst("apply", "voice.wav", "--ref", "ref.wav", "-o", "out.wav", *given)
    assert code == 2
    assert given[0] in err
