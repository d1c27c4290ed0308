"""The stereo image of recordings: their mid and side signals, and the correlation of their channels."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.audio import Samples
from fxst.dsp import Array
from fxst.dsp.spectra import LongTermSpectrum

__all__ = ["StereoImage", "StereoMeter"]

_SILENT: Final = 1e-20


@dataclass(frozen=True)
class StereoImage:
    """The stereo image of a complete recording.

    Args:
        correlation: The correlation of the two channels: 1 for mono in both, 0 for unrelated channels, -1 for one that
            is the other inverted; NaN where a channel is silent.
        side_db: The power of the side signal above that of the mid signal, in dB; infinite where one is silent, NaN
            where both are.
        mid_bands_db: Power of the mid signal, (L + R) / 2, in each third octave, full-scale sine 0 dB.
        side_bands_db: That of the side signal, (L - R) / 2.

    Shape:
        mid_bands_db, side_bands_db: `(bands,)`, those of the recording's survey.
    """

    correlation: float
    side_db: float
    mid_bands_db: Array
    side_bands_db: Array


class StereoMeter:
    """Measures the stereo image of a stream of two channels.

    Args:
        sample_rate: Its sample rate in Hz.
    """

    def __init__(self, *, sample_rate: int) -> None:
        self._spectrum = LongTermSpectrum(sample_rate=sample_rate)
        self._products = np.zeros((2, 2))

    def process(self, block: Samples) -> None:
        """Take in the next block.

        Shape:
            block: `(2, time)`.
        """
        exact = block.astype(np.float64)
        self._products += exact @ exact.T
        left, right = block / 2
        self._spectrum.process(np.stack([left + right, left - right], dtype=np.float32))

    def finish(self) -> StereoImage:
        """Return the stereo image of all blocks."""
        (left, both), (_, right) = self._products
        mid, side = left + right + 2 * both, left + right - 2 * both
        # Of channels that are equal, rounding leaves a side signal of next to nothing.
        mid, side = (0.0 if power < 1e-12 * (left + right) else power for power in (mid, side))
        _, (mid_bands_db, side_bands_db) = self._spectrum.third_octaves()
        return StereoImage(
            correlation=float(both / math.sqrt(left * right)) if min(left, right) > _SILENT else math.nan,
            side_db=_db(side) - _db(mid),
            mid_bands_db=mid_bands_db,
            side_bands_db=side_bands_db,
        )


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > _SILENT else -math.inf
