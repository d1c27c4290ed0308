"""An album: one table and one gain for all inputs, or the loudness relations that they had."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.audio import read
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.dsp.loudness import LoudnessMeter, joint_loudness, loudness

RATE = 24_000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, speech):
    """Three songs of an album: a loud one, a soft and longer one, and one of an interlude's length."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("album").mkdir()
    x = speech(RATE, 2, 3)
    write("album/1 loud.wav", x[0] * 0.8)
    write("album/2 soft.wav", np.tile(x[1] * 0.25, 2))
    write("album/3 short.wav", x[0][RATE : 2 * RATE] * 0.4)
    y = np.tanh(4 * np.roll(x[1], RATE))
    write("ref.wav", y / 2)
    chain = CHAINS["studio"]
    values = {"parametric_eq": {"high_shelf_gain_db": 4.0}, "compressor": {"threshold_db": -24.0, "ratio": 2.0}}
    table_files.write(Table(chain, chain.bypassed(chain.defaults())).with_values(values), Path("table.json"))


def write(name, x, subtype="FLOAT"):
    soundfile.write(name, x, RATE, subtype=subtype)


def lufs(folder):
    return np.array([loudness(read(path)[0], sample_rate=RATE) for path in sorted(Path(folder).glob("*.wav"))])


def of_album(folder):
    """Return the loudness of the files of a folder as one programme."""
    meters = []
    for path in sorted(Path(folder).glob("*.wav")):
        x, rate = read(path)
        meters.append(LoudnessMeter(sample_rate=rate, channels=len(x)))
        meters[-1].process(x)
    return joint_loudness(meters)


def tables(folder):
    return [table_files.read(path) for path in sorted(Path(folder).glob("*.json"))]


def gains_db(before, after):
    """Return the gains of files that differ from others by one gain each, and check that they do."""
    gains = []
    for path in sorted(Path(before).glob("*.wav")):
        x, y = read(path)[0], read(Path(after, path.name))[0]
        gain = float(np.vdot(x, y) / np.vdot(x, x))
        np.testing.assert_allclose(y, gain * x, atol=2e-6)
        gains.append(20 * np.log10(gain))
    return np.array(gains)


def test_an_album_gets_one_table_and_one_gain(fxst):
    more = ("--ref", "ref.wav", "--ceiling", "none")
    code, _, err = fxst("apply", "album", *more, "-o", "plain", "--album")
    assert code == 0, err
    code, _, err = fxst("apply", "album", *more, "-o", "loud", "--album", "--loudness", "-20", "--jobs", "2")
    assert code == 0, err
    assert len(tables("plain")) == 3
    assert len({table.rows for table in tables("plain") + tables("loud")}) == 1
    gains = gains_db("plain", "loud")
    assert np.ptp(gains) < 0.01
    assert of_album("loud") == pytest.approx(-20, abs=0.05)
    assert f"{gains[0]:+.2f} dB, as all of the album" == tables("loud")[0].provenance["loudness"]
    assert tables("plain")[0].provenance["input"] == "1 loud.wav, 2 soft.wav, 3 short.wav"
    # The table is none of theirs: each of them would get another.
    code, _, err = fxst("apply", "album", *more, "-o", "each")
    assert code == 0, err
    assert len({table.rows for table in [*tables("each"), tables("plain")[0]]}) == 4


@pytest.mark.parametrize("loudness", ["-20", "keep"])
def test_an_applied_table_gets_one_gain_for_all(fxst, loudness):
    more = ("--params", "table.json", "--ceiling", "none")
    for name, options in {"plain": (), "out": ("--album", "--loudness", loudness)}.items():
        code, _, err = fxst("apply", "album", *more, "-o", name, *options)
        assert code == 0, err
    assert np.ptp(gains_db("plain", "out")) < 0.01
    wanted = of_album("album") if loudness == "keep" else float(loudness)
    assert of_album("out") == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("more", [(), ("--album",), ("--jobs", "2")], ids=str)
@pytest.mark.parametrize("applied", [("--params", "table.json"), ("--ref", "ref.wav")], ids=lambda one: one[0])
def test_the_loudness_relations_of_an_album_are_kept(fxst, more, applied):
    command = ("apply", "album", *applied, "-o", "out", "--ceiling", "none", "--album-loudness", "--loudness", "-24")
    code, _, err = fxst(*command, *more)
    assert code == 0, err
    change = lufs("out") - lufs("album")
    assert np.ptp(change) < 0.1
    assert np.mean(change) == pytest.approx(-24 - of_album("album"), abs=0.1)


def test_the_album_has_the_loudness_of_the_reference_where_no_other_is_named(fxst):
    code, _, err = fxst("apply", "album", "--ref", "ref.wav", "-o", "out", "--ceiling", "none", "--album-loudness")
    assert code == 0, err
    assert np.mean(lufs("out") - lufs("album")) == pytest.approx(
        loudness(read(Path("ref.wav"))[0], sample_rate=RATE) - of_album("album"), abs=0.1
    )
    code, _, err = fxst("apply", "album", "--params", "table.json", "-o", "out", "--album-loudness")
    assert code == 2
    assert "--album-loudness needs the loudness of the whole album: add --loudness" in err


def test_a_silent_or_damaged_recording_is_no_part_of_an_album(fxst):
    command = ("apply", "album", "--ref", "ref.wav", "--ceiling", "none", "--album", "--loudness", "-20", "-o")
    code, _, err = fxst(*command, "before")
    assert code == 0, err
    rng = np.random.default_rng(0)
    write("album/4 silent.wav", 1e-5 * rng.standard_normal(2 * RATE), "PCM_24")
    Path("album/5 broken.wav").write_bytes(b"RIFF broken")
    code, _, err = fxst(*command, "after")
    assert code == 1
    assert "'album/5 broken.wav'" in err
    assert "left as it is" in err
    np.testing.assert_array_equal(read(Path("after/4 silent.wav"))[0], read(Path("album/4 silent.wav"))[0])
    for name in ("1 loud.wav", "2 soft.wav", "3 short.wav"):
        np.testing.assert_array_equal(read(Path("after", name))[0], read(Path("before", name))[0])


def test_the_album_depends_on_every_recording_of_it_and_a_second_run_renders_nothing(fxst, speech):
    command = ("apply", "album", "--params", "table.json", "-o", "out", "--album", "--loudness", "-20")
    assert fxst(*command)[0] == 0
    _, _, err = fxst(*command)
    assert "3 already finished" in err
    write("album/4 new.wav", speech(RATE, 1, 2)[0])
    code, _, err = fxst(*command)
    assert code == 0
    assert "already finished" not in err
    assert of_album("out") == pytest.approx(-20, abs=0.05)
    # One that is missing is rendered as it was, by the gain of all.
    Path("out/2 soft.wav").rename("kept.wav")
    code, _, err = fxst(*command)
    assert "1 written, 3 already finished" in err
    assert Path("kept.wav").read_bytes() == Path("out/2 soft.wav").read_bytes()


def test_an_album_of_floats_recorded_low_keeps_its_relations(fxst):
    for level_db in (-26, -50):
        Path(f"in{level_db}").mkdir()
        for path in Path("album").glob("*.wav"):
            write(f"in{level_db}/{path.name}", read(path)[0][0] * 10 ** (level_db / 20))
    for level_db in (-26, -50):
        command = ("apply", f"in{level_db}", "--ref", "ref.wav", "--ceiling", "none", "--album", "--loudness", "-20")
        code, _, err = fxst(*command, "-o", f"out{level_db}")
        assert code == 0, err
        assert len({table.rows for table in tables(f"out{level_db}")}) == 1
    # At the lower level all three are raised, by one gain; at the higher one, none can be.
    assert np.ptp(lufs("out-26") - lufs("out-50")) < 1.0
    assert of_album("out-50") == pytest.approx(-20, abs=0.05)


def test_recordings_of_several_rates_and_channels_make_one_album(fxst, speech):
    write("album/4 stereo.wav", speech(RATE, 2, 2).T)
    soundfile.write("album/5 fast.wav", speech(48_000, 2, 1).T, 48_000)
    command = ("apply", "album", "--ref", "ref.wav", "-o", "out", "--ceiling", "none", "--album", "--max-boost", "2")
    code, _, err = fxst(*command, "--loudness", "-20")
    assert code == 0, err
    assert len({table.rows for table in tables("out")}) == 1
    assert of_album("out") == pytest.approx(-20, abs=0.05)
