"""What the tests of style transfer share."""

import pytest


@pytest.fixture
def halves(speech):
    """The two halves of six seconds of a voice at 24 kHz: different words."""
    x = speech(24_000, 1, 6)
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """An untrained studio model, which pairs moments and sets an equaliser by them."""
    import torch

    from fxst.chains.named import CHAINS
    from fxst.checkpoints import checkpoint
    from fxst.models.trainable import StudioModel
    from fxst.training.studio import studio_config
    from fxst.transfer.style_transfer import load

    torch.manual_seed(0)
    chain = CHAINS["studio"]
    config = studio_config(chain, 0.5, channels=(4, 8), hidden=(16,), rest_hidden=(16,), fitter_width=16)
    folder = tmp_path_factory.mktemp("models") / "pairs"
    checkpoint.save(folder, StudioModel(config), chain, sample_rate=24_000, card={})
    return load(folder)
