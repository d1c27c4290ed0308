from dataclasses import replace

import pytest
import torch

from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint, proxy_file
from fxst.effects import Compressor, Distortion, ParametricEQ
from fxst.errors import ModelError
from fxst.models.proxy import ProxyModel, ProxyModelConfig

COMPRESSOR = CHAINS["fx"].effects[1]


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = ProxyModel(ProxyModelConfig(2, 24_000, echo_samples=100, echo_kernels=2))
    proxy_file.save(tmp_path / "proxy", model, COMPRESSOR, card={"note": "for a test"})
    return tmp_path / "proxy", model


def test_a_proxy_comes_back_as_it_was(saved):
    folder, model = saved
    loaded = proxy_file.load(folder)
    assert loaded.effect == COMPRESSOR
    assert loaded.sample_rate == 24_000
    assert loaded.card["note"] == "for a test"
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    x, knobs = torch.randn(2, 1, 500), torch.rand(2, 2)
    torch.testing.assert_close(loaded.model(x, knobs), model(x, knobs), rtol=0, atol=0)


def test_a_proxy_stands_in_for_its_own_effect_only(saved):
    proxy = proxy_file.load(saved[0])
    proxy.check(COMPRESSOR, sample_rate=24_000)
    for effect, rate, words in (
        (Distortion(), 24_000, "distortion cannot be imitated by the proxy .*, which is for the compressor"),
        (Compressor(), 24_000, "threshold_db from -20 to 20, not from -60 to 20"),
        (COMPRESSOR.restrict(ratio=(2.0, 5.0)), 24_000, "ratio"),
        (COMPRESSOR.restrict(attack_ms=2.0), 24_000, "attack_ms"),
        (COMPRESSOR, 44_100, "24000 Hz, not 44100"),
    ):
        with pytest.raises(ModelError, match=words):
            proxy.check(effect, sample_rate=rate)


def test_an_equaliser_of_other_bands_is_another_effect():
    three, other = (ParametricEQ(kinds=kinds) for kinds in (("peak", "peak"), ("peak", "high_shelf")))
    with pytest.raises(ModelError, match="high_shelf"):
        proxy_file.Proxy(ProxyModel(ProxyModelConfig(6, 24_000)), three, 24_000, {}).check(other, sample_rate=24_000)


def test_a_default_is_no_part_of_what_is_imitated(saved):
    threshold = replace(COMPRESSOR.parameters[0], default=0.0)
    other = replace(COMPRESSOR, parameters=(threshold, *COMPRESSOR.parameters[1:]))
    proxy_file.load(saved[0]).check(other, sample_rate=24_000)


def test_a_style_model_is_no_proxy_and_a_proxy_no_style_model(saved, tmp_path):
    with pytest.raises(ModelError, match=r"proxy' is a proxy, not a style model"):
        checkpoint.load(saved[0])
    with pytest.raises(ModelError, match=r"eq' is a style model, not a proxy"):
        proxy_file.load(checkpoint.pretrained_folder() / "style" / "eq")
    (tmp_path / "card.json").write_text('{"format": "other"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="is not the card of a proxy"):
        proxy_file.load(tmp_path)


@pytest.mark.parametrize("name", ["nosuch", "runs/none"])
def test_an_unknown_name_is_answered_with_the_shipped_ones(name):
    with pytest.raises(ModelError, match=f"There is no proxy '{name}'; choose from: compressor"):
        proxy_file.load(name)
    with pytest.raises(ModelError, match=f"There is no model '{name}'"):
        checkpoint.load(name)


@pytest.mark.parametrize("effect", CHAINS["fx"].effects, ids=lambda effect: effect.name)
def test_shipped_proxies_are_of_the_chains_effects_and_small(effect):
    folder = checkpoint.pretrained_folder() / "proxy" / effect.name
    proxy_file.load(effect.name).check(effect, sample_rate=24_000)
    assert (folder / "model.safetensors").stat().st_size <= 3_000_000
    assert {"losses.csv", "losses.png"} <= {path.name for path in folder.iterdir()}
