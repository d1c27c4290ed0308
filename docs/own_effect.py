"""An effect of one's own with a PyTorch form, and a chain: `fxst --effects docs/own_effect.py chains` lists it."""

from dataclasses import dataclass

import numpy as np

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.effects import Effect
from fxst.effects.parameters import Parameter


@dataclass(frozen=True)
class Saturation(Effect):
    """A soft clipper: y = g x / (1 + |g x|), where g is the drive's gain."""

    parameters: tuple[Parameter, ...] = (Parameter("drive_db", 0.0, 36.0, 12.0, "dB"),)

    name = "saturation"
    autodiff_error_db = -100.0

    def exact(self, values, *, sample_rate, channels):
        gain = np.float32(10 ** (values["drive_db"] / 20))
        return lambda block: gain * block / (1 + np.abs(gain * block))

    def autodiff(self, x, values, *, sample_rate):
        driven = x * (10 ** (values["drive_db"] / 20))[:, None, None]
        return driven / (1 + driven.abs())


CHAINS["saturation"] = Chain("saturation", (Saturation(),))
