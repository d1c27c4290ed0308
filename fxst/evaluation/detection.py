"""Detection: which effects of a chain are heard, as a parameter table sets them."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from fxst.effects import Compressor, Effect, ParametricEQ
from fxst.tables import Table

__all__ = ["heard"]

LEAST_DB: Final = 1.0
"""An equaliser and a compressor that nowhere change a level by as much are not heard: few notice less."""

LOWEST_HZ: Final = 20.0
HIGHEST_HZ: Final = 20_000.0
FREQUENCIES: Final = 1000
"""A hundredth of an octave apart: no band is so narrow that its top is missed."""


def heard(table: Table, *, sample_rate: int) -> dict[str, bool]:
    """Tell of each effect whether it is heard, from its settings alone, whatever the recording.

    What lets sound pass as it is is not heard. Nor is an equaliser whose curve stays within 1 dB of 0 at every
    frequency, or a compressor whose gain, make-up included, stays within 1 dB of 0 at every level up to full scale: a
    model can leave them out in no other way. Every other effect is heard.

    Args:
        table: The settings.
        sample_rate: Of the recording that they are for; above half of it an equaliser has nothing to do.

    Returns:
        A verdict for each label of the chain.
    """
    chain = table.chain
    return {
        label: not effect.is_transparent(values) and _largest_db(effect, values, sample_rate) >= LEAST_DB
        for label, effect, values in zip(chain.labels, chain.effects, chain.values(table), strict=True)
    }


def _largest_db(effect: Effect, values: Mapping[str, float], sample_rate: int) -> float:
    """Find by how much an effect changes levels at most; infinity for what does more than that."""
    if isinstance(effect, ParametricEQ):
        from scipy.signal import sosfreqz

        hz = np.geomspace(LOWEST_HZ, min(HIGHEST_HZ, sample_rate / 2), FREQUENCIES, endpoint=False)
        _, response = sosfreqz(effect.sections(values, sample_rate=sample_rate), hz, fs=sample_rate)
        return float(np.abs(20 * np.log10(np.abs(response))).max())
    if isinstance(effect, Compressor):
        # Below the threshold there is the make-up alone; from there on the gain falls as the level rises.
        makeup_db = values["makeup_db"]
        at_full_scale_db = makeup_db + min(0.0, values["threshold_db"]) * (1 - 1 / values["ratio"])
        return max(abs(makeup_db), abs(at_full_scale_db))
    return float("inf")
