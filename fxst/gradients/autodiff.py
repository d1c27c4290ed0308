"""Gradients by automatic differentiation: every effect has a torch form that nulls against its exact one."""

from torch import Tensor

from fxst.gradients.base import Renderer

__all__ = ["AutodiffRenderer"]


class AutodiffRenderer(Renderer):
    """Renders a chain in torch; the gradient is the chain's own."""

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        return self.chain.autodiff(x, knobs, sample_rate=sample_rate)
