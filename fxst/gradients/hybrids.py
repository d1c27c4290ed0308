"""Hybrid gradients: audio from the exact effects, gradients from proxies."""

from torch import Tensor

from fxst.chains.rendering import render_exact
from fxst.gradients.base import Renderer
from fxst.gradients.proxy import ProxyRenderer

__all__ = ["FullHybridRenderer", "HalfHybridRenderer"]


class HybridRenderer(Renderer):
    """Base of both hybrids: proxies, and the chain that they imitate.

    Args:
        proxy: The chain's proxies.
    """

    def __init__(self, proxy: ProxyRenderer) -> None:
        super().__init__(proxy.chain)
        self.proxy = proxy


class HalfHybridRenderer(HybridRenderer):
    """Renders through proxies in training mode, and with the exact effects otherwise."""

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        if self.training:
            return self.proxy.forward(x, knobs, sample_rate=sample_rate)
        return render_exact(self.chain, x, knobs, sample_rate=sample_rate)


class FullHybridRenderer(HybridRenderer):
    """Always renders with the exact effects; the gradient is the proxies'."""

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        exact = render_exact(self.chain, x, knobs, sample_rate=sample_rate)
        if not self.training and not (knobs.requires_grad or x.requires_grad):
            return exact
        imitated = self.proxy.forward(x, knobs, sample_rate=sample_rate)
        # This adds exactly 0, and the gradient.
        return exact + (imitated - imitated.detach())
