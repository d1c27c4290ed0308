"""Detection: which effects of a parameter table are audible in a recording."""

from typing import Final

import numpy as np

from fxst.chains.table import Table
from fxst.dsp import Array, Samples
from fxst.dsp.spectra import third_octaves

__all__ = ["audible_effects", "change_db"]

LEAST_DB: Final = 1.0
"""Smallest audible level change of an effect."""

FRAME_SECONDS: Final = 0.05

RANGE_DB: Final = 60.0
"""Levels this far below the loudest, before and after an effect, are inaudible."""


def audible_effects(table: Table, x: Samples, *, sample_rate: int) -> dict[str, bool]:
    """Return which predicted effects of a table are audible in a recording.

    An effect is audible if it changes levels by 1 dB or more (`change_db`). A compressor whose threshold the recording
    never reaches is inaudible, as is a compressor that only adds make-up gain, or a faint reverb.

    Args:
        table: The settings.
        x: The recording before the chain.
        sample_rate: Its sample rate in Hz.

    Returns:
        Whether each effect is audible, by its label.

    Shape:
        x: `(channels, time)`.
    """
    chain = table.chain
    verdicts = {}
    for stage in chain.stages(table):
        y = x
        if stage.active:
            y = stage.effect.exact(stage.values, sample_rate=sample_rate, channels=len(x))(x)
        if not stage.effect.matched:
            verdicts[stage.label] = stage.active and change_db(x, y, sample_rate=sample_rate) >= LEAST_DB
        x = y
    return verdicts


def change_db(x: Samples, y: Samples, *, sample_rate: int) -> float:
    """Measure how much an effect changes the sound, apart from the overall level.

    The result is the standard deviation of the level change in dB, over third octaves and frames.

    Args:
        x: Audio before an effect.
        y: Audio after it.
        sample_rate: Sample rate of both in Hz.

    Returns:
        Decibels; 0 for silence.

    Shape:
        `(channels, time)`, both.
    """
    before, after = (_levels_db(audio, sample_rate) for audio in (x, y))
    audible = np.maximum(before - before.max(), after - after.max()) > -RANGE_DB
    return float((after - before)[audible].std())


def _levels_db(x: Samples, sample_rate: int) -> Array:
    length = min(round(FRAME_SECONDS * sample_rate), x.shape[1])
    frames = x[:, : x.shape[1] // length * length].reshape(-1, length)
    return third_octaves(frames, sample_rate=sample_rate)[1]
