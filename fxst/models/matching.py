"""The difference of alike short-time frames of two recordings, which depends little on their content."""

from typing import Final

import numpy as np

from fxst.dsp.arrays import AnyArray, array_namespace, at_least, constant, quantile, relu, softmax

__all__ = ["LEVEL_BINS_DB", "MOST_FRAMES", "active_frames", "match", "matched_size"]

MOST_FRAMES: Final = 256
"""The largest number of frames that are kept of a recording."""

RANGE_DB: Final = 35.0
"""Frames further than this below the loud ones are pauses."""

LOUD: Final = 0.95
"""The quantile of frame levels that stands for the loud frames."""

ALIKE_DB: Final = 2.0
"""The distance of two alike frames, root mean square over bands."""

ROUNDS: Final = 8
"""Rounds of pairing, each under the curve of the round before."""

LEVEL_BINS_DB: Final = (-30.0, -24.0, -18.0, -12.0, -6.0, 0.0)
"""Levels of the input's frames, relative to its loud ones, at which the reference's are read off."""

LEAST_SHARE: Final = 0.01
"""A level that fewer pairs have than this share counts little."""

MOST_APART_DB: Final = 40.0
"""The limit of every difference."""


def matched_size(bands: int) -> int:
    """Return how many numbers `match` gives."""
    return 3 * bands + 1 + len(LEVEL_BINS_DB)


def active_frames(frames: AnyArray) -> AnyArray:
    """Drop pauses, and keep at most `MOST_FRAMES` frames, evenly spread.

    Args:
        frames: Levels in dB.

    Shape:
        frames: (n, bands); result: (m, bands), m at most `MOST_FRAMES`.
    """
    if not len(frames):
        return frames
    level = _power_db(frames)
    frames = frames[level > quantile(level, LOUD) - RANGE_DB]
    if len(frames) > MOST_FRAMES:
        frames = frames[np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(np.int64)]
    return frames


def match(frames: AnyArray, reference: AnyArray, shared: AnyArray) -> AnyArray:
    """Pair frames of two recordings by the shapes of their spectra, and measure the difference of the pairs.

    This is a point registration: under the difference of the means, each frame of one recording finds alike frames of
    the other; the difference of these pairs is a better estimate, under which frames are paired again. Pairs are soft
    and mutual: the weight of a pair is the product of both assignments. Levels of frames do not count, because
    compressors change them.

    Args:
        frames: The frames of the input, levels in dB.
        reference: The frames of the reference.
        shared: 1 for the bands that both recordings have, 0 for the others.

    Returns:
        In units of 20 dB: by band, the difference of the means, the difference of the pairs, and its spread; the level
        of the reference's loud frames above the input's; and by level of the input's frames, the difference of the
        pairs' levels, each relative to the loud frames. Zeros where there is nothing to pair.

    Shape:
        frames: (n, bands); reference: (m, bands); shared: (bands,); result: (matched_size(bands),).

    Source:
        The idea is that of P. J. Besl and N. D. McKay, "A method for registration of 3-D shapes", IEEE PAMI 14 (1992),
        with soft assignments.
    """
    xp = array_namespace(shared)
    if not len(frames) or not len(reference) or not xp.any(shared > 0):
        return xp.zeros(matched_size(len(shared)), dtype=shared.dtype, device=shared.device)
    weight = shared / xp.sum(shared)
    ours, theirs = (x - (x @ weight)[:, None] for x in (frames, reference))
    root = xp.sqrt(weight)
    sought = theirs * root
    curve = mean = _centred(xp.mean(theirs, axis=0) - xp.mean(ours, axis=0), shared)
    for _ in range(ROUNDS):
        moved = ours + curve
        moved = (moved - (moved @ weight)[:, None]) * root
        apart = xp.sum(moved * moved, axis=1)[:, None] + xp.sum(sought * sought, axis=1) - 2 * moved @ sought.T
        alike = -apart / (2 * ALIKE_DB**2)
        pairs = softmax(alike, 1) * softmax(alike, 0)
        pairs = pairs / at_least(xp.sum(pairs), 1e-12)
        by_ours, by_theirs = xp.sum(pairs, axis=1), xp.sum(pairs, axis=0)
        curve = _centred(by_theirs @ theirs - by_ours @ ours, shared)
    # Around the middle, so that the difference of large squares is not all rounding.
    middle = by_theirs @ theirs
    theirs, moved = theirs - middle, ours + curve - middle
    square = by_theirs @ (theirs * theirs) + by_ours @ (moved * moved) - 2 * xp.sum((pairs @ theirs) * moved, axis=0)
    spread = xp.sqrt(relu(square) + 1e-4) * shared
    louder, by_level = _levels((frames + curve)[:, shared > 0], reference[:, shared > 0], pairs)
    found = xp.concat((mean, curve, spread, louder[None], by_level)) / 20
    return xp.clip(found, -MOST_APART_DB / 20, MOST_APART_DB / 20)


def _levels(frames: AnyArray, reference: AnyArray, pairs: AnyArray) -> tuple[AnyArray, AnyArray]:
    xp = array_namespace(frames)
    ours, theirs = _power_db(frames), _power_db(reference)
    our_loud, their_loud = quantile(ours, LOUD), quantile(theirs, LOUD)
    below = ours - our_loud
    of_ours = xp.sum(pairs, axis=1)
    more = pairs @ (theirs - their_loud) - of_ours * below
    bins = constant(np.array(LEVEL_BINS_DB, np.float32), frames)
    near = relu(1 - xp.abs(below[:, None] - bins) / (LEVEL_BINS_DB[1] - LEVEL_BINS_DB[0]))
    return their_loud - our_loud, (more @ near) / (of_ours @ near + LEAST_SHARE)


def _power_db(frames: AnyArray) -> AnyArray:
    """Sum the bands of each frame: (n, bands) to (n,)."""
    xp = array_namespace(frames)
    return 10 * xp.log10(at_least(xp.sum(10 ** (frames / 10), axis=1), 1e-10))


def _centred(curve: AnyArray, shared: AnyArray) -> AnyArray:
    xp = array_namespace(curve)
    return (curve - xp.sum(curve * shared) / xp.sum(shared)) * shared
