"""Width matching: the stereo width of a recording is brought to that of a reference, by measuring both."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fxst.chains.chain import Chain, rounded
from fxst.effects import StereoWidth
from fxst.effects.parameters import Setting
from fxst.transfer.descriptors import Descriptors, Excerpt, active_level_db, side_db
from fxst.transfer.level_matching import move_gain, rendered

__all__ = ["match_width"]

LEAST_DB: Final = 1.0
"""A smaller difference in width is left as it is."""

WIDEST_DB: Final = 0.0
"""Nothing is widened beyond this: the channels' correlation would be negative, and their sum would lose sound."""

ROUNDS: Final = 2
"""How often the level is restored: a distortion behind the gain makes less of it than was asked for."""


def match_width(
    chain: Chain, settings: Sequence[Setting], excerpt: Excerpt, reference: Descriptors
) -> tuple[Setting, ...]:
    """Set the stereo width so that the side signal of an excerpt is as far from the mid signal as in the reference.

    No network takes part: a reverb changes the width, so it is measured on the rendered excerpt. Wider also means
    louder, so the make-up gain is moved to keep the level. The width stays as it is where the recording or the
    reference has no width of its own (`Descriptors.side_db`): a reference in mono does not turn music into mono.

    Args:
        chain: The effects.
        settings: The settings that were chosen, in which the stereo width is bypassed.
        excerpt: An excerpt of the recording to change.
        reference: The descriptors of the reference.

    Returns:
        The table; the width stays within the chain's range.
    """
    table = tuple(settings)
    if reference.side_db is None:
        return table
    for label, effect in zip(chain.labels, chain.effects, strict=True):
        if not isinstance(effect, StereoWidth) or side_db(excerpt) is None:
            continue
        before = rendered(chain, table, excerpt)
        width_db = side_db(before)
        if width_db is None:
            continue
        missing_db = min(reference.side_db, max(width_db, WIDEST_DB)) - width_db
        (widths,) = effect.parameters
        width = rounded(min(max(10 ** (missing_db / 20), widths.minimum), widths.maximum))
        if abs(20 * math.log10(width)) >= LEAST_DB:
            level_db = active_level_db(before)
            table = tuple(replace(row, value=width, bypass=False) if row.effect == label else row for row in table)
            for _ in range(ROUNDS):
                table = move_gain(chain, table, level_db - active_level_db(rendered(chain, table, excerpt)))
    return table
