"""The envelope follower of compressors, with its gradient: a recursion that cannot be unrolled in torch.

One step of the recursion and of its adjoint are written once; numba compiles them for the processor, and, where
`numba-cuda` is installed, for a CUDA device. Imported only where gradients are needed.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["cache_folder", "envelope"]

Array = NDArray[Any]
_jit: Any = numba.njit  # numba's own types do not know what compiled functions take

LANES = 8
"""Rows that are followed side by side."""


def _follow(u: Array, attack: float, release: float, v: Array) -> None:
    """Follow one row."""
    level = 0.0
    for n in range(u.shape[0]):
        c = attack if u[n] > level else release
        level = u[n] + c * (level - u[n])
        v[n] = level


def _adjoin(grad_v: Array, u: Array, v: Array, attack: float, release: float, grad_u: Array, grad_c: Array) -> None:
    """Run the recursion's adjoint over one row, backwards in time; `grad_c` gets (attack, release)."""
    adjoint = 0.0
    grad_attack = 0.0
    grad_release = 0.0
    for n in range(u.shape[0] - 1, -1, -1):
        previous = v[n - 1] if n > 0 else 0.0
        adjoint += grad_v[n]
        if u[n] > previous:
            grad_attack += adjoint * (previous - u[n])
            grad_u[n] = adjoint * (1 - attack)
            adjoint *= attack
        else:
            grad_release += adjoint * (previous - u[n])
            grad_u[n] = adjoint * (1 - release)
            adjoint *= release
    grad_c[0] = grad_attack
    grad_c[1] = grad_release


_follow_row = _jit(_follow, cache=True)
_adjoin_row = _jit(_adjoin, cache=True)


def cache_folder() -> Path:
    """Tell where numba keeps what it has compiled, for the next program to find."""
    return Path(_follow_row.stats.cache_path)


@_jit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _follow_rows(u: Array, attack: Array, release: Array, v: Array) -> None:
    # A row's next step waits for its last one; while it does, a processor can take those of other rows.
    level = np.zeros(LANES)
    grouped = u.shape[0] - u.shape[0] % LANES
    for first in range(0, grouped, LANES):
        level[:] = 0.0
        for n in range(u.shape[1]):
            for lane in range(LANES):
                row = first + lane
                c = attack[row] if u[row, n] > level[lane] else release[row]
                level[lane] = u[row, n] + c * (level[lane] - u[row, n])
                v[row, n] = level[lane]
    for row in range(grouped, u.shape[0]):
        _follow_row(u[row], attack[row], release[row], v[row])


@_jit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _adjoin_rows(
    grad_v: Array, u: Array, v: Array, attack: Array, release: Array, grad_u: Array, grad_c: Array
) -> None:
    for row in range(u.shape[0]):
        _adjoin_row(grad_v[row], u[row], v[row], attack[row], release[row], grad_u[row], grad_c[row])


def _run(on_cpu: Any, step: Any, *rows: Tensor) -> None:
    """Run a kernel over all rows, where the tensors are; the last tensors are written to."""
    if not rows[0].is_cuda:
        # One thread: a batch takes a millisecond or two, and numba's waiting threads would slow all that torch does.
        on_cpu(*(tensor.numpy() for tensor in rows))
        return
    cuda: Any = import_module("numba.cuda")

    with cuda.gpus[rows[0].device.index]:
        kernel = _cuda_kernel(step)
        stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
        # One thread a row, and one row a block: the recursion is serial, so rows are all there is to share out.
        kernel[rows[0].shape[0], 1, stream](*(cuda.as_cuda_array(tensor) for tensor in rows))


_CUDA_KERNELS: dict[Any, Any] = {}


def _cuda_kernel(step: Any) -> Any:
    if step not in _CUDA_KERNELS:
        cuda: Any = import_module("numba.cuda")

        device = cuda.jit(device=True)(step)
        if step is _follow:

            def kernel(u: Array, attack: Array, release: Array, v: Array) -> None:
                row = cuda.blockIdx.x
                device(u[row], attack[row], release[row], v[row])

        else:

            def kernel(  # type: ignore[misc]
                grad_v: Array, u: Array, v: Array, attack: Array, release: Array, grad_u: Array, grad_c: Array
            ) -> None:
                row = cuda.blockIdx.x
                device(grad_v[row], u[row], v[row], attack[row], release[row], grad_u[row], grad_c[row])

        _CUDA_KERNELS[step] = cuda.jit(kernel)
    return _CUDA_KERNELS[step]


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor, attack: Tensor, release: Tensor) -> Tensor:
        u, attack, release = (tensor.detach().contiguous() for tensor in (u, attack, release))
        v = torch.empty_like(u)
        _run(_follow_rows, _follow, u, attack, release, v)
        return v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, attack, release, v = (tensor.detach().contiguous() for tensor in ctx.saved_tensors)
        grad_u = torch.empty_like(u)
        grad_c = u.new_empty(u.shape[0], 2)
        _run(_adjoin_rows, _adjoin, grad_v.contiguous(), u, v, attack, release, grad_u, grad_c)
        return grad_u, grad_c[:, 0], grad_c[:, 1]


def envelope(u: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    """Follow the level of a rectified signal: v[n] = u[n] + c (v[n-1] - u[n]), v[-1] = 0.

    The coefficient c is the attack's while u[n] > v[n-1], else the release's. First derivatives only.

    Args:
        u: The signal's absolute value.
        attack: Coefficient on [0, 1) while the level rises.
        release: Coefficient on [0, 1) while it falls.

    Shape:
        u: (B, C, T); attack, release: (B,); result: (B, C, T).

    Source:
        The recursion is that of JUCE's `dsp::BallisticsFilter`; its adjoint is the same recursion run backwards
        (C.-Y. Yu et al., "Differentiable all-pole filters for time-varying audio systems", DAFx 2024).
    """
    batch, channels, time = u.shape
    rows = u.reshape(batch * channels, time)
    a, r = (c.to(u.dtype).repeat_interleave(channels) for c in (attack, release))
    v: Tensor = _Envelope.apply(rows, a, r)
    return v.view(batch, channels, time)
