"""Stereo width: the level of the side signal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fxst.effects.base import Effect, Processor
from fxst.effects.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Samples

__all__ = ["StereoWidth", "across"]


@dataclass(frozen=True)
class StereoWidth(Effect):
    """Mid/side gain: with M = (L + R) / 2 and S = (L - R) / 2, the output is L = M + w S and R = M - w S.

    A width w of 0 is mono, 1 leaves the recording as it is, and 2 raises the side signal by 6 dB. The mid signal never
    changes. Only recordings of two channels have a side signal: mono, and more than two channels, pass unchanged.

    Source:
        A. D. Blumlein, "Improvements in and relating to sound-transmission, sound-recording and sound-reproducing
        systems", British patent 394,325, 1933.
    """

    parameters: tuple[Parameter, ...] = (Parameter("width", 0.0, 2.0, 1.0),)

    name: ClassVar[str] = "stereo_width"
    autodiff_error_db: ClassVar[float] = -120.0
    matched: ClassVar[bool] = True

    def transparent(self) -> Mapping[str, float]:
        return {"width": 1.0}

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        if channels != 2 or self.is_transparent(values):
            return lambda block: block
        own, other = (np.float32(share) for share in across(values["width"]))

        def process(block: Samples) -> Samples:
            return own * block + other * block[::-1]

        return process

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        if x.shape[1] != 2:
            return x
        own, other = across(values["width"][:, None, None])
        y: Tensor = own * x + other * x.flip(1)
        return y


def across(width: Any) -> tuple[Any, Any]:
    """Return the share of itself that a channel keeps at a width, and the share of the other one that it gets."""
    return (1 + width) / 2, (1 - width) / 2
