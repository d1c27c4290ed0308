"""The envelope follower of compressors in torch, with its gradient.

It is a recursion, which is slow as torch operations. So numba compiles its loops (`fxst.dsp.follower_loops`) for the
CPU and, with `numba-cuda`, for a CUDA device.
"""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fxst.dsp.follower_loops import Rows, adjoin, adjoin_rows, follow, follow_rows

__all__ = ["envelope"]


def _run(on_cpu: Any, kernel: Any, *rows: Tensor) -> None:
    """Run a loop over all rows on the tensors' device; it writes to the last tensors."""
    if not rows[0].is_cuda:
        # One thread: a batch takes a millisecond or two, and numba's waiting threads would slow torch down.
        on_cpu(*(tensor.numpy() for tensor in rows))
        return
    cuda: Any = import_module("numba.cuda")
    with cuda.gpus[rows[0].device.index]:
        stream = cuda.external_stream(torch.cuda.current_stream().cuda_stream)
        # One thread a row, one row a block: the recursion is serial, so only rows run in parallel.
        kernel()[rows[0].shape[0], 1, stream](*(cuda.as_cuda_array(tensor) for tensor in rows))


@cache
def _cuda_follow() -> Any:
    cuda: Any = import_module("numba.cuda")
    device = cuda.jit(device=True)(follow.py_func)

    @cuda.jit  # type: ignore[untyped-decorator]
    def kernel(u: Rows, attack: Rows, release: Rows, level: Rows, v: Rows) -> None:
        row = cuda.blockIdx.x
        level[row] = device(u[row], attack[row], release[row], level[row], v[row])

    return kernel


@cache
def _cuda_adjoin() -> Any:
    cuda: Any = import_module("numba.cuda")
    device = cuda.jit(device=True)(adjoin.py_func)

    @cuda.jit  # type: ignore[untyped-decorator]
    def kernel(
        grad_v: Rows, u: Rows, v: Rows, attack: Rows, release: Rows, begin: Rows, grad_u: Rows, grad: Rows
    ) -> None:
        row = cuda.blockIdx.x
        device(grad_v[row], u[row], v[row], attack[row], release[row], begin[row], grad_u[row], grad[row])

    return kernel


class _Envelope(torch.autograd.Function):
    @staticmethod
    def forward(u: Tensor, attack: Tensor, release: Tensor, begin: Tensor) -> Tensor:
        u, attack, release = (tensor.detach().contiguous() for tensor in (u, attack, release))
        v = torch.empty_like(u)
        _run(follow_rows, _cuda_follow, u, attack, release, begin.detach().clone(), v)
        return v

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_v: Tensor) -> tuple[Tensor, ...]:
        u, attack, release, begin, v = (tensor.detach().contiguous() for tensor in ctx.saved_tensors)
        grad_u = torch.empty_like(u)
        grad = u.new_empty(u.shape[0], 3)
        _run(adjoin_rows, _cuda_adjoin, grad_v.contiguous(), u, v, attack, release, begin, grad_u, grad)
        return grad_u, *grad.unbind(1)


def envelope(u: Tensor, attack: Tensor, release: Tensor, begin: Tensor | None = None) -> Tensor:
    """Follow the level of a rectified signal: v[n] = u[n] + c (v[n-1] - u[n]).

    The coefficient c is `attack` while u[n] > v[n-1], else `release`. First derivatives only.

    Args:
        u: The signal's absolute value.
        attack: Coefficient on [0, 1) while the level rises.
        release: Coefficient on [0, 1) while it falls.
        begin: v before the first sample; 0 by default.

    Shape:
        u: (B, C, T); attack, release, begin: (B,); result: (B, C, T).
    """
    batch, channels, time = u.shape
    begin = attack.new_zeros(batch) if begin is None else begin
    coefficients = (c.to(u.dtype).repeat_interleave(channels) for c in (attack, release))
    v: Tensor = _Envelope.apply(
        u.reshape(batch * channels, time), *coefficients, begin.double().repeat_interleave(channels)
    )
    return v.view(batch, channels, time)
