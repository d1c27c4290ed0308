"""The difference of alike short-time frames of two recordings, which depends little on their content."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

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


def active_frames(frames: Tensor) -> Tensor:
    """Drop pauses, and keep at most `MOST_FRAMES` frames, evenly spread.

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
    """Sum the bands of each frame: (n, bands) to (n,)."""
    return 10 * (10 ** (frames / 10)).sum(1).clamp_min(1e-10).log10()


def _centred(curve: Tensor, shared: Tensor) -> Tensor:
    return (curve - (curve * shared).sum() / shared.sum()) * shared
