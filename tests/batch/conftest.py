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

FAULTY = """
import os, signal
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.effects import Effect
from fxst.effects.parameters import Parameter

kept = []

def die(number):
    os.kill(os.getpid(), number)

def fail(_):
    raise ZeroDivisionError("of all things")

DEEDS = {
    8001: lambda x: die(signal.SIGSEGV),
    8002: lambda x: kept.append(np.ones(1 << 28)),
    8003: lambda x: os._exit(7),
    8004: fail,
    8005: lambda x: die(signal.SIGTERM),
}

@dataclass(frozen=True)
class Faulty(Effect):
    parameters: tuple = (Parameter("gain", 0.0, 1.0, 0.5, ""),)
    name: ClassVar[str] = "faulty"

    def exact(self, values, *, sample_rate, channels):
        def process(x):
            if sample_rate in DEEDS:
                DEEDS[sample_rate](x)
            return x * np.float32(values["gain"])
        return process

    def autodiff(self, x, values, *, sample_rate):
        raise NotImplementedError

CHAINS["faulty"] = Chain("faulty", (Faulty(),))
"""

TABLE = """chain,effect,parameter,value,unit,minimum,maximum,scale
faulty,faulty,gain,0.5,,0.0,1.0,linear
"""


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

    def faults(self, folder, *rates):
        """Write recordings, `faulty.py` with an effect that does to a process what their sample rates stand for, and
        `faulty.csv`, a table of it."""
        Path("faulty.py").write_text(FAULTY)
        Path("faulty.csv").write_text(TABLE)
        Path(folder).mkdir(exist_ok=True)
        for rate in rates:
            soundfile.write(f"{folder}/{rate}.wav", np.full(1000, 0.5), rate)

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
