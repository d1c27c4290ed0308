"""What `fxst apply` lets a person say of the sound, through the real command."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import tables
from fxst.chain import CHAINS
from fxst.tables import Table

STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
SQUASHED = {"compressor": {"threshold_db": -40.0, "ratio": 10.0, "attack_ms": 5.0, "release_ms": 100.0}}
RATE = 44_100


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def voices(speech):
    """A stereo recording with a loud voice on the left and another, ten times as soft, on the right."""
    x = speech(RATE, 2, 2) * np.array([[1.0], [0.1]], np.float32)
    soundfile.write("voices.wav", x.T, RATE, subtype="FLOAT")
    return x


def written(name="out.wav"):
    return np.ascontiguousarray(soundfile.read(name, dtype="float32", always_2d=True)[0].T)


def save(changes, name="table.json"):
    tables.write(NOTHING.with_values(changes), Path(name))
    return name


def test_compressors_turn_both_sides_down_alike_unless_told_not_to(fxst, voices):
    table = save(SQUASHED)
    assert fxst("apply", "voices.wav", "-p", table, "-o", "out.wav")[0] == 0
    linked = written()
    compress = STUDIO.exact(NOTHING.with_values(SQUASHED), sample_rate=RATE, channels=2)
    np.testing.assert_array_equal(linked, compress(voices))
    assert fxst("apply", "voices.wav", "-p", table, "-o", "out.wav", "--no-link")[0] == 0
    apart = written()
    for channel in (0, 1):
        alone = STUDIO.exact(NOTHING.with_values(SQUASHED), sample_rate=RATE, channels=1)(voices[channel : channel + 1])
        np.testing.assert_array_equal(apart[channel], alone[0])
    assert np.abs(linked[1]).max() < 0.5 * np.abs(apart[1]).max()  # the soft side goes down with the loud one


def test_a_table_that_was_made_with_channels_apart_says_so(fxst, voices, examples):
    common = ("apply", "voices.wav", "-o")
    assert fxst(*common, "1.wav", "--ref", examples / "radio.wav", "--no-link", "-p", "t.json")[0] == 0
    assert [e.get("linked") for e in json.loads(Path("t.json").read_text())["chain"]["effects"]][1] is False
    assert fxst(*common, "2.wav", "-p", "t.json")[0] == 0
    assert Path("1.wav").read_bytes() == Path("2.wav").read_bytes()
    assert fxst(*common, "3.wav", "--ref", examples / "radio.wav", "-p", "linked.json")[0] == 0
    assert fxst(*common, "4.wav", "-p", "t.json", "--link")[0] == 0
    assert tables.read(Path("linked.json")).chain.effects[1].linked


def test_an_amount_of_nothing_changes_nothing_and_all_of_it_is_the_style(fxst, voices, examples):
    common = ("apply", "voices.wav", "--ref", examples / "radio.wav", "-o", "out.wav", "-p", "t.json")
    assert fxst(*common)[0] == 0
    style, table = written(), tables.read(Path("t.json"))
    assert fxst(*common, "--amount", "100")[0] == 0
    np.testing.assert_array_equal(written(), style)
    assert fxst(*common, "--amount", "0")[0] == 0
    np.testing.assert_array_equal(written(), voices)
    code, _, _ = fxst(*common, "--amount", "80", "--amount", "eq=50%")
    assert code == 0
    turned = tables.read(Path("t.json"))
    assert turned == table.at_amount({"": 0.8, "eq": 0.5})
    assert turned.provenance["amount"].startswith("parametric_eq 50 %, compressor 80 %")
    again = STUDIO.exact(turned, sample_rate=RATE, channels=2)(voices)
    np.testing.assert_array_equal(written(), again)


def test_a_table_can_be_turned_down_too(fxst, voices):
    table = save({"parametric_eq": {"peak3_gain_db": 12.0}})
    assert fxst("apply", "voices.wav", "-p", table, "-o", "out.wav", "--amount", "eq=50")[0] == 0
    half = NOTHING.with_values({"parametric_eq": {"peak3_gain_db": 6.0}})
    np.testing.assert_array_equal(written(), STUDIO.exact(half, sample_rate=RATE, channels=2)(voices))


@pytest.mark.parametrize(
    ("given", "message"), [("loud", "no share of a style"), ("151", "no share"), ("chorus=50", "no effect 'chorus'")]
)
def test_an_amount_that_makes_no_sense_is_one_line_and_nothing_is_written(fxst, voices, given, message):
    code, _, err = fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav", "--amount", given)
    assert code != 0
    assert message in err
    assert err.count("\n") == 1
    assert not Path("out.wav").exists()
