"""What differs between alike moments of two recordings: most of what is said in them drops out."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LEVEL_BINS_DB", "MOST_FRAMES", "match", "matched_size", "sounding"]

MOST_FRAMES: Final = 256
"""So many moments are kept of a recording."""

RANGE_DB: Final = 35.0
"""Moments further than this below the loud ones are pauses."""

LOUD: Final = 0.95
"""The quantile of levels that tells how loud the loud moments are."""

ALIKE_DB: Final = 2.0
"""How far apart, root mean square over bands, two alike moments are."""

ROUNDS: Final = 8
"""So often moments are paired, each time under the curve that the time before told."""

LEVEL_BINS_DB: Final = (-30.0, -24.0, -18.0, -12.0, -6.0, 0.0)
"""Levels of the input, below its loud moments, at which the reference's is read off."""

LEAST_SHARE: Final = 0.01
"""A level that fewer pairs have than this share tells little."""

MOST_APART_DB: Final = 40.0
"""What differs by more is told as this."""


def matched_size(bands: int) -> int:
    """Tell how many numbers matching gives."""
    return 3 * bands + 1 + len(LEVEL_BINS_DB)


def sounding(frames: Tensor) -> Tensor:
    """Leave out pauses, and keep so many moments, evenly spread.

    Args:
        frames: Levels in dB.

    Shape:
        frames: (n, bands); result: (m, bands), m at most `MOST_FRAMES`.
    """
    if not len(frames):
        return frames
    level = _power_db(frames)
    frames = frames[level > level.quantile(LOUD) - RANGE_DB]
    if len(frames) > MOST_FRAMES:
        frames = frames[torch.linspace(0, len(frames) - 1, MOST_FRAMES, device=frames.device).round().long()]
    return frames


def match(frames: Tensor, reference: Tensor, shared: Tensor) -> Tensor:
    """Pair moments of two recordings by the shapes of their spectra, and tell what pairs differ by.

    As points are registered: from what the means differ by, each moment of one recording finds those of the other that
    would be alike if that were undone; what they differ by is better; and so on. A pair counts for as much as each of
    the two takes the other for its own. How loud a moment is does not count, for that is what compressors change.

    Args:
        frames: Of the input, levels in dB.
        reference: Of the reference.
        shared: 1 for the bands that both recordings have, 0 for the others.

    Returns:
        In units of 20 dB: what the means differ by, what pairs differ by, and how widely pairs differ from that, by
        band; how much louder the loud moments of the reference are; and how much louder a moment of the reference is
        than the input's, both below their loud moments, by the input's level. Zeros where there is nothing to pair.

    Shape:
        frames: (n, bands); reference: (m, bands); shared: (bands,); result: (matched_size(bands),).

    Source:
        The idea is that of P. J. Besl and N. D. McKay, "A method for registration of 3-D shapes", IEEE PAMI 14 (1992),
        with soft assignments.
    """
    if not len(frames) or not len(reference) or not shared.any():
        return shared.new_zeros(matched_size(len(shared)))
    weight = shared / shared.sum()
    ours, theirs = (x - (x @ weight)[:, None] for x in (frames, reference))
    root = weight.sqrt()
    wanted = theirs * root
    curve = mean = _centred(theirs.mean(0) - ours.mean(0), shared)
    for _ in range(ROUNDS):
        moved = ours + curve
        moved = (moved - (moved @ weight)[:, None]) * root
        apart = moved.square().sum(1, keepdim=True) + wanted.square().sum(1) - 2 * moved @ wanted.T
        alike = -apart / (2 * ALIKE_DB**2)
        pairs = alike.softmax(1) * alike.softmax(0)
        pairs = pairs / pairs.sum().clamp_min(1e-12)
        curve = _centred(pairs.sum(0) @ theirs - pairs.sum(1) @ ours, shared)
    moved = ours + curve
    square = pairs.sum(0) @ theirs.square() + pairs.sum(1) @ moved.square() - 2 * ((pairs @ theirs) * moved).sum(0)
    spread = (square.clamp_min(0) + 1e-4).sqrt() * shared
    louder, by_level = _levels((frames + curve)[:, shared > 0], reference[:, shared > 0], pairs)
    told = torch.cat((mean, curve, spread, louder[None], by_level)) / 20
    return told.clamp(-MOST_APART_DB / 20, MOST_APART_DB / 20)


def _levels(frames: Tensor, reference: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    ours, theirs = _power_db(frames), _power_db(reference)
    our_loud, their_loud = ours.quantile(LOUD), theirs.quantile(LOUD)
    below = ours - our_loud
    more = pairs @ (theirs - their_loud) - pairs.sum(1) * below
    bins = torch.tensor(LEVEL_BINS_DB, device=frames.device)
    near = F.relu(1 - (below[:, None] - bins).abs() / (LEVEL_BINS_DB[1] - LEVEL_BINS_DB[0]))
    return their_loud - our_loud, (more @ near) / (pairs.sum(1) @ near + LEAST_SHARE)


def _power_db(frames: Tensor) -> Tensor:
    """Add up the bands of each moment: (n, bands) to (n,)."""
    return 10 * (10 ** (frames / 10)).sum(1).clamp_min(1e-10).log10()


def _centred(curve: Tensor, shared: Tensor) -> Tensor:
    return (curve - (curve * shared).sum() / shared.sum()) * shared
