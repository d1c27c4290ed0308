from dataclasses import fields, replace

import pytest
import torch

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.cli.training import _config
from fxst.configs import ClipsConfig, PassagesConfig
from fxst.data.examples import draw
from fxst.data.manifest import Dataset
from fxst.effects import Distortion
from fxst.errors import NothingMatchedError, OutputError, SettingsError
from fxst.gradients import AutodiffRenderer
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig
from fxst.models.trainable import StyleModel
from fxst.training.style import StyleModule, train


@pytest.fixture(scope="module")
def module(tiny_dataset):
    torch.manual_seed(0)
    data = Dataset(tiny_dataset)
    chain = CHAINS["eq"]
    config = ClipsConfig(dataset=tiny_dataset, chain="eq", batch=8)
    made = StyleModule(
        StyleModel(StyleModelConfig(len(chain.knobs), EncoderConfig(sample_rate=24_000, window_samples=12_720))),
        AutodiffRenderer(chain),
        config,
        sample_rate=24_000,
    )
    drawn = draw(data, "train", n_knobs=len(chain.knobs), batch=8, clips=4, seed=0, step=0)
    return made, tuple(torch.from_numpy(x) for x in (drawn.input, drawn.reference, drawn.knobs))


def test_the_hidden_settings_themselves_have_no_loss(module, monkeypatch):
    made, batch = module
    monkeypatch.setattr(made.model, "knobs_of_windows", lambda dry, produced, sample_rate: batch[2])
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
    good = ClipsConfig(dataset=tiny_dataset, output=tmp_path / "run")
    monkeypatch.setitem(CHAINS, "fixed", Chain("fixed", (Distortion().restrict(drive_db=6.0, mix=1.0),)))
    for bad, kind, words in (
        (replace(good, chain="fixed"), SettingsError, "fixed has no knobs"),
        (replace(good, chain="nosuch"), SettingsError, "nosuch"),
        (replace(good, dataset=tmp_path), NothingMatchedError, "dataset build"),
        (replace(good, output=tiny_dataset), SettingsError, "not empty"),
        (replace(good, output=tiny_dataset / "manifest.csv"), OutputError, "cannot be written"),
        (replace(good, stft_windows=(1,)), SettingsError, "at least 2"),
        (replace(good, stft_windows=(32_768,)), SettingsError, "longer"),
    ):
        with pytest.raises(kind, match=words):
            train(bad)
    assert not (tmp_path / "run").exists()


RECIPES = {"clips": ClipsConfig, "passages": PassagesConfig}
OWNED = [
    (item.name, other, recipe)
    for recipe, other in (("clips", "passages"), ("passages", "clips"))
    for item in fields(RECIPES[recipe])
    if item.name not in {shared.name for shared in fields(RECIPES[other])}
]


def test_an_option_of_the_other_recipe_is_refused(tmp_path):
    """Whatever its value: each recipe has its own configuration."""
    assert {"gradient", "also", "pretraining_epochs", "stft_hop"} <= {name for name, _, _ in OWNED}
    for name, recipe, owner in OWNED:
        given = {"dataset": tmp_path, name: next(f.default for f in fields(RECIPES[owner]) if f.name == name)}
        with pytest.raises(SettingsError, match=rf"is an option of the recipe {owner}: leave it out, or add --recipe"):
            _config(RECIPES, recipe, given)
        assert getattr(_config(RECIPES, owner, given), name) == given[name]
