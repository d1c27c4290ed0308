import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.configs import StyleConfig
from fxst.data.manifest import Dataset
from fxst.effects import Distortion
from fxst.errors import FxstError, ModelError, SettingsError
from fxst.gradients import AutodiffRenderer
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModel, StyleModelConfig
from fxst.training.style import COLUMNS, StyleModule, train

OPTIONS = ["--steps", "6", "--validate-every", "2", "--batch", "4", "--validation-examples", "4", "--device", "cpu"]
PARTS = {"config.json", "model.safetensors", "card.json", "losses.csv", "losses.png", "checkpoints", "logs"}


def command(dataset, output, *more):
    return [sys.executable, "-m", "fxst", "style", "train", str(dataset), "-o", str(output), *OPTIONS, *more]


def losses(folder):
    """What must not depend on when a run was cut: every column but the time it took."""
    with open(folder / "losses.csv", encoding="utf-8", newline="") as file:
        return [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def unbroken(tiny_dataset, tmp_path_factory, trap):
    """A run through the real command, from its first step to its last, in a folder of which it may run nothing."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    done = trap.run(*command(tiny_dataset, folder)[3:], timeout=300)
    trap.check()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
    return folder


def test_a_run_leaves_a_model_with_its_card_losses_and_curve(unbroken):
    assert {path.name for path in unbroken.iterdir()} == PARTS
    table = losses(unbroken)
    assert [row["step"] for row in table] == ["2", "4", "6"]
    assert set(COLUMNS) - {"seconds"} == set(table[0])
    card = json.loads((unbroken / "card.json").read_text())
    assert card["chain"] == CHAINS["eq-comp"].to_spec() == checkpoint.load(unbroken).chain.to_spec()
    assert card["losses"]["val_loss"] == pytest.approx(min(float(row["val_loss"]) for row in table), rel=1e-4)
    assert card["training"]["config"]["steps"] == 6
    assert card["training"]["data"]["speakers"] == {"train": 8, "val": 1, "test": 1}
    assert list(unbroken.glob("logs/csv/*/metrics.csv"))
    assert list(unbroken.glob("logs/tensorboard/*/events*"))


def test_a_killed_run_resumes_to_the_same_losses_and_weights(unbroken, tiny_dataset, tmp_path):
    folder = tmp_path / "killed"
    run = subprocess.Popen(command(tiny_dataset, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(folder / "checkpoints/last.ckpt", run)
    run.kill()
    run.wait()
    assert not (folder / "card.json").exists()
    done = subprocess.run(command(tiny_dataset, folder, "--resume"), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert losses(folder) == losses(unbroken)
    assert (folder / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_exports_the_best_model_so_far(number, code, tiny_dataset, tmp_path):
    folder = tmp_path / "interrupted"
    # Far more steps than anyone waits for; a shell that starts a job in the background would ignore SIGINT.
    run = subprocess.Popen(
        command(tiny_dataset, folder, "--steps", "100000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(folder / "checkpoints/last.ckpt", run)
    os.kill(run.pid, number)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == code, errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert json.loads((folder / "card.json").read_text())["training"]["interrupted"] is True
    assert len(checkpoint.load(folder).chain.knobs) == 8
    assert len(losses(folder)) >= 1


def test_a_run_is_resumed_with_its_own_settings_only(unbroken, tiny_dataset):
    other = command(tiny_dataset, unbroken, "--resume", "--batch", "8")
    done = subprocess.run(other, capture_output=True, text=True, timeout=300)
    assert done.returncode == SettingsError.exit_code
    assert "begun with batch 4" in done.stderr
    assert len(done.stderr.splitlines()) == 1


class Intruder:
    """An object whose unpickling leaves a trace: any command could stand there."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def saved(kept, path, **options):
    torch.save(kept, path, **options)
    return path.read_bytes()


def test_a_checkpoint_is_resumed_as_data_and_never_run(unbroken, tiny_dataset, tmp_path, monkeypatch):
    # A relative folder that begins like an address, which Lightning would fetch from there.
    monkeypatch.chdir(tmp_path)
    folder = Path("https/run")
    shutil.copytree(unbroken, folder)
    config = StyleConfig(
        dataset=tiny_dataset, output=folder, steps=6, validate_every=2, batch=4, validation_examples=4, device="cpu",
        resume=True,
    )  # fmt: skip
    assert train(config).steps == 6
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
        with pytest.raises(ModelError, match=r"last.ckpt' is damaged, or none that this training wrote"):
            train(config)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists()  # so it would have been seen


def wait_for(path: Path, run):
    end = time.monotonic() + 120
    while not path.exists():
        assert run.poll() is None, "the run ended by itself"
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.2)


@pytest.fixture(scope="module")
def module(tiny_dataset):
    torch.manual_seed(0)
    data = Dataset.open(tiny_dataset)
    chain = CHAINS["eq"]
    config = StyleConfig(dataset=tiny_dataset, chain="eq", batch=8)
    made = StyleModule(
        StyleModel(StyleModelConfig(len(chain.knobs), EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        AutodiffRenderer(chain),
        config,
    )
    from fxst.data.examples import draw

    drawn = draw(data, "train", n_knobs=len(chain.knobs), batch=8, clips=4, seed=0, step=0)
    return made, tuple(torch.from_numpy(x) for x in (drawn.input, drawn.reference, drawn.knobs))


def test_the_hidden_settings_themselves_have_no_loss(module, monkeypatch):
    made, batch = module
    monkeypatch.setattr(made.model, "forward", lambda dry, produced: batch[2])
    assert made.measure(batch)["loss"] == 0


def test_the_loss_reaches_every_weight(module):
    made, batch = module
    made.train()
    made.measure(batch)["loss"].backward()
    for name, weight in made.model.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().sum() > 0, name


def test_learning_one_batch_by_heart_brings_the_loss_down(module):
    made, batch = module
    made.train()
    optimizer = torch.optim.AdamW(made.model.parameters(), 1e-3)
    values = []
    for _ in range(25):
        loss = made.measure(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.6 * values[0]


def test_what_cannot_be_trained_is_refused_and_nothing_written(tiny_dataset, tmp_path, monkeypatch):
    good = StyleConfig(dataset=tiny_dataset, output=tmp_path / "run")
    monkeypatch.setitem(CHAINS, "fixed", Chain("fixed", (Distortion().restrict(drive_db=6.0, mix=1.0),)))
    for bad, kind, words in (
        (replace(good, chain="fixed"), SettingsError, "fixed has no knobs"),
        (replace(good, chain="nosuch"), SettingsError, "nosuch"),
        (replace(good, dataset=tmp_path), ModelError, "dataset build"),
        (replace(good, resume=True), ModelError, "--resume"),
        (replace(good, output=tiny_dataset), ModelError, "not empty"),
        (replace(good, output=tiny_dataset / "manifest.csv"), ModelError, "cannot be used"),
        (replace(good, stft_windows=(1,)), SettingsError, "at least 2"),
        (replace(good, stft_windows=(32_768,)), SettingsError, "longer"),
    ):
        with pytest.raises(kind, match=words) as caught:
            train(bad)
        assert isinstance(caught.value, FxstError)
    assert not (tmp_path / "run").exists()
