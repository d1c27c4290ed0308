"""What training asks for: the right waveform, and the right spectrum at several resolutions."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fxst.dsp import Array
from fxst.dsp.compiled import Compiled
from fxst.dsp.stft import MR_STFT_FLOOR, mirrored, spectral_power, stft
from fxst.threads import side_by_side

__all__ = ["SpectralDistance", "StyleLoss"]

BLOCK_SAMPLES = 1 << 19
"""Samples of overlapping frames that are transformed at a time, on a processor: what stays in its cache."""

FACTORS: Final = 8
"""Ratios of two float32 that are multiplied before a logarithm is taken: their product is no more than a float64
holds."""


class StyleLoss(nn.Module):
    """Mean absolute error in time plus multi-resolution STFT distance, on linear and log magnitudes.

    Args:
        windows: Lengths of the STFT windows, in samples; the FFTs are as long.
        hop: Hop of every STFT, in samples.
        mae_weight: Weight of the mean absolute error beside the spectral terms.
    """

    def __init__(self, *, windows: tuple[int, ...], hop: int, mae_weight: float) -> None:
        super().__init__()
        self.spectral_distance = SpectralDistance(windows, hops=[hop] * len(windows))
        self.mae_weight = mae_weight

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Measure how far an output is from its target.

        Shape:
            output, target: (B, C, T); results, (mean absolute error, spectral distance): scalars.
        """
        distance, _ = self.spectral_distance(output.flatten(0, 1), target.flatten(0, 1))
        return (output - target).abs().mean(), distance


class SpectralDistance(nn.Module):
    """Multi-resolution STFT distance on linear and log magnitudes, and the distance of spectral centroids.

    The first is `fxst.dsp.stft.mr_stft`, auraloss' own, in a form that takes less time. First derivatives only, and of
    the output only.

    Args:
        windows: Lengths of the STFT windows, in samples; the FFTs are as long.
        hops: Hop size for each window.
        centroid_window: The window for the centroids; None leaves them out.
    """

    def __init__(self, windows: Sequence[int], *, hops: Sequence[int], centroid_window: int | None = None) -> None:
        super().__init__()
        for window in windows:
            self.register_buffer(f"window{window}", torch.hann_window(window), persistent=False)
        self._hops = dict(zip(windows, hops, strict=True))
        self._centroid_window = centroid_window

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Measure how far an output is from its target.

        Returns:
            The spectral distance, and how far the mean centroids are apart, as a share of half the sample rate; without
            a window for it, 0.

        Shape:
            output, target: (N, T); results: scalars.
        """
        resolutions = [(self.get_buffer(f"window{window}"), hop) for window, hop in self._hops.items()]
        distances: tuple[Tensor, Tensor] = _Distances.apply(output, target, resolutions, self._centroid_window)
        return distances


class _Distances(torch.autograd.Function):
    """Both distances of `SpectralDistance`, each a mean over the rows.

    The gradients are taken along with the distances, while a block's spectra are at hand: those of a whole batch leave
    the processor's cache until the way back, and moving memory is most of what this costs.
    """

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, target: Tensor, resolutions: list[tuple[Tensor, int]], centroid_window: int | None
    ) -> tuple[Tensor, Tensor]:
        samples = max(len(window) * (output.shape[1] // hop + 1) for window, hop in resolutions)
        rows = len(output) if output.is_cuda else max(1, BLOCK_SAMPLES // samples)
        blocks = zip(*(torch.split(x.detach(), rows) for x in (output, target)), strict=True)
        measure = partial(
            _measure, resolutions=resolutions, centroid_window=centroid_window, differentiate=ctx.needs_input_grad[0]
        )
        measured = zip(*side_by_side(measure, blocks), strict=True)
        distance, centroid, *gradients = (torch.cat(of_blocks) for of_blocks in measured)
        ctx.save_for_backward(*gradients)
        return distance.mean().to(output.dtype), centroid.mean().to(output.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, centroid_grad: Tensor) -> tuple[Tensor | None, ...]:
        gradient, centroid_gradient = ctx.saved_tensors
        result = gradient * (grad / len(gradient))
        if len(centroid_gradient):
            result.addcmul_(centroid_gradient, centroid_grad / len(gradient))
        return result, None, None, None


def _measure(
    output: Tensor,
    target: Tensor,
    *,
    resolutions: list[tuple[Tensor, int]],
    centroid_window: int | None,
    differentiate: bool,
) -> tuple[Tensor, ...]:
    """Measure both distances of every row, (N,), and where asked for their gradients by the output, (N, T).

    A gradient that is not asked for has no rows.
    """
    time, longest = output.shape[1], max(len(window) for window, _ in resolutions)
    output, target = (mirrored(x, longest) for x in (output, target))
    distance, centroid = output.new_zeros(2, len(output), dtype=torch.float64)
    gradient = torch.zeros_like(output if differentiate else output[:0])
    centroid_gradient = torch.zeros_like(output if differentiate and centroid_window else output[:0])
    for window, hop in resolutions:
        unused = longest // 2 - len(window) // 2
        part = slice(unused, output.shape[1] - unused)
        ours, theirs = (stft(x[:, part], window, hop=hop) for x in (output, target))
        if len(window) == centroid_window:
            centroid, slope = _centroid_distance(ours, theirs)
            if differentiate:
                _add_adjoint(slope, window, hop, centroid_gradient[:, part])
        compare = _compare_in_torch if ours.is_cuda else _compare
        compare(ours, theirs, 1 / (len(resolutions) * ours[0].numel()), distance)
        if differentiate:
            _add_adjoint(ours, window, hop, gradient[:, part])
    return distance, centroid, *(_mirrored_adjoint(x, time) for x in (gradient, centroid_gradient))


def _mirrored_adjoint(grad: Tensor, time: int) -> Tensor:
    """Pass a gradient back through `mirrored`, which made it that long of `time` samples; it is written to."""
    half = (grad.shape[1] - time) // 2
    result = grad[:, half : half + time]
    result[:, 1 : half + 1] += grad[:, :half].flip(1)
    result[:, time - 1 - half : time - 1] += grad[:, half + time :].flip(1)
    return result


def _compare(ours: Tensor, theirs: Tensor, weight: float, distance: Tensor) -> None:
    """Add the weighted distance of spectra (N, frames, bins) to that of each row; it turns `ours` into its gradient.

    The gradient is Re(conj(X) dX) of what it leaves.
    """
    real = (torch.view_as_real(x).flatten(-2).numpy() for x in (ours, theirs))
    constants = np.array([MR_STFT_FLOOR, 0, 1, weight], np.float32 if ours.dtype == torch.complex64 else np.float64)
    _compare_rows(*real, constants, distance.numpy())


@Compiled
def _compare_rows(ours: Array, theirs: Array, constants: Array, distance: Array) -> None:
    """Compare on the CPU, all in one pass: ours, theirs: (N, frames, 2 * bins); constants: floor, 0, 1 and weight."""
    floor, nothing, one, weight = constants
    rows, frames, bins = ours.shape[0], ours.shape[1], ours.shape[2] // 2
    linear = np.zeros(bins)
    ratios = np.ones(bins)
    for row in range(rows):
        logarithms = 0.0
        for frame in range(frames):
            x, y = ours[row, frame], theirs[row, frame]
            for k in range(bins):
                power = x[2 * k] * x[2 * k] + x[2 * k + 1] * x[2 * k + 1]
                target_power = y[2 * k] * y[2 * k] + y[2 * k + 1] * y[2 * k + 1]
                power = floor if power < floor else power
                target_power = floor if target_power < floor else target_power
                louder = power > target_power
                ratios[k] *= (power if louder else target_power) / (target_power if louder else power)
                magnitude = np.sqrt(power)
                linear[k] += abs(magnitude - np.sqrt(target_power))
                # With m the magnitude, d(m + log m) = (1 + 1/m) dm, and dm = Re(conj(X) dX) / m.
                inverse = one / magnitude
                pull = weight if louder else -weight
                pull = nothing if power == target_power or power <= floor else pull
                slope = (inverse + inverse * inverse) * pull
                x[2 * k] *= slope
                x[2 * k + 1] *= slope
            if frame % FACTORS == FACTORS - 1 or frame == frames - 1:
                for k in range(bins):
                    logarithms += np.log(ratios[k])
                    ratios[k] = 1.0
        distance[row] += weight * (linear.sum() + logarithms / 2)
        linear[:] = 0.0


def _compare_in_torch(ours: Tensor, theirs: Tensor, weight: float, distance: Tensor) -> None:
    """Do as `_compare` does, in torch."""
    power, target_power = (spectral_power(x).clamp_min_(MR_STFT_FLOOR) for x in (ours, theirs))
    magnitude = power.sqrt()
    log_ratio = power.div(target_power).log_()
    distance += magnitude.sub(target_power.sqrt_()).abs_().sum((1, 2)).mul_(weight)
    distance += log_ratio.abs().sum((1, 2)).mul_(weight / 2)
    inverse = magnitude.reciprocal_()
    ours *= inverse.addcmul_(inverse, inverse).mul_(log_ratio.sign_()).mul_(power > MR_STFT_FLOOR).mul_(weight)


def _centroid_distance(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far the mean centroids of rows are apart: (N,), and the gradient as `_compare` leaves it."""
    places = torch.linspace(0, 1, ours.shape[-1], dtype=ours.real.dtype, device=ours.device)
    power, target_power = (spectral_power(x).clamp_min_(MR_STFT_FLOOR) for x in (ours, theirs))
    (magnitude, sums, centroids), (_, _, target_centroids) = (
        (m, m.sum(-1), m @ places / m.sum(-1)) for m in (power.sqrt(), target_power.sqrt_())
    )
    difference = centroids.mean(-1) - target_centroids.mean(-1)
    slope = (places - centroids[..., None]).div_(magnitude).mul_(power > MR_STFT_FLOOR)
    slope *= (difference.sign()[:, None] / (sums * sums.shape[1]))[..., None]
    return difference.abs().double(), ours * slope


def _add_adjoint(grad: Tensor, window: Tensor, hop: int, result: Tensor) -> None:
    """Pass the gradient of spectra back to the signal, and add it there; `grad` may be written to."""
    # An inverse transform counts every bin twice that has a mirror image, and the gradient has it once.
    grad[..., 0] *= 2
    if len(window) % 2 == 0:
        grad[..., -1] *= 2
    frames = torch.fft.irfft(grad, len(window), norm="forward")
    if frames.is_cuda:
        _add_frames_in_torch(frames, window / 2, hop, result)
    else:
        _add_frames(frames.numpy(), (window / 2).numpy(), hop, result.numpy())


@Compiled
def _add_frames(frames: Array, window: Array, hop: int, result: Array) -> None:
    """Add windowed frames, (N, frames, length), to the signals that they are of."""
    for row in range(frames.shape[0]):
        for frame in range(frames.shape[1]):
            part = result[row, frame * hop : frame * hop + frames.shape[2]]
            for n in range(frames.shape[2]):
                part[n] += frames[row, frame, n] * window[n]


def _add_frames_in_torch(frames: Tensor, window: Tensor, hop: int, result: Tensor) -> None:
    frames = frames * window
    for first in range(0, len(window), hop):  # pieces of a hop, of which no two overlap
        piece = frames[..., first : first + hop]
        result[:, first:].unfold(1, piece.shape[2], hop)[:, : piece.shape[1]] += piece
