"""Convolutions along frequency, which estimate an equaliser's curve band by band."""

import math
from typing import Final

import numpy as np

from fxst.dsp import Array, Samples
from fxst.models.arrays import AnyArray, array_namespace, relu, split
from fxst.models.feature_extractor import QUANTILES, FeatureExtractor, mel_centres
from fxst.models.layers import Part

__all__ = ["MATCHED_PLANES", "SHAPE_LIMIT_DB", "FrequencyConvNet"]

MATCHED_PLANES: Final = 3
"""The numbers that frame matching gives for each band."""

SHAPE_LIMIT_DB: Final = 30.0
"""The limit of the difference of two recordings in a band, apart from their level."""


class FrequencyConvNet(Part):
    """Estimates band by band what an equaliser should do beyond the difference of the long-term spectra.

    Convolutions along frequency see each band and its neighbours, so a bell is learned once for all bands and voices.
    A hidden layer of the controller conditions them (feature-wise scale and shift).

    Source:
        E. Perez et al., "FiLM: Visual reasoning with a general conditioning layer", AAAI 2018.
    """

    DILATIONS = (1, 2, 4, 8, 1)
    WIDTH = 5

    def __init__(self, extractor: FeatureExtractor, hidden: int, channels: int) -> None:
        super().__init__()
        octaves = np.log2(extractor.octave_centres)
        mel = np.log2(mel_centres(extractor.mel_bands))
        self.mel_to_octaves: AnyArray
        self.pairs_to_octaves: AnyArray
        self.positions: AnyArray
        # Features at other frequencies are interpolated to those of the spectrum.
        self.register_buffer("mel_to_octaves", _interpolation(mel, octaves))
        self.register_buffer("pairs_to_octaves", _interpolation(mel.reshape(-1, 2).mean(1), octaves))
        along, turn = np.linspace(-1, 1, len(octaves)), np.linspace(0, 2 * math.pi, len(octaves))
        positions = np.stack((np.ones_like(along), along, np.sin(turn), np.cos(turn))).astype(np.float32)
        self.register_buffer("positions", positions)
        self.sizes = [
            2 * extractor.learned,
            extractor.mel_bands,
            extractor.mel_bands,
            extractor.mel_bands // 2 * len(QUANTILES),
            extractor.spectrum_bands,
        ]
        planes = 1 + (3 + len(QUANTILES)) + 1 + MATCHED_PLANES + len(positions)
        nn = self.nn
        self.input_conv = nn.Conv1d(planes, channels, self.WIDTH, padding="same")
        self.film = nn.Linear(hidden, 2 * channels)
        self.dilated_convs = nn.ModuleList(
            nn.Conv1d(channels, channels, self.WIDTH, padding="same", dilation=dilation) for dilation in self.DILATIONS
        )
        self.output_conv = nn.Conv1d(channels, 1, self.WIDTH, padding="same")
        for layer in (self.film, self.output_conv):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: AnyArray, difference: AnyArray, shared: AnyArray, matched: AnyArray, hidden: AnyArray
    ) -> AnyArray:
        """Return the correction: (B, bands), in units of 20 dB.

        Shape:
            features, difference, shared: (B, n_features); matched: (B, M); hidden: (B, H).
        """
        xp = array_namespace(features)
        count = len(features)
        _, spread, _ = self._planes(features, shared)
        there = self._parts(shared)[-1][:, None]
        position = xp.broadcast_to(self.positions[None], (count, *self.positions.shape))
        pairs = xp.reshape(matched[:, : MATCHED_PLANES * there.shape[2]], (count, MATCHED_PLANES, -1))
        levels, more_spread, spectrum = self._planes(difference, shared)
        # The level of one recording relative to the other is not part of the curve; and digital silence in one makes
        # differences far larger than any equaliser does.
        shapes = xp.concat((levels, spectrum), axis=1)
        bands = xp.clip(xp.sum(there, axis=2, keepdims=True), 1)
        mean = xp.sum(shapes * there, axis=2, keepdims=True) / bands
        limit = SHAPE_LIMIT_DB / 20
        seen = xp.clip(xp.concat((spread, shapes - mean, more_spread), axis=1), -limit, limit) * there
        x = xp.concat((seen, there, pairs, position), axis=1)
        film = self.film(hidden)[:, :, None]
        channels = film.shape[1] // 2
        y = relu(self.input_conv(x)) * (1 + film[:, :channels]) + film[:, channels:]
        for conv in self.dilated_convs:
            y = y + relu(conv(y))
        return self.output_conv(y)[:, 0]

    def _parts(self, features: AnyArray) -> list[AnyArray]:
        return split(features, self.sizes)

    def _planes(self, features: AnyArray, shared: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Lay out the features of bands along frequency: levels, their deviation, the spectrum.

        Shape:
            features, shared: (B, n_features); results: (B, 1 + quantiles, bands), (B, 1, bands), (B, 1, bands).
        """
        xp = array_namespace(features)
        _, level, deviation, quantiles, spectrum = self._parts(features)
        _, mel, _, pairs, _ = self._parts(shared)
        rows, every = (xp.reshape(x, (len(features), -1, len(QUANTILES))).mT for x in (quantiles, pairs))
        levels = xp.concat(
            (
                _read_off(level[:, None], mel[:, None], self.mel_to_octaves),
                _read_off(rows, every, self.pairs_to_octaves),
            ),
            axis=1,
        )
        return levels, _read_off(deviation[:, None], mel[:, None], self.mel_to_octaves), spectrum[:, None]


def _read_off(x: AnyArray, there: AnyArray, matrix: AnyArray) -> AnyArray:
    """Interpolate to other frequencies, from the points that are there alone: (B, n, S) to (B, n, T)."""
    return (x * there) @ matrix / array_namespace(x).clip(there @ matrix, 0.1)


def _interpolation(source: Array, target: Array) -> Samples:
    """Return the matrix of a linear interpolation from `source` to `target`, constant beyond its ends: (S, T)."""
    after = np.searchsorted(source, target).clip(1, len(source) - 1)
    share = ((target - source[after - 1]) / (source[after] - source[after - 1])).clip(0, 1)
    column = np.arange(len(target))
    matrix = np.zeros((len(source), len(target)), np.float32)
    matrix[after - 1, column] = 1 - share
    matrix[after, column] = share
    return matrix
