"""A batch that is killed, interrupted or out of room at any moment loses nothing, and goes on as if nothing had been.

`FXST_SLOW=1` tries a hundred moments of each kind, and otherwise a few.
"""

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fxst.batch.manifest import Manifest

resource = pytest.importorskip("resource")

SLOW = bool(os.environ.get("FXST_SLOW"))
MOMENTS = 100 if SLOW else 4
KILLS = 20 if SLOW else 6
FILES = 24


@pytest.fixture(scope="module")
def once(tmp_path_factory, begin_batch):
    """A folder with a batch and what comes of it when nothing happens; and how many seconds that takes."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        batch = begin_batch(FILES, seconds=1.0)
        start = time.monotonic()
        assert batch.run(*command("unbroken"))[0] == 0
        return folder, batch, time.monotonic() - start


@pytest.fixture
def unbroken(once, tmp_path, monkeypatch):
    """A batch, what comes of it when nothing happens, and how many seconds it takes."""
    folder, batch, seconds = once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return batch, batch.tree("unbroken"), seconds


def command(output, *arguments):
    return "apply", "in", "-p", "house.json", "-o", output, *arguments


def is_part_of(found, whole):
    """Whether every file that has its name is whole, and no row is there that does not belong."""
    for name, content in found.items():
        if name == "fxst-manifest.jsonl":
            lines = [line for line in content if line in set(whole[name])]
            assert len(lines) >= len(content) - 1  # the last one may be torn
        elif not Path(name).name.startswith(".fxst-"):
            assert content == whole[name], name
    return True


def left_over(folder):
    return list(Path(folder).rglob(".fxst-*"))


def strike(batch, output, seconds, number, *arguments, everybody):
    """Run a batch, and send it a signal after some seconds; tell how it ended, and its standard error."""
    with batch.start(*command(output, *arguments)) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            (os.killpg if everybody else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_at_any_moment_a_name_is_absent_or_a_whole_file(unbroken, number):
    batch, whole, seconds = unbroken
    moments = random.Random(number)
    for moment in range(MOMENTS):
        output = f"out{moment}"
        # Ctrl-C reaches every process of a terminal, and `kill` only the one it names.
        everybody = number == signal.SIGINT or moment % 4 < 2
        code, err = strike(
            batch, output, moments.uniform(0, seconds), number, "-j", 1 + moment % 2, everybody=everybody
        )
        assert is_part_of(batch.tree(output), whole)
        if number == signal.SIGKILL:
            assert code in (0, -number)
            wait_for_workers(output)
        else:
            # Before Python has begun to run the program, the system answers.
            assert code in (0, 128 + number, -number), err
            assert not left_over(output)
            assert "Traceback" not in err or code == -number
        shutil.rmtree(output, ignore_errors=True)


def wait_for_workers(folder):
    """Workers of a killed process end by themselves; till then what they have begun is theirs."""
    deadline = time.monotonic() + 20
    while any(in_use(path) for path in left_over(folder)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def in_use(path):
    import fcntl

    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_what_was_killed_goes_on_to_what_an_unbroken_run_makes(unbroken):
    batch, whole, seconds = unbroken
    moments = random.Random(0)
    made, begun, kills = {}, 0, 0
    for _ in range(KILLS):
        code, _ = strike(batch, "out", moments.uniform(0.4, 1.0) * seconds, signal.SIGKILL, everybody=True)
        wait_for_workers("out")
        kills += code != 0
        begun += len(left_over("out"))
        for path in Path("out").rglob("*.wav"):
            made.setdefault(path, set()).add(path.stat().st_ino)
    code, out, err = batch.run(*command("out", "--format", "jsonl"))
    assert code == 0, err
    statuses = [json.loads(line)["status"] for line in out.splitlines()]
    assert statuses.count("finished") == len(made)
    assert statuses.count("written") == FILES - len(made)
    for path in made:
        made[path].add(path.stat().st_ino)
    assert all(len(versions) == 1 for versions in made.values())  # what had its name was never made again
    assert begun <= kills  # and of a kill no more than one file was lost
    assert batch.tree("out") == whole


def limited(limit):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_disk_has_no_room_for_is_told_and_made_later(unbroken, jobs):
    batch, _, _ = unbroken
    batch.recordings(2, seconds=3.0, folder="in/long")
    batch.run(*command("whole"))
    whole = batch.tree("whole")
    # As a full disk does, a limit on the size of files makes writing fail in the midst of a file.
    code, out, err = batch.run(*command("out", "--format", "jsonl", "-j", jobs), preexec_fn=limited(300_000))
    assert code == 5
    assert f"fxst: {FILES} written, 2 failed." in err
    failed = [json.loads(line) for line in out.splitlines() if '"failed"' in line]
    assert {row["input"] for row in failed} == {"in/long/0.wav", "in/long/deep/1.wav"}
    assert all("free space" in row["error"] for row in failed)
    assert is_part_of(batch.tree("out"), whole)
    assert not left_over("out")
    assert not list(Path("out/long").rglob("*.wav"))
    assert batch.run(*command("out", "-j", jobs))[0] == 0
    assert batch.tree("out") == whole


def test_a_manifest_that_cannot_grow_vouches_for_nothing(unbroken):
    batch, whole, _ = unbroken
    shutil.copytree("unbroken", "out")
    rows = Path("out/fxst-manifest.jsonl").read_bytes().splitlines(keepends=True)
    Path("out/fxst-manifest.jsonl").write_bytes(b"\n".rjust(400_000) + b"".join(rows[1:]))
    gone = Path("out", json.loads(rows[0])["output"]["path"])
    gone.unlink()
    code, _, err = batch.run(*command("out"), preexec_fn=limited(400_000))
    assert code == 5
    assert "fxst-manifest.jsonl' cannot be written" in err
    assert not gone.exists()
    assert not left_over("out")
    assert batch.run(*command("out"))[0] == 0
    found = batch.tree("out")
    assert [line for line in found["fxst-manifest.jsonl"] if line.strip()] == whole["fxst-manifest.jsonl"]
    assert gone.read_bytes() == whole[gone.relative_to("out").as_posix()]


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for a few recordings, where one may be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=1000k", "fxst", folder], capture_output=True)
    if not done or done.returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(unbroken, small_disk):
    batch, whole, _ = unbroken
    code, _, err = batch.run(*command(small_disk, "-j", 2))
    assert code == 5
    assert os.strerror(errno.ENOSPC).lower() in err or "free space" in err
    found = batch.tree(small_disk)
    assert is_part_of(found, whole)
    assert 1 < len(found) < FILES
    assert not left_over(small_disk)


def test_two_processes_on_one_folder_make_each_file_once(unbroken):
    batch, whole, _ = unbroken
    # While this process holds the lock of one file, neither of the two can end: they are there side by side.
    with Manifest(Path("out"), write=True) as manifest:
        with manifest.locked(Path("out/0.wav")):
            processes = [batch.start(*command("out", "--format", "jsonl", "-j", jobs)) for jobs in (1, 2)]
            others = [[process.stdout.readline() for _ in range(FILES - 1)] for process in processes]
            assert [process.poll() for process in processes] == [None, None]
            assert not Path("out/0.wav").exists()
        last = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], last
    rows = [[*map(json.loads, (*lines, out))] for lines, (out, _) in zip(others, last, strict=True)]
    written = [row["input"] for row in itertools.chain(*rows) if row["status"] == "written"]
    inputs = sorted(map(str, Path("in").rglob("*.wav")))
    assert sorted(written) == inputs
    assert [sorted(row["input"] for row in one) for one in rows] == [inputs, inputs]
    assert [one[-1]["input"] for one in rows] == ["in/0.wav", "in/0.wav"]
    assert batch.tree("out") == whole


def test_what_a_killed_process_had_begun_is_swept_away_by_the_next(unbroken):
    batch, whole, _ = unbroken
    batch.recordings(1, seconds=300, folder="in/long")
    with batch.start(*command("out")) as process:
        while not left_over("out/long"):
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    wait_for_workers("out")
    assert left_over("out")
    shutil.rmtree("in/long")
    code, _, _ = batch.run(*command("out"))
    assert code == 0
    assert not left_over("out")
    assert {name: content for name, content in batch.tree("out").items() if not name.startswith("long")} == whole
