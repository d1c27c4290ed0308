"""Hours of sound take no more memory than minutes of it, and a file beyond 4 GiB is a whole one.

Minutes of work and gigabytes of disk, so only `FXST_SLOW=1` does it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

pytestmark = pytest.mark.skipif(not os.environ.get("FXST_SLOW"), reason="takes minutes: FXST_SLOW=1 does it")

RATE = 48_000
MOST_MORE_BYTES = 20e6
ALL_FOUR = {
    "parametric_eq": {"low_shelf_gain_db": 3.0, "peak4_gain_db": -4.0, "high_shelf_gain_db": 2.0},
    "compressor": {"threshold_db": -30.0, "ratio": 4.0, "makeup_db": 15.0},
    "distortion": {"drive_db": 12.0, "mix": 0.5},
    "reverb": {"wet_level": 0.2, "dry_level": 0.5, "room_size": 0.7},
}

# Between this process and the program: at a fork, a child's peak memory begins with its parent's.
LAUNCH = """
import json, os, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "fxst", *sys.argv[1:]], stderr=subprocess.PIPE, text=True)
err = process.stderr.read()
_, status, usage = os.wait4(process.pid, 0)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([os.waitstatus_to_exitcode(status), err, unit * usage.ru_maxrss]))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with a table of which every effect does something; its large files go afterwards."""
    monkeypatch.chdir(tmp_path)
    table = Table(CHAINS["studio"], CHAINS["studio"].defaults()).with_values(ALL_FOUR)
    assert not table.bypassed
    table_files.write(table, Path("table.json"))
    yield table
    for path in tmp_path.glob("*.wav"):
        path.unlink()


def minute(level):
    """A minute of stereo that swells every second."""
    swell = np.square(np.sin(np.pi * np.arange(60 * RATE) / RATE), dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal((2, 60 * RATE), np.float32)
    return np.float32(level) * swell * noise


def save(name, minutes, *, level, **options):
    x = np.ascontiguousarray(minute(level).T)
    with soundfile.SoundFile(name, "w", RATE, 2, **options) as file:
        for _ in range(minutes):
            file.write(x)


def apply(*arguments):
    """Run the command; give its standard error and the most memory that it took, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, "apply", *arguments, "-o", "out.wav", "--format", "quiet"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, err, peak = json.loads(done.stdout)
    assert code == 0, err
    return err, peak


@pytest.mark.parametrize("how", ["--params", "--ref", "--loudness"])
def test_three_hours_take_no_more_memory_than_three_minutes(examples, how):
    options = {
        "--params": ("--params", "table.json"),
        "--ref": ("--ref", str(examples / "radio.wav")),
        "--loudness": ("--params", "table.json", "--loudness", "-8", "--tail", "auto"),
    }[how]
    peaks = []
    for minutes in (3, 180):
        save("in.wav", minutes, level=0.2, subtype="PCM_24")
        err, peak = apply("in.wav", *options)
        peaks.append(peak)
        if how != "--ref":
            assert "to stay under the ceiling of -1 dBTP" in err  # the limiter worked
        assert soundfile.info("out.wav").frames >= minutes * 60 * RATE
        assert soundfile.info("out.wav").subtype == "PCM_24"
    assert peaks[1] - peaks[0] < MOST_MORE_BYTES, peaks


def test_an_output_of_more_than_4_gib_reads_back_whole(here):
    minutes = 95
    frames = minutes * 60 * RATE
    assert frames * 2 * 8 > 2**32
    save("in.wav", minutes, level=0.002, subtype="DOUBLE", format="RF64")
    err, _ = apply("in.wav", "--params", "table.json")
    assert err == ""  # so soft that nothing is near the ceiling
    assert Path("out.wav").stat().st_size > 2**32
    with open("out.wav", "rb") as file:
        assert file.read(4) == b"RF64"
    render = here.chain.exact(here, sample_rate=RATE, channels=2)
    source, read = minute(0.002), 0
    with audio.Reader(Path("out.wav")) as reader:
        assert (reader.info.frames, reader.info.subtype, reader.truncated) == (frames, "DOUBLE", False)
        for block in reader.blocks(block_frames=60 * RATE):
            np.testing.assert_array_equal(block, render(source))
            read += block.shape[1]
    assert read == frames
