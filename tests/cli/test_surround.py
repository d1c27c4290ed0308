"""Recordings of more than two channels: each loudspeaker's sound stays with it, through the real command."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.dsp.channels import ChannelLayout
from fxst.dsp.limiter import Limiter
from fxst.dsp.loudness import true_peak

STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
RATE = 48_000
LFE_HZ = 50
TONES = {
    "2.1": (400, 500, LFE_HZ), "3.0": (400, 500, 600), "3.1": (400, 500, 600, LFE_HZ), "4.0": (400, 500, 600, 700),
    "quad": (400, 500, 700, 800), "5.0": (400, 500, 600, 700, 800), "5.1": (400, 500, 600, LFE_HZ, 700, 800),
    "5.0(side)": (400, 500, 600, 700, 800), "5.1(side)": (400, 500, 600, LFE_HZ, 700, 800),
    "7.1": (400, 500, 600, LFE_HZ, 700, 800, 900, 1000),
}  # fmt: skip
"""A tone for each loudspeaker, in the order of a WAV's mask."""
CODECS = {
    "wav": ["-c:a", "pcm_s24le"], "flac": ["-c:a", "flac"], "aiff": ["-c:a", "pcm_s24be"], "caf": ["-c:a", "pcm_s24le"],
    "ogg": ["-c:a", "libvorbis"], "opus": ["-c:a", "libopus"], "m4a": ["-c:a", "aac"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with a table that changes nothing."""
    monkeypatch.chdir(tmp_path)
    table_files.write(NOTHING, Path("t.json"))


needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not here")


def tones(layout, seconds=1.0, lfe=0.1):
    t = np.arange(round(RATE * seconds)) / RATE
    return np.stack([(lfe if hz == LFE_HZ else 0.1) * np.sin(2 * np.pi * hz * t) for hz in TONES[layout]])


def make(name, layout, **options):
    """Write a file by ffmpeg, which names the loudspeakers."""
    x = tones(layout, **options).astype("<f4")
    source = ["-f", "f32le", "-ar", str(RATE), "-ac", str(len(x)), "-channel_layout", layout, "-i", "-"]
    command = ["ffmpeg", "-v", "error", "-y", *source, *CODECS[name.rpartition(".")[2]], name]
    subprocess.run(command, input=x.T.tobytes(), check=True)
    return name


def heard(name):
    """Return the layout that ffprobe names, and the tone of each loudspeaker in the order of a WAV's mask."""
    ask = ["ffprobe", "-v", "error", "-show_entries", "stream=channels,channel_layout", "-of", "json", name]
    stream = json.loads(subprocess.check_output(ask))["streams"][0]
    raw = subprocess.check_output(["ffmpeg", "-v", "error", "-i", name, "-f", "f32le", "-"])
    x = np.frombuffer(raw, "<f4").reshape(-1, stream["channels"])[:RATE]
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))[:, None], RATE, axis=0))
    return stream.get("channel_layout"), tuple(int(hz) for hz in spectrum.argmax(axis=0))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("source", "output"),
    [("wav", "ogg"), ("flac", "opus"), ("ogg", "flac"), ("ogg", "ogg"), ("opus", "wav"), ("opus", "opus"),
     ("m4a", "wav"), ("m4a", "opus")],
)  # fmt: skip
def test_a_tone_per_loudspeaker_comes_out_of_the_same_loudspeaker(fxst, source, output):
    code, _, err = fxst("apply", make(f"in.{source}", "5.1"), "-p", "t.json", "-o", f"out.{output}")
    assert (code, err) == (0, "")
    assert heard(f"out.{output}") == ("5.1", TONES["5.1"])


@needs_ffmpeg
@pytest.mark.parametrize(
    ("layout", "output"),
    [("2.1", "wav"), ("3.1", "flac"), ("4.0", "aiff"), ("quad", "wav"), ("5.0(side)", "caf"), ("5.1(side)", "wav"),
     ("5.1(side)", "flac"), ("7.1", "wav"), ("7.1", "flac"), ("7.1", "caf")],
)  # fmt: skip
def test_the_names_of_the_loudspeakers_are_kept(fxst, layout, output):
    code, _, err = fxst("apply", make("in.wav", layout), "-p", "t.json", "-o", f"out.{output}")
    assert (code, err) == (0, "")
    assert heard(f"out.{output}") == (layout, TONES[layout])


@needs_ffmpeg
@pytest.mark.parametrize(
    ("layout", "output", "told"),
    [
        ("3.1", "out.ogg", "FL FR FC LFE are taken for FL FR BL BR"),
        ("4.0", "out.opus", "FL FR FC BC are taken for FL FR BL BR"),
        ("5.1(side)", "out.ogg", "FL FR FC LFE SL SR are taken for FL FR FC LFE BL BR"),
        ("2.1", "out.w64", "FL FR LFE are nameless"),
        ("quad", "out.au", "FL FR BL BR are nameless"),
    ],
)
def test_names_that_a_format_lacks_are_told(fxst, layout, output, told):
    code, _, err = fxst("apply", make("in.wav", layout), "-p", "t.json", "-o", output)
    assert code == 0
    assert f"the loudspeakers {told} in the output's format" in err
    assert sorted(heard(output)[1]) == sorted(TONES[layout])


@needs_ffmpeg
@pytest.mark.parametrize("layout", ["3.1", "quad", "5.0", "5.1(side)", "7.1"])
def test_loudness_is_that_of_ebur128(fxst, layout):
    source = make("in.wav", layout, seconds=2.0, lfe=0.5)
    assert fxst("apply", source, "-p", "t.json", "-o", "out.wav", "--loudness", "-20", "--ceiling", "none")[0] == 0
    command = ["ffmpeg", "-hide_banner", "-nostats", "-i", "out.wav", "-af", "ebur128", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert float(re.findall(r"I: +(-?[\d.]+) LUFS", said)[-1]) == pytest.approx(-20, abs=0.1)


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 12])
def test_a_file_that_names_no_loudspeaker_gets_no_names(fxst, channels):
    x = 0.1 * np.random.default_rng(0).standard_normal((RATE // 2, channels))
    soundfile.write("in.wav", x, RATE, "PCM_24")
    code, _, err = fxst("apply", "in.wav", "-p", "t.json", "-o", "out.wav")
    assert (code, err) == (0, "")
    assert audio.probe(Path("out.wav")).format == "WAV"
    assert audio.probe(Path("out.wav")).roles == ()
    np.testing.assert_array_equal(*(soundfile.read(name, dtype="int32")[0] for name in ("in.wav", "out.wav")))


@pytest.mark.parametrize("effect", ["compressor", "upward_compressor"])
def test_the_lfe_steers_no_linked_compressor(fxst, effect, speech):
    x = np.concatenate([0.1 * speech(RATE, 5, 2), np.zeros((1, 2 * RATE))])[[0, 1, 2, 5, 3, 4]]
    changes = {
        "compressor": {"threshold_db": -40.0, "ratio": 8.0},
        "upward_compressor": {"threshold_db": -10.0, "ratio": 3.0},
    }
    table_files.write(NOTHING.with_values({effect: changes[effect]}), Path("squash.json"))
    outputs = []
    for lfe in (0.0, 0.8):
        x[3] = lfe * np.sin(2 * np.pi * LFE_HZ * np.arange(2 * RATE) / RATE)
        soundfile.write("in.wav", x.T, RATE, "FLOAT", format="WAVEX")
        assert fxst("apply", "in.wav", "-p", "squash.json", "-o", "out.wav", "--ceiling", "none")[0] == 0
        outputs.append(soundfile.read("out.wav", dtype="float32")[0].T)
    others = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(outputs[0][others], outputs[1][others])
    assert np.abs(outputs[0][others] - x[others]).max() > 0.01


def test_the_limiter_holds_the_lfe_by_itself(fxst):
    rng = np.random.default_rng(0)
    x = 0.05 * rng.standard_normal((6, RATE)).astype(np.float32)
    x[3] *= 30
    soundfile.write("in.wav", x.T, RATE, "FLOAT", format="WAVEX")
    assert fxst("apply", "in.wav", "-p", "t.json", "-o", "out.wav", "--ceiling", "-1")[0] == 0
    y = np.ascontiguousarray(soundfile.read("out.wav", dtype="float32")[0].T)
    np.testing.assert_array_equal(np.delete(y, 3, axis=0), np.delete(x, 3, axis=0))
    assert true_peak(y, sample_rate=RATE) <= -1
    assert np.abs(y[3] - x[3]).max() > 0.1


def test_a_peak_of_the_others_lowers_the_lfe_with_them():
    x = np.full((6, RATE), 0.2, np.float32)
    x[0, RATE // 2] = 2.0
    layout = ChannelLayout.usual(6)
    limiter = Limiter(ceiling_db=-1.0, sample_rate=RATE, channels=6, layout=layout)
    y = np.concatenate([limiter.process(x), limiter.finish()], axis=1)
    assert y.shape == x.shape
    np.testing.assert_array_equal(y[3], y[1])
    assert y[3].min() < 0.15


@pytest.mark.parametrize(
    ("mask", "channels", "roles"),
    [
        (0x3F, 6, "FL FR FC LFE BL BR"),
        (0x60F, 6, "FL FR FC LFE SL SR"),
        (0x3, 4, "FL FR  "),  # a mask that names too few
        (0x63F, 2, "FL FR"),  # and one that names too many
        (0x0, 3, "  "),
    ],
)
def test_a_mask_names_the_channels_in_the_order_of_its_bits(mask, channels, roles):
    assert ChannelLayout.of_mask(mask, channels).roles == tuple(roles.split(" "))
