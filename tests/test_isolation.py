"""Nothing that lies in the current folder is run: no module, no program, no library, and no setting that leads to one.

Training and `fxst doctor` are tried in the same folder by their own tests.
"""

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
from fxst.dsp.follower import LOADING_PAYS


@pytest.fixture(scope="module")
def recordings(trap, examples):
    """Recordings, a table, and pairs to evaluate."""
    (trap.folder / "in").mkdir()
    for name in ("voice", "radio"):
        (trap.folder / f"in/{name}.wav").write_bytes((examples / f"{name}.wav").read_bytes())
    table = Table(CHAINS["studio"], CHAINS["studio"].defaults()).with_values({"upward_compressor": {"ratio": 2.0}})
    table_files.write(table, trap.folder / "house.json")
    # So long that an upward compressor's follower is compiled, where numba is installed.
    soundfile.write(trap.folder / "long.wav", np.zeros(LOADING_PAYS + 1, np.int16), 48_000)
    (trap.folder / "pairs.csv").write_text("input,reference\nin/voice.wav,in/radio.wav\n")
    return trap


@pytest.mark.parametrize(
    "command",
    [
        "apply in/voice.wav -p house.json -o one.wav --plot one.svg",
        "apply in/voice.wav -p house.json -o two.wav --plot two.png",
        "apply long.wav -p house.json -o long.flac",
        "apply in -p house.json -o several -j 2 --report several.html",
        "apply in --ref in/radio.wav -m eq -o by-model",
        "dataset build in -o data -n 10",
        "eval --pairs pairs.csv --baseline none -m eq",
        "models list",
        "chains",
    ],
)
def test_nothing_in_the_current_folder_is_run(recordings, command):
    if "png" in command:
        import matplotlib  # noqa: F401
    done = recordings.run(*command.split())
    recordings.check()
    assert (done.returncode, "no.such.setting" in done.stderr) == (0, False), done.stderr


def test_the_folder_of_a_python_m_is_left_as_soon_as_fxst_is_found(trap, tmp_path):
    # What Python itself imports before it finds the program, no program can keep it from.
    (tmp_path / "typer.py").write_text((trap.folder / "typer.py").read_text())
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "fxst", "chains"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    trap.check()
    assert done.returncode == 0, done.stderr


def test_fxst_may_be_run_from_its_own_folder():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "fxst", "--version"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cache_that_others_may_write_to_is_refused(recordings, tmp_path, monkeypatch):
    import numba  # noqa: F401

    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "open"))
    command = ["apply", "long.wav", "-p", "house.json", "-o", "cached.wav"]
    done = recordings.run(*command)
    assert done.returncode == 1
    assert "NUMBA_CACHE_DIR is " in done.stderr
    assert "name a folder of your own" in done.stderr
    assert not (recordings.folder / "cached.wav").exists()
    (tmp_path / "open").chmod(0o700)
    assert recordings.run(*command).returncode == 0
