import json
import subprocess
import sys

import pytest
import torch

from fxst.chain import CHAINS
from fxst.errors import ModelError
from fxst.models import checkpoint
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModel, StyleModelConfig


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    chain = CHAINS["eq-comp"]
    model = StyleModel(
        StyleModelConfig(len(chain.knobs), EncoderConfig(sample_rate=24_000, window_samples=12_720), hidden=(32,))
    )
    checkpoint.save(tmp_path / "model", model, chain, sample_rate=24_000, card={"note": "for a test"})
    return tmp_path / "model", model.eval()


def test_a_model_comes_back_as_it_was(saved):
    folder, model = saved
    loaded = checkpoint.load(folder)
    assert loaded.chain == CHAINS["eq-comp"]
    assert loaded.sample_rate == 24_000
    assert loaded.card["note"] == "for a test"
    assert not loaded.model.training
    x = torch.randn(2, 1, 3, model.window_samples)
    torch.testing.assert_close(loaded.model(*x), model(*x), rtol=0, atol=0)


def edit(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def cut(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def flip(folder):
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "weights"),
        (flip, "weights"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be read"),
        (lambda folder: (folder / "card.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "card.json").write_text("[]"), "no card of a style model"),
        (lambda folder: edit(folder, format="other"), "no card of a style model"),
        (lambda folder: edit(folder, format=["other"]), "no card of a style model"),
        (lambda folder: edit(folder, format_version=99), "update fxst"),
        (lambda folder: edit(folder, chain=CHAINS["eq"].to_spec()), "knobs"),
        (lambda folder: edit(folder, chain={"name": "x"}), "damaged"),
        (lambda folder: edit(folder, model={"n_knobs": 8}), "damaged"),
    ],
)
def test_a_damaged_model_is_refused_by_name(damage, words, saved):
    folder, _ = saved
    damage(folder)
    with pytest.raises(ModelError, match=words) as caught:
        checkpoint.load(folder)
    assert str(folder) in str(caught.value)


def test_a_model_with_numbers_that_are_not_finite_is_refused(saved):
    folder, model = saved
    model.controller.knobs.bias.data[0] = float("nan")
    checkpoint.save(folder, model, CHAINS["eq-comp"], sample_rate=24_000, card={})
    with pytest.raises(ModelError, match="not finite"):
        checkpoint.load(folder)


def test_an_unknown_name_is_answered_with_the_shipped_ones():
    with pytest.raises(ModelError, match="eq-comp"):
        checkpoint.load("nosuch")


def test_loading_needs_no_torchaudio(saved):
    folder, _ = saved
    code = f"import sys; from fxst.models import checkpoint; checkpoint.load({str(folder)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "torch" in modules
    assert not {"torchaudio", "lightning", "numba"} & set(modules)


@pytest.mark.parametrize("name", ["eq", "eq-comp"])
def test_shipped_models_load_and_are_small(name):
    loaded = checkpoint.load(name)
    assert loaded.chain == CHAINS[name]
    assert (loaded.folder / "model.safetensors").stat().st_size <= 10_000_000
    assert {"losses.csv", "losses.png"} <= {path.name for path in loaded.folder.iterdir()}
