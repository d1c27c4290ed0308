import pytest
import torch

from fxst.chains.chain import Chain
from fxst.checkpoints import proxy_file
from fxst.models.proxy import ProxyModel, ProxyModelConfig

RATE = 24_000


@pytest.fixture
def save_proxy(tmp_path):
    """Give `save_proxy(effect, name)`: the folder of a proxy that does something, if not what the effect does."""

    def make(effect, name="proxy", **sizes):
        torch.manual_seed(0)
        n_knobs = len(Chain(effect.name, (effect,)).knobs)
        model = ProxyModel(ProxyModelConfig(n_knobs, RATE, hidden=8, gain_channels=4, gain_layers=2, **sizes))
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.02 * torch.randn_like(weight)
        proxy_file.save(tmp_path / name, model, effect, card={})
        return tmp_path / name

    return make


@pytest.fixture
def own_proxies(save_proxy):
    """Give `own_proxies(chain)`: folders of proxies of those of its effects that no shipped one can stand in for."""

    def make(chain):
        folders = []
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            shipped = proxy_file.load_shipped(effect.name)
            if shipped is None or shipped.misfits(effect, sample_rate=RATE):
                folders.append(save_proxy(effect, label))
        return tuple(folders)

    return make
