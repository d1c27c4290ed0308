import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxst.chain import CHAINS
from fxst.cli import main
from fxst.configs import DatasetConfig
from fxst.data.build import build
from fxst.evaluation.metrics import METRICS
from fxst.models import checkpoint
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModel, StyleModelConfig

RATE = 24_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that was never trained: its every knob is near the middle."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "mine"
    checkpoint.save(
        folder,
        StyleModel(StyleModelConfig(6, EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        CHAINS["eq"],
        sample_rate=RATE,
        card={},
    )
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three voices, which are noises of different colours, in clips of 1.5 s."""
    folder = tmp_path_factory.mktemp("voices")
    generator = np.random.default_rng(0)
    for speaker in range(3):
        (folder / f"p{speaker}").mkdir()
        noise = 0.05 * generator.standard_normal(8 * RATE)
        soundfile.write(folder / f"p{speaker}/x.wav", noise + 0.5 * speaker * np.roll(noise, 1), RATE)
    build(DatasetConfig((folder,), folder / "data", clips=0, seconds=1.5, workers=1))
    return folder / "data"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with two pairs of which the outputs are perfect."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for number in (1, 2):
        noise = 0.1 * generator.standard_normal((2 * RATE, 2))
        soundfile.write(f"in{number}.wav", noise, RATE, subtype="FLOAT")
        soundfile.write(f"target{number}.wav", 0.5 * noise, RATE, subtype="FLOAT")
        soundfile.write(f"out{number}.wav", 0.5 * noise, RATE, subtype="FLOAT")
        # As strong in every hertz as the target, at its own rate.
        reference = 0.05 * (44_100 / RATE) ** 0.5 * generator.standard_normal(44_100)
        soundfile.write(f"ref{number}.wav", reference, 44_100, subtype="FLOAT")
    pairs("in1.wav,ref1.wav,target1.wav,out1.wav", "in2.wav,ref2.wav,target2.wav,out2.wav")
    return tmp_path


@pytest.fixture
def fxst(monkeypatch, capsys):
    """Run the program in this process: `fxst(*arguments)` gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fxst", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def pairs(*lines, header="input,reference,target,output"):
    Path("pairs.csv").write_text("\n".join((header, *lines)) + "\n")


def summary(folder="out"):
    found = json.loads(Path(folder, "summary.json").read_text())
    return {row["system"]: row["figures"] for row in found["rows"]}


def items(folder="out"):
    with open(Path(folder, "items.csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_a_perfect_output_is_at_distance_0(fxst):
    code, out, err = fxst("eval", "--pairs", "pairs.csv", "-o", "out", "--require", "mrstft_ratio<=0")
    assert (code, err) == (0, "")
    rows = summary()
    assert list(rows) == ["input", "closed-form", "output"]
    for metric in METRICS:
        figures = rows["output"][metric.name]
        assert figures["mean"] == {"value": 0, "low": 0, "high": 0}
        assert figures["missing"] == 0
    assert rows["input"]["rms_db"]["mean"]["value"] == pytest.approx(6.0206, abs=1e-3)
    assert rows["closed-form"]["rms_db"]["mean"]["value"] < 1
    assert [(row["item"], row["system"]) for row in items()] == [
        (line, system) for line in ("line 2", "line 3") for system in rows
    ]
    assert all(name in out for name in rows)
    assert "2 items" in out


def test_models_run_on_pairs_at_their_own_rates(fxst, model):
    pairs("in1.wav,ref1.wav,target1.wav", "in2.wav,ref2.wav,target2.wav", header="input,reference,target")
    code, _, err = fxst("eval", "--pairs", "pairs.csv", "-m", model, "-o", "out")
    assert (code, err) == (0, "")
    assert list(summary()) == ["input", "closed-form", "mine"]
    assert all(row["error"] == "" for row in items())


def test_requirements_set_the_exit_code(fxst, model):
    arguments = ("eval", "--pairs", "pairs.csv", "-m", model)
    code, _, err = fxst(*arguments, "--require", "mrstft_ratio<=0.01", "--require", "closed-form.mrstft_ratio<=1")
    assert code == 1
    assert err.startswith("fxst: mine falls short of mrstft_ratio<=0.01: it is ")
    assert err.count("\n") == 1
    code, _, err = fxst(*arguments, "--require", "output.mae<=0", "--require", "mae_missing<1")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("requirement", ["mrstft_ratio=<0.45", "pesq>3", "mrstft<=much"])
def test_a_malformed_requirement_is_wrong_usage(fxst, requirement):
    code, out, err = fxst("eval", "--pairs", "nothing.csv", "--require", requirement)
    assert (code, out) == (2, "")
    assert "no requirement" in err


def test_wrong_usage(fxst, dataset):
    assert fxst("eval")[0] == 2
    assert fxst("eval", "--pairs", "pairs.csv", "--data", dataset)[0] == 2
    assert fxst("eval", "--data", dataset, "--split", "all")[0] == 2


@pytest.mark.parametrize(
    ("requirement", "message"),
    [("yours.mae<1", "no row of that name; there are input, closed-form, output"), ("mae<1", "neither a model")],
)
def test_a_requirement_needs_somebody(fxst, requirement, message):
    if message.startswith("neither"):
        pairs("in1.wav,ref1.wav,target1.wav", header="input,reference,target")
    code, out, err = fxst("eval", "--pairs", "pairs.csv", "--require", requirement)
    assert (code, out) == (1, "")
    assert message in err


def test_items_are_drawn_from_a_dataset(fxst, model, dataset):
    arguments = ("eval", "--data", dataset, "--split", "train", "--items", 4, "-m", model)
    for folder in ("one", "two"):
        code, _, err = fxst(*arguments, "-o", folder)
        assert (code, err) == (0, "")
    assert Path("one/items.csv").read_bytes() == Path("two/items.csv").read_bytes()
    assert summary("one") == summary("two")
    assert summary("one")["closed-form"]["mrstft"]["ratio"]["value"] < 0.5
    assert json.loads(Path("one/summary.json").read_text())["chain"]["name"] == "eq"

    fxst(*arguments[:-4], "--items", 2, "-m", model, "-o", "fewer")
    assert items("fewer") == items("one")[:6]
    fxst(*arguments, "--seed", 1, "-o", "other")
    assert items("other") != items("one")


def test_without_a_model_the_chain_is_named(fxst, dataset):
    arguments = ("eval", "--data", dataset, "--split", "train", "--items", 2, "-o", "out")
    assert fxst(*arguments, "--chain", "fx")[0] == 0
    assert json.loads(Path("out/summary.json").read_text())["chain"]["name"] == "fx"
    code, _, err = fxst(*arguments, "--chain", "reverb")
    assert code == 1
    assert "there are: eq, eq-comp, fx" in err


def test_what_cannot_be_scored_is_counted(fxst):
    x, _ = soundfile.read("out2.wav")
    soundfile.write("out2.wav", x[:-1], RATE, subtype="FLOAT")
    code, out, err = fxst("eval", "--pairs", "pairs.csv", "-o", "out")
    assert code == 1
    assert err == (
        "fxst: line 3, output: 'out2.wav' has 2 channels of 47,999 samples at 24,000 Hz, and its input 2 channels of "
        "48,000 samples at 24,000 Hz: it must be of the input's rate, channels and length.\n"
    )
    assert "1 missing" in out
    figures = summary()["output"]["mrstft"]
    assert figures["missing"] == 1
    assert figures["mean"] == {"value": 0, "low": None, "high": None}
    assert items()[-1]["mrstft"] == ""
    assert "47,999" in items()[-1]["error"]


def test_when_nothing_at_all_can_be_scored_the_command_fails(fxst):
    pairs("in1.wav,ref1.wav,target1.wav,", "in2.wav,ref2.wav,target2.wav,gone.wav")
    code, out, err = fxst("eval", "--pairs", "pairs.csv")
    assert code == 1
    assert "missing" in out
    assert err.splitlines() == [
        "fxst: line 2, output: No output is named.",
        "fxst: line 3, output: 'gone.wav' does not exist: check the name.",
        "fxst: output could not be measured on any item.",
    ]


@pytest.mark.parametrize(("column", "file"), [("input", "in2"), ("reference", "ref2"), ("target", "target2")])
def test_a_broken_path_is_one_sentence(fxst, column, file):
    Path(f"{file}.wav").unlink()
    code, out, err = fxst("eval", "--pairs", "pairs.csv", "-o", "out")
    assert (code, out) == (1, "")
    assert err == f"fxst: 'pairs.csv', line 3, {column}: '{file}.wav' does not exist: check the name.\n"
    assert not Path("out").exists()


def test_the_program_itself():
    done = subprocess.run(
        [sys.executable, "-m", "fxst", "eval", "--pairs", "pairs.csv", "--require", "output.mae<=0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "closed-form" in done.stdout


def test_two_models_of_one_name_are_told_apart(fxst, model):
    Path("mine").symlink_to(model)
    assert fxst("eval", "--pairs", "pairs.csv", "-m", "mine", "-m", model, "-o", "out")[0] == 0
    assert list(summary())[-2:] == ["mine", str(model)]
    code, _, err = fxst("eval", "--pairs", "pairs.csv", "-m", model, "-m", model)
    assert code == 1
    assert "Two rows would be called" in err


def test_models_of_different_chains_need_a_chain(fxst, model, tmp_path):
    other = tmp_path / "other"
    checkpoint.save(
        other,
        StyleModel(StyleModelConfig(8, EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        CHAINS["eq-comp"],
        sample_rate=RATE,
        card={},
    )
    arguments = ("eval", "--pairs", "pairs.csv", "-m", model, "-m", other)
    code, _, err = fxst(*arguments)
    assert code == 1
    assert "--chain" in err
    assert fxst(*arguments, "--chain", "eq")[0] == 0


def test_a_folder_that_cannot_be_made(fxst):
    Path("out").write_text("not a folder")
    code, out, err = fxst("eval", "--pairs", "pairs.csv", "-o", "out")
    assert (code, out) == (1, "")
    assert err == "fxst: The folder 'out' cannot be made (file exists): choose another.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column input, reference, target"),
        ("input,target\na,b\n", "no column reference"),
        ("input,reference,target\n", "nothing to score"),
        ("input,reference,target\nin1.wav,,target1.wav\n", "line 2: the reference is missing"),
        ("input,reference,target\nin1.wav,ref1.wav\n", "line 2: the target is missing"),
    ],
)
def test_a_list_that_is_none(fxst, text, message):
    Path("pairs.csv").write_text(text)
    code, out, err = fxst("eval", "--pairs", "pairs.csv")
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1
