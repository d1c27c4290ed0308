"""Which channel of a recording is which loudspeaker."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst.dsp import Array

__all__ = ["ROLES", "ChannelLayout"]

ROLES: Final = (
    "FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR",
)  # fmt: skip
"""Loudspeakers in the order of the bits of a WAV's channel mask.

Source: Microsoft, `WAVEFORMATEXTENSIBLE`.
"""

_LFE: Final = "LFE"
_SURROUND: Final = frozenset({"BL", "BR", "BC", "SL", "SR", "TBL", "TBC", "TBR"})
_SURROUND_WEIGHT: Final = 1.41
_USUAL: Final = {
    1: 0x4, 2: 0x3, 3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F,
}  # fmt: skip
"""The usual layouts: mono, stereo, 3.0, quad, 5.0, 5.1, 6.1 and 7.1. FLAC has these and no others."""
_FEWEST_GUESSED: Final = 5


@dataclass(frozen=True)
class ChannelLayout:
    """The loudspeaker of each channel, in the order of a WAV's channel mask.

    Args:
        roles: One of `ROLES` for each channel; empty for a channel without one.
        stated: Whether the file, or its format, says so; else it is a guess from the number of channels.
    """

    roles: tuple[str, ...]
    stated: bool = True

    @staticmethod
    def of_mask(mask: int, channels: int) -> "ChannelLayout":
        """Return the layout of a channel mask; channels beyond its bits have no loudspeaker.

        Args:
            mask: The mask; 0 names none.
            channels: Number of channels.
        """
        roles = [role for bit, role in enumerate(ROLES) if mask >> bit & 1][:channels]
        if not roles:
            return ChannelLayout.guessed(channels)
        return ChannelLayout((*roles, *[""] * (channels - len(roles))))

    @staticmethod
    def usual(channels: int) -> "ChannelLayout":
        """Return the usual layout of a number of channels; that of more than eight names no loudspeaker."""
        mask = _USUAL.get(channels, 0)
        return ChannelLayout.of_mask(mask, channels) if mask else ChannelLayout(("",) * channels, stated=False)

    @staticmethod
    def guessed(channels: int) -> "ChannelLayout":
        """Return the layout of a file that states none: the usual one from five channels on.

        Three and four channels may be stems, or any of several layouts.
        """
        if channels <= 2 or channels >= _FEWEST_GUESSED:
            return ChannelLayout(ChannelLayout.usual(channels).roles, stated=False)
        return ChannelLayout(("",) * channels, stated=False)

    @property
    def mask(self) -> int:
        """The channel mask; 0 where no channel has a loudspeaker."""
        return sum(1 << ROLES.index(role) for role in self.roles if role)

    @property
    def name(self) -> str:
        """The loudspeakers in words."""
        return " ".join(role or "?" for role in self.roles)

    @property
    def weights(self) -> Array:
        """The weight of each channel in loudness: the surrounds count for 1.5 dB more, and the LFE not at all.

        Source:
            ITU-R BS.1770-4, annex 1. In layouts of more than six channels all surrounds count for more, as in FFmpeg's
            `ebur128`.
        """
        return np.array(
            [0.0 if role == _LFE else _SURROUND_WEIGHT if role in _SURROUND else 1.0 for role in self.roles]
        )

    @property
    def heard(self) -> tuple[int, ...]:
        """The channels that steer linked dynamics and analyses: all but the LFE."""
        return tuple(index for index, role in enumerate(self.roles) if role != _LFE) or tuple(range(len(self.roles)))

    @property
    def has_lfe(self) -> bool:
        """Whether there are channels that do not steer."""
        return len(self.heard) < len(self.roles)

    def only_heard(self) -> "ChannelLayout":
        """Return the layout without the LFE."""
        return ChannelLayout(tuple(self.roles[index] for index in self.heard), self.stated)
