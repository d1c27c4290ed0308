"""The encoder of the recipe `clips`: statistics of a recording that can be averaged over any length."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fxst.dsp import Samples
from fxst.dsp.arrays import AnyArray, array_namespace, cached_array, constant, mean_and_square, relu, sigmoid, split
from fxst.dsp.stft import framed, hann, precise_power
from fxst.models.layers import Part
from fxst.models.mel import mel_filters

__all__ = ["Encoder", "EncoderConfig"]

FLOOR = 1e-10
"""Power under which everything is equally silent: -100 dB."""

BLOCK_SAMPLES = 1 << 19
"""Samples of overlapping frames that are transformed at a time, on a CPU: what stays in its cache."""


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder; written into every model file.

    Args:
        sample_rate: The analysis rate, in Hz.
        window_samples: Length of one analysis window.
        n_mels: Bands of the log-mel spectrogram.
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


class Encoder(Part):
    """Turns windows of audio into statistics: means over time, so that those of a long signal are its windows' mean.

    A CNN on a log-mel spectrogram gives learned features and their squares. Beside it stand the long-term power
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

    def __init__(self, config: EncoderConfig, mel: AnyArray | None = None) -> None:
        super().__init__()
        self.config = config
        if mel is None:
            mel = mel_filters(n_fft=self.n_fft, n_mels=config.n_mels, minimum_hz=20.0, sample_rate=config.sample_rate)
        self.mel: AnyArray
        self.register_buffer("mel", mel)
        layers: list[Any] = []
        width = 1
        for channels in config.channels:
            stride = 2 if len(layers) < 6 else (2, 1)
            layers += [self.nn.Conv2d(width, channels, 3, stride=stride, padding=1), self.nn.ReLU()]
            width = channels
        self.cnn = self.nn.Sequential(*layers)
        height = math.ceil(config.n_mels / 2 ** len(config.channels))
        self.learned = width * height
        self.sizes = [self.learned, self.learned, config.n_mels, config.n_mels, config.bands, 2 * config.levels]

    @property
    def size(self) -> int:
        """How many statistics there are, D."""
        return sum(self.sizes)

    @property
    def thresholds(self) -> Samples:
        """The thresholds of the level distributions, in dB: (levels,)."""
        return np.linspace(-69.0, 0.0, self.config.levels, dtype=np.float32)

    def forward(self, windows: AnyArray) -> AnyArray:
        """Analyse windows; no gradient reaches them.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        xp = array_namespace(windows)
        # A few windows at a time: the frames of a batch of them do not stay in the CPU's cache.
        samples = windows.shape[1] * self.n_fft // self.hop
        count = len(windows) if self.nn.on_gpu(windows) else max(1, BLOCK_SAMPLES // samples)
        blocks = [(windows[first : first + count],) for first in range(0, len(windows), count)]
        measured = self.nn.without_gradients(self._measure, blocks)
        spectrogram, *parts = (xp.concat(part, axis=0) for part in zip(*measured, strict=True))
        learned = self.cnn(spectrogram.mT[:, None])
        learned = xp.reshape(learned, (len(windows), self.learned, -1))
        return xp.concat((xp.mean(learned, axis=-1), xp.mean(learned * learned, axis=-1), *parts), axis=1)

    def _measure(self, windows: AnyArray) -> tuple[AnyArray, ...]:
        """Return the CNN's spectrogram, (N, frames, mels), and all statistics that are not learned, (N, ...)."""
        xp = array_namespace(windows)
        level = 10 * xp.log10(_power(windows, self.hop, self.n_fft) @ self.mel + FLOOR)
        spectrum = xp.mean(_power(windows, self.spectrum_fft // 2, self.spectrum_fft), axis=1)
        frames = framed(windows, self.level_frame, hop=self.level_frame)
        rms = 10 * xp.log10(xp.mean(frames * frames, axis=-1) + FLOOR)
        peak = 20 * xp.log10(xp.max(xp.abs(frames), axis=-1) + math.sqrt(FLOOR))
        return (
            level / 40 + 1,
            *mean_and_square(level / 20),
            spectrum
            @ constant(_octave_filters(self.config.sample_rate, self.config.bands, self.spectrum_fft), windows),
            self._distribution(rms),
            self._distribution(peak),
        )

    def _distribution(self, level_db: AnyArray) -> AnyArray:
        """Measure how often the level is above each threshold, softly: (N, levels)."""
        above = sigmoid((level_db[..., None] - constant(self.thresholds, level_db)) / 2.0)
        return array_namespace(level_db).mean(above, axis=1)

    def features(self, statistics: AnyArray) -> AnyArray:
        """Turn pooled statistics into features: mean squares into deviations, powers into decibels.

        Shape:
            statistics: (B, D); result: (B, D).
        """
        xp = array_namespace(statistics)
        # In double precision: deviations are small differences of squares.
        parts = split(xp.astype(statistics, xp.float64), self.sizes)
        learned, learned_sq, level, level_sq, spectrum, levels = parts
        features = (
            learned,
            _deviation(learned, learned_sq),
            level,
            _deviation(level, level_sq),
            xp.log10(spectrum + FLOOR) / 2,
            levels,
        )
        return xp.astype(xp.concat(features, axis=1), statistics.dtype)


@cached_array
def _octave_filters(sample_rate: int, bands: int, n_fft: int) -> Samples:
    """Return overlapping triangles on a log-frequency axis from 20 Hz up; narrow ones take the nearest bins."""
    top = sample_rate / 2
    centres = np.logspace(math.log10(20.0), math.log10(top * 0.95), bands)
    spacing = math.log2(top * 0.95 / 20.0) / (bands - 1)
    frequencies = np.linspace(0, top, n_fft // 2 + 1)
    distance = np.abs(np.log2(np.maximum(frequencies, 1.0))[:, None] - np.log2(centres))
    bin_octaves = (top / (n_fft // 2)) / (centres * math.log(2))
    filters = np.maximum(1 - distance / np.maximum(bin_octaves, spacing), 0)
    return np.asarray(filters / filters.sum(0), np.float32)


def _power(x: AnyArray, hop: int, length: int) -> AnyArray:
    """Measure short-time power spectra, scaled so that a sine's peak is its mean square: (N, frames, F)."""
    window = hann(length).astype(np.float64) * (math.sqrt(2) / (0.5 * length))
    return precise_power(x, constant(window, x), hop=hop)


def _deviation(mean: AnyArray, mean_square: AnyArray) -> AnyArray:
    return array_namespace(mean).sqrt(relu(mean_square - mean * mean) + 1e-5)
