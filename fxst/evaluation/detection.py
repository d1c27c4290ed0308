"""Detection: which effects of a chain are audible in a recording, as a parameter table sets them."""

from typing import Final

import numpy as np

from fxst.chains.table import Table
from fxst.dsp import Array, Samples
from fxst.dsp.spectra import third_octaves

__all__ = ["audible_effects", "change_db"]

LEAST_DB: Final = 1.0
"""An effect that changes levels by less is not audible: few notice as little."""

MOMENT_SECONDS: Final = 0.05

RANGE_DB: Final = 60.0
"""What is further than this below the loudest band of all moments, before and after, is not audible anyway."""


def audible_effects(table: Table, x: Samples, *, sample_rate: int) -> dict[str, bool]:
    """Tell of each effect whether it is audible in a recording.

    It is where it changes levels by 1 dB or more (`change_db`). So a compressor that a recording does not reach is not
    audible, nor one that is but a make-up gain, nor the last trace of a reverb.

    Args:
        table: The settings.
        x: The recording that they are applied to.
        sample_rate: Its sample rate.

    Returns:
        A verdict for each label of the chain.

    Shape:
        x: `(channels, time)`.
    """
    chain = table.chain
    verdicts = {}
    for stage in chain.stages(table):
        if not stage.active:
            verdicts[stage.label] = False
            continue
        y = stage.effect.exact(stage.values, sample_rate=sample_rate, channels=len(x))(x)
        verdicts[stage.label] = change_db(x, y, sample_rate=sample_rate) >= LEAST_DB
        x = y
    return verdicts


def change_db(x: Samples, y: Samples, *, sample_rate: int) -> float:
    """Measure how differently something sounds, but for how loud it is.

    The root mean square, over third octaves and moments, of how much the level changes beyond the mean change of all.

    Args:
        x: Audio before an effect.
        y: And after it.
        sample_rate: Of both.

    Returns:
        Decibels; 0 where nothing sounds.

    Shape:
        `(channels, time)`, both.
    """
    before, after = (_levels_db(audio, sample_rate) for audio in (x, y))
    audible = np.maximum(before - before.max(), after - after.max()) > -RANGE_DB
    return float((after - before)[audible].std())


def _levels_db(x: Samples, sample_rate: int) -> Array:
    length = min(round(MOMENT_SECONDS * sample_rate), x.shape[1])
    moments = x[:, : x.shape[1] // length * length].reshape(-1, length)
    return third_octaves(moments, sample_rate=sample_rate)[1]
