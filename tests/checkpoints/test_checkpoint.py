import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.errors import ModelError
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig

with suppress(ImportError):  # the extra train
    import torch

    from fxst.checkpoints.torch_models import load_trainable
    from fxst.models.trainable import StyleModel


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    chain = CHAINS["eq-comp"]
    model = StyleModel(
        StyleModelConfig(len(chain.knobs), EncoderConfig(sample_rate=24_000, window_samples=12_720), hidden=(32,))
    )
    checkpoint.save(tmp_path / "model", model, chain, sample_rate=24_000, card={"note": "for a test"})
    return tmp_path / "model", model.eval()


@pytest.mark.parametrize("form", ["numpy", "torch"])
def test_a_model_comes_back_as_it_was(saved, in_numpy, form):
    folder, model = saved
    loaded = checkpoint.load(folder) if form == "numpy" else load_trainable(folder)
    assert loaded.chain == CHAINS["eq-comp"]
    assert loaded.sample_rate == 24_000
    assert loaded.card["note"] == "for a test"
    assert not loaded.model.training
    x = torch.randn(2, 1, 3, model.window_samples)
    if form == "numpy":
        made, knobs = loaded.model, in_numpy(model).knobs_of_windows(*x.numpy(), sample_rate=24_000)
        np.testing.assert_array_equal(made.knobs_of_windows(*x.numpy(), sample_rate=24_000), knobs)
    else:
        made, knobs = loaded.model, model.knobs_of_windows(*x, sample_rate=24_000)
        torch.testing.assert_close(made.knobs_of_windows(*x, sample_rate=24_000), knobs, rtol=0, atol=0)


def test_a_model_that_was_loaded_for_use_is_saved_as_it_was_trained(saved, tmp_path):
    folder, _ = saved
    loaded = checkpoint.load(folder)
    checkpoint.save(tmp_path / "again", loaded.model, loaded.chain, sample_rate=24_000, card=loaded.card)
    for name in ("card.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_an_unknown_name_is_answered_with_the_shipped_ones():
    with pytest.raises(ModelError, match="eq-comp"):
        checkpoint.load("nosuch")


def test_loading_needs_no_torch(saved):
    folder, _ = saved
    code = f"import sys; from fxst.checkpoints import checkpoint; checkpoint.load({str(folder)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "fxst.models.layers" in modules
    assert not {"torch", "torchaudio", "lightning", "numba"} & set(modules)


@pytest.mark.parametrize("name", ["eq", "eq-comp"])
def test_shipped_models_load_and_are_small(name):
    loaded = checkpoint.load(name)
    assert loaded.chain == CHAINS[name]
    assert (loaded.folder / "model.safetensors").stat().st_size <= 10_000_000
    assert {"losses.csv", "losses.png"} <= {path.name for path in loaded.folder.iterdir()}
