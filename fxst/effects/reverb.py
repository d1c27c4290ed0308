"""Reverb: Schroeder's comb and all-pass filters, with Freeverb's delays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fxst.effects.base import Effect, Processor, plugin_processor
from fxst.effects.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Reverb"]

COMB_DELAYS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)
ALLPASS_DELAYS = (556, 441, 341, 225)
STEREO_SPREAD = 23
"""All delays are in samples at 44.1 kHz; those of the right channel are longer by the spread."""


@dataclass(frozen=True)
class Reverb(Effect):
    """Freeverb: eight damped combs in parallel, then four all-passes, mixed with the dry signal.

    Mono and stereo are rendered as such; of more channels, each is rendered on its own. A `dry_level` of 0.5 passes the
    dry signal at unity gain.

    Source:
        "Freeverb" by Jezar at Dreampoint (public domain), in the form of JUCE's `Reverb`, which pedalboard runs;
        rewritten as a transfer function. For fixed settings it is linear and time-invariant.
    """

    parameters: tuple[Parameter, ...] = (
        Parameter("room_size", 0.0, 1.0, 0.5),
        Parameter("damping", 0.0, 1.0, 0.5),
        Parameter("wet_level", 0.0, 1.0, 0.33),
        Parameter("dry_level", 0.0, 1.0, 0.4),
        Parameter("width", 0.0, 1.0, 1.0),
    )

    name: ClassVar[str] = "reverb"
    autodiff_error_db: ClassVar[float] = -80.0

    def transparent(self) -> Mapping[str, float]:
        return {"wet_level": 0.0, "dry_level": 0.5}

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        from pedalboard import Reverb

        def make(channels: int) -> Processor:
            plugin = Reverb(
                room_size=values["room_size"],
                damping=values["damping"],
                wet_level=values["wet_level"],
                dry_level=values["dry_level"],
                width=values["width"],
            )
            return plugin_processor(plugin, sample_rate=sample_rate, channels=channels)

        if channels <= 2:
            return make(channels)
        rows = [make(1) for _ in range(channels)]
        return lambda block: np.concatenate([row(block[c : c + 1]) for c, row in enumerate(rows)])

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        import torch

        from fxst.dsp import filters

        _, channels, time = x.shape
        if channels > 2:
            repeated = {name: value.repeat_interleave(channels) for name, value in values.items()}
            return self.autodiff(x.reshape(-1, 1, time), repeated, sample_rate=sample_rate).view(x.shape)

        room, damping, wet, dry, width = (values[p.name].double()[:, None] for p in self.parameters)
        feedback = 0.7 + 0.28 * room
        damp = 0.4 * damping
        wet, dry = 3 * wet, 2 * dry
        same, other = 0.5 * wet * (1 + width), 0.5 * wet * (1 - width)

        def tank(z_inverse: "Tensor", spread: int) -> "Tensor":
            log_z_inverse = z_inverse.log()

            def delay(samples: int) -> "Tensor":
                # A power of 1/z by its logarithm: torch's power of complex numbers is ten times slower.
                return (sample_rate * (samples + spread) // 44100 * log_z_inverse).exp()

            loop = feedback * (1 - damp) / (1 - damp * z_inverse)
            combs = torch.zeros_like(loop)
            for samples in COMB_DELAYS:
                combs = combs + delay(samples) / (1 - loop * delay(samples))
            allpass = torch.ones_like(z_inverse)
            for samples in ALLPASS_DELAYS:
                allpass = allpass * (1.5 * delay(samples) - 1) / (1 - 0.5 * delay(samples))
            return 0.015 * combs * allpass

        def response(z_inverse: "Tensor") -> "Tensor":
            left = tank(z_inverse, 0)
            if channels == 1:
                return (same * left + dry)[:, None, None]
            right = tank(z_inverse, STEREO_SPREAD)
            to_left, to_right = same * left + other * right, same * right + other * left
            rows = (torch.stack((to_left + dry, to_left), 1), torch.stack((to_right, to_right + dry), 1))
            return torch.stack(rows, 1)

        return filters.filter_by_response(x, response)
