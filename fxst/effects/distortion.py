"""Distortion: a soft clipper."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fxst.effects.base import Effect, Processor, plugin_processor
from fxst.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Distortion"]


@dataclass(frozen=True)
class Distortion(Effect):
    """Drive a signal into a hyperbolic tangent: y = tanh(g x), with g the drive as an amplitude factor."""

    parameters: tuple[Parameter, ...] = (Parameter("drive_db", -12.0, 48.0, 0.0, "dB"),)

    name: ClassVar[str] = "distortion"
    autodiff_error_db: ClassVar[float] = -100.0

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        from pedalboard import Distortion

        return plugin_processor(Distortion(drive_db=values["drive_db"]), sample_rate=sample_rate, channels=channels)

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        from fxst import dsp

        return (x * dsp.to_gain(values["drive_db"])[:, None, None]).tanh()
