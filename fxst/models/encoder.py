"""The listener: what a recording sounds like, as statistics that can be averaged over any length."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.dsp.stft import spectral_power, stft
from fxst.models.mel import mel_filters
from fxst.threads import side_by_side

__all__ = ["Encoder", "EncoderConfig"]

FLOOR = 1e-10
"""Power under which everything is equally silent: -100 dB."""

BLOCK_SAMPLES = 1 << 19
"""Samples of overlapping frames that are transformed at a time, on a processor: what stays in its cache."""


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder; written into every model file.

    Args:
        sample_rate: Rate that it listens at, in Hz.
        window_samples: Length of one analysis window.
        n_mels: Bands of the picture that the CNN sees.
        channels: Channels of the CNN's layers.
        bands: Bands of the long-term spectrum, equally wide in octaves.
        levels: Steps of a level distribution.
    """

    sample_rate: int
    window_samples: int
    n_mels: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 64)
    bands: int = 56
    levels: int = 24


class Encoder(nn.Module):
    """Turns windows of audio into statistics: means over time, so that those of a long signal are its windows' mean.

    A CNN on a log-mel picture gives learned features and their squares. Beside it stand the long-term power
    spectrum, mean and mean square of every mel band's level, and the distribution of short-time levels and peaks:
    a compressor shows in the distribution, an equaliser in the spectrum, however little audio there is.

    Args:
        config: The sizes.
        mel: Its mel filters where they are known (they are stored with the weights), else they are made.
    """

    n_fft = 1024
    hop = 256
    spectrum_fft = 4096
    level_frame = 120  # 5 ms: shorter than any syllable, longer than a pitch period's peak

    def __init__(self, config: EncoderConfig, mel: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        if mel is None:
            mel = mel_filters(n_fft=self.n_fft, n_mels=config.n_mels, minimum_hz=20.0, sample_rate=config.sample_rate)
        self.mel: Tensor
        self.register_buffer("mel", mel)
        self.bands: Tensor
        self.register_buffer("bands", self._octave_filters(), persistent=False)
        self.thresholds: Tensor
        self.register_buffer("thresholds", torch.linspace(-69.0, 0.0, config.levels), persistent=False)
        self.mel_window: Tensor
        self.register_buffer("mel_window", torch.hann_window(self.n_fft), persistent=False)
        self.spectrum_window: Tensor
        self.register_buffer("spectrum_window", torch.hann_window(self.spectrum_fft), persistent=False)
        layers: list[nn.Module] = []
        width = 1
        for channels in config.channels:
            layers += [nn.Conv2d(width, channels, 3, stride=2 if len(layers) < 6 else (2, 1), padding=1), nn.ReLU()]
            width = channels
        self.cnn = nn.Sequential(*layers)
        height = math.ceil(config.n_mels / 2 ** len(config.channels))
        self.learned = width * height
        self.sizes = [self.learned, self.learned, config.n_mels, config.n_mels, config.bands, 2 * config.levels]

    @property
    def size(self) -> int:
        """How many statistics there are, D."""
        return sum(self.sizes)

    def _octave_filters(self) -> Tensor:
        """Make overlapping triangles on a log-frequency axis from 20 Hz up; narrow ones take the nearest bins."""
        top = self.config.sample_rate / 2
        centres = torch.logspace(math.log10(20.0), math.log10(top * 0.95), self.config.bands, dtype=torch.float64)
        spacing = math.log2(top * 0.95 / 20.0) / (self.config.bands - 1)
        frequencies = torch.linspace(0, top, self.spectrum_fft // 2 + 1, dtype=torch.float64)
        distance = (frequencies.clamp_min(1.0).log2()[:, None] - centres.log2()).abs()
        bin_octaves = (top / (self.spectrum_fft // 2)) / (centres * math.log(2))
        filters = (1 - distance / torch.maximum(bin_octaves, torch.tensor(spacing))).clamp_min(0)
        return (filters / filters.sum(0)).float()

    def forward(self, windows: Tensor) -> Tensor:
        """Listen to windows; no gradient reaches them, for what is heard was recorded or is rendered without one.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        # A few windows at a time: the frames of a batch of them do not stay in the processor's cache.
        samples = windows.shape[1] * self.n_fft // self.hop
        count = len(windows) if windows.is_cuda else max(1, BLOCK_SAMPLES // samples)
        heard = side_by_side(self._measure, ((block,) for block in torch.split(windows, count)))
        picture, *parts = (torch.cat(part) for part in zip(*heard, strict=True))
        learned = self.cnn(picture.mT.unsqueeze(1)).flatten(1, 2)
        return torch.cat((learned.mean(-1), learned.square().mean(-1), *parts), 1)

    def _measure(self, windows: Tensor) -> tuple[Tensor, ...]:
        """Make the picture that the CNN sees, (N, frames, mels), and all statistics that are not learned, (N, ...)."""
        level = (_power(windows, self.hop, self.mel_window) @ self.mel).add_(FLOOR).log10_().mul_(10)
        spectrum = _power(windows, self.spectrum_fft // 2, self.spectrum_window).mean(1)
        frames = windows.unfold(1, self.level_frame, self.level_frame)
        rms = 10 * (frames.square().mean(-1) + FLOOR).log10()
        peak = 20 * (frames.abs().amax(-1) + math.sqrt(FLOOR)).log10()
        return (
            level / 40 + 1,
            level.mean(1) / 20,
            level.square().mean(1) / 400,
            spectrum @ self.bands,
            self._distribution(rms),
            self._distribution(peak),
        )

    def _distribution(self, level_db: Tensor) -> Tensor:
        """Tell how often the level is above each threshold, softly: (N, levels)."""
        return torch.sigmoid((level_db.unsqueeze(-1) - self.thresholds) / 2.0).mean(1)

    def features(self, statistics: Tensor) -> Tensor:
        """Turn pooled statistics into features: mean squares into deviations, powers into decibels.

        Shape:
            statistics: (B, D); result: (B, D).
        """
        learned, learned_sq, level, level_sq, spectrum, levels = torch.split(statistics, self.sizes, 1)
        return torch.cat(
            (
                learned,
                _deviation(learned, learned_sq),
                level,
                _deviation(level, level_sq),
                (spectrum + FLOOR).log10() / 2,
                levels,
            ),
            1,
        )


def _power(x: Tensor, hop: int, window: Tensor) -> Tensor:
    """Measure short-time power spectra, scaled so that a sine's peak is its mean square: (N, frames, F)."""
    scaled = window * (math.sqrt(2) / (0.5 * len(window)))
    return spectral_power(stft(x, scaled, hop=hop))


def _deviation(mean: Tensor, mean_square: Tensor) -> Tensor:
    return (F.relu(mean_square - mean.square()) + 1e-5).sqrt()
