"""`fxst apply` on objects: the same bytes as on files, whatever is killed on the way."""

import json
import os
import re
import signal
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
