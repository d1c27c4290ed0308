"""A dataset that several processes cut, and an evaluation that they share, are those of one process."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.configs import DatasetConfig, EvalConfig
from fxst.data.build import build, build_share
from fxst.errors import SettingsError
from fxst.evaluation.evaluate import evaluate, evaluate_share

RATE = 16_000
VOICES = Path(__file__).parents[1] / "examples/voices"


@pytest.fixture
def voices(tmp_path, monkeypatch):
    """Recordings of four speakers, partly silent, so that a second round of clips is drawn."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for speaker in "abcd":
        Path("voices", speaker).mkdir(parents=True)
        for number in range(3):
            x = 0.1 * rng.standard_normal(3 * RATE)
            x[RATE : 2 * RATE] = 0
            soundfile.write(f"voices/{speaker}/{number}.wav", x, RATE)
    Path("voices/d/2.wav").write_text("no sound")
    return Path("voices")


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def merge(folder):
    return subprocess.run(
        [sys.executable, "-m", "fxst", "batch", "merge", folder], capture_output=True, text=True, check=False
    )


def test_shards_cut_the_dataset_of_one_process(voices):
    config = DatasetConfig((voices,), output=Path("one"), clips=60, seconds=0.2, sample_rate=RATE, workers=1)
    build(config)
    for index in (2, 0, 0):
        build_share(replace(config, output=Path("two"), shard=f"{index}/3"))
    told = merge("two")
    assert told.returncode == 1
    assert "run the shards 1" in told.stderr
    build_share(replace(config, output=Path("two"), shard="1/3"))
    assert merge("two").returncode == 0
    assert tree("two") == tree("one")
    # The command itself finishes what shards have begun, and other settings use nothing of it.
    build_share(replace(config, output=Path("three"), shard="0/3"))
    build(replace(config, output=Path("three")))
    assert tree("three") == tree("one")
    build_share(replace(config, output=Path("four"), shard="0/3", seed=1))
    build(replace(config, output=Path("four")))
    assert tree("four") == tree("one")


def test_shards_score_the_items_of_one_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"data": VOICES, "split": "all", "sample_rate": 24_000, "limit": 6, "pesq": False, "workers": 1}
    config = EvalConfig(baselines=("none",), output=Path("one"), **options)
    evaluate(config)
    shares = [evaluate_share(replace(config, output=Path("two"), shard=f"{index}/2")) for index in (1, 0, 0)]
    assert shares[0] + shares[1] == 6
    assert merge("two").returncode == 0
    one, two = (tree(folder) for folder in ("one", "two"))
    summaries = [json.loads(found.pop(Path("summary.json"))) for found in (one, two)]
    assert two == one
    assert [summary["config"].pop("output") for summary in summaries] == ["one", "two"]
    assert summaries[0] == summaries[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": None}, "name one with --output"),
        ({"report": Path("page.html")}, "--report needs all results"),
        ({"require": ("mrstft<=1",)}, "--require needs all results"),
        ({"engine": "ray"}, "leave out --shard"),
    ],
)
def test_what_a_share_of_an_evaluation_cannot_do_is_told(options, message):
    with pytest.raises(SettingsError, match=message):
        evaluate_share(EvalConfig(**({"data": Path("voices"), "output": Path("out"), "shard": "0/2"} | options)))
