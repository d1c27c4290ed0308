"""A batch through the exact effects: what methods render that only need the sound, and no gradient of it."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

from fxst.chain import Chain

__all__ = ["render_exact"]


def render_exact(chain: Chain, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
    """Render every recording of a batch with its own knobs through the exact effects, several at a time.

    Nothing of it can be differentiated.

    Args:
        chain: The effects.
        x: Audio.
        knobs: Settings on [0, 1], not rounded to what a table prints.
        sample_rate: Samples a second.

    Shape:
        x: (B, C, T); knobs: (B, P); result: (B, C, T), on x's device.
    """
    signals = x.detach().float().cpu().numpy()
    values = [
        {name: column.tolist() for name, column in of_effect.items()}
        for of_effect in chain.split(knobs.detach().double().cpu())
    ]
    out = np.empty_like(signals)

    def render(index: int) -> None:
        block = signals[index]
        for effect, of_effect in zip(chain.effects, values, strict=True):
            own = {name: column[index] for name, column in of_effect.items()}
            block = effect.exact(own, sample_rate=sample_rate, channels=len(block))(block)
        out[index] = block

    _all(_threads().map(render, range(len(signals))))
    return torch.from_numpy(out).to(x.device, x.dtype)


def _all(results: Iterable[None]) -> None:
    """Wait for all, and raise what one raised."""
    for _ in results:
        pass


@cache
def _threads() -> ThreadPoolExecutor:
    # The effects let go of Python's lock while they render.
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="render")
