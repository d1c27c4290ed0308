"""The feature extractor of the studio model: statistics of a recording of any sample rate that can be averaged."""

import math
from typing import Final, NamedTuple

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.arrays import AnyArray, array_namespace, at_least, cached_array, constant, mean_and_square, relu, split
from fxst.dsp.bandwidth import sound_band
from fxst.dsp.stft import framed, hann, precise_power
from fxst.models.layers import Part
from fxst.models.network import LongTerm

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


class ComparedFeatures(NamedTuple):
    """Two recordings, compared by their features.

    Args:
        features: The input's features.
        difference: The reference's features less the input's.
        shared: 1 for the features that both have, else 0.
        rate: The input's sample rate, in octaves above 24 kHz.

    Shape:
        features, difference, shared: (B, n_features); rate: (B, 1).
    """

    features: AnyArray
    difference: AnyArray
    shared: AnyArray
    rate: AnyArray


class FeatureExtractor(Part):
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
        layers = []
        width = 1
        for index, size in enumerate(channels):
            stride = 2 if index < 3 else (2, 1)
            layers += [self.nn.Conv2d(width, size, 3, stride=stride, padding=1), self.nn.ReLU()]
            width = size
        self.cnn = self.nn.Sequential(*layers)
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
    def octave_centres(self) -> Array:
        """The centres of the bands of the long-term spectrum, in Hz: (spectrum_bands,)."""
        return octave_centres(self.spectrum_bands)

    @property
    def spectrum_features(self) -> slice:
        """The features of the long-term spectrum, in units of 20 dB."""
        first = 2 * self.learned + 2 * self.mel_bands + self.mel_bands // 2 * len(QUANTILES)
        return slice(first, first + self.spectrum_bands)

    def frames(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure the levels of short-time frames in the bands of the long-term spectrum, in dB.

        Shape:
            windows: (N, T); result: (N, frames, bands).
        """
        bands = constant(_octave_bands(self.spectrum_bands, sample_rate, self.FRAME_SECONDS), windows)
        return _decibels(_powers(windows, self.FRAME_SECONDS, sample_rate) @ bands)

    def shared(self, sample_rate: float) -> Samples:
        """Return 1 for the bands of the long-term spectrum that a sample rate holds, else 0: (bands,)."""
        rate = np.array([[sample_rate]], np.float32)
        return np.asarray(self._shared(rate)[0, self.spectrum_features])

    def long_term(self, statistics: Samples) -> LongTerm:
        """Return the long-term spectrum of a recording, and where its sound begins and ends.

        Shape:
            statistics: (D,).
        """
        parts = [np.asarray(part[0], np.float64) for part in split(statistics[None], self.sizes)]
        mean, square, power, rate = parts[2], parts[3], parts[5], parts[8]
        levels_db = 10 * np.log10(np.maximum(power, 0) + FLOOR)
        # How far the levels of frames deviate from their mean, in the same bands.
        deviations_db = 20 * np.sqrt(np.maximum(square - mean * mean, 0))
        deviations_db = np.interp(self.octave_centres, mel_centres(self.mel_bands), deviations_db)
        held = self.shared(24_000 * 2 ** float(rate[0])) > 0
        return LongTerm(levels_db, held, sound_band(self.octave_centres[held], levels_db[held], deviations_db[held]))

    def _spectrum(self, windows: AnyArray, sample_rate: int) -> AnyArray:
        """Measure the long-term power spectrum: (N, bands)."""
        xp = array_namespace(windows)
        bands = constant(_octave_bands(self.spectrum_bands, sample_rate, self.SPECTRUM_SECONDS), windows)
        return xp.mean(_powers(windows, self.SPECTRUM_SECONDS, sample_rate), axis=1) @ bands

    def _levels(self, windows: AnyArray, sample_rate: int) -> tuple[AnyArray, AnyArray]:
        """Measure the power and the peak of each short frame, in dB: (N, frames) each."""
        xp = array_namespace(windows)
        length = round(self.LEVEL_SECONDS * sample_rate)
        frames = framed(windows, length, hop=length)
        peak = xp.max(xp.abs(frames), axis=-1) + math.sqrt(FLOOR)
        return _decibels(xp.mean(frames * frames, axis=-1)), 20 * xp.log10(peak)

    def forward(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure windows: (N, T) to (N, D)."""
        xp = array_namespace(windows)
        level, fixed = self._meters(self.nn.detached(windows), sample_rate)  # the input is not trained
        learned = self.cnn((level / 40 + 1).mT[:, None])
        learned = xp.reshape(learned, (len(windows), self.learned, -1))
        return xp.concat((xp.mean(learned, axis=-1), xp.mean(learned * learned, axis=-1), *fixed), axis=1)

    def _meters(self, windows: AnyArray, sample_rate: int) -> tuple[AnyArray, list[AnyArray]]:
        xp = array_namespace(windows)
        count = len(windows)
        filters = constant(_mel_bands(self.mel_bands, sample_rate, self.FRAME_SECONDS), windows)
        level = _decibels(_powers(windows, self.FRAME_SECONDS, sample_rate) @ filters)  # (N, frames, bands)
        pairs = xp.mean(xp.reshape(level, (*level.shape[:2], -1, 2)), axis=-1)
        rms, peak = self._levels(windows, sample_rate)
        changes = [_distribution(rms[:, lag:] - rms[:, :-lag], CHANGES_DB) for lag in self.LAGS]
        wide = xp.mean(xp.reshape(level, (*level.shape[:2], 4, -1)), axis=-1).mT  # four wide bands: (N, 4, frames)
        for lag in (1, 4):
            changes.append(xp.reshape(_distribution(wide[..., lag:] - wide[..., :-lag], CHANGES_DB), (count, -1)))
        fixed = [
            *mean_and_square(level / 20),
            xp.reshape(_distribution(pairs.mT, BAND_LEVELS_DB), (count, -1)),
            self._spectrum(windows, sample_rate),
            _distribution(rms, LEVELS_DB),
            _distribution(peak, LEVELS_DB),
            *changes,
            xp.full((count, 1), math.log2(sample_rate / 24_000), dtype=windows.dtype, device=windows.device),
        ]
        return level, fixed

    def compare(self, input: AnyArray, reference: AnyArray) -> ComparedFeatures:  # noqa: A002
        """Turn two recordings' statistics, (B, D) each, into features."""
        xp = array_namespace(input)
        ours, theirs = self.features(input), self.features(reference)
        # Bands that one of the two sample rates does not hold do not count.
        shared = self._shared(24_000 * 2 ** xp.minimum(input[:, -1:], reference[:, -1:]))
        return ComparedFeatures(ours, (theirs - ours) * shared, shared, input[:, -1:])

    def features(self, statistics: AnyArray) -> AnyArray:
        """Turn statistics into features, in the units in which they are compared: (B, D) to (B, n_features)."""
        xp = array_namespace(statistics)
        # In double precision: deviations are small differences of squares.
        parts = split(xp.astype(statistics, xp.float64), self.sizes)
        learned, learned_sq, level, level_sq, distribution, spectrum, levels, changes, rate = parts
        quantiles = _quantiles(xp.reshape(distribution, (len(statistics), -1, len(BAND_LEVELS_DB))))
        features = (
            learned,
            _deviation(learned, learned_sq),
            level,
            _deviation(level, level_sq),
            xp.reshape(quantiles, (len(statistics), -1)) / 20,
            xp.log10(spectrum + FLOOR) / 2,
            4 * levels,
            4 * changes,
            rate,
        )
        return xp.astype(xp.concat(features, axis=1), statistics.dtype)

    def _shared(self, sample_rate: AnyArray) -> AnyArray:
        """Return 1 for the features that a sample rate holds, else 0: (B, 1) to (B, n_features)."""
        xp = array_namespace(sample_rate)
        edge = BANDWIDTH * sample_rate / 2
        mel, octaves = (
            f(n).astype(np.float32) for f, n in ((mel_centres, self.mel_bands), (octave_centres, self.spectrum_bands))
        )
        pairs = np.repeat(mel.reshape(-1, 2).max(1), len(QUANTILES))
        always = [np.zeros(size, np.float32) for size in (2 * self.learned, sum(self.sizes[6:]))]
        lowest = np.concatenate((always[0], mel, mel, pairs, octaves, always[1]))
        return xp.astype(constant(lowest, sample_rate) <= edge, sample_rate.dtype)


def _decibels(power: AnyArray) -> AnyArray:
    return 10 * array_namespace(power).log10(power + FLOOR)


def _powers(x: AnyArray, seconds: float, sample_rate: int) -> AnyArray:
    """Measure short-time power spectra, scaled so that a sine's peak is its mean square: (N, frames, F)."""
    length = round(seconds * sample_rate)
    window = constant(_window(length), x)
    return precise_power(x, window, hop=length // 2, n_fft=_fft_size(length))


def _fft_size(length: int) -> int:
    return 1 << math.ceil(math.log2(length))


@cached_array
def _window(length: int) -> Array:
    return hann(length).astype(np.float64) * (math.sqrt(2) / (0.5 * length))


def _distribution(x: AnyArray, thresholds: tuple[int, ...]) -> AnyArray:
    """Measure how often the last axis is above each threshold, softened by half a step: (..., thresholds)."""
    xp = array_namespace(x)
    step = thresholds[1] - thresholds[0]
    centres = constant(np.asarray(np.array(thresholds) / step - 0.5, np.float32), x)
    return xp.mean(xp.clip((x / step)[..., None] - centres, 0, 1), axis=-2)


def _quantiles(distribution: AnyArray) -> AnyArray:
    """Return quantiles, in dB, of level distributions: (..., levels) to (..., quantiles)."""
    xp = array_namespace(distribution)
    step = BAND_LEVELS_DB[1] - BAND_LEVELS_DB[0]
    share = constant(1 - np.array(QUANTILES, np.float32), distribution)
    # The share above falls from threshold to threshold; between two of them it is interpolated linearly.
    after = xp.clip(xp.sum(xp.astype(distribution[..., None] > share, xp.int64), axis=-2), 1, len(BAND_LEVELS_DB) - 1)
    before = xp.take_along_axis(distribution, after - 1, axis=-1)
    fall = at_least(before - xp.take_along_axis(distribution, after, axis=-1), 1e-4)
    between = xp.clip((before - share) / fall, 0, 1)
    return BAND_LEVELS_DB[0] + step * (xp.astype(after - 1, distribution.dtype) + between)


def _deviation(mean: AnyArray, mean_square: AnyArray) -> AnyArray:
    return array_namespace(mean).sqrt(relu(mean_square - mean * mean) + 1e-5)


@cached_array
def mel_centres(bands: int) -> Array:
    """Return frequencies equally spaced on the mel scale: (bands,), in Hz."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    return np.asarray(700 * (10 ** (np.linspace(low, high, bands) / 2595) - 1))


@cached_array
def octave_centres(bands: int) -> Array:
    """Return frequencies equally spaced in octaves, the bands of a long-term spectrum: (bands,), in Hz."""
    return np.logspace(math.log10(LOWEST_HZ), math.log10(HIGHEST_HZ), bands)


@cached_array
def _mel_bands(bands: int, sample_rate: int, seconds: float) -> Samples:
    return _triangles(mel_centres(bands), sample_rate, seconds)


@cached_array
def _octave_bands(bands: int, sample_rate: int, seconds: float) -> Samples:
    return _triangles(octave_centres(bands), sample_rate, seconds)


def _triangles(centres: Array, sample_rate: int, seconds: float) -> Samples:
    """Return triangular filters around each centre, zero above what the sample rate holds: (F, bands)."""
    bins = _fft_size(round(seconds * sample_rate)) // 2 + 1
    frequencies = np.linspace(0, sample_rate / 2, bins)[:, None]
    spacing = np.diff(centres, prepend=2 * centres[0] - centres[1])
    # Where bands are closer together than bins, a band takes the nearest bins.
    filters = np.maximum(1 - np.abs(frequencies - centres) / np.maximum(spacing, 1 / seconds), 0)
    filters = filters / np.maximum(filters.sum(0), 1e-9) * (centres <= BANDWIDTH * sample_rate / 2)
    return np.asarray(filters, np.float32)
