"""Gradients by automatic differentiation: every effect has a torch form that nulls against its exact form."""

from torch import Tensor

from fxst.chains.chain import Chain
from fxst.errors import SettingsError
from fxst.gradients.base import Renderer

__all__ = ["AutodiffRenderer"]


class AutodiffRenderer(Renderer):
    """Renders a chain in torch; the gradient is the chain's own.

    Args:
        chain: The effects.

    Raises:
        SettingsError: An effect has no torch form.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain)
        if not chain.differentiable:
            labels = zip(chain.labels, chain.effects, strict=True)
            without = ", ".join(label for label, effect in labels if not effect.differentiable)
            raise SettingsError(
                f"Chain {chain.name} cannot be differentiated, because {without} has no torch form: train it with "
                "--gradient spsa, or through a proxy."
            )

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        return self.chain.autodiff(x, knobs, sample_rate=sample_rate)
