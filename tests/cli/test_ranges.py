"""A range chooses what is analysed; all of the recording is rendered."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files

RATE = 24_000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, speech):
    """Two recordings whose first seconds are of another production than their last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    x = speech(RATE, 2, 3)
    dull = np.convolve(x[0], np.ones(24) / 24, mode="same").astype(np.float32)
    harsh = np.clip(np.diff(x[1], prepend=0) * 20, -0.4, 0.4)
    write("voice.wav", np.concatenate([x[0], 0.05 * harsh, x[0]]))
    write("voice-part.wav", x[0])
    write("ref.wav", np.concatenate([harsh, dull]))
    write("ref-part.wav", dull)


def write(name, x):
    soundfile.write(name, x, RATE, subtype="PCM_24")


def rows(name):
    return table_files.read(Path(name)).rows


def test_what_is_outside_a_range_does_not_count_and_is_rendered(fxst):
    ranges = ("--input-range", "0:06-0:09", "--ref-range", "3-")
    commands = {
        "parts": ("voice-part.wav", "ref-part.wav"),
        "ranges": ("voice.wav", "ref.wav", *ranges),
        "whole": ("voice.wav", "ref.wav"),
    }
    for name, (recording, reference, *more) in commands.items():
        code, _, err = fxst("apply", recording, "--ref", reference, "-o", f"{name}.wav", *more)
        assert code == 0, err
        assert "range" not in err
    assert rows("ranges.params.json") == rows("parts.params.json")
    assert rows("ranges.params.json") != rows("whole.params.json")
    assert soundfile.info("ranges.wav").frames == soundfile.info("voice.wav").frames
    # The same settings, so the same sound as if they were applied to the whole recording.
    code, _, err = fxst("apply", "voice.wav", "--params", "ranges.params.json", "-o", "applied.wav")
    assert code == 0, err
    assert Path("applied.wav").read_bytes() == Path("ranges.wav").read_bytes()


def test_the_loudness_of_a_reference_is_that_of_its_range(fxst):
    x, _ = soundfile.read("ref-part.wav")
    write("loud-then-soft.wav", np.concatenate([np.clip(8 * x, -0.9, 0.9), 0.1 * x]))
    write("soft.wav", 0.1 * x)
    of = {"soft.wav": (), "loud-then-soft.wav": ("--ref-range", "3-6")}
    for reference, more in of.items():
        command = ("apply", "voice-part.wav", "--ref", reference, "-o", f"like-{reference}", "--loudness", "reference")
        code, _, err = fxst(*command, *more)
        assert code == 0, err
    assert Path("like-soft.wav").read_bytes() == Path("like-loud-then-soft.wav").read_bytes()


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("--input-range", "2:10-1:20"), 2, "is empty"),
        (("--input-range", "soon-later"), 2, "is not a range of time: write START-END"),
        (("--ref-range", "5-5"), 2, "is empty"),
        (("--input-range", "0:10-0:20"), 1, "'voice.wav' ends before --input-range 0:10-0:20 begins"),
        (("--ref-range", "6-"), 1, "'ref.wav' ends before --ref-range 6- begins"),
    ],
)
def test_a_bad_or_empty_range_is_refused_in_a_sentence(fxst, given, code, words):
    found, _, err = fxst("apply", "voice.wav", "--ref", "ref.wav", "-o", "out.wav", *given)
    assert found == code
    assert words in err
    assert not Path("out.wav").exists()


def test_a_silent_range_is_told_as_such(fxst):
    x, _ = soundfile.read("ref-part.wav")
    write("late.wav", np.concatenate([np.zeros(RATE), x]))
    code, _, err = fxst("apply", "voice.wav", "--ref", "late.wav", "-o", "out.wav", "--ref-range", "0-1")
    assert code == 1
    assert "'late.wav' is silent" in err
    assert "in --ref-range 0-1" in err
    code, _, err = fxst("apply", "late.wav", "--ref", "ref.wav", "-o", "out.wav", "--input-range", "0-1")
    assert code == 0
    assert "left as it is" in err


def test_a_range_that_ends_after_the_recording_is_told_and_a_batch_renders_what_has_it(fxst):
    Path("in").mkdir()
    shutil.copy("voice.wav", "in/long.wav")
    shutil.copy("voice-part.wav", "in/short.wav")
    code, _, err = fxst("apply", "in", "--ref", "ref.wav", "-o", "out", "--input-range", "0:04-0:10")
    assert code == 1
    assert "'in/long.wav' ends at 9.00 s, within --input-range 0:04-0:10" in err
    assert "'in/short.wav' ends before --input-range 0:04-0:10 begins" in err
    assert Path("out/long.wav").exists()
    assert not Path("out/short.wav").exists()


def test_a_range_is_for_what_is_analysed(fxst):
    code, _, err = fxst("apply", "voice.wav", "--params", "one.params.json", "-o", "out.wav", "--input-range", "0-1")
    assert code == 2
    assert "--input-range is for settings that a model chooses" in err
    code, _, err = fxst("apply", "voice.wav", "--style", "style.json", "-o", "out.wav", "--ref-range", "0-1")
    assert code == 2
    assert "--ref-range is for a recording to sound like" in err
