"""Compressor: reduces levels above a threshold."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from fxst.effects.base import Processor, plugin_processor
from fxst.effects.dynamics import Dynamics
from fxst.effects.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Samples

__all__ = ["Compressor"]

TRACE: Final = np.float32(1e-9)
"""Lowest level at which a gain can be measured, -180 dB."""

TINY = np.finfo(np.float32).tiny
"""Lowest divisor, for silence."""


@dataclass(frozen=True)
class Compressor(Dynamics):
    """Feed-forward peak compressor with a hard knee, then make-up gain.

    The gain is 1 below the threshold t, and (v / t)^(1/ratio - 1) above it, where v is the envelope of `Dynamics`.

    Source:
        JUCE's `dsp::Compressor`, which pedalboard runs; rewritten as maths.
    """

    parameters: tuple[Parameter, ...] = (
        Parameter("threshold_db", -60.0, 20.0, -20.0, "dB"),
        Parameter("ratio", 1.0, 20.0, 4.0, ":1", "log"),
        Parameter("attack_ms", 0.1, 200.0, 1.0, "ms", "log"),
        Parameter("release_ms", 5.0, 2000.0, 100.0, "ms", "log"),
        Parameter("makeup_db", -48.0, 48.0, 0.0, "dB"),
    )

    name: ClassVar[str] = "compressor"
    side: ClassVar[str] = "above"
    autodiff_error_db: ClassVar[float] = -100.0

    def transparent(self) -> Mapping[str, float]:
        return {"ratio": 1.0, "makeup_db": 0.0}

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        return self.steered(values, sample_rate=sample_rate, channels=channels, steering=range(channels))

    def steered(
        self, values: Mapping[str, float], *, sample_rate: int, channels: int, steering: Sequence[int]
    ) -> Processor:
        from pedalboard import Compressor

        plugin = Compressor(
            threshold_db=values["threshold_db"],
            ratio=values["ratio"],
            attack_ms=values["attack_ms"],
            release_ms=values["release_ms"],
        )
        linked = self.linked and channels > 1
        compress = plugin_processor(plugin, sample_rate=sample_rate, channels=1 if linked else channels)
        if linked:
            compress = _linked(compress, steering)
        makeup = 10.0 ** (values["makeup_db"] / 20)
        return compress if makeup == 1.0 else lambda block: compress(block) * makeup

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        from fxst.dsp import filters

        return x * self._gain(x, values, sample_rate=sample_rate) * filters.to_gain(values["makeup_db"])[:, None, None]

    def gain_reduction(self, x: Samples, values: Mapping[str, float], *, sample_rate: int) -> Samples:
        """Return the gain reduction of every sample, as a meter would show it.

        Args:
            x: Input of the compressor.
            values: Its settings.
            sample_rate: Sample rate in Hz.

        Returns:
            Amplitude factors, 1 or less, without the make-up gain.

        Shape:
            x and result: (channels, time).
        """
        # Measured on the exact form, which needs no torch; silence gets a level far below any threshold.
        level = np.abs(x)
        level = np.maximum(level.max(axis=0, keepdims=True) if self.linked else level, TRACE)
        compress = self.exact({**values, "makeup_db": 0.0}, sample_rate=sample_rate, channels=len(level))
        return np.broadcast_to(np.minimum(compress(level) / level, 1.0, dtype=np.float32), x.shape)

    def _gain(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        from fxst.dsp import filters

        level = self._log_level(x, values, sample_rate=sample_rate)
        over = level - filters.to_gain(values["threshold_db"]).log()[:, None, None]
        slope = 1 / values["ratio"] - 1
        return (slope[:, None, None] * over.clamp_min(0)).exp()


def _linked(compress: Processor, steering: Sequence[int]) -> Processor:
    """Return a processor that gives all channels the gain of a mono compressor for the loudest of those that steer."""

    def process(block: Samples) -> Samples:
        loudest = functools.reduce(np.maximum, (np.abs(block[channel]) for channel in steering))
        # In float64, so that dividing and multiplying again is exact: equal channels stay equal.
        gain = np.divide(compress(loudest[None])[0], np.maximum(loudest, TINY), dtype=np.float64)
        y = np.empty_like(block)
        np.multiply(block, gain, out=y, casting="same_kind")
        return y

    return process
