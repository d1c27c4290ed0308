"""Second-order sections in series as a compiled recursion, with its gradient.

Rows of a batch are filtered side by side, a few at a time, so that one SIMD instruction advances all of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fxst.dsp import Array
from fxst.dsp.compiled import Compiled
from fxst.threads import side_by_side

__all__ = ["cascade"]


LANES = 8
"""Rows that are filtered side by side."""


@Compiled
def _filter(x: Array, b: Array, a: Array, stages: Array) -> None:
    """Filter LANES rows: x (T, LANES); b (K, 3, LANES); a (K, 2, LANES).

    The output of each section goes to stages (T, K, LANES), or that of the last one to (T, 1, LANES).
    """
    sections = b.shape[0]
    last = stages.shape[1] - 1
    first = np.zeros((sections, LANES))
    second = np.zeros((sections, LANES))
    signal = np.zeros((1, LANES))
    for n in range(x.shape[0]):
        for r in range(LANES):
            signal[0, r] = x[n, r]
        for k in range(sections):
            for r in range(LANES):
                u = signal[0, r]
                y = b[k, 0, r] * u + first[k, r]
                first[k, r] = b[k, 1, r] * u - a[k, 0, r] * y + second[k, r]
                second[k, r] = b[k, 2, r] * u - a[k, 1, r] * y
                signal[0, r] = y
                stages[n, min(k, last), r] = y


@Compiled
def _adjoin(
    grad: Array, x: Array, stages: Array, b: Array, a: Array, grad_x: Array, grad_b: Array, grad_a: Array
) -> None:
    """Run the adjoint of `_filter` backwards in time: each section's poles first, then its zeros."""
    sections = b.shape[0]
    first = np.zeros((sections, LANES))  # output of the section's poles one sample later, and two
    second = np.zeros((sections, LANES))
    signal = np.zeros((1, LANES))
    for n in range(x.shape[0] - 1, -1, -1):
        for r in range(LANES):
            signal[0, r] = grad[n, r]
        for k in range(sections - 1, -1, -1):
            for r in range(LANES):
                y = stages[n, k, r]
                u = stages[n, k - 1, r] if k > 0 else x[n, r]
                later, latest = first[k, r], second[k, r]
                w = signal[0, r] - a[k, 0, r] * later - a[k, 1, r] * latest
                signal[0, r] = b[k, 0, r] * w + b[k, 1, r] * later + b[k, 2, r] * latest
                grad_b[k, 0, r] += w * u
                grad_b[k, 1, r] += later * u
                grad_b[k, 2, r] += latest * u
                grad_a[k, 0, r] -= later * y
                grad_a[k, 1, r] -= latest * y
                second[k, r] = later
                first[k, r] = w
        for r in range(LANES):
            grad_x[n, r] = signal[0, r]


class _Cascade(torch.autograd.Function):
    """Filter x (groups, T, LANES) with b (groups, K, 3, LANES) and a (groups, K, 2, LANES)."""

    @staticmethod
    def forward(x: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        stages = _filtered(x, b, a, kept=b.shape[1])
        return stages[:, :, -1].contiguous(), stages

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if grad is None:
            return None, None, None
        x, b, a, stages = ctx.saved_tensors
        grad = grad.contiguous()
        grads = torch.empty_like(x), torch.zeros_like(b), torch.zeros_like(a)
        _run(_adjoin, grad, x, stages, b, a, *grads)
        return grads


def _filtered(x: Tensor, b: Tensor, a: Tensor, *, kept: int) -> Tensor:
    """Filter groups of rows; return the output of the last `kept` sections, all or one: (groups, T, kept, LANES)."""
    stages = x.new_empty(*x.shape[:2], kept, LANES)
    _run(_filter, x, b, a, stages)
    return stages


def _run(kernel: Callable[..., None], *groups: Tensor) -> None:
    """Run a kernel on every group of rows; it writes to the last tensors."""
    side_by_side(kernel, zip(*(tensor.detach().numpy() for tensor in groups), strict=True))


def cascade(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """Filter a signal with second-order sections in series, from silence, in float64; first derivatives only.

    Args:
        x: The signal, on the CPU.
        b: Numerators (b0, b1, b2) of b0 + b1/z + b2/z^2, in float64.
        a: Denominators (a1, a2) of 1 + a1/z + a2/z^2, in float64; every section must be stable.

    Shape:
        x: (B, C, T); b: (B, K, 3); a: (B, K, 2); result: (B, C, T).

    Source:
        The sections are in transposed direct form II. The adjoint is the same recursion run backwards; the gradients
        are correlations of signal and adjoint (C.-Y. Yu and G. Fazekas, "Differentiable time-varying linear prediction
        in the context of end-to-end analysis-by-synthesis", 2024).
    """
    batch, channels, time = x.shape
    rows = batch * channels
    padding = -rows % LANES

    def lanes(tensor: Tensor) -> Tensor:
        """Reshape (rows, ...) to (groups, ..., LANES)."""
        tensor = torch.cat((tensor, tensor[-1:].expand(padding, *tensor.shape[1:]))) if padding else tensor
        return tensor.reshape(-1, LANES, *tensor.shape[1:]).movedim(1, -1).contiguous()

    given = lanes(x.reshape(rows, time)), *(lanes(c.double().repeat_interleave(channels, 0)) for c in (b, a))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        y: Tensor = _Cascade.apply(*given)[0]
    else:  # only gradients need the output of the other sections
        y = _filtered(*(tensor.detach() for tensor in given), kept=1)[:, :, 0]
    return y.movedim(-1, 1).flatten(0, 1)[:rows].reshape(x.shape)
