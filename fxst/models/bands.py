"""Layers along frequency, which judge what an equaliser should do, band by band."""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.models.ear import QUANTILES, Ear, mel_centres

__all__ = ["MATCHED_PLANES", "SHAPE_LIMIT_DB", "Bands"]

MATCHED_PLANES: Final = 3
"""How many numbers matching tells of each band."""

SHAPE_LIMIT_DB: Final = 30.0
"""What two recordings differ by in a band, beside how loud they are, is told as this at most."""


class Bands(nn.Module):
    """Judges band by band what an equaliser should do, beside what the long-term spectra differ by.

    Layers that run along frequency see in each band what was heard there and around it: a bell is a bell wherever it
    lies, and need not be learned for each band and each voice anew. Of the whole they are told by what a hidden layer
    of the controller makes of it (feature-wise scales and shifts).

    Source:
        E. Perez et al., "FiLM: Visual reasoning with a general conditioning layer", AAAI 2018.
    """

    DILATIONS = (1, 2, 4, 8, 1)
    WIDTH = 5

    def __init__(self, ear: Ear, hidden: int, channels: int) -> None:
        super().__init__()
        octaves = ear.octave_centres.log2()
        mel = mel_centres(ear.picture_bands).log2()
        self.wm: Tensor
        self.wp: Tensor
        self.pos: Tensor
        # What is heard at other frequencies is read off at those of the spectrum.
        self.register_buffer("wm", _interpolation(mel, octaves))
        self.register_buffer("wp", _interpolation(mel.view(-1, 2).mean(1), octaves))
        along = torch.linspace(-1, 1, len(octaves), device=octaves.device)
        turn = torch.linspace(0, 2 * math.pi, len(octaves), device=octaves.device)
        self.register_buffer("pos", torch.stack((torch.ones_like(along), along, turn.sin(), turn.cos())))
        self.sizes = [
            2 * ear.learned,
            ear.picture_bands,
            ear.picture_bands,
            ear.picture_bands // 2 * len(QUANTILES),
            ear.spectrum_bands,
        ]
        planes = 1 + (3 + len(QUANTILES)) + 1 + MATCHED_PLANES + len(self.pos)
        self.inp = nn.Conv1d(planes, channels, self.WIDTH, padding="same")
        self.film = nn.Linear(hidden, 2 * channels)
        self.conv = nn.ModuleList(
            nn.Conv1d(channels, channels, self.WIDTH, padding="same", dilation=dilation) for dilation in self.DILATIONS
        )
        self.out = nn.Conv1d(channels, 1, self.WIDTH, padding="same")
        for layer in (self.film, self.out):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, heard: Tensor, difference: Tensor, shared: Tensor, matched: Tensor, hidden: Tensor) -> Tensor:
        """Give the correction: (B, bands), in units of 20 dB.

        Shape:
            heard, difference, shared: (B, n_features); matched: (B, M); hidden: (B, H).
        """
        _, spread, _ = self._planes(heard, shared)
        there = self._parts(shared)[-1][:, None]
        position = self.pos.expand(len(heard), -1, -1)
        pairs = matched[:, : MATCHED_PLANES * there.shape[2]].view(len(heard), MATCHED_PLANES, -1)
        levels, more_spread, spectrum = self._planes(difference, shared)
        # How loud one recording is beside the other is no curve; and where one has pauses without any sound, all that
        # differs is far more than an equaliser ever does.
        shapes = torch.cat((levels, spectrum), 1)
        mean = (shapes * there).sum(2, keepdim=True) / there.sum(2, keepdim=True).clamp_min(1)
        limit = SHAPE_LIMIT_DB / 20
        seen = torch.cat((spread, shapes - mean, more_spread), 1).clamp(-limit, limit) * there
        x = torch.cat((seen, there, pairs, position), 1)
        scale, shift = self.film(hidden)[:, :, None].chunk(2, 1)
        y = F.relu(self.inp(x)) * (1 + scale) + shift
        for conv in self.conv:
            y = y + F.relu(conv(y))
        result: Tensor = self.out(y)[:, 0]
        return result

    def _parts(self, features: Tensor) -> tuple[Tensor, ...]:
        return torch.split(features[:, : sum(self.sizes)], self.sizes, 1)

    def _planes(self, features: Tensor, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lay out along frequency what features tell of bands: levels, how they spread, the spectrum.

        Shape:
            features, shared: (B, n_features); results: (B, 1 + quantiles, bands), (B, 1, bands), (B, 1, bands).
        """
        _, level, deviation, quantiles, spectrum = self._parts(features)
        _, mel, _, pairs, _ = self._parts(shared)
        rows = quantiles.view(len(features), -1, len(QUANTILES)).mT
        every = pairs.view(len(features), -1, len(QUANTILES)).mT
        levels = torch.cat((_read_off(level[:, None], mel[:, None], self.wm), _read_off(rows, every, self.wp)), 1)
        return levels, _read_off(deviation[:, None], mel[:, None], self.wm), spectrum[:, None]


def _read_off(x: Tensor, there: Tensor, matrix: Tensor) -> Tensor:
    """Read lines off at other frequencies, from those points alone that are there: (B, n, S) to (B, n, T)."""
    return (x * there) @ matrix / (there @ matrix).clamp_min(0.1)


def _interpolation(source: Tensor, target: Tensor) -> Tensor:
    """Make a matrix that reads a line through points at `source` off at `target`: (S, T); its ends go on level."""
    after = torch.searchsorted(source, target).clamp(1, len(source) - 1)
    share = ((target - source[after - 1]) / (source[after] - source[after - 1])).clamp(0, 1)
    column = torch.arange(len(target), device=target.device)
    matrix = source.new_zeros(len(source), len(target))
    matrix[after - 1, column] = 1 - share
    matrix[after, column] = share
    return matrix.float()
