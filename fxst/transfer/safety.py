"""The safety check: settings are tried on an excerpt, and reduced where they would make a recording worse."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from fxst.chains.chain import Chain
from fxst.effects import UpwardCompressor
from fxst.effects.parameters import Setting
from fxst.transfer.descriptors import (
    Descriptors,
    Excerpt,
    active_level_db,
    describe,
    distance_db,
    nearest_db,
    noise_floor_db,
    soft_rise_db,
)
from fxst.transfer.level_matching import match_level, rendered

__all__ = ["AMOUNTS", "MOST_NOISE_DB", "MOST_RISE_DB", "SafetyResult", "limit_amount"]

AMOUNTS: Final = (1.0, 0.9, 0.8, 0.65, 0.5, 0.25, 0.0)
"""The amounts of the chosen settings that are tried, from all to nothing."""

MOST_NOISE_DB: Final = 9.0
"""By how much the noise floor may rise relative to the active signal, beyond the recording's or the reference's own,
whichever is noisier. A gain raises both, and makes nothing noisier."""

MOST_RISE_DB: Final = 24.0
"""By how much it may rise in all, above the recording's or the reference's own."""

TOLERANCE_DB: Final = 1.5
"""By how much the distance of recordings with different content may grow by chance."""


@dataclass(frozen=True)
class SafetyResult:
    """The result of a safety check.

    Args:
        settings: The table to apply.
        amount: The amount of the chosen settings in it.
        before_db: The distance of the excerpt from the reference.
        after_db: The distance with these settings.
        noisy: Whether noise was why the amount was reduced.
        upward_share: The amount of its upward compressor in it, which raises soft passages.
        levelled: Whether the level was matched though nothing of the style was applied.
        most_noise_db: By how much the noise floor was allowed to rise relative to the signal.
    """

    settings: tuple[Setting, ...]
    amount: float
    before_db: float
    after_db: float
    noisy: bool
    upward_share: float = 1.0
    levelled: bool = False
    most_noise_db: float = MOST_NOISE_DB

    @property
    def remark(self) -> str:
        """How much of a style was applied, and why not more; empty where all of it was."""
        if self.amount == self.upward_share == 1:
            return ""
        if self.amount == 0:
            applied = "only the level was changed" if self.levelled else "nothing was changed"
        elif self.amount == 1:
            applied = f"{self.upward_share:.0%} of the upward compressor was applied"
        else:
            upward = f", {self.upward_share:.0%} of the upward compressor" if self.upward_share < 1 else ""
            applied = f"{self.amount:.0%} of the style was applied{upward}"
        if self.noisy:
            limits = f"{self.most_noise_db:g} dB relative to the signal, or by more than {MOST_RISE_DB:g} dB in all"
            return f"{applied}: more would have raised the noise floor by more than {limits}"
        return f"{applied}: more did not bring the recording nearer to the reference"


def limit_amount(
    chain: Chain,
    settings: Sequence[Setting],
    excerpt: Excerpt,
    reference: Descriptors,
    relevel: Callable[[Sequence[Setting]], tuple[Setting, ...]] | None = None,
    pauses: Excerpt | None = None,
    most_noise_db: float | None = None,
) -> SafetyResult:
    """Try settings on an excerpt, and reduce them where they do harm.

    All of them are applied unless the excerpt is then clearly further from the reference than with its level matched
    alone, or the noise floor of its softest moments rises too far relative to its active signal; both their percentile
    and the rise of the soft frames must say so. Where it is too noisy, the largest amount that is not is taken, and of
    an upward compressor alone if that is enough. Where it is further away, the amount that comes nearest is taken. The
    level is matched again then, unless that raised the noise. Where no amount comes nearer, the level is all that is
    changed.

    Args:
        chain: The effects.
        settings: The settings that were chosen.
        excerpt: An excerpt of the recording to change.
        reference: The descriptors of the reference.
        relevel: Matches the level of a table; None for the level of the active signal.
        pauses: The softest stretches of the whole recording; None for those of the excerpt.
        most_noise_db: By how much the noise floor may rise relative to the recording's own; None for `MOST_NOISE_DB`
            above that of the recording or the reference.
    """
    relevel = relevel or (lambda table: match_level(chain, table, excerpt, reference))
    soft = excerpt if pauses is None or not pauses.samples.size else pauses
    before = msgspec.structs.replace(describe(excerpt), floor_db=noise_floor_db(soft))
    before_db = distance_db(before, reference)
    allowed_db = MOST_NOISE_DB if most_noise_db is None else most_noise_db
    noisier_db = max(before.noise_db, reference.noise_db) if most_noise_db is None else before.noise_db
    highest_noise_db = noisier_db + allowed_db
    most_floor_db = max(before.floor_db, reference.floor_db) + MOST_RISE_DB

    def floor_db(table: Sequence[Setting]) -> float:
        output = rendered(chain, table, soft)
        risen_db = before.floor_db + soft_rise_db(soft, output)
        if most_noise_db is not None and soft.pause_frames.size:
            return risen_db  # where the pauses are is known, and the limit is a person's
        return min(noise_floor_db(output), risen_db)

    def is_noisy(output: Excerpt, its_floor_db: float) -> bool:
        return its_floor_db - active_level_db(output) > highest_noise_db

    def makes_noisy(table: Sequence[Setting]) -> bool:
        output = rendered(chain, table, excerpt)
        return is_noisy(output, floor_db(table))

    settings, upward_share = _limit_upward(chain, settings, makes_noisy)
    nothing = chain.at_amount(settings, 0.0)
    best = SafetyResult(nothing, 0.0, before_db, before_db, noisy=False, most_noise_db=allowed_db)

    def by_level_alone() -> SafetyResult:
        # A level is measured, and not learned: it is no reason for an effect, nor against one.
        levelled = relevel(nothing)
        if levelled == nothing or floor_db(levelled) > most_floor_db:
            return best
        levelled_db = distance_db(describe(rendered(chain, levelled, excerpt)), reference)
        return replace(best, settings=levelled, after_db=levelled_db, levelled=True)

    least_db: float = nearest_db(before, reference)  # what is nearer than any level need not be compared with one
    noisy = upward_share < 1
    raised = harmful = compared = False
    for amount in AMOUNTS[:-1]:
        table = chain.at_amount(settings, amount)
        if (amount < 1 or upward_share < 1) and not raised:
            table = relevel(table)
        output = rendered(chain, table, excerpt)
        its_floor_db = floor_db(table)
        too_high = its_floor_db > most_floor_db
        if too_high or is_noisy(output, its_floor_db):
            noisy, raised = True, raised or too_high
            continue
        after_db = distance_db(describe(output), reference)
        result = SafetyResult(table, amount, before_db, after_db, noisy, upward_share, most_noise_db=allowed_db)
        if after_db >= least_db + TOLERANCE_DB and not compared:
            best, compared = by_level_alone(), True
            least_db = best.after_db
        if after_db < least_db + TOLERANCE_DB and not harmful:
            # The largest amount: a smaller one is nearer by chance only.
            return result
        harmful = True
        if after_db < best.after_db:
            best = result
    return best if harmful else replace(by_level_alone(), noisy=noisy)


def _limit_upward(
    chain: Chain, settings: Sequence[Setting], is_noisy: Callable[[Sequence[Setting]], bool]
) -> tuple[Sequence[Setting], float]:
    """Reduce the upward compressor alone, where that is enough to keep the noise down.

    Returns:
        The table, and the amount of the upward compressor in it.
    """
    upward = [stage.label for stage in chain.stages(settings) if isinstance(stage.effect, UpwardCompressor)]
    if upward and is_noisy(settings):
        for share in AMOUNTS[1:]:
            table = chain.at_amount(settings, dict.fromkeys(upward, share))
            if not is_noisy(table):
                return table, share
    return settings, 1.0
