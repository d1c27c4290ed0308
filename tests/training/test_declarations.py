"""Losses and datasets of the user's own: the page's commands, and what is refused."""

import csv
import json
import pickle
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fxst.checkpoints import torch_models
from fxst.checkpoints.checkpoint import declare_network
from fxst.errors import SettingsError
from fxst.models.network import Decision, StyleNetwork
from fxst.training.declarations import DeclaredPairs, declare_dataset, declare_loss, measure, try_loss

DOCS = Path(__file__).parents[2] / "docs"
QUICK = ["--batch", "2", "--steps", "2", "--validate-every", "1", "--validation-examples", "2", "--device", "cpu"]


pytestmark = pytest.mark.usefixtures("nothing_declared")


def write_pairs(folder, noise):
    """Write recordings, and the same with half the level, as docs/own_dataset.py reads them."""
    for split, count in (("train", 3), ("val", 1)):
        for kind, gain in (("dry", 1.0), ("wet", 0.5)):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                soundfile.write(folder / split / kind / f"{number}.wav", gain * noise(24_000, 1, 2)[0], 24_000)


@pytest.fixture(scope="module")
def page(tiny_dataset, tmp_path_factory, noise, program):
    """Run the page's commands word for word and in its order, but for how long they train."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "docs").symlink_to(DOCS)
    (folder / "data").symlink_to(tiny_dataset)
    write_pairs(folder / "pairs", noise)
    text = (DOCS / "own-effects.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text[text.index("\n## A loss of your own") :], re.DOTALL)
    commands = [line.split() for block in blocks for line in block.splitlines()]
    assert len(commands) == 3
    for command in commands:
        done = program(*command[1:], *([] if "--resume" in command else QUICK), cwd=folder)
        assert done.returncode == 0, (command, done.stderr)
    return folder


def test_a_loss_of_ones_own_trains_a_model_and_its_parts_are_logged(page):
    run = page / "runs/own-loss"
    card = json.loads((run / "card.json").read_text())
    assert card["training"]["config"]["loss"] == "log-spectrum"
    assert json.loads((run / "config.json").read_text())["config"]["loss"] == "log-spectrum"
    with open(run / "losses.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2]
    for row in rows:
        total = float(row["val_loss_spectrum"]) + float(row["val_loss_waveform"])
        assert float(row["val_loss"]) == pytest.approx(total, rel=1e-4)
        assert float(row["val_stft_ratio"]) > 0


def test_a_dataset_of_ones_own_trains_a_model(page):
    card = json.loads((page / "runs/own-data/card.json").read_text())
    assert card["training"]["config"]["dataset_type"] == "folders"
    assert card["training"]["data"]["items"] == {"train": 3, "val": 1}
    assert card["sample_rate"] == 24_000
    # The target is the input at half its level, so their spectra differ; the model has windows of a quarter of a half.
    assert card["losses"]["val_input_stft"] > 0
    assert card["model"]["encoder"]["window_samples"] == 6000


@pytest.mark.parametrize(
    ("run", "words"), [("own-loss", "There is no loss 'log-spectrum'"), ("own-data", "no dataset type 'folders'")]
)
def test_without_its_declaration_a_run_is_not_resumed(run, words, page, fxst):
    code, _, err = fxst("style", "train", page / "runs" / run, "--resume", "--steps", "3")
    assert code == 2
    assert words in err
    assert "(`fxst --effects FILE.py ...`)" in err
    assert len(err.splitlines()) == 1


def test_passages_train_by_a_loss_of_ones_own_and_take_no_dataset_type(passage_datasets, tmp_path, fxst):
    calls = []

    @declare_loss("mine")
    def mine(output, target, *, sample_rate):
        calls.append((tuple(output.shape), sample_rate))
        return (output - target).square().mean()

    arguments = ("style", "train", passage_datasets[0], "--recipe", "passages", "--chain", "studio")
    code, _, err = fxst(*arguments, "--dataset-type", "x")
    assert (code, "--dataset-type is an option of the recipe clips" in err) == (2, True)
    options = "--batch 8 --steps 1 --validate-every 1 --validation-examples 8 --cached-batches 0 --fitter-steps 1"
    code, _, err = fxst(*arguments, "--loss", "mine", *options.split(), "--device", "cpu", "-o", tmp_path / "run")
    assert code == 0, err
    assert {rate for _, rate in calls[1:]} <= {24_000, 44_100}
    assert len(calls) >= 3  # the trial, a step, a validation
    assert "val_loss_" not in (tmp_path / "run/losses.csv").read_text()
    assert json.loads((tmp_path / "run/card.json").read_text())["training"]["config"]["loss"] == "mine"


BAD_LOSSES = {
    "a wrong name": (lambda output, target: output.mean(), "failed: TypeError: "),
    "no scalar": (lambda output, target, *, sample_rate: (output - target).abs(), "must return a scalar tensor"),
    "a number": (lambda output, target, *, sample_rate: 1.0, "must return a scalar tensor"),
    "nothing": (lambda output, target, *, sample_rate: {}, "must return a scalar tensor"),
    "not finite": (lambda output, target, *, sample_rate: (output - target).mean() / 0, "must be finite"),
    "no gradient": (lambda output, target, *, sample_rate: target.mean(), "differentiable"),
    "cut off": (lambda output, target, *, sample_rate: output.detach().mean(), "differentiable"),
}


@pytest.mark.parametrize(("loss", "words"), BAD_LOSSES.values(), ids=BAD_LOSSES)
def test_a_loss_that_cannot_train_is_refused_in_a_sentence_and_nothing_is_written(
    loss, words, tiny_dataset, tmp_path, fxst
):
    declare_loss("mine")(loss)
    code, _, err = fxst("style", "train", tiny_dataset, "--loss", "mine", "-o", tmp_path / "run", *QUICK)
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_error_in_a_file_is_told_with_its_line(tiny_dataset, tmp_path, fxst):
    (tmp_path / "mine.py").write_text(
        "from fxst.training.declarations import declare_loss\n@declare_loss('mine')\n"
        "def mine(output, target, *, sample_rate):\n    return output.nonsense\n"
    )
    code, _, err = fxst("--effects", tmp_path / "mine.py", "style", "train", tiny_dataset, "--loss", "mine", *QUICK)
    assert code == 2
    assert "The loss 'mine' failed (mine.py, line 4): AttributeError: " in err
    assert len(err.splitlines()) == 1


def test_a_module_is_a_loss_and_its_parts_add_up():
    class Both(torch.nn.Module):
        def forward(self, output, target, *, sample_rate):
            return {"a": output.mean(), "b": target.mean()}

    declare_loss("both")(Both())
    measured = measure("both", torch.full((2, 8), 0.25), torch.full((2, 8), 0.5), sample_rate=24_000)
    assert {name: float(value) for name, value in measured.items()} == {"loss": 0.75, "loss_a": 0.25, "loss_b": 0.5}
    try_loss("both", samples=100, sample_rate=24_000)
    with pytest.raises(SettingsError, match="'both' already"):
        declare_loss("both")


def test_the_weight_of_a_loss_that_is_replaced_is_refused(tiny_dataset, fxst):
    declare_loss("mine")(lambda output, target, *, sample_rate: (output - target).square().mean())
    code, _, err = fxst("style", "train", tiny_dataset, "--loss", "mine", "--mae-weight", "2", *QUICK)
    assert code == 2
    assert "leave out --mae-weight, or --loss" in err


def pairs_of(*items, rate=24_000):
    def make(folder, split):
        class Items:
            sample_rate = rate

            def __len__(self):
                return len(items)

            def __getitem__(self, index):
                return items[index]

        return Items()

    return make


GOOD = (np.full(24_000, 0.1), np.full(24_000, 0.2), np.full(24_000, 0.3))
BAD_DATASETS = {
    "none": (pairs_of(), "has no train items"),
    "two parts": (pairs_of(GOOD[:2]), "three arrays"),
    "stereo": (pairs_of(tuple(np.zeros((2, 24_000)) for _ in range(3))), "three arrays"),
    "two lengths": (pairs_of((*GOOD[:2], GOOD[2][1:])), "of 24000 finite samples"),
    "not finite": (pairs_of((*GOOD[:2], GOOD[2] * np.nan)), "finite"),
    "short": (pairs_of(tuple(x[:8000] for x in GOOD)), "give longer items, or fewer --listen-clips"),
    "no rate": (pairs_of(GOOD, rate=None), "failed: TypeError"),
    "a failure": (lambda folder, split: [][0], "failed: IndexError"),
}


@pytest.mark.parametrize(("make", "words"), BAD_DATASETS.values(), ids=BAD_DATASETS)
def test_a_dataset_that_cannot_be_trained_on_is_refused_in_a_sentence(make, words, tmp_path, fxst):
    declare_dataset("mine")(make)
    code, _, err = fxst("style", "train", tmp_path, "--dataset-type", "mine", "-o", tmp_path / "run", *QUICK)
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_batches_depend_on_the_seed_alone_also_in_another_process(tmp_path):
    declare_dataset("mine")(pairs_of(*(tuple(k * x for x in GOOD) for k in range(5))))
    pairs = DeclaredPairs("mine", tmp_path)
    drawn = pairs.draw("train", batch=4, seed=(0, 1))
    assert drawn.shape == (4, 3, 24_000)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pairs)).draw("train", batch=4, seed=(0, 1)), drawn)
    assert not np.array_equal(pairs.draw("train", batch=4, seed=(0, 2)), drawn)


@dataclass(frozen=True)
class Sizes:
    n_knobs: int
    window: int

    def to_dict(self):
        return asdict(self)


class Mine(StyleNetwork, torch.nn.Module):
    """Sets every knob to a number of its own."""

    def __init__(self, sizes):
        super().__init__()
        self.config = sizes
        self.logits = torch.nn.Parameter(torch.zeros(sizes.n_knobs))

    @classmethod
    def untrained(cls, n_knobs, *, sample_rate, window_samples):
        return cls(Sizes(n_knobs, window_samples))

    @classmethod
    def from_plain(cls, sizes, state):
        return cls(Sizes(**sizes))

    def analysis_rate(self, sample_rate):
        return sample_rate

    def window_at(self, sample_rate):
        return self.config.window

    def analyse(self, windows, *, sample_rate):
        return windows[:, :1]

    def decide(self, x, reference, matched):
        return Decision(self.logits.sigmoid().expand(len(x), -1))


BAD_NETWORKS = {
    "none": (None, "There is no network 'mine'"),
    "not trainable": ({"untrained": StyleNetwork.untrained}, "failed: NotImplementedError: it defines no `untrained`"),
    "no module": ({"untrained": classmethod(lambda cls, n_knobs, **sizes: n_knobs)}, "must be a torch.nn.Module"),
    "another rate": ({"analysis_rate": lambda self, sample_rate: 16_000}, "12720 samples at 24000 Hz"),
    "another window": ({"window_at": lambda self, sample_rate: 4000}, "12720 samples at 24000 Hz"),
    "other knobs": ({"decide": lambda self, x, *_: Decision(self.logits[None, 1:].expand(len(x), -1))}, "6 knobs"),
    "out of range": ({"decide": lambda self, x, *_: Decision((self.logits + 2).expand(len(x), -1))}, "from 0 to 1"),
    "no gradient": ({"decide": lambda self, x, *_: Decision(torch.full((len(x), 6), 0.5))}, "differentiable"),
    "not loaded": ({"from_plain": classmethod(lambda cls, sizes, state: cls(Sizes(1, 2)))}, "failed: RuntimeError"),
    "no plain sizes": ({"config": property(lambda self: None, lambda self, sizes: None)}, "failed: AttributeError"),
}


@pytest.mark.parametrize(("changes", "words"), BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_a_network_that_cannot_train_is_refused_in_a_sentence_and_nothing_is_written(
    changes, words, tiny_dataset, tmp_path, fxst
):
    if changes is not None:
        declare_network("mine")(type("Changed", (Mine,), changes))
    options = ("--chain", "eq", "--network", "mine", "-o", tmp_path / "run", *QUICK)
    code, _, err = fxst("style", "train", tiny_dataset, *options)
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_network_of_ones_own_learns_from_what_it_renders(tiny_dataset, tmp_path, fxst):
    declare_network("mine")(Mine)
    options = ("--chain", "eq", "--network", "mine", "-o", tmp_path / "run", *QUICK, "--learning-rate", "0.1")
    assert fxst("style", "train", tiny_dataset, *options, "--warmup-steps", "1")[0] == 0
    learned = torch_models.load_trainable(tmp_path / "run").model.logits
    assert (learned != 0).all()  # where all began
