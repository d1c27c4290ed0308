"""Upward compressor: raises levels below a threshold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from fxst.effects.base import Processor
from fxst.effects.dynamics import Dynamics
from fxst.effects.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Samples

__all__ = ["UpwardCompressor"]

FLOOR_DB: Final = -100.0
FLOOR: Final = 10 ** (FLOOR_DB / 20)
"""Lowest level that raises the gain further: the gain of silence must be limited."""


@dataclass(frozen=True)
class UpwardCompressor(Dynamics):
    """Feed-forward peak compressor of soft passages, with a hard knee; it undoes an expander.

    The gain is 1 above the threshold t, and (max(v, f) / t)^(1/ratio - 1) below it, with f = -100 dBFS. v is the
    envelope of `Dynamics`, but starts at t, so that the first samples are unchanged.

    It undoes an expander of the same ratio whose times are `ratio` times as long, down to the level f.

    Source:
        The compressor's equations on the other side of the threshold: D. Giannoulis, M. Massberg and J. D. Reiss,
        "Digital dynamic range compressor design", JAES 2012.
    """

    parameters: tuple[Parameter, ...] = (
        Parameter("threshold_db", -80.0, 20.0, -40.0, "dB"),
        Parameter("ratio", 1.0, 20.0, 2.0, ":1", "log"),
        Parameter("attack_ms", 0.1, 500.0, 10.0, "ms", "log"),
        Parameter("release_ms", 5.0, 2000.0, 200.0, "ms", "log"),
    )

    name: ClassVar[str] = "upward_compressor"
    side: ClassVar[str] = "below"
    autodiff_error_db: ClassVar[float] = -110.0

    def transparent(self) -> Mapping[str, float]:
        return {"ratio": 1.0}

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        return self.steered(values, sample_rate=sample_rate, channels=channels, steering=range(channels))

    def steered(
        self, values: Mapping[str, float], *, sample_rate: int, channels: int, steering: Sequence[int]
    ) -> Processor:
        from fxst.dsp.follower import Follower

        linked = self.linked and channels > 1
        # Not pedalboard's follower: its float32 state is inaccurate at low levels, where the gain is high.
        attack, release = (math.exp(-2000 * math.pi / (values[ms] * sample_rate)) for ms in ("attack_ms", "release_ms"))
        threshold = 10.0 ** (values["threshold_db"] / 20)
        follow = Follower(attack, release, begin=threshold, channels=1 if linked else channels)
        slope = 1 / values["ratio"] - 1
        steering = list(steering)

        def process(block: Samples) -> Samples:
            u = np.abs(block)
            level = follow(u[steering].max(axis=0, keepdims=True) if linked else u)
            y = np.empty_like(block)
            np.multiply(block, (np.clip(level, FLOOR, threshold) / threshold) ** slope, out=y, casting="same_kind")
            return y

        return process

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        from fxst.dsp import filters

        threshold = filters.to_gain(values["threshold_db"].double())
        level = self._log_level(x.double(), values, sample_rate=sample_rate, floor=FLOOR, begin=threshold)
        under = (level - threshold.log()[:, None, None]).to(x.dtype)
        slope = 1 / values["ratio"] - 1
        return x * (slope[:, None, None] * under.clamp_max(0)).exp()
