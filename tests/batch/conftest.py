"""What tests of batches share: a folder of short recordings and a table, which need no model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

MANIFEST = "fxst-manifest.jsonl"


class Batch:
    """A folder to work in, which is the working folder: recordings, a table, and the program."""

    def recordings(self, count, seconds=0.5, folder="in"):
        """Write recordings that differ, `0.wav` and so on; a third of them lie deeper. Long ones repeat 10 s."""
        rng = np.random.default_rng(0)
        for number in range(count):
            path = Path(folder, "deep" if number >= 2 * count // 3 else "", f"{number}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = 0.1 * rng.standard_normal((round(44_100 * min(seconds, 10)), 2))
            soundfile.write(path, np.resize(noise, (round(44_100 * seconds), 2)), 44_100)

    def table(self, name="house.json", **compressor):
        """Write a table of eq-comp."""
        table = Table(CHAINS["eq-comp"], CHAINS["eq-comp"].defaults())
        table_files.write(table.with_values({"compressor": {"threshold_db": -20.0, **compressor}}), Path(name))

    def tree(self, folder="out"):
        """Everything in a folder, by name: a file's bytes; of the manifest, its rows in order of the alphabet."""
        found = {}
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                found[path.relative_to(folder).as_posix()] = (
                    sorted(data.splitlines()) if path.name == MANIFEST else data
                )
        return found

    def rows(self, folder="out"):
        return [json.loads(line) for line in Path(folder, MANIFEST).read_text().splitlines()]

    def start(self, *arguments, **options):
        """Begin the program in a process of its own, whose group it leads."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "fxst", *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def run(self, *arguments, **options):
        """Run the program to its end; give exit code, stdout and stderr."""
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture(scope="session")
def begin_batch():
    """Give `begin_batch()`: recordings and a table in the working folder."""

    def begin(count=6, **options):
        made = Batch()
        made.recordings(count, **options)
        made.table()
        return made

    return begin


@pytest.fixture
def batch(tmp_path, monkeypatch, begin_batch):
    """Work in a folder with `in/0.wav` to `in/deep/5.wav`, and `house.json`."""
    monkeypatch.chdir(tmp_path)
    return begin_batch()
