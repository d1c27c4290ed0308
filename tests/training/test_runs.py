"""Runs: they can be stopped anywhere, go on as if they never were, and refuse what they cannot do."""

import json
import logging
import math
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fxst.checkpoints import checkpoint
from fxst.configs import ClipsConfig
from fxst.data import examples
from fxst.errors import AudioError, FxstError, ModelError, NothingMatchedError, OutputError, SettingsError
from fxst.training.run_folder import read_config
from fxst.training.runs import Run, learning_rate_factor
from fxst.training.style import StyleModule, train

PARTS = {"config.json", "model.safetensors", "card.json", "losses.csv", "losses.png", "checkpoints", "logs"}


def resumed(folder, **changes):
    """Resume a run as the command does."""
    return train(read_config(folder, [ClipsConfig], changes), resume=True)


@pytest.fixture
def config(tiny_dataset, tmp_path):
    return ClipsConfig(
        tiny_dataset, output=tmp_path / "run", chain="eq", steps=5, validate_every=2, batch=2, validation_examples=2,
        listen_clips=3, device="cpu",
    )  # fmt: skip


def same(folder, unbroken, losses):
    assert losses(folder) == losses(unbroken)
    assert (folder / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


def test_a_run_leaves_a_model_with_its_card_losses_and_curve(unbroken, losses):
    assert {path.name for path in unbroken.iterdir()} == PARTS
    assert [row["step"] for row in losses(unbroken)] == ["2", "4", "5"]
    card = json.loads((unbroken / "card.json").read_text())
    assert (card["training"]["interrupted"], card["training"]["validated"]) == (False, True)
    assert card["losses"]["val_loss"] == pytest.approx(
        min(float(row["val_loss"]) for row in losses(unbroken)), rel=1e-4
    )
    assert card["training"]["config"]["dataset"] == "data"  # where it lay is nobody's business
    assert list(unbroken.glob("logs/csv/*/metrics.csv"))
    assert list(unbroken.glob("logs/tensorboard/*/events*"))


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (2, signal.SIGTERM), (3, signal.SIGTERM), (4, signal.SIGINT)]
)
def test_a_run_that_was_stopped_after_any_step_goes_on_as_if_it_was_not(
    step, number, config, unbroken, losses, stopping
):
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    run = train(config, report=stopping("training", step, number))
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert (run.steps, run.signal) == (step, number)
    assert bool(run.best) == (step >= 2)
    card = checkpoint.load(config.output).card  # whatever there is of a model is kept
    assert (card["training"]["interrupted"], card["training"]["validated"]) == (True, step >= 2)
    assert resumed(config.output).signal is None
    same(config.output, unbroken, losses)


def loaders(number):
    """Send a signal to the processes that prepare batches."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, number)


def test_a_signal_to_all_processes_stops_a_run_as_one_to_the_main_one_does(config, unbroken, losses):
    def report(progress):
        if progress.step == 1:
            loaders(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    run = train(replace(config, loaders=1), report=report)
    assert (run.steps, run.signal) == (1, signal.SIGTERM)
    resumed(config.output)
    same(config.output, unbroken, losses)


def test_a_loader_that_dies_is_told_of(config):
    with pytest.raises(FxstError, match="resume the run with fewer --loaders"):
        train(replace(config, loaders=1), report=lambda _: loaders(signal.SIGKILL))


def test_a_killed_run_is_resumed_from_any_folder(
    unbroken, tiny_dataset, tmp_path, monkeypatch, losses, fxst, options, environment
):
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(tiny_dataset)
    command = [sys.executable, "-m", "fxst", "style", "train", "data", "-o", "run", *options]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    while not Path("run/checkpoints/last.ckpt").exists():
        assert run.poll() is None, "the run ended by itself"
        time.sleep(0.01)
    run.kill()
    run.wait()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert fxst("style", "train", "../run", "--resume")[:2] == (0, "../run\n")
    same(tmp_path / "run", unbroken, losses)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_says_what_it_kept_and_how_to_go_on(
    number, code, tiny_dataset, tmp_path, fxst, options, monkeypatch
):
    measure = StyleModule.measure

    def interrupted(module, batch):
        os.kill(os.getpid(), number)
        return measure(module, batch)

    monkeypatch.setattr(StyleModule, "measure", interrupted)
    lightning, said = logging.getLogger("lightning.pytorch"), logging.Handler()
    monkeypatch.setattr(said, "emit", lambda record: pytest.fail(f"Lightning said: {record.getMessage()}"))
    monkeypatch.setattr(lightning, "handlers", [said])
    ended, out, err = fxst("style", "train", tiny_dataset, "-o", tmp_path / "run", *options)
    assert (ended, out.strip()) == (code, str(tmp_path / "run"))
    assert "interrupted after 1 step. The model was never validated: it is exported as it was after step 1 of 5" in err
    assert "weights_only" not in err
    assert f"Continue it with `fxst style train {tmp_path / 'run'} --resume`." in err


def test_a_resumed_run_may_take_more_steps_and_not_fewer(unbroken, tmp_path, losses):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    before = losses(folder)
    assert resumed(folder, steps=8).steps == 8
    assert losses(folder)[:3] == before
    assert [row["step"] for row in losses(folder)[3:]] == ["7", "8"]
    with pytest.raises(SettingsError, match="has already taken 8 steps: use a larger --steps"):
        resumed(folder, steps=7)


def test_a_longer_run_that_is_stopped_goes_on_as_if_it_was_not(
    unbroken, tiny_dataset, tmp_path, losses, stopping, fxst
):
    """Also once its dataset was moved: by the command, which need not be told of the steps again."""
    moved = tmp_path / "moved"
    shutil.copytree(tiny_dataset, moved)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        shutil.copytree(unbroken, folder)
    resumed(whole, steps=8)
    run = train(
        read_config(cut, [ClipsConfig], {"steps": 8}), resume=True, report=stopping("training", 6, signal.SIGTERM)
    )
    assert (run.steps, run.signal) == (6, signal.SIGTERM)
    code, out, err = fxst("style", "train", moved, "-o", cut, "--resume")
    assert (code, out.strip()) == (0, str(cut)), err
    assert "finished after 8 steps" in err
    same(cut, whole, losses)
    card = json.loads((cut / "card.json").read_text())["training"]
    assert (card["steps"], card["config"]["steps"], card["config"]["dataset"]) == (8, 8, "moved")
    assert " && " in card["command"]


@pytest.mark.parametrize(
    "steps", [[(0, 100)], [(0, 100), (100, 400)], [(0, 400), (150, 200)], [(0, 50), (50, 90), (90, 300)]]
)
def test_the_learning_rate_moves_to_the_schedule_of_the_steps_that_a_run_gets(steps):
    def factor(step, schedules):
        return learning_rate_factor(step, schedules, warmup_steps=10)

    whole = [factor(step, steps) for step in range(steps[-1][1] + 1)]
    assert whole[9] == max(whole) == 1
    assert whole[-1] == pytest.approx(0.01)  # a run ends as low as any other
    assert np.abs(np.diff(whole)).max() < 0.101  # it never jumps
    first, last = steps[-1]
    for step in range(first + 10, last):
        assert whole[step] == pytest.approx(factor(step, [(0, last)]))
    if len(steps) > 1:  # what is done is done
        assert factor(first, steps) == factor(first, steps[:-1])


def test_a_model_that_is_worse_than_doing_nothing_is_no_success(tiny_dataset, tmp_path, fxst, options, monkeypatch):
    words = ("style", "train", tiny_dataset, "-o", tmp_path / "run", *options, "--learning-rate", "1000")
    code, out, err = fxst(*words)
    assert (code, out.strip()) == (1, str(tmp_path / "run"))
    assert "Training ended after 5 steps" in err
    assert re.search(r"worse than doing nothing: its loss is \S+ times that of the unprocessed input", err)
    assert "lower --learning-rate" in err
    assert checkpoint.load(tmp_path / "run").card["losses"]["val_ratio"] > 1.01


def test_a_loss_that_is_never_finite_leaves_no_model(tiny_dataset, tmp_path, fxst, options, monkeypatch):
    measure = StyleModule.measure
    monkeypatch.setattr(
        StyleModule, "measure", lambda module, batch: {name: x * math.nan for name, x in measure(module, batch).items()}
    )
    code, out, err = fxst("style", "train", tiny_dataset, "-o", tmp_path / "run", *options)
    assert (code, out) == (1, "")
    assert "The loss is not finite at step 0: start a new run with a lower --learning-rate" in err
    assert not (tmp_path / "run/model.safetensors").exists()


@pytest.mark.parametrize(
    ("ratios", "number", "words"),
    [
        ([0.9, 0.5], None, None),
        ([1.0, 1.009], None, None),
        ([1.0, 1.009], signal.SIGTERM, None),
        ([2.0, 1.5], None, "The model is worse than doing nothing: its loss is 1.5 times"),
        ([2.0, 1.5], signal.SIGTERM, None),
        ([0.5, 1.5], None, "The run diverged: at its last validation its loss was 1.5 times"),
    ],
)
def test_a_run_that_ends_worse_than_doing_nothing_says_so(ratios, number, words):
    rows = [{"step": step, "val_loss": ratio, "val_ratio": ratio} for step, ratio in enumerate(ratios, 1)]
    module = SimpleNamespace(config=SimpleNamespace(warmup_steps=1))
    problem = Run(module, Path("run"), rows, 2, 1.0, 0.1, number, None).problem
    assert problem is None if words is None else words in problem


def test_a_model_that_has_hardly_begun_may_be_a_little_worse_than_doing_nothing():
    for warmup_steps, ratio, is_problem in ((200, 1.05, False), (200, 1.2, True), (3, 1.05, True)):
        module = SimpleNamespace(config=SimpleNamespace(warmup_steps=warmup_steps))
        rows = [{"step": 5, "val_loss": 1.0, "val_ratio": ratio}]
        assert bool(Run(module, Path("run"), rows, 5, 1.0, 0.1, None, None).problem) == is_problem


@pytest.mark.parametrize("dataset", ["none", "empty"])
@pytest.mark.parametrize("recipe", [["style", "train"], ["proxy", "train", "--effect", "reverb"]])
def test_a_dataset_that_is_not_there_ends_as_recordings_do(recipe, dataset, tmp_path, fxst):
    (tmp_path / "empty").mkdir()
    code, out, err = fxst(*recipe, tmp_path / dataset, "-o", tmp_path / "run")
    assert (code, out) == (NothingMatchedError.exit_code, "")
    assert "fxst dataset build" in err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_a_run_cannot_write_to_any_more_is_told_of(config, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning.pytorch.Trainer.save_checkpoint", full)
    with pytest.raises(OutputError, match=r"run' cannot be written \(no space left on device\)"):
        train(config)


def test_an_error_of_a_loader_is_told_as_itself(config, monkeypatch):
    def damaged(data, split, *, step, **given):
        if step == 1:
            raise AudioError("'clips-00000.npy' is missing or damaged: build the dataset again.")
        return examples.draw(data, split, step=step, **given)

    monkeypatch.setattr(StyleModule.__module__ + ".draw", damaged)
    with pytest.raises(AudioError, match=r"^'clips-00000.npy' is missing or damaged: build the dataset again\.$"):
        train(replace(config, loaders=1))


class Intruder:
    """An object whose unpickling leaves a trace: any command could stand there."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def saved(kept, path, **options):
    torch.save(kept, path, **options)
    return path.read_bytes()


def test_a_checkpoint_is_resumed_as_data_and_never_run(unbroken, tmp_path, monkeypatch):
    # A relative folder that begins like an address, which Lightning would fetch from there.
    monkeypatch.chdir(tmp_path)
    folder = Path("https/run")
    shutil.copytree(unbroken, folder)
    assert resumed(folder).steps == 5
    assert (folder / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()

    last, trace, other = folder / "checkpoints/last.ckpt", tmp_path / "trace", tmp_path / "other.ckpt"
    whole = last.read_bytes()
    kept = torch.load(last, weights_only=True)
    for damaged in (
        pickle.dumps(Intruder(trace), protocol=2),
        saved(kept | {"callbacks": Intruder(trace)}, other),
        saved(kept | {"callbacks": Intruder(trace)}, other, _use_new_zipfile_serialization=False),
        saved({"state_dict": kept["state_dict"]}, other),
        saved([kept], other),
        whole[: len(whole) // 2],
        b"",
        b"no checkpoint",
    ):
        last.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"last.ckpt' is damaged, or was not written by this command"):
            resumed(folder)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists()  # so it would have been seen


def test_every_step_is_reported_with_how_many_there_are(config):
    seen = []
    train(config, report=seen.append)
    steps = [(progress.step, progress.steps) for progress in seen if progress.stage == "training"]
    assert steps == [(step, 5) for step in range(1, 6)]
    assert [(p.step, p.steps) for p in seen if p.stage == "validation"] == [(1, 1)] * 3
