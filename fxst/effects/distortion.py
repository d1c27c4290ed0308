"""Distortion: a soft clipper."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fxst.effects.base import Effect, Processor, plugin_processor
from fxst.effects.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Distortion"]


@dataclass(frozen=True)
class Distortion(Effect):
    """Hyperbolic tangent waveshaper: y = (1 - m) x + m tanh(g x), where m is the mix and g the drive's gain.

    Below full mix the dry signal is added, so that a soft clipper adds warmth without flattening.
    """

    parameters: tuple[Parameter, ...] = (
        Parameter("drive_db", -12.0, 48.0, 0.0, "dB"),
        Parameter("mix", 0.0, 1.0, 1.0),
    )

    name: ClassVar[str] = "distortion"
    autodiff_error_db: ClassVar[float] = -100.0

    def transparent(self) -> Mapping[str, float]:
        return {"mix": 0.0}

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        from pedalboard import Distortion

        plugin = Distortion(drive_db=values["drive_db"])
        distort = plugin_processor(plugin, sample_rate=sample_rate, channels=channels)
        mix = np.float32(values["mix"])
        return distort if mix == 1 else lambda block: block + mix * (distort(block) - block)

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        from fxst.dsp import filters

        distorted = (x * filters.to_gain(values["drive_db"])[:, None, None]).tanh()
        return x.lerp(distorted, values["mix"][:, None, None].expand_as(x))
