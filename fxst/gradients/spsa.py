"""Gradients by simultaneous perturbation: two renders a direction, for effects without a gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fxst import data_parallel
from fxst.chains.chain import Chain
from fxst.chains.rendering import render_exact
from fxst.errors import SettingsError
from fxst.gradients.base import Renderer

__all__ = ["SPSARenderer"]

SMALLEST_EPSILON = 1e-4
"""Smaller perturbations vanish in the rounding of float32 renders, and 0 would be a divisor."""


class SPSARenderer(Renderer):
    """Renders a chain with its exact effects, and estimates the knobs' gradient by perturbing all of them at once.

    For a direction D of signs, y+ and y- are renders at clamp(knobs + e D) and clamp(knobs - e D), and s is the actual
    step between the two for each knob: at the ends of the range it is shorter than 2 e D. With the loss' gradient g
    with respect to the output, the estimate for knob i is g . (y+ - y-) / s_i, averaged over the directions. The noise
    falls with their number: its power is about (P - 1) / directions of the gradient's, for P knobs.

    No gradient reaches the audio: the chain is a function of its knobs only.

    Args:
        chain: The effects to render, with exact forms.
        directions: Number of directions in a step.
        epsilon: Initial perturbation e of the knobs, which are on [0, 1].
        epsilon_decay: e falls with the power -epsilon_decay of the step's number, to no less than 1e-4.
        seed: Seed of the directions.

    Raises:
        SettingsError: An option is out of its range.

    Source:
        J. C. Spall, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation",
        IEEE Transactions on Automatic Control 37, 1992, which also has the decay.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        directions: int = 1,
        epsilon: float = 0.01,
        epsilon_decay: float = 0.101,
        seed: int = 0,
    ) -> None:
        super().__init__(chain)
        if directions < 1 or not SMALLEST_EPSILON <= epsilon <= 0.5 or not 0 <= epsilon_decay <= 1:
            raise SettingsError(
                f"SPSA takes one direction or more, an epsilon from {SMALLEST_EPSILON:g} to 0.5, a decay from 0 to 1."
            )
        self.directions, self.epsilon, self.epsilon_decay, self.seed = directions, epsilon, epsilon_decay, seed
        self._step = 0

    def at_step(self, step: int) -> None:
        self._step = step

    def forward(self, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
        epsilon = max(SMALLEST_EPSILON, self.epsilon / (1 + self._step) ** self.epsilon_decay)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self._step)
        rows, n_knobs = knobs.shape
        of_all = torch.randint(0, 2, (self.directions, data_parallel.all_rows(rows), n_knobs), generator=generator)
        signs = data_parallel.my_rows(of_all.transpose(0, 1)).transpose(0, 1) * 2.0 - 1.0
        render = partial(render_exact, self.chain, sample_rate=sample_rate)
        result: Tensor = _Perturbed.apply(x, knobs, render, epsilon * signs)
        return result


class _Perturbed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, knobs: Tensor, render: Callable[[Tensor, Tensor], Tensor], moves: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, knobs)
        ctx.render, ctx.moves = render, moves.to(knobs)
        return render(x, knobs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, knobs = ctx.saved_tensors
        count = len(ctx.moves)
        ahead, behind = ((knobs + sign * ctx.moves).clamp(0, 1) for sign in (1, -1))
        # All directions, both ways, in one batch, so that no thread waits.
        several = torch.cat([ahead, behind]).flatten(0, 1)
        renders = ctx.render(x.repeat(2 * count, 1, 1), several)
        y_ahead, y_behind = renders.view(2, count, *x.shape)
        change = ((y_ahead - y_behind) * gradients[0]).double().sum(dim=(2, 3))
        taken = (ahead - behind).double()
        # A knob beyond its range did not move, so its gradient is unknown.
        estimate = torch.where(taken == 0, 0, change[..., None] / taken).mean(dim=0)
        return None, estimate.to(knobs.dtype), None, None
