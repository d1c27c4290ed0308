"""Recordings that readers stumble over: each comes out right, or is refused in a sentence, alone and in a batch."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fxst import audio
from fxst.checkpoints.card import pretrained_folder
from fxst.errors import AudioError

SHARED = Path(__file__).parents[2] / "../shared"
MOST_SECONDS = 20
MOST_BYTES = 1 << 30

# Between this process and the program: at a fork, a child's peak memory begins with its parent's, and this one holds
# torch. `wait4` counts the workers of the program as well.
LAUNCH = """
import json, os, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "fxst", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
out = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), out, usage.ru_maxrss * 1024]))
"""

# Every file by itself, through the command, in one process: libraries are loaded once.
ONE_BY_ONE = """
import contextlib, io, json, sys, time
from pathlib import Path
import fxst.transfer.analysis  # libraries take their time to load, which is no file's fault
from fxst.cli.program import main

options = sys.argv[1:]
done = []
for number, name in enumerate(json.load(sys.stdin)):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["fxst", "apply", name, "-o", f"alone/{number}", "--format", "jsonl", *options]
    start = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    done.append([code, out.getvalue(), err.getvalue(), time.process_time() - start])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([done, 1024 * int(status["VmHWM"].split()[0])]))  # and not the peak of the process that began this one
"""

WORDS = {
    "silent": "is silent",
    "too_short": "too short",
    "truncated": "ends early",
    "over_full_scale": "full scale",
    "dc": "DC offset",
    "clipped": "is clipped",
}
"""What a warning says of each class of odd recordings."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with a model."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pretrained_folder() / "style/eq-comp", "model")
    return tmp_path


@pytest.fixture
def made(here):
    """The bad-input set in `bad`, and what is expected: {name: (outcome, class)}."""
    script = SHARED / "tools/make_bad_audio.py"
    if not script.exists():
        pytest.skip("../shared/tools is not here")
    subprocess.run([sys.executable, script, "bad"], check=True, stdout=subprocess.DEVNULL)
    with open("bad/EXPECTED.csv", newline="", encoding="utf-8") as file:
        return {row["file"]: (row["outcome"], row["class"]) for row in csv.DictReader(file)}


@pytest.fixture
def found(here, noise):
    """Public files that sound readers stumble over."""
    folder = SHARED / "bad-audio"
    if not folder.is_dir():
        pytest.skip("../shared/bad-audio is not here")
    return sorted(path for path in folder.resolve().rglob("*") if path.suffix.lower() in audio.SUFFIXES)


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def alone(names, *options):
    """Apply to each file by itself; give for each its row, and see to time, memory and words."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, *map(str, options)],
        input=json.dumps([str(name) for name in names]),
        env=environment(), capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    results, peak = json.loads(done.stdout)
    assert peak < MOST_BYTES
    rows = {}
    for name, (code, out, err, seconds) in zip(names, results, strict=True):
        assert seconds < MOST_SECONDS, name
        assert "Traceback" not in err, name
        rows[name] = json.loads(out) if out else None
        refused = rows[name] is None or rows[name]["status"] == "failed"
        assert code in ((1, 3) if refused else (0,)), (name, err)
        if refused:
            assert err.count("\n") == 1, name
            assert repr(str(name)) in err
    return rows


def in_one_batch(*arguments):
    """Apply to all files in one call; give the rows by input."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH, "apply", *map(str, arguments), "-o", "out", "--format", "jsonl"],
        env=environment(), capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    code, out, peak = json.loads(done.stdout)
    assert peak < MOST_BYTES
    rows = {row["input"]: row for row in map(json.loads, out.splitlines())}
    assert code == (1 if any(row["status"] == "failed" for row in rows.values()) else 0)
    assert not list(Path("out").rglob(".fxst-*"))
    return rows


def check(row, expected=None, kind=""):
    """See that a recording came out whole and finite, or not at all and with a reason; and as was expected."""
    if row["status"] == "failed":
        assert expected in (None, "refuse"), row
        assert row["error"]
        assert "\n" not in row["error"]
        assert repr(row["input"])[1:-1] in row["error"]
        assert row["output"] is None
        return
    assert expected in (None, "ok", "ok_warn"), row
    (before, rate), (after, new_rate) = (audio.read(Path(row[key])) for key in ("input", "output"))
    assert new_rate == rate
    # An MP3's encoder begins and ends with a little more than it was given.
    lossy = audio.probe(Path(row["output"])).format == "MP3"
    assert after.shape[0] == before.shape[0]
    assert before.shape[1] <= after.shape[1] <= before.shape[1] + 4000 * lossy
    assert np.isfinite(after).all()
    if kind in WORDS:
        assert any(WORDS[kind] in warning for warning in row["warnings"]), row["warnings"]


def test_the_set_comes_out_as_it_says_one_by_one(made):
    names = [Path("bad", name) for name in made]
    rows = alone(names, "--ref", "bad/reference.wav", "-m", "model")
    for name, row in rows.items():
        outcome, kind = made[name.name]
        if row is None:  # a folder without recordings
            assert (outcome, kind) == ("refuse", "not_a_file")
        elif name.name == "reference.wav":
            assert outcome == "ok"
        else:
            check(row, outcome, kind)


def test_the_set_comes_out_as_it_says_in_one_batch(made):
    rows = in_one_batch("bad", "--ref", "bad/reference.wav", "-m", "model", "-j", 2)
    made.pop("directory.wav")  # a folder is searched, and this one is empty
    assert {Path(name).name for name in rows} == made.keys()
    for name, row in rows.items():
        check(row, *made[Path(name).name])


def test_every_public_bad_file_comes_out_right_or_not_at_all_one_by_one(found, here):
    rows = alone(found, "--ref", Path(__file__).parents[1] / "examples/radio.wav", "-m", "model")
    for row in rows.values():
        check(row)
    assert {row["status"] for row in rows.values()} == {"written", "failed"}


def test_every_public_bad_file_comes_out_right_or_not_at_all_in_one_batch(found, here):
    reference = Path(__file__).parents[1] / "examples/radio.wav"
    rows = in_one_batch(found[0].parents[1], "--ref", reference, "-m", "model")
    assert sorted(rows) == sorted(map(str, found))
    for name, row in rows.items():
        check(row)
        if row["status"] == "failed":
            with pytest.raises(AudioError):
                audio.read(Path(name))
