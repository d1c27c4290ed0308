"""Convolutions along frequency, which estimate an equaliser's curve band by band."""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.models.feature_extractor import QUANTILES, FeatureExtractor, mel_centres

__all__ = ["MATCHED_PLANES", "SHAPE_LIMIT_DB", "FrequencyConvNet"]

MATCHED_PLANES: Final = 3
"""The numbers that frame matching gives for each band."""

SHAPE_LIMIT_DB: Final = 30.0
"""The limit of the difference of two recordings in a band, apart from their level."""


class FrequencyConvNet(nn.Module):
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
        octaves = extractor.octave_centres.log2()
        mel = mel_centres(extractor.mel_bands).log2()
        self.mel_to_octaves: Tensor
        self.pairs_to_octaves: Tensor
        self.positions: Tensor
        # Features at other frequencies are interpolated to those of the spectrum.
        self.register_buffer("mel_to_octaves", _interpolation(mel, octaves))
        self.register_buffer("pairs_to_octaves", _interpolation(mel.view(-1, 2).mean(1), octaves))
        along = torch.linspace(-1, 1, len(octaves), device=octaves.device)
        turn = torch.linspace(0, 2 * math.pi, len(octaves), device=octaves.device)
        self.register_buffer("positions", torch.stack((torch.ones_like(along), along, turn.sin(), turn.cos())))
        self.sizes = [
            2 * extractor.learned,
            extractor.mel_bands,
            extractor.mel_bands,
            extractor.mel_bands // 2 * len(QUANTILES),
            extractor.spectrum_bands,
        ]
        planes = 1 + (3 + len(QUANTILES)) + 1 + MATCHED_PLANES + len(self.positions)
        self.input_conv = nn.Conv1d(planes, channels, self.WIDTH, padding="same")
        self.film = nn.Linear(hidden, 2 * channels)
        self.dilated_convs = nn.ModuleList(
            nn.Conv1d(channels, channels, self.WIDTH, padding="same", dilation=dilation) for dilation in self.DILATIONS
        )
        self.output_conv = nn.Conv1d(channels, 1, self.WIDTH, padding="same")
        for layer in (self.film, self.output_conv):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, heard: Tensor, difference: Tensor, shared: Tensor, matched: Tensor, hidden: Tensor) -> Tensor:
        """Return the correction: (B, bands), in units of 20 dB.

        Shape:
            heard, difference, shared: (B, n_features); matched: (B, M); hidden: (B, H).
        """
        _, spread, _ = self._planes(heard, shared)
        there = self._parts(shared)[-1][:, None]
        position = self.positions.expand(len(heard), -1, -1)
        pairs = matched[:, : MATCHED_PLANES * there.shape[2]].view(len(heard), MATCHED_PLANES, -1)
        levels, more_spread, spectrum = self._planes(difference, shared)
        # The level of one recording relative to the other is not part of the curve; and digital silence in one makes
        # differences far larger than any equaliser does.
        shapes = torch.cat((levels, spectrum), 1)
        mean = (shapes * there).sum(2, keepdim=True) / there.sum(2, keepdim=True).clamp_min(1)
        limit = SHAPE_LIMIT_DB / 20
        seen = torch.cat((spread, shapes - mean, more_spread), 1).clamp(-limit, limit) * there
        x = torch.cat((seen, there, pairs, position), 1)
        scale, shift = self.film(hidden)[:, :, None].chunk(2, 1)
        y = F.relu(self.input_conv(x)) * (1 + scale) + shift
        for conv in self.dilated_convs:
            y = y + F.relu(conv(y))
        result: Tensor = self.output_conv(y)[:, 0]
        return result

    def _parts(self, features: Tensor) -> tuple[Tensor, ...]:
        return torch.split(features[:, : sum(self.sizes)], self.sizes, 1)

    def _planes(self, features: Tensor, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lay out the features of bands along frequency: levels, their deviation, the spectrum.

        Shape:
            features, shared: (B, n_features); results: (B, 1 + quantiles, bands), (B, 1, bands), (B, 1, bands).
        """
        _, level, deviation, quantiles, spectrum = self._parts(features)
        _, mel, _, pairs, _ = self._parts(shared)
        rows = quantiles.view(len(features), -1, len(QUANTILES)).mT
        every = pairs.view(len(features), -1, len(QUANTILES)).mT
        levels = torch.cat(
            (
                _read_off(level[:, None], mel[:, None], self.mel_to_octaves),
                _read_off(rows, every, self.pairs_to_octaves),
            ),
            1,
        )
        return levels, _read_off(deviation[:, None], mel[:, None], self.mel_to_octaves), spectrum[:, None]


def _read_off(x: Tensor, there: Tensor, matrix: Tensor) -> Tensor:
    """Interpolate to other frequencies, from the points that are there alone: (B, n, S) to (B, n, T)."""
    return (x * there) @ matrix / (there @ matrix).clamp_min(0.1)


def _interpolation(source: Tensor, target: Tensor) -> Tensor:
    """Return the matrix of a linear interpolation from `source` to `target`, constant beyond its ends: (S, T)."""
    after = torch.searchsorted(source, target).clamp(1, len(source) - 1)
    share = ((target - source[after - 1]) / (source[after] - source[after - 1])).clamp(0, 1)
    column = torch.arange(len(target), device=target.device)
    matrix = source.new_zeros(len(source), len(target))
    matrix[after - 1, column] = 1 - share
    matrix[after, column] = share
    return matrix.float()
