"""Worker processes and what becomes of them: the effect here does what a damaged recording may do to a decoder."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def faulty(batch):
    """Recordings of which the effect makes nothing but trouble, by their sample rate, among good ones."""
    batch.faults("in", *range(8001, 8006))
    return batch


def apply(batch, *arguments):
    code, out, err = batch.run("--effects", "faulty.py", "apply", "in", "-p", "faulty.csv", "-o", "out", *arguments)
    return code, {row["input"]: row for row in map(json.loads, out.splitlines())}, err


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_worker_that_dies_takes_no_more_than_its_file_along(faulty, jobs):
    code, results, err = apply(faulty, "--format", "jsonl", "-j", jobs)
    assert code == 1
    assert "6 written, 5 failed." in err
    failed = {name: row["error"] for name, row in results.items() if row["status"] == "failed"}
    assert failed.keys() == {f"in/{number}.wav" for number in range(8001, 8006)}
    assert "died of SIGSEGV" in failed["in/8001.wav"]
    assert "needs too much memory" in failed["in/8002.wav"]
    assert "died with exit code 7" in failed["in/8003.wav"]
    assert "failed unexpectedly (ZeroDivisionError: of all things)" in failed["in/8004.wav"]
    assert "died of SIGTERM" in failed["in/8005.wav"]
    assert all("'in/800" in error and "\n" not in error for error in failed.values())
    made = {path.name for path in Path("out").rglob("*") if path.is_file()}
    assert made == {"fxst-manifest.jsonl", *(f"{number}.wav" for number in range(6))}
    for number in range(4):
        x, y = (soundfile.read(f"{folder}/{number}.wav")[0] for folder in ("in", "out"))
        assert np.abs(y - x / 2).max() < 2**-15


def test_the_number_of_jobs_changes_no_byte(batch):
    batch.run("apply", "in", "-p", "house.json", "-o", "one")
    batch.run("apply", "in", "-p", "house.json", "-o", "two", "-j", 2)
    code, out, _ = batch.run("apply", "in", "-p", "house.json", "-o", "all", "-j", 0)
    assert (code, out.count("wrote")) == (0, 6)
    assert batch.tree("one") == batch.tree("two") == batch.tree("all")
    assert len(batch.tree("one")) == 7


def test_workers_end_when_the_main_process_is_killed(faulty):
    faulty.recordings(1, seconds=600)
    with faulty.start("apply", "in", "-p", "house.json", "-o", "out", "-j", 2) as process:
        while not list(Path("out/deep").glob(".fxst-*")):
            assert process.poll() is None
            time.sleep(0.02)
        children = workers_of(process.pid)
        process.kill()
    assert children
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(pid):
    if not Path("/proc/self/stat").exists():
        pytest.skip("/proc tells which processes are whose")
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and "spawn_main" in (path.parent / "cmdline").read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_begun_and_tells_what_is_done(batch, number, code):
    batch.recordings(2, seconds=600, folder="in/long")
    with batch.start("apply", "in", "-p", "house.json", "-o", "out", "-j", 2, "--format", "jsonl") as process:
        assert '"written"' in process.stdout.readline()
        while not list(Path("out").rglob(".fxst-*")):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    told = re.fullmatch(r"fxst: interrupted: (\d) written\. Run the same command again to continue\n", err)
    assert 1 <= int(told[1]) <= len(list(Path("out").rglob("*.wav")))
    assert out.count("\n") <= int(told[1])
    assert not list(Path("out").rglob(".fxst-*"))


def test_one_file_is_done_without_workers(batch):
    batch.recordings(1, seconds=600)
    with batch.start("apply", "in/deep/0.wav", "-p", "house.json", "-o", "out") as process:
        while not list(Path().rglob(".fxst-*")):
            assert process.poll() is None
            time.sleep(0.02)
        assert not workers_of(process.pid)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "fxst: interrupted\n")
    assert not Path("out").exists()
