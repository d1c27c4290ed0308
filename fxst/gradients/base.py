"""What every way of passing a gradient through a chain has in common."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from fxst.chains.chain import Chain

__all__ = ["Renderer"]


class Renderer(nn.Module, ABC):
    """Renders audio through a chain so that a gradient reaches the knobs; one subclass a method.

    Args:
        chain: The effects to render.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    def at_step(self, step: int) -> None:
        """Learn how far training has come; methods that change with time, or draw at random, ask for it.

        Args:
            step: Number of the step that comes, from 0: after a resumed run's, the same as without a stop.
        """

    @abstractmethod
    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        """Render `x` at these knobs.

        Shape:
            x: (B, C, T); knobs: (B, P), on [0, 1]; result: (B, C, T).
        """
