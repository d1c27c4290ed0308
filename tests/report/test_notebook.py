"""What a notebook shows of a result."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.transfer.style_transfer import Result, load, render

RATE = 44_100


def players(html):
    """Label and sound of each player."""
    found = re.findall(r'<p>([a-z]+), [^<]*<br><audio [^>]*src="data:audio/mpeg;base64,([^"]+)"', html)
    return {label: soundfile.read(io.BytesIO(base64.b64decode(text)), always_2d=True)[0].T for label, text in found}


def shown(x, y, *, louder=1.0):
    chain = CHAINS["studio"]
    table = Table(chain, chain.bypassed(chain.defaults()))
    made = louder * render(x, table, sample_rate=RATE)
    recordings = ("input", x, RATE), ("output", made, RATE), ("reference", y, 24_000)
    return Result(made, table, (), recordings)._repr_html_()


def test_a_result_is_heard_as_loud_as_it_is(speech):
    x, y = speech(RATE, 2, 2.0), speech(24_000, 1, 1.5)
    html = shown(0.1 * x, y, louder=0.5)
    heard = players(html)
    assert list(heard) == ["input", "output", "reference"]
    lufs = {label: audio.loudness(sound.astype(np.float32), sample_rate=RATE) for label, sound in heard.items()}
    expected = audio.loudness(0.1 * x, sample_rate=RATE)
    assert lufs["input"] == pytest.approx(expected, abs=1.0)  # MP3 loses something; normalised it would be 20 dB louder
    assert lufs["output"] == pytest.approx(lufs["input"] - 6.02, abs=0.3)
    assert "over full scale" not in html
    assert "dB lower than they are" in shown(x, y, louder=4.0)
    for tag in ("script", "style", "link"):
        assert f"<{tag}" not in html


def test_at_most_thirty_seconds_are_played(noise):
    x = noise(RATE, 1, 40.0)
    heard = players(shown(x, x[:, :RATE]))
    assert heard["input"].shape[1] / RATE == pytest.approx(30, abs=0.3)


def test_what_apply_returns_shows_itself(examples):
    voice, radio = (audio.read(examples / name)[0] for name in ("voice.wav", "radio.wav"))
    style = load("studio")
    result = style.apply(voice, radio, sample_rate=24_000)
    html = result._repr_html_()
    assert len(players(html)) == 3
    assert "Response of the equaliser" in html
    assert "peak1_gain_db" in html
    profile = style.profile(style.analyse([radio], sample_rate=24_000))
    assert list(players(style.apply(voice[0], profile, sample_rate=24_000)._repr_html_())) == ["input", "output"]
    assert Result(voice, result.table)._repr_html_() is None
