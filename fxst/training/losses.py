"""What training asks for: the right waveform, and the right spectrum at several resolutions."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from fxst.dsp.stft import MR_STFT_FLOOR, mirrored, spectral_power, stft
from fxst.threads import side_by_side

__all__ = ["StyleLoss"]

BLOCK_SAMPLES = 1 << 19
"""Samples of overlapping frames that are transformed at a time, on a processor: what stays in its cache."""


class StyleLoss(nn.Module):
    """Mean absolute error in time plus multi-resolution STFT distance, on linear and log magnitudes.

    The spectral term is `fxst.dsp.stft.mr_stft`, auraloss' own, in a form that takes less time. First derivatives only,
    and of the output only.

    Args:
        windows: Lengths of the STFT windows, in samples; the FFTs are as long.
        hop: Hop of every STFT, in samples.
        mae_weight: Weight of the mean absolute error beside the spectral terms.
    """

    def __init__(self, *, windows: tuple[int, ...], hop: int, mae_weight: float) -> None:
        super().__init__()
        self.windows = windows
        for window in windows:
            self.register_buffer(f"window{window}", torch.hann_window(window), persistent=False)
        self.hop = hop
        self.mae_weight = mae_weight

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Measure how far an output is from its target.

        Shape:
            output, target: (B, C, T); results, (mean absolute error, spectral distance): scalars.
        """
        windows = [self.get_buffer(f"window{window}") for window in self.windows]
        stft = _SpectralDistance.apply(output.flatten(0, 1), target.flatten(0, 1), windows, self.hop)
        return (output - target).abs().mean(), stft


class _SpectralDistance(torch.autograd.Function):
    """Mean over resolutions of the mean distance of linear and of log magnitudes.

    The gradient is taken along with the distance, while a block's spectra are at hand: those of a whole batch leave the
    processor's cache until the way back, and moving memory is most of what this costs.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, target: Tensor, windows: list[Tensor], hop: int) -> Tensor:
        samples = max(map(len, windows)) * (output.shape[1] // hop + 1)
        rows = len(output) if output.is_cuda else max(1, BLOCK_SAMPLES // samples)
        blocks = zip(*(torch.split(x, rows) for x in (output, target)), strict=True)
        measure = partial(_measure, windows=windows, hop=hop, differentiate=ctx.needs_input_grad[0])
        distances, gradients = zip(*side_by_side(measure, blocks), strict=True)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(torch.cat(gradients).div_(len(output)))
        return torch.cat(distances).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None


def _measure(
    output: Tensor, target: Tensor, *, windows: list[Tensor], hop: int, differentiate: bool
) -> tuple[Tensor, Tensor | None]:
    """Measure the spectral distance of every row, (N,), and where asked for its gradient by the output, (N, T)."""
    distance = output.new_zeros(len(output))
    gradient = torch.zeros_like(output) if differentiate else None
    for window in windows:
        spectrum = _spectrum(output, window, hop)
        power, target_power = _power(spectrum), _power(_spectrum(target, window, hop))
        weight = 1 / (len(windows) * power[0].numel())
        magnitude = power.sqrt()
        log_ratio = power.div(target_power).log_()
        distance += magnitude.sub(target_power.sqrt_()).abs_().sum((1, 2)).mul_(weight)
        distance += log_ratio.abs().sum((1, 2)).mul_(weight / 2)
        if gradient is not None:
            # With m the magnitude, d(m + log m) = (1 + 1/m) dm, and dm = Re(conj(X) dX) / m.
            inverse = magnitude.reciprocal_()
            slope = inverse.addcmul_(inverse, inverse).mul_(log_ratio.sign_()).mul_(power > MR_STFT_FLOOR)
            gradient.add_(_spectrum_adjoint(spectrum.mul_(slope), window, hop, output.shape[1]), alpha=weight)
    return distance, gradient


def _spectrum(x: Tensor, window: Tensor, hop: int) -> Tensor:
    """Transform frames around every hop of (N, T), the ends mirrored: (N, frames, bins)."""
    return stft(mirrored(x, len(window)), window, hop=hop)


def _power(spectrum: Tensor) -> Tensor:
    return spectral_power(spectrum).clamp_min_(MR_STFT_FLOOR)


def _spectrum_adjoint(grad: Tensor, window: Tensor, hop: int, time: int) -> Tensor:
    """Pass a gradient back through `_spectrum`; it may be written to."""
    length = len(window)
    # An inverse transform counts every bin twice that has a mirror image, and the gradient has it once.
    grad[..., 0] *= 2
    if length % 2 == 0:
        grad[..., -1] *= 2
    frames = torch.fft.irfft(grad, length, norm="forward").mul_(window / 2)
    rows, count, _ = frames.shape
    # Overlapping frames in pieces of a hop: the pieces of the same number lie side by side.
    pieces = -(-length // hop)
    padded = frames.new_zeros(rows, count - 1 + pieces, hop)
    for piece in range(pieces):
        part = frames[..., piece * hop : (piece + 1) * hop]
        padded[:, piece : piece + count, : part.shape[-1]] += part
    padded = padded.flatten(1)
    half = length // 2
    padded = F.pad(padded, (0, time + 2 * half - padded.shape[1]))  # the last samples may be in no frame
    result = padded[:, half : half + time]
    result[:, 1 : half + 1] += padded[:, :half].flip(1)
    result[:, time - 1 - half : time - 1] += padded[:, half + time :].flip(1)
    return result
