"""What training asks for: the right waveform, and the right spectrum at several resolutions."""

import warnings
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["StyleLoss"]


class StyleLoss(nn.Module):
    """Mean absolute error in time plus multi-resolution STFT distance, on linear and log magnitudes.

    Args:
        windows: Lengths of the STFT windows, in samples; the FFTs are as long.
        hop: Hop of every STFT, in samples.
        mae_weight: Weight of the mean absolute error beside the spectral terms.

    Source:
        R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020, for the spectral loss; auraloss for its code.
    """

    def __init__(self, *, windows: tuple[int, ...], hop: int, mae_weight: float) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from auraloss.freq import MultiResolutionSTFTLoss
        self.stft = MultiResolutionSTFTLoss(
            fft_sizes=list(windows),
            hop_sizes=[hop] * len(windows),
            win_lengths=list(windows),
            w_sc=0.0,
            w_log_mag=1.0,
            w_lin_mag=1.0,
        )
        for resolution in self.stft.stft_losses:
            resolution.stft = MethodType(_magnitudes, resolution)
        self.mae_weight = mae_weight

    def forward(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Measure how far an output is from its target.

        Shape:
            output, target: (B, C, T); results, (mean absolute error, spectral distance): scalars.
        """
        return (output - target).abs().mean(), self.stft(output, target)


def _magnitudes(resolution: Any, x: Tensor) -> tuple[Tensor, None]:
    """Stand in for auraloss's STFT, to the same magnitudes: it also takes the phase, which nobody asks for here."""
    padded = F.pad(x, (resolution.fft_size // 2,) * 2, mode="reflect")
    spectrum = torch.fft.rfft(padded.unfold(1, resolution.fft_size, resolution.hop_size) * resolution.window)
    power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
    return power.clamp_min(resolution.eps).sqrt(), None
