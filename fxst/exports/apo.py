"""Equalizer APO and AutoEq: `ParametricEQ.txt`, which many equalisers import."""

from typing import Final

from fxst.effects import ParametricEQ
from fxst.exports.base import Export, bands, commented, comments, number

__all__ = ["write"]

_TYPES: Final = {"low_shelf": "LSC", "peak": "PK", "high_shelf": "HSC"}


def write(export: Export) -> str:
    """Write the equaliser, one band per line: Equalizer APO's filters with a Q are the same bands as ours.

    Source:
        "Configuration reference", Equalizer APO's documentation; AutoEq's results.
    """
    equalizers = [stage for stage in export.stages if isinstance(stage.effect, ParametricEQ)]
    everything = [band for stage in equalizers for band in bands(stage, sample_rate=export.sample_rate)]
    lines = comments(export, "Equalizer APO")
    if left_out := ", ".join(stage.label for stage in export.stages if stage not in equalizers):
        lines.append(f"Equalizer APO has filters only. Left out, so the result differs: {left_out}.")
    lines += [
        "The filters are the same as ours at this sample rate; not measured, because the program runs only on Windows.",
        "The level is kept: if it clips, lower Preamp.",
    ]
    filters = (
        f"Filter {index}: ON {_TYPES[kind]} Fc {number(f0_hz)} Hz Gain {number(gain_db)} dB Q {number(q)}\n"
        for index, (kind, f0_hz, gain_db, q) in enumerate(everything, 1)
    )
    return commented(lines) + "Preamp: 0 dB\n" + "".join(filters)
