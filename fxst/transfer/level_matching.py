"""Levelling: what sounds in a recording is made as loud as what sounds in a reference, by moments that are alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.chains.chain import Chain
from fxst.effects.parameters import Setting
from fxst.transfer.descriptors import RANGE_DB, Excerpt, Traits, sounding_level_db

__all__ = [
    "Moments",
    "belief",
    "levelled",
    "louder_db",
    "rendered",
    "softness",
]

LEAD_SECONDS: Final = 1.0
"""So much of an excerpt is played before it, for followers to settle and reverbs to fill."""

NO_LEVEL_DB: Final = -100.0
"""The level of nothing."""

ALIKE_DB: Final = 2.0
"""How far apart, root mean square over bands, two alike moments are."""

LEVEL_COUNTS: Final = 0.5
"""How much the square of what two moments' levels are apart counts, beside that of their spectra's shapes."""

ROUNDS: Final = 3
"""So often moments are paired, each time as loud as the time before told."""

PAIRS_SHARE: Final = 0.75
"""How far to go from what the loudness of all that sounds tells to what pairs of moments tell."""

NEAR_LOUDEST_DB: Final = 15.0
"""Moments of a reference no further than this below its loudest one tell how loud it is."""

ENOUGH: Final = {"level": 8, "pairs": 30, "chosen": 200}
"""From so many such moments, of a fiftieth of a second, all is believed; from fewer as much less: of the reference's
level, of what pairs tell, and of what a model chose, which heard the pauses around them too. Fitted to speech of
validation voices, with references of which all but 0.05 to 1.5 s was turned down."""


@dataclass(frozen=True)
class Moments:
    """How loud short moments are, one by one: alike ones tell of a gain, whatever else is said around them.

    Args:
        hear: Tells the levels of the moments in which something sounds, in dB by band.
        reference: Those of the reference, in the same bands.

    Shape:
        hear: gives `(n, bands)`; reference: `(m, bands)`; n and m may be 0.
    """

    hear: Callable[[Excerpt], npt.NDArray[np.float32]]
    reference: npt.NDArray[np.float32]


def levelled(
    chain: Chain,
    settings: Sequence[Setting],
    heard: Excerpt,
    reference: Traits,
    moments: Moments | None = None,
    *,
    share: float = 1.0,
) -> tuple[Setting, ...]:
    """Turn the make-up gain until what sounds in an excerpt is as loud as what sounds in the reference.

    How far a compressor turns a recording down shows when it is rendered, and not before. That other words are louder
    ones misleads; where moments are known, what alike ones differ by counts for three quarters. The less sounds in the
    reference, the less a model's own choice and pairs count, and the more it counts how loud the recording was.

    Args:
        chain: The effects.
        settings: What was chosen.
        heard: Of the recording to be changed.
        reference: Of the one to sound like.
        moments: Of both, one by one; None where a model hears none.
        share: How far to go: less than all of it lets the gain count that was chosen.

    Returns:
        The table, with another make-up gain where the chain has one; it may leave the chain's range, but not the
        effect's.
    """
    table = tuple(settings)
    index = next((i for i, row in enumerate(table) if row.parameter == "makeup_db"), None)
    if index is None or not heard.samples.any() or reference.level_db <= NO_LEVEL_DB:
        return table
    row = table[index]
    effect = chain.effects[chain.labels.index(row.effect)]
    widest = next(p for p in effect.widest() if p.name == row.parameter)
    played = rendered(chain, table, heard)
    level_db = sounding_level_db(played)
    missing_db = reference.level_db - level_db
    if moments is not None:
        by_pairs_db = louder_db(moments.hear(played), moments.reference, begin_db=missing_db)
        missing_db += PAIRS_SHARE * belief(moments.reference, "pairs") * (by_pairs_db - missing_db)
        as_it_was_db = sounding_level_db(heard) - level_db
        missing_db = as_it_was_db + belief(moments.reference, "level") * (missing_db - as_it_was_db)
        share = 1 - (1 - share) * belief(moments.reference, "chosen")
    gain_db = min(max(row.value + share * missing_db, widest.minimum), widest.maximum)
    return (*table[:index], replace(row, value=round(gain_db, 3)), *table[index + 1 :])


def rendered(chain: Chain, settings: Sequence[Setting], x: Excerpt) -> Excerpt:
    """Render an excerpt as the middle of a recording that it is.

    A compressor that begins in the middle of a word lets its onset pass, made up for a compression that is yet to come:
    a peak that the recording's own beginning, which is soft, does not have.
    """
    process = chain.exact(settings, sample_rate=x.sample_rate, channels=len(x.samples))
    process(x.samples[:, : round(LEAD_SECONDS * x.sample_rate)])
    return Excerpt(process(x.samples), x.sample_rate)


def louder_db(frames: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], *, begin_db: float) -> float:
    """Measure how much louder one recording is than another of the same colour, by moments that are alike in both.

    A pair of moments counts for as much as each takes the other for its own, by the shapes of their spectra and, under
    the gain that is known so far, by their levels. A level is half that of the power, which is what is loud, and half
    the mean of the bands', which all of the spectrum tells. A model that looks for a curve pairs moments whatever their
    levels (`fxst.models.matching`); here the curve is done, and levels are what is looked for.

    Args:
        frames: Levels of moments of the one, in dB.
        reference: Of the other.
        begin_db: What is known of it.

    Returns:
        How much louder the reference is; `begin_db` where there is nothing to pair.

    Shape:
        frames: `(n, bands)`; reference: `(m, bands)`.
    """
    if not frames.size or not reference.size:
        return begin_db
    ours, theirs = (np.maximum(x, x.max() - RANGE_DB, dtype=np.float64) for x in (frames, reference))
    # A band that one of the two does not reach says nothing of a gain.
    shared = (ours > ours.max() - RANGE_DB).any(axis=0) & (theirs > theirs.max() - RANGE_DB).any(axis=0)
    if not shared.any():
        return begin_db
    (our_shapes, our_levels), (their_shapes, their_levels) = (_shapes_and_levels(x[:, shared]) for x in (ours, theirs))
    squares = np.square(our_shapes).mean(axis=1)[:, None] + np.square(their_shapes).mean(axis=1)
    unlike = squares - 2 * our_shapes @ their_shapes.T / shared.sum()
    louder = their_levels - our_levels[:, None]
    gain_db = begin_db
    for _ in range(ROUNDS):
        alike = -(unlike + LEVEL_COUNTS * np.square(louder - gain_db)) / (2 * ALIKE_DB**2)
        pairs = _shares(alike, axis=1) * _shares(alike, axis=0)
        gain_db = float((pairs * louder).sum() / pairs.sum())
    return gain_db


def belief(frames: npt.NDArray[np.floating], what: str) -> float:
    """Tell how far to believe what a recording's loud moments say.

    Args:
        frames: Levels of the moments in which something sounds, in dB.
        what: A key of `ENOUGH`.

    Returns:
        From 0, for none, to 1, for enough.

    Shape:
        frames: `(n, bands)`.
    """
    powers = np.power(10, frames / 10, dtype=np.float64).sum(axis=1)
    loud = int(np.count_nonzero(powers > powers.max(initial=0.0) * 10 ** (-NEAR_LOUDEST_DB / 10)))
    return min(1.0, loud / ENOUGH[what])


def softness(moment: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Give what moments are sorted by wherever they are kept: softest first, equal ones side by side."""
    return sum(moment), moment


def _shapes_and_levels(frames: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    means = frames.mean(axis=1)
    powers = 10 * np.log10((10 ** (frames / 10)).sum(axis=1))
    return frames - means[:, None], (means + powers) / 2


def _shares(logits: npt.NDArray[np.float64], *, axis: int) -> npt.NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(shares / shares.sum(axis=axis, keepdims=True))
