"""Level matching: the active signal of a recording is made as loud as that of a reference, by alike frames of both."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.chains.chain import Chain
from fxst.effects.parameters import Setting
from fxst.transfer.descriptors import RANGE_DB, Descriptors, Excerpt, active_level_db

__all__ = [
    "FrameLevels",
    "confidence",
    "level_offset_db",
    "loudness_key",
    "match_level",
    "move_gain",
    "neighbour_ratio",
    "rendered",
]

LEAD_SECONDS: Final = 1.0
"""An excerpt is preceded by this much of itself, for envelopes to settle and reverbs to fill."""

NO_LEVEL_DB: Final = -100.0
"""The level of silence."""

ALIKE_DB: Final = 2.0
"""The distance of two alike frames, root mean square over bands."""

LEVEL_WEIGHT: Final = 0.5
"""The weight of the squared difference of two frames' levels beside that of the shapes of their spectra."""

ROUNDS: Final = 3
"""Rounds of pairing, each at the level offset of the round before."""

NEIGHBOUR: Final = 8
"""Nearer ones of a frame are often the moments just before and after it, which a short excerpt holds and another
recording cannot."""

NEAR_LOUDEST_DB: Final = 15.0
"""Only frames no further than this below the loudest one count for confidence."""

ENOUGH: Final = {"level": 8, "pairs": 30, "chosen": 200}
"""From this many such frames, of a fiftieth of a second, confidence is full, and proportionally lower from fewer: in
the reference's level, in pairs, and in the model's own gain, for the model analysed the pauses around them too. Fitted
to speech of validation voices, with references of which all but 0.05 to 1.5 s was turned down."""


@dataclass(frozen=True)
class FrameLevels:
    """Levels of short-time frames: alike frames of two recordings differ by a gain, whatever else they contain.

    Args:
        measure: Measures the active frames of an excerpt, in dB by band.
        reference: The active frames of the reference, in the same bands.

    Shape:
        measure: returns `(n, bands)`; reference: `(m, bands)`; n and m may be 0.
    """

    measure: Callable[[Excerpt], npt.NDArray[np.float32]]
    reference: npt.NDArray[np.float32]

    def confidence(self, what: str) -> float:
        """Return the confidence in a measurement of the reference, as `confidence` does."""
        return min(1.0, self._loud / ENOUGH[what])

    @cached_property
    def _loud(self) -> int:
        return _loud_frames(self.reference)


def match_level(
    chain: Chain,
    settings: Sequence[Setting],
    excerpt: Excerpt,
    reference: Descriptors,
    frames: FrameLevels | None = None,
    *,
    share: float = 1.0,
) -> tuple[Setting, ...]:
    """Set the make-up gain so that the active signal of an excerpt is as loud as that of the reference.

    How far a compressor turns a recording down shows only when it is rendered. Loudness also depends on the content;
    where frames are known, the difference of alike frames counts. The less active signal the reference holds, the less
    that difference and the model's own gain count, and the more the recording's own level.

    Args:
        chain: The effects.
        settings: The settings that were chosen.
        excerpt: An excerpt of the recording to change.
        reference: The descriptors of the reference.
        frames: Frames of both; None for a model that uses none.
        share: How far to move the gain: with less than 1 the gain that was chosen counts too.

    Returns:
        The table, with another gain in `Chain.gain` where the chain has one; it may leave the chain's range, but not
        the effect's.
    """
    table = tuple(settings)
    if chain.gain is None or not excerpt.samples.any() or reference.level_db <= NO_LEVEL_DB:
        return table
    output = rendered(chain, table, excerpt)
    level_db = active_level_db(output)
    missing_db = reference.level_db - level_db
    if frames is not None:
        by_pairs_db = level_offset_db(frames.measure(output), frames.reference, begin_db=missing_db)
        missing_db += frames.confidence("pairs") * (by_pairs_db - missing_db)
        unchanged_db = active_level_db(excerpt) - level_db
        missing_db = unchanged_db + frames.confidence("level") * (missing_db - unchanged_db)
        share = 1 - (1 - share) * frames.confidence("chosen")
    return move_gain(chain, table, share * missing_db)


def move_gain(chain: Chain, settings: Sequence[Setting], change_db: float) -> tuple[Setting, ...]:
    """Raise the gain that sets a chain's level, as far as its effect can; a chain without one stays as it is.

    Args:
        chain: The effects.
        settings: The settings.
        change_db: By how much to raise it; below 0 it is lowered.
    """
    table = tuple(settings)
    if chain.gain is None:
        return table
    index = next(i for i, row in enumerate(table) if (row.effect, row.parameter) == chain.gain)
    row = table[index]
    effect = chain.effects[chain.labels.index(row.effect)]
    widest = next(p for p in effect.widest() if p.name == row.parameter)
    gain_db = min(max(row.value + change_db, widest.minimum), widest.maximum)
    return (*table[:index], replace(row, value=round(gain_db, 3)), *table[index + 1 :])


def rendered(chain: Chain, settings: Sequence[Setting], x: Excerpt) -> Excerpt:
    """Render an excerpt as part of a recording, and not as its beginning.

    A compressor that starts in the middle of a word lets its onset pass uncompressed, with the make-up gain on top: a
    peak that the recording, which begins softly, does not have.

    What each effect made of it is kept until the next call, which renders only from the first effect on that differs.
    """
    stages = [stage for stage in chain.stages(settings) if stage.active]
    same = 0
    while same < min(len(stages), len(x.renderings)) and stages[same] == x.renderings[same][0]:
        same += 1
    del x.renderings[same:]
    lead, whole = x.renderings[-1][1:] if same else (x.samples[:, : round(LEAD_SECONDS * x.sample_rate)], x)
    for stage in stages[same:]:
        process = stage.effect.exact(stage.values, sample_rate=x.sample_rate, channels=len(x.samples))
        lead, whole = process(lead), replace(whole, samples=process(whole.samples))
        x.renderings.append((stage, lead, whole))
    return whole


def level_offset_db(frames: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], *, begin_db: float) -> float:
    """Measure the level offset of two recordings of the same spectrum by frames that are alike in both.

    Pairs are soft and mutual: each counts by how well the two frames agree in the shapes of their spectra and, at the
    offset found so far, in their levels. A frame's level is the mean of its power in dB and of the mean of its bands. A
    model that looks for a curve pairs frames whatever their levels (`fxst.models.matching`); here the curve has been
    applied, and the level is what is looked for.

    Args:
        frames: Levels of frames of the recording, in dB.
        reference: Those of the reference.
        begin_db: The offset to begin with.

    Returns:
        The level of the reference above the recording's; `begin_db` where there is nothing to pair.

    Shape:
        frames: `(n, bands)`; reference: `(m, bands)`.
    """
    shapes = _shapes_of_both(frames, reference)
    if shapes is None:
        return begin_db
    (our_shapes, our_levels), (their_shapes, their_levels) = shapes
    unlike = _squared_distances(our_shapes, their_shapes)
    offsets = their_levels - our_levels[:, None]
    gain_db = begin_db
    alike, pairs, other = (np.empty_like(offsets) for _ in range(3))  # new memory each time would cost as much again
    for _ in range(ROUNDS):
        np.subtract(offsets, gain_db, out=alike)
        np.square(alike, out=alike)
        alike *= LEVEL_WEIGHT
        alike += unlike
        alike /= -2 * ALIKE_DB**2
        _shares(alike, axis=1, out=pairs)
        pairs *= _shares(alike, axis=0, out=other)
        gain_db = float(np.multiply(pairs, offsets, out=other).sum() / pairs.sum())
    return gain_db


def neighbour_ratio(frames: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float | None:
    """Measure how far the frames of a recording are from their neighbours in a reference.

    Args:
        frames: Levels of frames of the recording, in dB.
        reference: Those of the reference.

    Returns:
        The median distance to the eighth nearest frame, by the shapes of their spectra, relative to that of the
        reference's own frames: little more than 1 where both are of one voice or song. None for too few frames.

    Shape:
        frames: `(n, bands)`; reference: `(m, bands)`.
    """
    shapes = _shapes_of_both(frames, reference)
    if shapes is None or len(reference) <= 2 * NEIGHBOUR:
        return None
    (ours, _), (theirs, _) = shapes
    among = _squared_distances(theirs, theirs)
    np.fill_diagonal(among, np.inf)
    squares = (
        np.partition(x, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1] for x in (_squared_distances(ours, theirs), among)
    )
    other, own = (max(float(np.median(x)), 0.0) for x in squares)
    return math.sqrt(other / own) if own > 0 else None


def confidence(frames: npt.NDArray[np.floating], what: str) -> float:
    """Return the confidence in a measurement of a recording's level, by how many loud frames it has.

    Args:
        frames: Levels of the active frames, in dB.
        what: The measurement: a key of `ENOUGH`.

    Returns:
        From 0, for no frame, to 1, for enough.

    Shape:
        frames: `(n, bands)`.
    """
    return min(1.0, _loud_frames(frames) / ENOUGH[what])


def loudness_key(frame: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Return the key by which stored frames are sorted: softest first, equal ones side by side."""
    return sum(frame), frame


def _loud_frames(frames: npt.NDArray[np.floating]) -> int:
    powers = np.power(10, frames / 10, dtype=np.float64).sum(axis=1)
    return int(np.count_nonzero(powers > powers.max(initial=0.0) * 10 ** (-NEAR_LOUDEST_DB / 10)))


def _shapes_of_both(
    frames: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]
) -> tuple[tuple[npt.NDArray[np.float64], ...], tuple[npt.NDArray[np.float64], ...]] | None:
    """Return shapes and levels of the frames of two recordings in the bands that both hold; None without any."""
    if not frames.size or not reference.size:
        return None
    # In float64 from here on: in float32 the lowest level may be rounded up, and every faint band would count.
    ours, theirs = (x.astype(np.float64) for x in (frames, reference))
    ours, theirs = (np.maximum(x, x.max() - RANGE_DB) for x in (ours, theirs))
    # Bands that one of the two does not hold do not count.
    shared = (ours > ours.max() - RANGE_DB).any(axis=0) & (theirs > theirs.max() - RANGE_DB).any(axis=0)
    if not shared.any():
        return None
    return _shapes_and_levels(ours[:, shared]), _shapes_and_levels(theirs[:, shared])


def _squared_distances(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean squared differences of all pairs of rows."""
    found: npt.NDArray[np.float64] = np.square(a).mean(axis=1)[:, None] + np.square(b).mean(axis=1)
    found -= 2 * a @ b.T / a.shape[1]
    return found


def _shapes_and_levels(frames: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    means = frames.mean(axis=1)
    powers = 10 * np.log10((10 ** (frames / 10)).sum(axis=1))
    return frames - means[:, None], (means + powers) / 2


def _shares(logits: npt.NDArray[np.float64], *, axis: int, out: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    np.subtract(logits, logits.max(axis=axis, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=axis, keepdims=True)
    return out
