"""Gradients by imitation: in the place of every effect stands a network that has learned to sound like it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fxst.chain import Chain
from fxst.errors import ModelError
from fxst.gradients.base import Renderer
from fxst.models import proxy_file
from fxst.models.proxy_file import Proxy

__all__ = ["ProxyRenderer"]


class ProxyRenderer(Renderer):
    """Renders a chain through proxies, one an effect, each on its own knobs; the gradient is theirs.

    The proxies' weights are not trained any more.

    Args:
        chain: The effects to imitate.
        proxies: A proxy of each, in the chain's order.

    Raises:
        ModelError: A proxy is of another effect, of other ranges, or of another rate than the first.
    """

    def __init__(self, chain: Chain, proxies: Sequence[Proxy]) -> None:
        super().__init__(chain)
        if len(proxies) != len(chain.effects):
            raise ModelError(
                f"Chain {chain.name} needs {len(chain.effects)} proxies, one an effect: {len(proxies)} given."
            )
        self.sample_rate = proxies[0].sample_rate
        for effect, proxy in zip(chain.effects, proxies, strict=True):
            proxy.check(effect, sample_rate=self.sample_rate)
        self.proxies = nn.ModuleList(proxy.model for proxy in proxies)
        self.sizes = [proxy.model.config.n_knobs for proxy in proxies]
        self.requires_grad_(False)

    @staticmethod
    def load(chain: Chain, folders: Sequence[str | Path] = (), *, sample_rate: int) -> "ProxyRenderer":
        """Find a proxy for every effect of a chain: the first given one of that effect, else the shipped one.

        Args:
            chain: The effects to imitate.
            folders: Folders of proxies.
            sample_rate: The rate at which to, in Hz.

        Raises:
            ModelError: A folder holds no proxy or one that the chain has no use for, or nobody has trained one for an
                effect as it stands in the chain.
        """
        given = [proxy_file.load(folder) for folder in folders]
        unused = {proxy.effect.name for proxy in given} - {effect.name for effect in chain.effects}
        if unused:
            raise ModelError(f"Chain {chain.name} has no {', '.join(sorted(unused))} that a proxy could stand in for.")
        chosen = []
        for effect in chain.effects:
            of_effect = [proxy for proxy in given if proxy.effect.name == effect.name]
            proxy = of_effect[0] if of_effect else proxy_file.load(effect.name)
            proxy.check(effect, sample_rate=sample_rate)
            chosen.append(proxy)
        return ProxyRenderer(chain, chosen)

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        if sample_rate != self.sample_rate:
            raise ModelError(f"These proxies are of {self.sample_rate} Hz, not {sample_rate} Hz.")
        for proxy, of_effect in zip(self.proxies, torch.split(knobs, self.sizes, 1), strict=True):
            x = proxy(x, of_effect)
        return x
