import subprocess
import sys
from contextlib import suppress

import pytest

from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.errors import ModelError
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig

with suppress(ImportError):  # the extra train
    import torch

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


def test_a_model_comes_back_as_it_was(saved):
    folder, model = saved
    loaded = checkpoint.load(folder)
    assert loaded.chain == CHAINS["eq-comp"]
    assert loaded.sample_rate == 24_000
    assert loaded.card["note"] == "for a test"
    assert not loaded.model.training
    x = torch.randn(2, 1, 3, model.window_samples)
    torch.testing.assert_close(loaded.model(*x), model(*x), rtol=0, atol=0)


def test_an_unknown_name_is_answered_with_the_shipped_ones():
    with pytest.raises(ModelError, match="eq-comp"):
        checkpoint.load("nosuch")


def test_loading_needs_no_torchaudio(saved):
    folder, _ = saved
    code = f"import sys; from fxst.checkpoints import checkpoint; checkpoint.load({str(folder)!r}); print(*sys.modules)"
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
