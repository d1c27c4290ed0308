"""The reverb as a true-stereo impulse response, for anything that convolves."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from fxst.audio import Samples
from fxst.effects import Reverb
from fxst.effects.reverb import ALLPASS_DELAYS, COMB_DELAYS, STEREO_SPREAD
from fxst.errors import SettingsError
from fxst.exports.base import Export, Stage

__all__ = ["DECAY_DB", "blocks", "frames", "reverb"]

DECAY_DB: Final = 100.0
"""How far the reverb has decayed at the end of the response."""

_BLOCK_FRAMES: Final = 1 << 16
_IMPULSE: Final = np.float32(1024)
"""Far above full scale: JUCE's feedback rounds to some 1e-8, so that a quiet decay would end in noise."""


def reverb(export: Export) -> Stage | None:
    """Return the reverb of a table; None where there is none, or it is bypassed.

    Raises:
        SettingsError: There are several, which one impulse response cannot hold.
    """
    found = [stage for stage in export.stages if isinstance(stage.effect, Reverb)]
    if len(found) > 1:
        labels = ", ".join(stage.label for stage in found)
        raise SettingsError(
            f"One impulse response cannot hold {labels}: bypass all but one, or export what needs none."
        )
    return found[0] if found else None


def frames(stage: Stage, *, sample_rate: int) -> int:
    """Return the length of the response in samples: until the slowest comb and the all-passes have decayed.

    Args:
        stage: A reverb.
        sample_rate: Sample rate of the response.
    """
    feedback = 0.7 + 0.28 * stage.values["room_size"]
    comb, allpasses = max(COMB_DELAYS) + STEREO_SPREAD, sum(ALLPASS_DELAYS) + len(ALLPASS_DELAYS) * STEREO_SPREAD
    loops = [math.ceil(-DECAY_DB / (20 * math.log10(gain))) for gain in (feedback, 0.5)]
    return math.ceil(((loops[0] + 1) * comb + loops[1] * allpasses) * sample_rate / 44100)


def blocks(stage: Stage, *, sample_rate: int, channels: int) -> Iterator[Samples]:
    """Render the response, with the dry signal, by passing an impulse through the reverb.

    For stereo it is true stereo: left to left, left to right, right to left and right to right. For any other number
    of channels it is one response, since the reverb renders each channel on its own.

    Args:
        stage: A reverb.
        sample_rate: Sample rate of the response.
        channels: Channels of the recordings that it is for.

    Shape:
        Each block: `(4, time)` of stereo, else `(1, time)`.
    """
    inputs = 2 if channels == 2 else 1
    sides = [stage.effect.exact(stage.values, sample_rate=sample_rate, channels=inputs) for _ in range(inputs)]
    left = frames(stage, sample_rate=sample_rate)
    impulses = np.zeros((inputs, inputs, min(left, _BLOCK_FRAMES)), np.float32)
    impulses[range(inputs), range(inputs), 0] = _IMPULSE
    while left:
        impulses = impulses[..., :left]
        block: Samples = np.concatenate([render(impulse) for render, impulse in zip(sides, impulses, strict=True)])
        block /= _IMPULSE
        yield block
        left -= impulses.shape[-1]
        impulses = np.zeros_like(impulses)
