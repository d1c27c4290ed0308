"""EQ fitting: the bands of an equaliser are fitted to a curve by least squares."""

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from fxst.dsp import Array
from fxst.effects import ParametricEQ

__all__ = ["fitted"]

MOST_ROUNDS: Final = 12
"""The largest number of least-squares steps."""

INSIDE: Final = 0.01
"""The distance of a knob from the ends of its range at the beginning, where the sigmoid still has a slope."""

FARTHEST: Final = 6.0
"""The limit of a knob's logit: a four-hundredth of its range from an end."""

LITTLE_DB: Final = 0.5
"""Larger errors count linearly, so that a notch that no band can follow does not bend the others."""

NUDGE: Final = 1e-4
"""The step of a logit for finite differences."""


def fitted(eq: ParametricEQ, knobs: Tensor, curve_db: Tensor, hz: Tensor, *, sample_rate: int) -> Tensor:
    """Fit an equaliser's knobs to a curve.

    A network that sets bands for curves gets most of the way; a few rounds of least squares from there get nearer.

    Args:
        eq: The equaliser, every knob of it free.
        knobs: The knobs to begin with.
        curve_db: The target response.
        hz: Its frequencies; all below half the sample rate.
        sample_rate: Samples a second.

    Returns:
        The knobs; never further from the curve, in dB on average, than they were.

    Shape:
        knobs: (P,), on [0, 1]; curve_db, hz: (F,); result: (P,).
    """
    from scipy.optimize import least_squares

    if not len(hz):
        return knobs
    knobs, curve_db, hz = (torch.as_tensor(x) for x in (knobs, curve_db, hz))
    target, at = curve_db.double().cpu(), hz.double().cpu()

    def off_db(rows: Tensor) -> Array:
        values = {p.name: p.to_value(column) for p, column in zip(eq.parameters, rows.unbind(1), strict=True)}
        found: Array = (eq.response_db(values, at, sample_rate=sample_rate) - target).numpy()
        return found

    def turned(logits: Array) -> Tensor:
        return torch.sigmoid(torch.from_numpy(np.atleast_2d(logits)))

    def off_at(logits: Array) -> Array:
        at_one: Array = off_db(turned(logits))[0]
        return at_one

    def slopes(logits: Array) -> Array:
        # All knobs at once, a row each: that costs little more than one.
        off = off_db(turned(np.vstack((logits, logits + NUDGE * np.eye(len(logits))))))
        by_knob: Array = ((off[1:] - off[0]) / NUDGE).T
        return by_knob

    start = knobs.double().cpu()
    found: Any = least_squares(
        off_at,
        torch.logit(start.clamp(INSIDE, 1 - INSIDE)).numpy(),
        slopes,
        bounds=(-FARTHEST, FARTHEST),
        loss="soft_l1",
        f_scale=LITTLE_DB,
        max_nfev=MOST_ROUNDS,
    )
    moved = turned(found.x)
    nearer = np.abs(off_db(moved)).mean() < np.abs(off_db(start[None])).mean()
    return moved[0].to(knobs) if nearer else knobs
