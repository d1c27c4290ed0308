"""Downward expander: lowers what is softer than a threshold, such as the noise in pauses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from fxst.dsp import Samples
from fxst.dsp.limiter import moving_maximum
from fxst.effects.base import Effect, Processor
from fxst.effects.dynamics import log_envelope
from fxst.effects.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HOLD_MS", "Expander"]

HOLD_MS: Final = 120.0
"""So long after the last peak the gain stays: consonants at the ends of words are softer than the vowels before."""

_LN_DB: Final = math.log(10) / 20
_LEAST: Final = 1e-9
_SOFTEST: Final = 1e-300
"""The smallest range and level: those of 0 have no quotient and no logarithm."""


@dataclass(frozen=True)
class Expander(Effect):
    """Feed-forward downward expander with a hold and a limit to what it takes away.

    Above the threshold t the gain is 1. A level of d dB below it is lowered by r (1 - exp(-(ratio - 1) d / r)) dB: by
    the ratio at first, and by `range_db`, which is r, at most. The level is that of h, the maximum over the last 120 ms
    of the envelope v of `Dynamics`, which starts at t, so that the first samples are unchanged. The hold keeps the gain
    from following single periods, and from chattering at the threshold.

    All channels always get the same gain, that of the loudest, so that the stereo image does not move in pauses.

    Source:
        The expander's equations: D. Giannoulis, M. Massberg and J. D. Reiss, "Digital dynamic range compressor
        design", JAES 2012; the hold of noise gates, U. Zölzer (ed.), "DAFX: Digital Audio Effects", 2011.
    """

    parameters: tuple[Parameter, ...] = (
        Parameter("threshold_db", -90.0, 0.0, -50.0, "dB"),
        Parameter("ratio", 1.0, 10.0, 2.0, ":1", "log"),
        Parameter("range_db", 0.0, 60.0, 0.0, "dB"),
        Parameter("attack_ms", 0.1, 100.0, 2.0, "ms", "log"),
        Parameter("release_ms", 5.0, 2000.0, 500.0, "ms", "log"),
    )

    name: ClassVar[str] = "expander"
    autodiff_error_db: ClassVar[float] = -110.0
    matched: ClassVar[bool] = True

    def transparent(self) -> Mapping[str, float]:
        return {"range_db": 0.0}

    def is_transparent(self, values: Mapping[str, float]) -> bool:
        return values["range_db"] == 0 or values["ratio"] == 1

    def summary(self, values: Mapping[str, float]) -> str:
        shown = {p.name: p.written(values[p.name]) for p in self.parameters}
        times = f"attack {shown['attack_ms']}, release {shown['release_ms']}"
        return f"{shown['ratio']} below {shown['threshold_db']}, {shown['range_db']} at most, {times}"

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        return self.steered(values, sample_rate=sample_rate, channels=channels, steering=range(channels))

    def steered(
        self, values: Mapping[str, float], *, sample_rate: int, channels: int, steering: Sequence[int]
    ) -> Processor:
        """Return a processor as `exact` does, but with only some of the channels steering the gain, as `Dynamics`."""
        from fxst.dsp.follower import Follower

        attack, release = (math.exp(-2000 * math.pi / (values[ms] * sample_rate)) for ms in ("attack_ms", "release_ms"))
        threshold = 10.0 ** (values["threshold_db"] / 20)
        follow = Follower(attack, release, begin=threshold, channels=1)
        held = np.full(_hold(sample_rate=sample_rate) - 1, threshold)
        steering = list(steering)
        most, slope = max(values["range_db"] * _LN_DB, _LEAST), values["ratio"] - 1

        def process(block: Samples) -> Samples:
            nonlocal held
            if not block.size:
                return block
            level = np.concatenate([held, follow(np.abs(block[steering]).max(axis=0, keepdims=True))[0]])
            held = level[block.shape[1] :].copy()
            highest = moving_maximum(level, _hold(sample_rate=sample_rate))
            y = np.empty_like(block)
            under = np.log(np.clip(highest, _SOFTEST, threshold) / threshold)
            np.multiply(block, np.exp(most * np.expm1(slope / most * under)), out=y, casting="same_kind")
            return y

        return process

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        import torch

        threshold = values["threshold_db"].double() * _LN_DB
        u = x.double().abs().amax(1, keepdim=True)
        level = log_envelope(u, values, sample_rate=sample_rate, begin=threshold.exp())
        hold = _hold(sample_rate=sample_rate)
        before = threshold[:, None, None].expand(-1, 1, hold - 1)
        highest = torch.nn.functional.max_pool1d(torch.cat([before, level], dim=-1), hold, stride=1)
        under = (highest.clamp_min(math.log(_SOFTEST)) - threshold[:, None, None]).clamp_max(0)
        most = (values["range_db"].double() * _LN_DB).clamp_min(_LEAST)[:, None, None]
        slope = (values["ratio"].double() - 1)[:, None, None]
        gain: Tensor = (most * torch.expm1(slope / most * under)).exp()
        return x * gain.to(x.dtype)


def _hold(*, sample_rate: int) -> int:
    """Return the length of the hold, in samples."""
    return max(1, round(HOLD_MS / 1000 * sample_rate))
