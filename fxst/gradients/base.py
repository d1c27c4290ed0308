"""The interface of all gradient methods."""

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
        """Set the training step, for methods that change with time or draw at random.

        Args:
            step: Number of the next step, from 0; a resumed run continues the count.
        """

    @abstractmethod
    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        """Render audio with these knobs.

        Shape:
            x: (B, C, T); knobs: (B, P), on [0, 1]; result: (B, C, T).
        """
