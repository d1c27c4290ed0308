"""`fxst apply` on objects: the same bytes as on files, whatever is killed on the way."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from fxst.batch.manifest import ManifestRow
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.coordination.parts import FOLDER

SECRETS = ("AKIATHISISNOTAKEYOFANY", "wJalrXUtnFEMI", "thisIsNotASecret")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table that changes a recording, and renders quickly."""
    path = tmp_path_factory.mktemp("table") / "table.json"
    table = Table(CHAINS["eq"], CHAINS["eq"].defaults()).with_values({"parametric_eq": {"peak1_gain_db": 3.0}})
    table_files.write(table, path)
    return path


def fill(s3, folder, noise, count):
    """Write recordings into a folder, and the same as objects below `in`."""
    for number in range(count):
        path = folder / f"in/{number % 7}/take {number:03}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(16_000, 1, 0.02).T * (1 + number) / (1 + count), 16_000)
        s3.put(f"in/{path.relative_to(folder / 'in')}", path.read_bytes())


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def outputs(s3, prefix):
    keys = [key for key in s3.keys() if key.startswith(f"{prefix}/") and FOLDER not in key]
    return {key.removeprefix(f"{prefix}/"): s3.get(key) for key in keys}


def test_objects_become_what_files_become(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 9)
    s3.put("in/notes.txt", b"no sound")
    s3.put("in/.hidden/a.wav", b"no sound")
    s3.put("table.json", table.read_bytes())
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "out")[0] == 0
    code, out, err = fxst("apply", f"{s3.url}/in", "-p", f"{s3.url}/table.json", "-o", f"{s3.url}/out")
    print(out,err)
    assert code == 0
    assert outputs(s3, "out") == tree(tmp_path / "out")
    assert out.count(f"wrote '{s3.url}/out/") == 9


def begin(said, *arguments):
    """Start the program in a process of its own; what it says goes to a file."""
    command = [sys.executable, "-m", "fxst", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with open(said, "a") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def parts(s3):
    return [path for path in s3.proxy.paths("PUT") if f"/{FOLDER}/parts/" in path]


def rendered(s3):
    return [path.partition("/out/")[2] for path in s3.proxy.paths("PUT") if path.endswith(".wav")]


@pytest.mark.slow
def test_a_batch_of_objects_that_is_killed_twice_goes_on_with_the_chunks_that_are_left(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 500)
    t=time.time()
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "out", "-j", 2)[0] == 0
    print("local", time.time()-t)
    command = ("apply", f"{s3.url}/in", "-p", table, "-o", f"{s3.url}/out", "-j", 2, "--format", "jsonl")
    said, finished = tmp_path / "said", set()
    for least in (2, 5, None):
        t=time.time()
        s3.proxy.requests.clear()
        before = len([key for key in s3.keys() if f"{FOLDER}/parts/" in key])
        program = begin(said, *command)
        while least is not None and before + len(parts(s3)) < least:
            time.sleep(0.02)
        if least is not None:
            program.kill()
        program.wait(300)
        time.sleep(0.5)
        print(least, time.time()-t, len(s3.proxy.requests))
        assert not finished & set(rendered(s3)), "an object of a finished chunk was rendered again"
        assert len(set(rendered(s3))) == len(rendered(s3))
        assert len(set(parts(s3))) == len(parts(s3))
        assert not s3.proxy.paths("GET", 500)
        finished = {row.output.path for row in rows(s3)}
    assert program.returncode == 0
    assert len(finished) == 500
    assert outputs(s3, "out") == tree(tmp_path / "out")


def rows(s3):
    for key in s3.keys():
        if f"/{FOLDER}/parts/" in key:
            yield from filter(None, map(ManifestRow.from_json, s3.get(key).splitlines()))
