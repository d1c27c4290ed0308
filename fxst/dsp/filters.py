"""Torch operations that effects share: decibels, and linear filters."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["filter_by_response", "filter_sections", "filter_sections_sampled", "to_gain"]

TAIL_DB = -120.0
"""Level to which a filter's ringing has decayed where a sampled response truncates it."""


def to_gain(db: Tensor) -> Tensor:
    """Convert decibels to an amplitude factor."""
    return (db * (math.log(10) / 20)).exp()


def fast_fft_size(n: int) -> int:
    """Return the smallest fast, even FFT size of at least `n`: a power of two times 1, 3, 5, 9 or 15."""
    return min(m << max(1, math.ceil(math.log2(n / m))) for m in (1, 3, 5, 9, 15))


# --- second-order sections -------------------------------------------------------------------------------------------
#
# A section is the ratio of two analogue polynomials n0 + n1 s + n2 s^2, with s the bilinear variable, which is
# j tan(w / 2) on the unit circle. Multiplied by cos^2(w / 2) a polynomial becomes
#     n0 cos^2(w/2) + j n1 sin(w/2) cos(w/2) - n2 sin^2(w/2),
# which keeps full relative precision down to 0 Hz, even in float32; the usual polynomial in 1/z cancels there.


@lru_cache(maxsize=8)
def _half_angle_basis(n_fft: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return [cos^2, j sin cos, -sin^2] of half the frequency, (3, 2F): real and imaginary parts interleaved."""
    half = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (math.pi / n_fft)
    basis = torch.zeros(3, half.numel(), 2, dtype=torch.float64)
    basis[0, :, 0] = half.cos() ** 2
    basis[1, :, 1] = half.sin() * half.cos()
    basis[2, :, 0] = -(half.sin() ** 2)
    return basis.flatten(1).to(dtype=dtype, device=device)


def decay_samples(denominator: Tensor) -> int:
    """Return how many samples sections in series, in any row, need to decay to `TAIL_DB`.

    Shape:
        denominator: (B, K, 3), coefficients (d0, d1, d2) of the bilinear variable.
    """
    d0, d1, d2 = denominator.detach().double().unbind(-1)
    # A complex pair of poles: |z|^2 = (d2 - d1 + d0) / (d2 + d1 + d0), the square of the bilinear map.
    discriminant = d1**2 - 4 * d0 * d2
    pair = 0.5 * torch.log((d2 + d1 + d0) / (d2 - d1 + d0).clamp_min(1e-300))
    # Two real poles: the slower one is the root nearer to 0 (z = 1) or to infinity (z = -1), written so that neither
    # cancels.
    root = 2 * torch.minimum(d0, d2) / (d1 + discriminant.clamp_min(0).sqrt())
    real = torch.log((1 + root) / (1 - root).abs().clamp_min(1e-300))
    nepers = torch.where(discriminant < 0, pair, real).clamp_min(1e-9)
    # By partial fractions, each other section in series raises the tail exp(-a n) of the slowest by a_i / (a_i - a).
    # Each equally slow section multiplies it by a n, which is about 16 here.
    slowest = nepers.min(-1, keepdim=True).values
    height = -torch.log1p(-15 / 16 * slowest / nepers).sum(-1) - math.log(16)
    return math.ceil(((-TAIL_DB / 20 * math.log(10) + height) / slowest[:, 0]).max().item())


def _polynomials(coefficients: Tensor, n_fft: int) -> Tensor:
    """Evaluate (B, K, 3) coefficients at every bin: (B, K, F), complex."""
    batch, sections, _ = coefficients.shape
    basis = _half_angle_basis(n_fft, coefficients.dtype, coefficients.device)
    return torch.view_as_complex((coefficients.reshape(-1, 3) @ basis).view(batch, sections, -1, 2))


def _response(numerators: Tensor, denominators: Tensor) -> Tensor:
    """Multiply the ratios of sections: products of numerators alone underflow where many bands cut."""
    response = torch.reciprocal(denominators[:, 0]).mul_(numerators[:, 0])
    ratio = torch.empty_like(response)
    for k in range(1, numerators.shape[1]):
        response *= torch.reciprocal(denominators[:, k], out=ratio).mul_(numerators[:, k])
    return response


class _FilterSections(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, ...]:
        time = x.shape[-1]
        zeros = 2 * denominator.shape[1]  # a section's zeros last two samples even when it does not ring
        n_fft = fast_fft_size(time + zeros + min(decay_samples(denominator), 2**22))
        n, d = _polynomials(numerator, n_fft), _polynomials(denominator, n_fft)
        response = _response(n, d).unsqueeze(1)
        spectrum = torch.fft.rfft(x, n_fft).mul_(response)
        return torch.fft.irfft(spectrum, n_fft)[..., :time], n, d, response, spectrum

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return None, None, None
        n, d, response, spectrum = ctx.saved_tensors
        bins = response.shape[-1]
        n_fft = 2 * (bins - 1)
        grad_spectrum = torch.fft.rfft(grad, n_fft)
        grad_x = grad_n = grad_d = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            # By Parseval, dL = (1/N) sum over all N bins of Re(conj(G) dY), with dY = Y (dN/N - dD/D).
            weight = (grad_spectrum.conj() * spectrum).sum(1).mul_(2 / n_fft)
            weight[..., 0] /= 2
            weight[..., -1] /= 2
            grad_n = _coefficient_gradient(weight, n, n_fft)
            grad_d = _coefficient_gradient(weight, d, n_fft).neg_()
        if ctx.needs_input_grad[0]:
            grad_x = torch.fft.irfft(grad_spectrum.mul_(response.conj()), n_fft)[..., : grad.shape[-1]]
        return grad_x, grad_n, grad_d


def _coefficient_gradient(weight: Tensor, sections: Tensor, n_fft: int) -> Tensor:
    """Sum Re(weight * basis / section) over the bins: the gradient of each of (B, K, 3) coefficients."""
    basis = _half_angle_basis(n_fft, weight.real.dtype, weight.device)
    gradient = torch.empty(*sections.shape[:2], 3, dtype=basis.dtype, device=basis.device)
    ratio = torch.empty_like(sections[:, 0])  # one band at a time, in one small buffer: memory is the bottleneck
    for k in range(sections.shape[1]):
        torch.reciprocal(sections[:, k], out=ratio)
        ratio.mul_(weight).conj_physical_()
        # Re(a b) is the dot product of (Re, Im) of conj(a) with (Re, Im) of b: one real matrix product.
        gradient[:, k] = torch.view_as_real(ratio).flatten(1) @ basis.mT
    return gradient


def filter_sections(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Filter a signal with second-order sections in series; first derivatives only.

    On the CPU this is the recursion itself, in float64. On a CUDA device, where a recursion is slow, it is
    `filter_sections_sampled`.

    Args:
        x: The signal.
        numerator: Coefficients (n0, n1, n2) of n0 + n1 s + n2 s^2, where s = (1 - 1/z) / (1 + 1/z).
        denominator: Likewise of the denominators; every section must be stable.

    Shape:
        x: (B, C, T); numerator, denominator: (B, K, 3); result: (B, C, T).
    """
    if x.is_cuda:
        return filter_sections_sampled(x, numerator, denominator)
    from fxst.dsp.biquads import cascade  # which compiles

    b, a = _to_z(numerator), _to_z(denominator)
    return cascade(x, b / a[..., :1], a[..., 1:] / a[..., :1])


def _to_z(coefficients: Tensor) -> Tensor:
    """Expand c0 (1 + 1/z)^2 + c1 (1 - 1/z^2) + c2 (1 - 1/z)^2; in float64, since it cancels at low frequencies."""
    c0, c1, c2 = coefficients.double().unbind(-1)
    return torch.stack((c0 + c1 + c2, 2 * (c0 - c2), c0 - c1 + c2), -1)


def filter_sections_sampled(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Filter a signal with second-order sections in series by frequency sampling.

    The transform is as long as the signal plus the slowest section's decay, so the result equals that of the recursion
    to about `TAIL_DB`. First derivatives only.

    Args:
        x: The signal.
        numerator: Coefficients as for `filter_sections`.
        denominator: Likewise.

    Shape:
        x: (B, C, T); numerator, denominator: (B, K, 3); result: (B, C, T).
    """
    result: Tensor = _FilterSections.apply(x, numerator, denominator)[0]
    return result


# --- any response ----------------------------------------------------------------------------------------------------


def filter_by_response(x: Tensor, response: Callable[[Tensor], Tensor]) -> Tensor:
    """Filter a signal with any causal, stable filter, given by its response H(z).

    The response is sampled on a circle of radius above 1, in float64. There the impulse response decays by a further
    120 dB over the length of the signal, so a transform of twice the length has no audible time-aliasing. The result is
    scaled back afterwards.

    Args:
        x: The signal.
        response: Maps 1/z, complex, (F,), to the response; gradients pass through it.

    Shape:
        x: (B, C, T); the response: (B, C_out, C, F) as a matrix over channels; result: (B, C_out, T).
    """
    time = x.shape[-1]
    n_fft = fast_fft_size(2 * time)
    log_radius = -TAIL_DB / 20 * math.log(10) / time
    angle = torch.arange(n_fft // 2 + 1, device=x.device, dtype=torch.float64) * (2 * math.pi / n_fft)
    z_inverse = torch.polar(torch.full_like(angle, math.exp(-log_radius)), -angle)
    decay = torch.exp(-log_radius * torch.arange(time, device=x.device, dtype=torch.float64))
    spectrum = torch.fft.rfft(x * decay, n_fft)
    result = torch.fft.irfft(torch.einsum("bocf,bcf->bof", response(z_inverse), spectrum), n_fft)[..., :time]
    output: Tensor = (result / decay).to(x.dtype)
    return output
