"""Rendering of batches through a chain: its exact effects, or their torch forms without gradients."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.effects import Processor
from fxst.threads import processors, side_by_side

__all__ = ["render_autodiff", "render_exact"]

BLOCK = 8
"""The smallest number of recordings that one thread renders at a time."""


def render_exact(chain: Chain, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
    """Render each recording of a batch with its own knobs through the exact effects, several in parallel.

    The result has no gradient. Plugins are created and set by the calling thread: most allow that in the main thread
    only.

    Args:
        chain: The effects.
        x: Audio.
        knobs: Settings on [0, 1], not rounded as in a table.
        sample_rate: Sample rate of the audio in Hz.

    Shape:
        x: (B, C, T); knobs: (B, P); result: (B, C, T), on x's device.
    """
    signals = x.detach().float().cpu().numpy()
    values = [
        {name: column.tolist() for name, column in of_effect.items()}
        for of_effect in chain.split(knobs.detach().double().cpu())
    ]
    out = np.empty_like(signals)
    ahead: deque[Future[None]] = deque()
    for index, signal in enumerate(signals):
        if len(ahead) > processors():  # every thread renders a row, one waits, and the next is prepared
            ahead.popleft().result()
        row: list[Processor] = []
        for effect, of_effect in zip(chain.effects, values, strict=True):
            own = {name: column[index] for name, column in of_effect.items()}
            make = partial(effect.exact, own, sample_rate=sample_rate, channels=len(signal))
            row.append(partial(_make_and_render, make) if effect.any_thread else make())
        ahead.append(_threads().submit(_render, row, signal, out[index]))
    for future in ahead:
        future.result()
    return torch.from_numpy(out).to(x.device, x.dtype)


def render_autodiff(chain: Chain, x: Tensor, knobs: Tensor, *, sample_rate: int) -> Tensor:
    """Render each recording of a batch with its own knobs through a chain's torch form, several in parallel.

    The result has no gradient.

    Args:
        chain: The effects.
        x: Audio.
        knobs: Settings on [0, 1].
        sample_rate: Sample rate of the audio in Hz.

    Shape:
        x: (B, C, T); knobs: (B, P); result: (B, C, T).
    """
    # At least a share for each thread: more blocks take more time in all.
    block = len(x) if x.is_cuda else max(BLOCK, -(-len(x) // torch.get_num_threads()))
    calls = zip(torch.split(x, block), torch.split(knobs, block), strict=True)
    return torch.cat(side_by_side(partial(chain.autodiff, sample_rate=sample_rate), calls))


def _make_and_render(make: Callable[[], Processor], block: Samples) -> Samples:
    return make()(block)


def _render(row: Sequence[Processor], block: Samples, out: Samples) -> None:
    for process in row:
        block = process(block)
    out[:] = block


@cache
def _threads() -> ThreadPoolExecutor:
    # The effects release Python's global lock while they render.
    return ThreadPoolExecutor(processors(), thread_name_prefix="render")
