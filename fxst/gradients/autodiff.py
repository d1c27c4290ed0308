"""Gradients by automatic differentiation: every effect has a torch form that nulls against its exact one."""

from functools import partial

import torch
from torch import Tensor

from fxst.chain import Chain
from fxst.errors import SettingsError
from fxst.gradients.base import Renderer
from fxst.threads import side_by_side

__all__ = ["AutodiffRenderer", "render_autodiff"]

BLOCK = 8
"""Recordings that one thread renders at a time."""


class AutodiffRenderer(Renderer):
    """Renders a chain in torch; the gradient is the chain's own.

    Args:
        chain: The effects.

    Raises:
        SettingsError: One of them has no torch form.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain)
        if not chain.differentiable:
            labels = zip(chain.labels, chain.effects, strict=True)
            without = ", ".join(label for label, effect in labels if not effect.differentiable)
            raise SettingsError(
                f"Chain {chain.name} cannot be differentiated, for {without} has no torch form: train it with "
                "--gradient spsa, or through a proxy."
            )

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        return self.chain.autodiff(x, knobs, sample_rate=sample_rate)


def render_autodiff(chain: Chain, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
    """Render every recording of a batch with its own knobs through a chain's torch form, several at a time.

    Nothing of it can be differentiated.

    Args:
        chain: The effects.
        x: Audio.
        knobs: Settings on [0, 1].
        sample_rate: Samples a second.

    Shape:
        x: (B, C, T); knobs: (B, P); result: (B, C, T).
    """
    block = len(x) if x.is_cuda else BLOCK
    calls = zip(torch.split(x, block), torch.split(knobs, block), strict=True)
    return torch.cat(side_by_side(partial(chain.autodiff, sample_rate=sample_rate), calls))
