"""Silence is told from sound that was recorded low: as a reference, as an input, in whole numbers and in floats."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import StyleTransfer, load
from fxst.audio import read
from fxst.dsp.loudness import loudness
from fxst.errors import AudioError

RATE = 24_000
SECONDS = 3


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, speech):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    x = speech(RATE, 1, SECONDS).T
    soundfile.write("voice.wav", x, RATE, subtype="PCM_16")
    soundfile.write("ref.wav", np.tanh(3 * np.roll(x, RATE, 0)), RATE, subtype="PCM_16")
    return tmp_path


def dither(level_db=-96.0):
    rng = np.random.default_rng(0)
    return 10 ** (level_db / 20) * rng.standard_normal((RATE * SECONDS, 1))


DEAD = {
    "dither of 16 bits": lambda: soundfile.write("dead.wav", dither(), RATE, subtype="PCM_16"),
    "of 24 bits": lambda: soundfile.write("dead.wav", dither(-110), RATE, subtype="PCM_24"),
    "in floats": lambda: soundfile.write("dead.wav", dither(-90), RATE, subtype="FLOAT"),
    "on an offset": lambda: soundfile.write("dead.wav", 0.1 + dither(), RATE, subtype="PCM_16"),
    "on two channels": lambda: soundfile.write("dead.wav", np.tile(dither(), 2), RATE, subtype="PCM_24"),
}


@pytest.mark.parametrize("make", DEAD.values(), ids=DEAD)
@pytest.mark.parametrize("model", ["studio", "eq-comp"])
def test_a_dead_channel_is_no_reference_and_stays_as_it_is(fxst, make, model):
    make()
    code, out, err = fxst("apply", "voice.wav", "--ref", "dead.wav", "-o", "out.wav", "-m", model)
    assert (code, out) == (1, "")
    assert re.search(r"'dead.wav' is silent \(-\d+ LUFS\)", err)
    assert "choose a reference with sound in it" in err
    assert not Path("out.wav").exists()

    code, _, err = fxst("apply", "dead.wav", "--ref", "ref.wav", "-o", "out.wav", "-m", model)
    assert code == 0
    assert "the input is silent" in err
    assert "left as it is" in err
    np.testing.assert_array_equal(read(Path("out.wav"))[0], read(Path("dead.wav"))[0])


def test_a_dead_channel_makes_no_profile(fxst):
    DEAD["dither of 16 bits"]()
    code, _, err = fxst("style", "save", "ref.wav", "dead.wav", "-o", "style.json")
    assert code == 1
    assert "'dead.wav' is silent" in err
    assert not Path("style.json").exists()


@pytest.mark.parametrize("gain_db", [-25, -60, -100])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_the_level_of_a_floating_point_reference_does_not_matter(fxst, gain_db, subtype):
    x, _ = soundfile.read("ref.wav")
    lufs = loudness(x[None].astype(np.float32), sample_rate=RATE)
    soundfile.write("usual.wav", x * 10 ** ((-23 - lufs) / 20), RATE, subtype=subtype)
    soundfile.write("low.wav", x * 10 ** (gain_db / 20), RATE, subtype=subtype)
    code, _, err = fxst("apply", "voice.wav", "--ref", "usual.wav", "-o", "usual-out.wav")
    assert code == 0
    code, _, err = fxst("apply", "voice.wav", "--ref", "low.wav", "-o", "low-out.wav")
    assert code == 0
    assert "the reference is a floating-point recording at " in err
    assert "so it was analysed " in err
    usual, low = (read(Path(name))[0] for name in ("usual-out.wav", "low-out.wav"))
    assert loudness(low, sample_rate=RATE) == pytest.approx(loudness(usual, sample_rate=RATE), abs=0.2)


@pytest.mark.parametrize("gain_db", [-30, -60, -100])
def test_the_level_of_a_floating_point_input_does_not_matter(fxst, gain_db):
    x, _ = soundfile.read("voice.wav")
    lufs = loudness(x[None].astype(np.float32), sample_rate=RATE)
    soundfile.write("usual.wav", x * 10 ** ((-23 - lufs) / 20), RATE, subtype="FLOAT")
    soundfile.write("low.wav", x * 10 ** (gain_db / 20), RATE, subtype="FLOAT")
    for name in ("usual", "low"):
        code, _, err = fxst("apply", f"{name}.wav", "--ref", "ref.wav", "-o", f"{name}-out.wav")
        assert code == 0
    assert "the input is a floating-point recording at " in err
    assert "so it was rendered " in err
    usual, low = (read(Path(f"{name}-out.wav"))[0] for name in ("usual", "low"))
    assert np.abs(usual - low).max() < 0.02 * np.abs(usual).max()


def test_a_soft_recording_of_whole_numbers_is_as_soft_as_it_is(fxst):
    x, _ = soundfile.read("ref.wav")
    soundfile.write("low.wav", x * 10 ** (-30 / 20), RATE, subtype="PCM_24")
    code, _, err = fxst("apply", "voice.wav", "--ref", "low.wav", "-o", "out.wav")
    assert code == 0
    assert "floating-point" not in err
    y = read(Path("out.wav"))[0]
    assert loudness(y, sample_rate=RATE) < -35


def test_an_array_is_judged_as_a_file_is():
    style: StyleTransfer = load("studio")
    x, ref = (read(Path(name))[0] for name in ("voice.wav", "ref.wav"))
    noise = dither().T.astype(np.float32)
    with pytest.raises(AudioError, match="silent"):
        style.apply(x, noise, sample_rate=RATE)
    result = style.apply(noise, ref, sample_rate=RATE)
    np.testing.assert_array_equal(result.audio, noise)
    assert "left as it is" in result.warnings[0]
    low = style.apply(x, ref * np.float32(1e-3), sample_rate=RATE)
    assert "analysed" in low.warnings[0]
    assert loudness(low.audio, sample_rate=RATE) > -40
