"""The base class of effects that follow a signal's level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fxst.effects.base import Effect, Processor
from fxst.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Dynamics", "log_envelope"]


@dataclass(frozen=True)
class Dynamics(Effect):
    """An effect whose gain follows a signal's level.

    The envelope v follows u = abs(x): v[n] = u[n] + c (v[n-1] - u[n]), where c = exp(-2000 pi / (ms * sample_rate))
    takes `attack_ms` while u[n] > v[n-1], else `release_ms`.

    Linked channels share one gain, so that the stereo image does not move: u is then the maximum of abs(x) over the
    channels.

    Args:
        parameters: Ranges; by default the widest.
        linked: Whether all channels get the same gain; else each follows its own level.

    Raises:
        SettingsError: `linked` is neither true nor false.

    Source:
        JUCE's `dsp::BallisticsFilter` (peak), which pedalboard runs; rewritten as maths.
    """

    linked: bool = True

    side: ClassVar[str]
    """Whether levels `above` or `below` the threshold are changed."""

    def __post_init__(self) -> None:
        if not isinstance(self.linked, bool):
            raise SettingsError(f"linked must be true or false, not {self.linked!r:.40}.")
        super().__post_init__()

    def steered(
        self, values: Mapping[str, float], *, sample_rate: int, channels: int, steering: Sequence[int]
    ) -> Processor:
        """Return a processor as `exact` does, but with only some of the channels steering linked gains.

        Args:
            values: The settings.
            sample_rate: Sample rate in Hz.
            channels: Channels of every block.
            steering: The channels whose level counts. All get the gain.
        """
        return self.exact(values, sample_rate=sample_rate, channels=channels)

    def summary(self, values: Mapping[str, float]) -> str:
        shown = {p.name: p.written(values[p.name]) for p in self.parameters}
        makeup = f", make-up {shown['makeup_db']}" if values.get("makeup_db") else ""
        times = f"attack {shown['attack_ms']}, release {shown['release_ms']}"
        return f"{shown['ratio']} {self.side} {shown['threshold_db']}, {times}{makeup}"

    def _log_level(
        self,
        x: "Tensor",
        values: Mapping[str, "Tensor"],
        *,
        sample_rate: int,
        floor: float = 0.0,
        begin: "Tensor | None" = None,
    ) -> "Tensor":
        """Return the natural logarithm of the envelope v of the channels, or of all together where they are linked.

        Shape:
            x: (B, C, T); begin: (B,); result: (B, 1 or C, T).
        """
        loudness = x.abs()
        loudness = loudness.amax(1, keepdim=True) if self.linked else loudness
        return log_envelope(loudness, values, sample_rate=sample_rate, floor=floor, begin=begin)


def log_envelope(
    u: "Tensor",
    values: Mapping[str, "Tensor"],
    *,
    sample_rate: int,
    floor: float = 0.0,
    begin: "Tensor | None" = None,
) -> "Tensor":
    """Return the natural logarithm of the envelope v of `Dynamics`.

    Args:
        u: What it follows.
        values: `attack_ms` and `release_ms`.
        sample_rate: Sample rate in Hz.
        floor: Lowest value of v.
        begin: v before the first sample; 0 by default.

    Shape:
        u, result: (B, C, T); begin: (B,).
    """
    import torch

    from fxst.dsp.ballistics import envelope

    # In float64, as in JUCE: one float32 ulp changes a long release time by a thousandth.
    attack, release = (
        torch.exp(-2000 * torch.pi / (values[ms].double() * sample_rate)) for ms in ("attack_ms", "release_ms")
    )
    level = envelope(u, attack, release, begin)
    return level.clamp_min(max(floor, torch.finfo(level.dtype).tiny)).log()  # finite for silence, too
