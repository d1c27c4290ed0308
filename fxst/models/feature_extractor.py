"""The feature extractor of the studio model: statistics of a recording of any sample rate that can be averaged."""

import math
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn

from fxst.dsp.stft import spectral_power, stft

__all__ = ["BANDWIDTH", "FLOOR", "LEVELS_DB", "QUANTILES", "FeatureExtractor", "mel_centres", "octave_centres"]

FLOOR: Final = 1e-15
"""Power floor: -150 dB in a band, below the noise of 16 bits. Soft treble lies that far below the loudest band, and
shows what an equaliser did to it."""

LOWEST_HZ: Final = 30.0
HIGHEST_HZ: Final = 20_000.0
"""The range of the bands."""

BANDWIDTH: Final = 0.95
"""The usable share of half the sample rate; bands above it are left out."""

QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)

BAND_LEVELS_DB: Final = tuple(range(-138, 2, 4))
"""Thresholds at which the level distribution of a band is sampled."""

LEVELS_DB: Final = tuple(range(-98, 2, 4))
"""Thresholds for the level of all bands together."""

CHANGES_DB: Final = tuple(range(-30, 34, 4))
"""Thresholds for changes of level."""


class FeatureExtractor(nn.Module):
    """Turns windows into statistics, and statistics into features.

    A CNN on the log-mel spectrogram gives learned features and their squares. Beside it stand an engineer's meters: the
    long-term spectrum, the level distribution of each band, and how fast levels rise and fall.

    Args:
        mel_bands: Bands of the log-mel spectrogram, a multiple of 8.
        spectrum_bands: Bands of the long-term spectrum, equally wide in octaves.
        channels: Channels of the CNN's layers.
    """

    FRAME_SECONDS = 1024 / 24_000
    SPECTRUM_SECONDS = 4096 / 24_000
    LEVEL_SECONDS = 0.005
    LAGS = (1, 4, 16)  # in level frames: about an attack, a syllable and the tail of a reverb

    def __init__(self, mel_bands: int, spectrum_bands: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.mel_bands, self.spectrum_bands = mel_bands, spectrum_bands
        layers: list[nn.Module] = []
        width = 1
        for index, size in enumerate(channels):
            layers += [nn.Conv2d(width, size, 3, stride=2 if index < 3 else (2, 1), padding=1), nn.ReLU()]
            width = size
        self.cnn = nn.Sequential(*layers)
        self.learned = width * math.ceil(mel_bands / 2 ** len(channels))
        bands, half = mel_bands, mel_bands // 2
        self.sizes = [
            self.learned,
            self.learned,
            bands,
            bands,
            half * len(BAND_LEVELS_DB),
            spectrum_bands,
            2 * len(LEVELS_DB),
            len(self.LAGS) * len(CHANGES_DB) + 2 * 4 * len(CHANGES_DB),
            1,
        ]
        self.n_features = 2 * self.learned + 2 * bands + half * len(QUANTILES) + sum(self.sizes[5:])

    @property
    def octave_centres(self) -> Tensor:
        """The centres of the bands of the long-term spectrum, in Hz: (spectrum_bands,)."""
        return octave_centres(self.spectrum_bands)

    @property
    def spectrum_features(self) -> slice:
        """The features of the long-term spectrum, in units of 20 dB."""
        first = 2 * self.learned + 2 * self.mel_bands + self.mel_bands // 2 * len(QUANTILES)
        return slice(first, first + self.spectrum_bands)

    @property
    def level_features(self) -> slice:
        """The features of the level distributions, by power and by peaks."""
        first = self.spectrum_features.stop
        return slice(first, first + 2 * len(LEVELS_DB))

    def meters(self, windows: Tensor, *, sample_rate: int) -> tuple[Tensor, Tensor]:
        """Measure the features that gradients pass through: the long-term spectrum, and the level distributions.

        Shape:
            windows: (N, T), parts of one recording; results: (bands,), (levels,).
        """
        bands = _octave_bands(self.spectrum_bands, sample_rate, self.SPECTRUM_SECONDS, windows.device)
        spectrum = (_powers(windows, self.SPECTRUM_SECONDS, sample_rate).mean(1) @ bands).mean(0)
        rms, peak = self._levels(windows, sample_rate)
        levels = torch.cat((_distribution(rms, LEVELS_DB), _distribution(peak, LEVELS_DB)), 1).mean(0)
        return (spectrum + FLOOR).log10() / 2, 4 * levels

    def frames(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Measure the levels of short-time frames in the bands of the long-term spectrum, in dB.

        Shape:
            windows: (N, T); result: (N, frames, bands).
        """
        bands = _octave_bands(self.spectrum_bands, sample_rate, self.FRAME_SECONDS, windows.device)
        return 10 * (_powers(windows, self.FRAME_SECONDS, sample_rate) @ bands + FLOOR).log10()

    def shared(self, sample_rate: float) -> Tensor:
        """Return 1 for the bands of the long-term spectrum that a sample rate holds, else 0: (bands,)."""
        rate = torch.tensor([[float(sample_rate)]], device=next(self.cnn.parameters()).device)
        return self._shared(rate)[0, self.spectrum_features]

    def _levels(self, windows: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        """Measure the power and the peak of each short frame, in dB: (N, frames) each."""
        length = round(self.LEVEL_SECONDS * sample_rate)
        count = windows.shape[1] // length
        frames = windows[:, : count * length].reshape(-1, count, length)
        rms = 10 * (frames.square().mean(-1) + FLOOR).log10()
        return rms, 20 * (frames.abs().amax(-1) + math.sqrt(FLOOR)).log10()

    def forward(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Measure windows: (N, T) to (N, D)."""
        with torch.no_grad():  # the input is not trained
            level, fixed = self._meters(windows, sample_rate)
        learned = self.cnn((level / 40 + 1).mT.unsqueeze(1)).flatten(1, 2)
        return torch.cat((learned.mean(-1), learned.square().mean(-1), *fixed), 1)

    def _meters(self, windows: Tensor, sample_rate: int) -> tuple[Tensor, list[Tensor]]:
        filters = _mel_bands(self.mel_bands, sample_rate, self.FRAME_SECONDS, windows.device)
        level = 10 * (_powers(windows, self.FRAME_SECONDS, sample_rate) @ filters + FLOOR).log10()  # (N, frames, bands)
        pairs = level.view(*level.shape[:2], -1, 2).mean(-1)
        bands = _octave_bands(self.spectrum_bands, sample_rate, self.SPECTRUM_SECONDS, windows.device)
        spectrum = _powers(windows, self.SPECTRUM_SECONDS, sample_rate).mean(1) @ bands
        rms, peak = self._levels(windows, sample_rate)
        changes = [_distribution(rms[:, lag:] - rms[:, :-lag], CHANGES_DB) for lag in self.LAGS]
        wide = level.view(*level.shape[:2], 4, -1).mean(-1).mT  # four wide bands: (N, 4, frames)
        changes += [_distribution(wide[..., lag:] - wide[..., :-lag], CHANGES_DB).flatten(1) for lag in (1, 4)]
        fixed = [
            level.mean(1) / 20,
            level.square().mean(1) / 400,
            _distribution(pairs.mT, BAND_LEVELS_DB).flatten(1),
            spectrum,
            _distribution(rms, LEVELS_DB),
            _distribution(peak, LEVELS_DB),
            *changes,
            windows.new_full((len(windows), 1), math.log2(sample_rate / 24_000)),
        ]
        return level, fixed

    def compare(self, input: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # noqa: A002
        """Turn two recordings' statistics into features.

        Returns:
            The input's features, their difference to the reference's, 1 for the features that both have, and the
            input's sample rate in octaves above 24 kHz.

        Shape:
            input, reference: (B, D); results: (B, n_features), and the last (B, 1).
        """
        ours, theirs = self.features(input), self.features(reference)
        # Bands that one of the two sample rates does not hold do not count.
        shared = self._shared(24_000 * 2 ** torch.minimum(input[:, -1:], reference[:, -1:]))
        return ours, (theirs - ours) * shared, shared, input[:, -1:]

    def features(self, statistics: Tensor) -> Tensor:
        """Turn statistics into features, in the units in which they are compared: (B, D) to (B, n_features)."""
        parts = torch.split(statistics, self.sizes, 1)
        learned, learned_sq, level, level_sq, distribution, spectrum, levels, changes, rate = parts
        quantiles = _quantiles(distribution.reshape(len(distribution), -1, len(BAND_LEVELS_DB)))
        return torch.cat(
            (
                learned,
                _deviation(learned, learned_sq),
                level,
                _deviation(level, level_sq),
                quantiles.flatten(1) / 20,
                (spectrum + FLOOR).log10() / 2,
                4 * levels,
                4 * changes,
                rate,
            ),
            1,
        )

    def _shared(self, sample_rate: Tensor) -> Tensor:
        """Return 1 for the features that a sample rate holds, else 0: (B, 1) to (B, n_features)."""
        edge = BANDWIDTH * sample_rate / 2
        mel = mel_centres(self.mel_bands).to(sample_rate)
        pairs, octaves = mel.view(-1, 2).amax(1), octave_centres(self.spectrum_bands).to(sample_rate)

        def within(hz: Tensor) -> Tensor:
            return (hz <= edge).to(sample_rate)

        ones = sample_rate.new_ones(len(sample_rate), 2 * self.learned)
        rest = sample_rate.new_ones(len(sample_rate), sum(self.sizes[6:]))
        quantiles = within(pairs).repeat_interleave(len(QUANTILES), 1)
        return torch.cat((ones, within(mel), within(mel), quantiles, within(octaves), rest), 1)


def _powers(x: Tensor, seconds: float, sample_rate: int) -> Tensor:
    """Measure short-time power spectra, scaled so that a sine's peak is its mean square: (N, frames, F)."""
    length = round(seconds * sample_rate)
    n_fft = 1 << math.ceil(math.log2(length))
    window = torch.hann_window(length, device=x.device) / (0.5 * length)
    return spectral_power(stft(x, window, hop=length // 2, n_fft=n_fft)).mul_(2)


def _distribution(x: Tensor, thresholds: tuple[int, ...]) -> Tensor:
    """Measure how often the last axis is above each threshold, softened by half a step: (..., thresholds)."""
    step = thresholds[1] - thresholds[0]
    centres = torch.tensor(thresholds, dtype=x.dtype, device=x.device)
    return ((x.unsqueeze(-1) - centres) / step + 0.5).clamp_(0, 1).mean(-2)


def _quantiles(distribution: Tensor) -> Tensor:
    """Return quantiles, in dB, of level distributions: (..., levels) to (..., quantiles)."""
    step = BAND_LEVELS_DB[1] - BAND_LEVELS_DB[0]
    wanted = 1 - torch.tensor(QUANTILES, dtype=distribution.dtype, device=distribution.device)
    # The share above falls from threshold to threshold; between two of them it is interpolated linearly.
    after = (distribution.unsqueeze(-1) > wanted).sum(-2).clamp(1, len(BAND_LEVELS_DB) - 1)
    before = distribution.gather(-1, after - 1)
    fall = (before - distribution.gather(-1, after)).clamp_min(1e-4)
    return BAND_LEVELS_DB[0] + step * (after - 1 + ((before - wanted) / fall).clamp(0, 1))


def _deviation(mean: Tensor, mean_square: Tensor) -> Tensor:
    return (torch.relu(mean_square - mean.square()) + 1e-5).sqrt()


@lru_cache(maxsize=8)
def mel_centres(bands: int) -> Tensor:
    """Return frequencies equally spaced on the mel scale: (bands,), in Hz."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    return 700 * (10 ** (torch.linspace(low, high, bands, dtype=torch.float64, device="cpu") / 2595) - 1)


@lru_cache(maxsize=8)
def octave_centres(bands: int) -> Tensor:
    """Return frequencies equally spaced in octaves, the bands of a long-term spectrum: (bands,), in Hz."""
    return torch.logspace(math.log10(LOWEST_HZ), math.log10(HIGHEST_HZ), bands, dtype=torch.float64, device="cpu")


@lru_cache(maxsize=32)
def _mel_bands(bands: int, sample_rate: int, seconds: float, device: torch.device) -> Tensor:
    return _triangles(mel_centres(bands), sample_rate, seconds).to(device)


@lru_cache(maxsize=32)
def _octave_bands(bands: int, sample_rate: int, seconds: float, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # they are kept, and gradients may pass through them later
        return _triangles(octave_centres(bands), sample_rate, seconds).to(device)


def _triangles(centres: Tensor, sample_rate: int, seconds: float) -> Tensor:
    """Return triangular filters around each centre, zero above what the sample rate holds: (F, bands)."""
    length = round(seconds * sample_rate)
    n_fft = 1 << math.ceil(math.log2(length))
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    spacing = torch.diff(centres, prepend=2 * centres[:1] - centres[1:2])
    # Where bands are closer together than bins, a band takes the nearest bins.
    filters = (1 - (frequencies - centres).abs() / spacing.clamp_min(1 / seconds)).clamp_min(0)
    filters = filters / filters.sum(0).clamp_min(1e-9) * (centres <= BANDWIDTH * sample_rate / 2)
    return filters.float()
