"""EQ fitting: the bands of an equaliser are fitted to a curve by least squares."""

from typing import Final

import numpy as np

from fxst.dsp import Array
from fxst.dsp.arrays import AnyArray, array_namespace
from fxst.effects import ParametricEQ
from fxst.transfer.least_squares import least_squares

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


def fitted(eq: ParametricEQ, knobs: AnyArray, curve_db: AnyArray, hz: AnyArray, *, sample_rate: int) -> AnyArray:
    """Fit an equaliser's knobs to a curve.

    A network that sets bands for curves gets most of the way; a few rounds of least squares from there get nearer.

    Args:
        eq: The equaliser.
        knobs: The knobs to begin with: those of its parameters that are no constants.
        curve_db: The target response.
        hz: Its frequencies; all below half the sample rate.
        sample_rate: Samples a second.

    Returns:
        The knobs; never further from the curve, in dB on average, than they were.

    Shape:
        knobs: (P,), on [0, 1]; curve_db, hz: (F,); result: (P,).
    """
    if not len(hz):
        return knobs
    target, at = np.asarray(curve_db, np.float64), np.asarray(hz, np.float64)

    free = np.array([not p.constant for p in eq.parameters])

    def bands_db(rows: Array) -> Array:
        every = np.zeros((len(rows), len(free)))
        every[:, free] = rows
        values = {p.name: p.to_value(column) for p, column in zip(eq.parameters, every.T, strict=True)}
        found: Array = eq.bands_response_db(values, at, sample_rate=sample_rate)
        return found

    def off_db(row: Array) -> Array:
        off: Array = bands_db(row[None])[0].sum(0) - target
        return off

    def errors(logits: Array) -> tuple[Array, Array]:
        # A knob changes its own band alone, so one knob of every band is nudged at a time.
        bands = bands_db(_turned(logits + np.tile(NUDGE * np.eye(4, 3, -1), len(eq.bands))[:, free]))
        slopes = (bands[1:] - bands[0]).T.reshape(len(at), -1)[:, free] / NUDGE
        return bands[0].sum(0) - target, slopes

    start = np.asarray(knobs, np.float64)
    inside = np.clip(start, INSIDE, 1 - INSIDE)
    found = least_squares(
        errors,
        np.log(inside / (1 - inside)),
        farthest=FARTHEST,
        soft=LITTLE_DB,
        evaluations=MOST_ROUNDS,
    )
    moved = _turned(found)
    nearer = np.abs(off_db(moved)).mean() < np.abs(off_db(start)).mean()
    return array_namespace(knobs).asarray(moved, dtype=knobs.dtype) if nearer else knobs


def _turned(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))
