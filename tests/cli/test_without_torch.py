"""Models are used, judged and described without torch: only training and what is named after a GPU need it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.checkpoints import checkpoint

RATE = 44_100
FOR_TRAINING = ("auraloss", "lightning", "tensorboard", "torch", "torchaudio")

WATCH = """
import traceback
with open({log!r}, "a") as file:
    file.write("".join(traceback.format_stack()))
raise ImportError("{name} is for training")
"""


@pytest.fixture
def program(tmp_path, monkeypatch, speech, noise):
    """Run the program in a folder with recordings, and fail where it or a worker of it reaches for torch."""
    log, shadows = tmp_path / "reached.txt", tmp_path / "shadows"
    for name in FOR_TRAINING:
        (shadows / name).mkdir(parents=True)
        (shadows / name / "__init__.py").write_text(WATCH.format(log=str(log), name=name))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(shadows), *sys.path)))
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name, x in {"in/a": speech(RATE, 1, 2), "in/b": 0.5 * speech(RATE, 2, 2), "ref": noise(RATE, 1, 2)}.items():
        soundfile.write(f"{name}.wav", x.T, RATE)

    def run(*arguments, **options):
        command = [sys.executable, "-m", "fxst", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert not log.exists(), log.read_text()
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_reaching_for_torch_is_seen(program):
    Path("mine.py").write_text("import torch\n")
    with pytest.raises(AssertionError, match=r'mine.py", line 1'):
        program("--effects", "mine.py", "chains", "list")


@pytest.mark.parametrize("model", ["studio", "eq", "eq-comp"])
def test_a_model_is_applied(program, model):
    program("apply", "in/a.wav", "--ref", "ref.wav", "-m", model, "-o", "out.wav")
    assert soundfile.info("out.wav").frames == 2 * RATE
    assert json.loads(Path("out.params.json").read_text())["made_by"]["model"] == model


def test_a_model_is_applied_by_workers(program):
    program("apply", "in", "--ref", "ref.wav", "-o", "out", "-j", "2")
    assert {path.name for path in Path("out").glob("*.wav")} == {"a.wav", "b.wav"}


def test_a_style_is_saved_and_applied(program):
    program("style", "save", "ref.wav", "-o", "style.json")
    program("apply", "in/b.wav", "--style", "style.json", "-o", "out.wav")
    assert soundfile.info("out.wav").channels == 2


def test_models_are_listed_described_and_verified(program):
    assert "studio" in program("models", "list")
    assert "compressor" in program("models", "info", "studio")
    program("models", "verify", "studio")


def test_a_model_is_judged(program):
    Path("pairs.csv").write_text("input,reference,target\nin/a.wav,ref.wav,in/a.wav\n")
    program("eval", "--pairs", "pairs.csv", "-m", "eq", "--no-pesq", "-o", "out")
    rows = {row["system"]: row for row in json.loads(Path("out/summary.json").read_text())["rows"]}
    assert np.isfinite(rows["eq"]["figures"]["mrstft"]["mean"]["value"])


def test_a_dataset_is_built(program):
    program("dataset", "build", "in", "-o", "data", "-n", "4", "--workers", "2")
    assert Path("data/manifest.csv").read_text().count("\n") == 5


def test_a_model_of_another_folder_is_applied(program):
    shutil.copytree(checkpoint.pretrained_folder() / "style/eq", "mine")
    program("apply", "in/a.wav", "--ref", "ref.wav", "-m", "./mine", "-o", "out.wav")
    assert soundfile.info("out.wav").frames == 2 * RATE
