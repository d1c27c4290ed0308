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
    """Filter LANES rows: x (T, LANES); b (3, K * LANES); a (2, K * LANES).

    At every step each section filters what the section before it made one step earlier. So no section waits for
    another. The output of all sections goes to stages (T + K - 1, K * LANES), or that of the last one to
    (T + K - 1, LANES).
    """
    width = b.shape[1]
    first = np.zeros(width)
    second = np.zeros(width)
    signal = np.zeros(width + LANES)
    output = np.zeros(width + LANES)
    for step in range(stages.shape[0]):
        kept, made = stages[step], output[width + LANES - stages.shape[1] :]
        for r in range(LANES):
            signal[r] = x[step, r] if step < x.shape[0] else 0.0
        for j in range(width):
            u = signal[j]
            y = b[0, j] * u + first[j]
            first[j] = b[1, j] * u - a[0, j] * y + second[j]
            second[j] = b[2, j] * u - a[1, j] * y
            output[LANES + j] = y
        for j in range(len(kept)):
            kept[j] = made[j]
        signal, output = output, signal


@Compiled
def _adjoin(
    grad: Array, x: Array, stages: Array, b: Array, a: Array, grad_x: Array, grad_b: Array, grad_a: Array
) -> None:
    """Run the adjoint of `_filter` backwards in time: each section's poles first, then its zeros."""
    width = b.shape[1]
    time = x.shape[0]
    delay = width // LANES - 1
    first = np.zeros(width)  # output of the section's poles one sample later, and two
    second = np.zeros(width)
    w = np.zeros(width)
    u = np.zeros(width)
    signal = np.zeros(width + LANES)
    output = np.zeros(width + LANES)
    for step in range(time + delay - 1, -1, -1):
        for r in range(LANES):
            signal[width + r] = grad[step - delay, r] if step >= delay else 0.0
            u[r] = x[step, r] if step < time else 0.0
        y, before = stages[step], stages[max(0, step - 1)]
        for j in range(width - LANES):
            u[LANES + j] = before[j]
        if step == 0:
            u[LANES:] = 0.0
        # Small loops: with more arrays in one, the compiler gives up proving that none overlap, and does not vectorise.
        for j in range(width):
            w[j] = signal[LANES + j] - a[0, j] * first[j] - a[1, j] * second[j]
        for j in range(width):
            output[j] = b[0, j] * w[j] + b[1, j] * first[j] + b[2, j] * second[j]
        for j in range(width):
            grad_b[0, j] += w[j] * u[j]
        for j in range(width):
            grad_b[1, j] += first[j] * u[j]
        for j in range(width):
            grad_b[2, j] += second[j] * u[j]
        for j in range(width):
            grad_a[0, j] -= first[j] * y[j]
        for j in range(width):
            grad_a[1, j] -= second[j] * y[j]
        w, first, second = second, w, first
        if step < time:
            for r in range(LANES):
                grad_x[step, r] = output[r]
        signal, output = output, signal


class _Cascade(torch.autograd.Function):
    """Filter x (groups, T, LANES) with b (groups, 3, K * LANES) and a (groups, 2, K * LANES)."""

    @staticmethod
    def forward(x: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        stages = _filtered(x, b, a, kept=b.shape[2])
        return _last(stages, x).contiguous(), stages

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
    """Filter groups of rows; return what `_filter` makes, of all sections or of the last one."""
    stages = x.new_empty(len(x), x.shape[1] + b.shape[2] // LANES - 1, kept)
    _run(_filter, x, b, a, stages)
    return stages


def _last(stages: Tensor, x: Tensor) -> Tensor:
    """Return the output of the last section: (groups, T, LANES)."""
    return stages[:, stages.shape[1] - x.shape[1] :, -LANES:]


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

    coefficients = (lanes(c.double().mT.repeat_interleave(channels, 0)).flatten(2) for c in (b, a))
    given = lanes(x.reshape(rows, time)), *coefficients
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        y: Tensor = _Cascade.apply(*given)[0]
    else:  # only gradients need the output of the other sections
        y = _last(_filtered(*(tensor.detach() for tensor in given), kept=LANES), given[0])
    return y.movedim(-1, 1).flatten(0, 1)[:rows].reshape(x.shape)
