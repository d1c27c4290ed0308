"""Noise in pauses rises no further than a person allows: by less of the style, or by the noise guard."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.transfer.style_transfer import render

RATE = 24_000
PAUSE = 1.2


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, speech):
    """A voice with pauses and some noise, and a dense reference whose style raises what is soft by a lot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    x, y = 0.8 * speech(RATE, 2, 3)
    pause = np.zeros(round(PAUSE * RATE))
    x = np.concatenate([pause, x[: len(x) // 2], pause, x[len(x) // 2 :], pause])
    hiss = np.random.default_rng(0).standard_normal(len(x))
    soundfile.write("voice.wav", x + 1.5e-3 * hiss, RATE, subtype="PCM_24")
    chain = CHAINS["studio"]
    dense = {"threshold_db": -40.0, "ratio": 8.0, "attack_ms": 2.0, "release_ms": 80.0, "makeup_db": 20.0}
    table = Table(chain, chain.bypassed(chain.defaults())).with_values({"compressor": dense})
    z = render(y[None].astype(np.float32), table, sample_rate=RATE)[0]
    soundfile.write("ref.wav", 0.8 * z / np.abs(z).max(), RATE, subtype="PCM_24")


def levels_db(name):
    """Return the level of the noise in the first pause, but for its borders, and that of the voice."""
    x, _ = soundfile.read(name)
    pause = x[round(0.4 * RATE) : round((PAUSE - 0.1) * RATE)]
    powers = np.square(x[: len(x) // 1200 * 1200].reshape(-1, 1200)).mean(axis=1)
    voice = powers[powers > powers[powers > 1e-7].mean() / 10].mean()
    return 10 * np.log10(np.square(pause).mean()), 10 * np.log10(voice)


def apply(fxst, name, *more):
    """Apply the style, and return by how much the noise rose relative to the voice, the voice, and the table."""
    code, _, err = fxst("apply", "voice.wav", "--ref", "ref.wav", "-o", f"{name}.wav", *more)
    assert code == 0, err
    table = table_files.read(next(Path().glob(f"{name}.params.*")))
    (noise_db, voice_db), (before_db, voice_before_db) = levels_db(f"{name}.wav"), levels_db("voice.wav")
    louder_db = voice_db - voice_before_db
    return noise_db - before_db - louder_db, louder_db, table


def test_the_guard_keeps_the_noise_down_and_all_of_the_style(fxst):
    rise_db, louder_db, kept = apply(fxst, "keep")
    assert rise_db > 5  # there is something to guard
    assert "expander" not in kept.chain.labels
    for most_db, given in {3.0: (), 0.0: ("--max-noise", "0")}.items():
        guarded_db, voice_db, table = apply(fxst, f"guard{most_db}", "--noise", "guard", *given)
        assert guarded_db <= most_db + 0.5
        assert guarded_db > most_db - 4  # and no more is taken than that needs
        assert voice_db == pytest.approx(louder_db, abs=0.5)
        values = table.to_dict()
        assert {name: rows for name, rows in values.items() if name != "expander"} == kept.to_dict()
        assert "expander" not in table.bypassed
    # Where the voice is loud, it is the same voice.
    x, y = (soundfile.read(f"{name}.wav")[0] for name in ("keep", "guard3.0"))
    words = np.convolve(np.abs(x) > 0.1, np.ones(RATE // 20), mode="same") > 0
    assert 10 * np.log10(np.square(x - y)[words].mean() / np.square(x)[words].mean()) < -35


def test_without_the_guard_less_of_the_style_keeps_the_noise_down(fxst):
    # Without the ceiling, whose limiter turns down the voice alone.
    rise_db, _, table = apply(fxst, "limited", "--max-noise", "1", "--ceiling", "none")
    assert rise_db <= 1.2
    assert "safety_check" in table.provenance
    assert "more than 1 dB relative to the signal" in table.provenance["safety_check"]


def test_the_guard_does_nothing_where_nothing_rises(fxst):
    code, _, err = fxst("apply", "voice.wav", "--ref", "voice.wav", "-o", "same.wav", "--noise", "guard")
    assert code == 0, err
    table = table_files.read(Path("same.params.json"))
    assert "expander" in table.bypassed


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_guarded_table_is_applied_like_any_other(fxst, suffix):
    apply(fxst, "guard", "--noise", "guard", "--params", suffix, "--export", "ffmpeg")
    assert "expander: left out, so the result differs" in Path("guard.ffmpeg.txt").read_text()
    code, _, err = fxst("apply", "voice.wav", "--params", f"guard.params.{suffix}", "-o", "again.wav")
    assert code == 0, err
    np.testing.assert_array_equal(soundfile.read("again.wav")[0], soundfile.read("guard.wav")[0])
    more = ("--amount", "exp=0", "--ceiling", "none")
    code, _, err = fxst("apply", "voice.wav", "--params", f"guard.params.{suffix}", "-o", "open.wav", *more)
    assert code == 0, err
    assert levels_db("open.wav")[0] > levels_db("guard.wav")[0] + 2


def test_a_table_has_its_own_expander(fxst):
    for given in (("--noise", "guard"), ("--max-noise", "3")):
        code, _, err = fxst("apply", "voice.wav", "--params", "t.json", "-o", "out.wav", *given)
        assert code == 2
        assert f"{given[0]} is for settings that a model chooses" in err
