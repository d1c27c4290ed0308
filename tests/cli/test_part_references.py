"""The equaliser follows one reference, the dynamics another, and the rest a third."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.transfer.style_transfer import render

RATE = 24_000
OF_DYNAMICS = ("threshold_db", "ratio", "attack_ms", "release_ms")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, speech):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    x, y = speech(RATE, 2, 3)
    soundfile.write("voice.wav", x, RATE, subtype="PCM_24")
    for name, effects in {
        "bright": {"parametric_eq": {"high_shelf_gain_db": 7.0, "high_shelf_f0_hz": 3500.0}},
        "tight": {"compressor": {"threshold_db": -26.0, "ratio": 3.0, "attack_ms": 3.0, "makeup_db": 4.0}},
        "plain": {"compressor": {"makeup_db": -3.0}},
    }.items():
        chain = CHAINS["studio"]
        table = Table(chain, chain.bypassed(chain.defaults())).with_values(effects)
        soundfile.write(f"{name}.wav", render(y[None], table, sample_rate=RATE)[0], RATE, subtype="PCM_24")


def settings(fxst, name, *given):
    code, _, err = fxst("apply", "voice.wav", "-o", f"{name}.out.wav", *given)
    assert code == 0, err
    assert "of the style was applied" not in err  # all of it, so the settings can be compared
    return table_files.read(Path(f"{name}.out.params.json"))


def test_each_effect_follows_its_own_reference(fxst):
    like = {name: settings(fxst, name, "--ref", f"{name}.wav") for name in ("bright", "tight", "plain")}
    mixed = settings(fxst, "mixed", "--ref", "plain.wav", "--ref-eq", "bright.wav", "--ref-dynamics", "tight.wav")
    values = {name: table.to_dict() for name, table in like.items()}
    assert values["bright"]["parametric_eq"] != values["plain"]["parametric_eq"]
    assert mixed.to_dict()["parametric_eq"] == values["bright"]["parametric_eq"]
    for name in OF_DYNAMICS:
        assert values["tight"]["compressor"][name] != values["plain"]["compressor"][name]
        assert mixed.to_dict()["compressor"][name] == values["tight"]["compressor"][name]
    for effect in ("distortion", "reverb"):
        assert mixed.to_dict()[effect] == values["plain"][effect]
        assert (effect in mixed.bypassed) == (effect in like["plain"].bypassed)
    known = mixed.provenance
    assert (known["reference"], known["reference_eq"], known["reference_dynamics"]) == (
        "plain.wav",
        "bright.wav",
        "tight.wav",
    )


def test_the_level_is_that_of_the_rest(fxst):
    x, _ = soundfile.read("bright.wav")
    soundfile.write("soft-bright.wav", x * 0.1, RATE, subtype="PCM_24")
    for name in ("bright", "soft-bright"):
        settings(fxst, name, "--ref", "plain.wav", "--ref-eq", f"{name}.wav")
    loud, soft = (np.sqrt(np.square(soundfile.read(f"{name}.out.wav")[0]).mean()) for name in ("bright", "soft-bright"))
    assert abs(20 * np.log10(loud / soft)) < 1.5  # and not 20 dB


def test_a_style_profile_or_a_folder_is_a_reference_for_a_part_too(fxst):
    by_file = settings(fxst, "file", "--ref", "plain.wav", "--ref-eq", "bright.wav")
    assert fxst("style", "save", "bright.wav", "-o", "bright.json")[0] == 0
    Path("folder").mkdir()
    shutil.copy("bright.wav", "folder")
    by_profile = settings(fxst, "profile", "--ref", "plain.wav", "--ref-eq", "bright.json")
    by_folder = settings(fxst, "folder", "--ref", "plain.wav", "--ref-eq", "folder")
    assert by_profile.rows == by_folder.rows == by_file.rows


def test_a_batch_knows_which_reference_was_for_what(fxst):
    Path("in").mkdir()
    shutil.copy("voice.wav", "in")
    command = ("apply", "in", "-o", "out", "--ref", "plain.wav")
    first = ("--ref-eq", "bright.wav", "--ref-dynamics", "tight.wav")
    other_way_round = ("--ref-eq", "tight.wav", "--ref-dynamics", "bright.wav")
    finished = [
        json.loads(fxst(*command, *given, "--format", "json")[1])["counts"]["finished"]
        for given in (first, first, other_way_round)
    ]
    assert finished == [0, 1, 0]


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("--ref", "plain.wav", "--ref-eq", "missing.wav"), 1, "'missing.wav'"),
        (("--params", "t.json", "--ref-eq", "bright.wav"), 2, "--ref-eq is for settings that a model chooses"),
        (("--ref-eq", "bright.wav"), 2, "(--ref)"),
        (("--ref", "plain.wav", "--ref-eq", "empty"), 3, "'empty' holds no sound files"),
    ],
)
def test_a_reference_for_a_part_that_cannot_be_used_is_refused(fxst, given, code, words):
    Path("empty").mkdir()
    found, _, err = fxst("apply", "voice.wav", "-o", "out.wav", *given)
    assert (found, Path("out.wav").exists()) == (code, False), err
    assert words in err
