"""The noise guard: pauses are turned down where a style would raise their noise too far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fxst.chains.chain import Chain, rounded
from fxst.configs import ApplyConfig
from fxst.dsp import Samples
from fxst.dsp.voice_activity import FRAME_SECONDS, speech_frames
from fxst.effects import Expander
from fxst.effects.parameters import Setting
from fxst.transfer.descriptors import Excerpt, active_level_db
from fxst.transfer.level_matching import rendered

__all__ = ["NoiseLimit", "guard_noise", "guarded", "noise_rise_db"]

GUARD_DB: Final = 3.0
"""By how much the noise guard lets the noise rise where a command does not say."""

ABOVE_NOISE_DB: Final = (2.0, 6.0)
"""The threshold is so far above the peaks of the noise: half of the way to soft speech, within these limits."""

RATIOS: Final = (4.0, 10.0)
"""The ratio of the expander, and the one where that is not enough."""

ROUNDS: Final = 6
SPARE_DB: Final = 0.5
"""How often the range is widened, each time by what is missing and a little more."""


@dataclass(frozen=True)
class NoiseLimit:
    """How far the noise of a recording may rise relative to its active signal.

    Args:
        most_db: By how much; None for what the safety check allows.
        guard: Whether pauses are turned down so that it does not; else less of the style is applied.
    """

    most_db: float | None = None
    guard: bool = False

    @staticmethod
    def of(config: ApplyConfig) -> "NoiseLimit":
        """Return the limit that a command names."""
        guard = config.noise == "guard"
        return NoiseLimit(GUARD_DB if guard and config.max_noise is None else config.max_noise, guard)


def guarded(chain: Chain) -> Chain:
    """Return a chain with an expander in front, where the noise is as it was recorded."""
    return replace(chain, name=f"{chain.name}-guarded", effects=(Expander(), *chain.effects))


def guard_noise(
    chain: Chain, settings: Sequence[Setting], excerpt: Excerpt, pauses: Excerpt, most_db: float
) -> tuple[Setting, ...]:
    """Set the expander of a guarded chain so that noise rises no further than it may.

    Where it does not rise so far, or a recording has no pauses, the expander stays bypassed.

    Args:
        chain: The effects.
        settings: The settings that were chosen.
        excerpt: An excerpt of the recording to change.
        pauses: The softest stretches of the whole recording.
        most_db: By how much the noise may rise relative to the active signal.
    """
    table = tuple(settings)
    soft = pauses if pauses.pause_frames.size else excerpt
    threshold_db = _threshold_db(soft, excerpt)
    if threshold_db is None:
        return table
    range_db = 0.0
    for turn in range(ROUNDS):
        too_high_db = noise_rise_db(chain, table, excerpt, soft) - most_db
        if too_high_db <= 0:
            break
        range_db = min(range_db + too_high_db + SPARE_DB, 60.0)
        ratio = RATIOS[0] if turn < ROUNDS // 2 else RATIOS[1]
        values = {"threshold_db": rounded(threshold_db), "ratio": ratio, "range_db": rounded(range_db)}
        table = tuple(
            replace(row, value=values.get(row.parameter, row.value), bypass=False)
            if row.effect == Expander.name
            else row
            for row in table
        )
    return table


def noise_rise_db(chain: Chain, settings: Sequence[Setting], excerpt: Excerpt, soft: Excerpt) -> float:
    """Measure by how much settings raise the noise in pauses relative to the active signal.

    Args:
        chain: The effects.
        settings: The settings.
        excerpt: An excerpt of the recording to change.
        soft: Stretches of it with pauses.
    """
    frames = soft.pause_frames
    before, after = soft.frame_powers[frames], rendered(chain, settings, soft).frame_powers[frames]
    louder_db = active_level_db(rendered(chain, settings, excerpt)) - active_level_db(excerpt)
    return float(np.median(10 * np.log10(np.maximum(after, 1e-30) / before))) - louder_db


def _threshold_db(soft: Excerpt, excerpt: Excerpt) -> float | None:
    """Return a level between the peaks of the noise and those of soft speech; None where there are no pauses."""
    if not soft.pause_frames.size:
        return None
    noise_db = float(np.percentile(_peaks_db(soft.samples, soft.sample_rate)[soft.pause_frames], 95))
    speech = speech_frames(excerpt.samples, sample_rate=excerpt.sample_rate)
    peaks_db = _peaks_db(excerpt.samples, excerpt.sample_rate)[: len(speech)]
    softest_db = float(np.percentile(peaks_db[speech], 10)) if speech.any() else math.inf
    low, high = ABOVE_NOISE_DB
    expander = Expander().parameters[0]
    threshold_db = noise_db + min(max((softest_db - noise_db) / 2, low), high)
    return min(max(threshold_db, expander.minimum), expander.maximum)


def _peaks_db(x: Samples, sample_rate: int) -> "np.typing.NDArray[np.float64]":
    """Return the peak of each frame, of the loudest channel: what the expander follows."""
    length = round(sample_rate * FRAME_SECONDS)
    count = x.shape[1] // length
    peaks = np.abs(x[:, : count * length]).max(axis=0).reshape(count, length).max(axis=1)
    return np.asarray(20 * np.log10(np.maximum(peaks, 1e-10)), np.float64)
