"""Doing no harm: what a model chose is tried on an excerpt, and turned down where it would make a recording worse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fxst.chains.chain import Chain
from fxst.effects import UpwardCompressor
from fxst.effects.parameters import Setting
from fxst.transfer.descriptors import (
    Excerpt,
    Traits,
    distance_db,
    noise_floor_db,
    soft_rise_db,
    sounding_level_db,
    traits,
)
from fxst.transfer.level_matching import Moments, levelled, rendered

__all__ = [
    "AMOUNTS",
    "MOST_NOISE_DB",
    "MOST_RISE_DB",
    "Trial",
    "cautious",
]

AMOUNTS: Final = (1.0, 0.9, 0.8, 0.65, 0.5, 0.25, 0.0)
"""How much of what was chosen is tried, from all to nothing."""

MOST_NOISE_DB: Final = 9.0
"""By how much a noise floor may rise against what sounds, beyond the recording's or the reference's own, whichever is
noisier. A gain raises both, and makes nothing noisier."""

MOST_RISE_DB: Final = 24.0
"""By how much it may rise in all, above the recording's or the reference's own: what is but noise is to stay that."""

DOUBT_DB: Final = 1.5
"""By how much a distance between recordings of other contents may grow by chance."""


@dataclass(frozen=True)
class Trial:
    """What came of trying.

    Args:
        settings: The table to apply.
        amount: How much of what was chosen is in it.
        before_db: How far the excerpt is from the reference as it is.
        after_db: How far it is with these settings.
        noisy: Whether noise was why some of it was left out.
        lifted: How much of its upward compressor is in it, which raises what is soft.
    """

    settings: tuple[Setting, ...]
    amount: float
    before_db: float
    after_db: float
    noisy: bool
    lifted: float = 1.0

    @property
    def remark(self) -> str:
        """Say how much of a style was applied, and why not more; nothing where all of it was."""
        if self.amount == self.lifted == 1:
            return ""
        done = f"{self.amount:.0%} of the style was applied" if self.amount else "nothing was changed"
        if self.amount and self.lifted < 1:
            done += f", and {self.lifted:.0%} of that of its upward compressor"
        if self.noisy:
            limits = f"{MOST_NOISE_DB:g} dB against what sounds, or {MOST_RISE_DB:g} dB in all"
            return f"{done}: more would have raised noise by more than {limits}"
        return f"{done}: more did not bring the recording nearer to the reference"


def cautious(
    chain: Chain, settings: Sequence[Setting], heard: Excerpt, reference: Traits, moments: Moments | None = None
) -> Trial:
    """Try settings on an excerpt, and turn them down where they do harm.

    They are taken whole unless the excerpt is then clearly further from the reference than it was, or noisier, beside
    how loud it is where something sounds: by the level that a tenth of its moments stay under, and by the moments that
    were soft. Where it is noisier, as much of them is taken as may be, and of an upward compressor alone, if that is
    enough; where it is further, as much as comes nearest. Its level is set again then, unless that raised the noise.

    Args:
        chain: The effects.
        settings: What was chosen.
        heard: Of the recording to be changed.
        reference: Of the one to sound like.
        moments: Of both, one by one; None where a model hears none.
    """
    before = traits(heard)
    before_db = distance_db(before, reference)
    most_noise_db = max(before.noise_db, reference.noise_db) + MOST_NOISE_DB
    most_floor_db = max(before.floor_db, reference.floor_db) + MOST_RISE_DB

    def floor_db(result: Excerpt) -> float:
        return min(noise_floor_db(result), before.floor_db + soft_rise_db(heard, result))

    def is_noisy(result: Excerpt) -> bool:
        return floor_db(result) - sounding_level_db(result) > most_noise_db

    settings, lifted = _lifted(chain, settings, lambda table: is_noisy(rendered(chain, table, heard)))
    best = Trial(chain.at_amount(settings, 0.0), 0.0, before_db, before_db, noisy=False)
    noisy = lifted < 1
    raised = harmful = False
    for amount in AMOUNTS[:-1]:
        table = chain.at_amount(settings, amount)
        if (amount < 1 or lifted < 1) and not raised:
            table = levelled(chain, table, heard, reference, moments)
        result = rendered(chain, table, heard)
        too_high = floor_db(result) > most_floor_db
        if too_high or is_noisy(result):
            noisy, raised = True, raised or too_high
            continue
        after_db = distance_db(traits(result), reference)
        near = after_db < before_db + DOUBT_DB
        if near and not harmful:
            # The most that may be: what is less is nearer by chance only.
            return Trial(table, amount, before_db, after_db, noisy, lifted)
        harmful = True
        if after_db < best.after_db:
            best = Trial(table, amount, before_db, after_db, noisy, lifted)
    return best if harmful else replace(best, noisy=noisy)


def _lifted(
    chain: Chain, settings: Sequence[Setting], is_noisy: Callable[[Sequence[Setting]], bool]
) -> tuple[Sequence[Setting], float]:
    """Turn an upward compressor down by itself, where that is enough to keep noise down: all else may stay.

    Returns:
        The table, and how much of the upward compressor is in it.
    """
    values = zip(chain.labels, chain.effects, chain.values(settings), strict=True)
    lifts = [label for label, e, v in values if isinstance(e, UpwardCompressor) and not e.is_transparent(v)]
    if lifts and is_noisy(settings):
        for share in AMOUNTS[1:]:
            table = chain.at_amount(settings, dict.fromkeys(lifts, share))
            if not is_noisy(table):
                return table, share
    return settings, 1.0
