"""Nonlinear least squares between two bounds, by a trust region that reflects at them."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.linalg import norm, svd

from fxst.dsp import Array

__all__ = ["least_squares"]

TOLERANCE: Final = 1e-8
"""Relative change of the cost or of the variables, or scaled gradient, at which the search ends."""

_EPSILON: Final = float(np.finfo(np.float64).eps)
_RADIUS_ERROR: Final = 0.01
_DAMPING_ROUNDS: Final = 10


def least_squares(
    errors: Callable[[Array], tuple[Array, Array]],
    start: Array,
    *,
    farthest: float,
    soft: float,
    evaluations: int,
) -> Array:
    """Minimise a sum of squares, of which large ones count linearly.

    This is the method of `scipy.optimize.least_squares` with `loss="soft_l1"` and these bounds. Importing that takes
    most of a second. A search that ends before it converges may end elsewhere than SciPy's: rounding decides then.

    Args:
        errors: Returns the errors and their derivatives.
        start: The variables to begin with, within the bounds.
        farthest: The bound of every variable, on both sides.
        soft: The error from which errors count linearly.
        evaluations: The most calls of `errors`.

    Returns:
        The variables that were found.

    Shape:
        start, result: (N,); errors: (N,) to (M,) and (M, N).

    Source:
        M. A. Branch, T. F. Coleman and Y. Li, "A subspace, interior, and conjugate gradient method for large-scale
        bound-constrained minimization problems", SIAM Journal on Scientific Computing 21 (1999).
    """
    within = np.nextafter(farthest, 0)
    x, (off, slopes) = start, errors(start)
    cost = _cost(off, soft)
    model = _Quadratic(x, off, slopes, farthest, soft)
    radius, damping = float(norm(x / model.scale)) or 1.0, 0.0
    for _ in range(evaluations - 1):
        if model.steepest < TOLERANCE:
            break
        step, damping = model.step(x, radius, damping)
        new = np.clip(x + model.scale * step, -within, within)
        off, slopes = errors(new)
        gained, predicted, length = cost - _cost(off, soft), -model(step), float(norm(step))
        ratio = gained / predicted if predicted > 0 else 0.0
        little = gained < TOLERANCE * cost and ratio > 0.25
        short = norm(model.scale * step) < TOLERANCE * (TOLERANCE + norm(x))
        if gained > 0:
            x, cost = new, cost - gained
            model = _Quadratic(x, off, slopes, farthest, soft)
        if little or short:
            break
        before = radius
        if ratio < 0.25:
            radius = 0.25 * length
        elif ratio > 0.75 and length > 0.95 * radius:
            radius *= 2
        damping *= before / radius
    return x


def _cost(off: Array, soft: float) -> float:
    return soft**2 * float(np.sum(np.sqrt(1 + (off / soft) ** 2) - 1))


class _Quadratic:
    """The cost around a point, as a quadratic function of a scaled step.

    The scale is the square root of the room that a variable has where the cost falls. So steps are small near a bound
    that they run into, and of any size near one that they leave.

    Args:
        x: The point.
        off: The errors there.
        slopes: Their derivatives.
        farthest: The bound of every variable, on both sides.
        soft: The error from which errors count linearly.
    """

    def __init__(self, x: Array, off: Array, slopes: Array, farthest: float, soft: float) -> None:
        # Errors and slopes with the gradient of the soft cost, and its curvature in each error where that is positive.
        flat = 1 / (1 + (off / soft) ** 2)
        bend = np.sqrt(np.maximum(flat**1.5, _EPSILON))
        off, slopes = off * flat**0.5 / bend, slopes * bend[:, None]
        gradient = slopes.T @ off
        room = np.where(gradient == 0, 1, farthest + np.sign(gradient) * x)
        self._farthest = farthest
        self.scale = np.sqrt(room)
        self.steepest = float(np.max(np.abs(gradient * room)))
        self._kept = max(0.995, 1 - self.steepest)  # the share of a step that would end on a bound
        self._gradient = gradient * self.scale
        # The scale shrinks along the way, which adds curvature.
        self._slopes = np.vstack((slopes * self.scale, np.diag(np.sqrt(np.abs(gradient)))))
        u, values, axes = svd(self._slopes, full_matrices=False)
        errors, variables = slopes.shape
        # Without those of rounding errors alone, a variable without effect stays where it is.
        count = int(np.sum(values > _EPSILON * errors * values[0]))
        self._full_rank = count == variables <= errors
        self._values, self._axes, self._off = values[:count], axes[:count], off @ u[:errors, :count]

    def __call__(self, step: Array) -> float:
        """Return the change of the cost."""
        return float(0.5 * np.sum((self._slopes @ step) ** 2) + self._gradient @ step)

    def step(self, x: Array, radius: float, damping: float) -> tuple[Array, float]:
        """Return the best scaled step of three, and its damping; all keep within the radius and the bounds.

        They are: the one of the trust region, shortened if it leaves the bounds; that one reflected at the first bound
        that it meets; and the one down the gradient.
        """
        step, damping = self._within_radius(radius, damping)
        to_bound = self._room(x, step)
        reach = float(to_bound.min())
        if reach >= 1:
            return step, damping
        met = reach * step
        reflected = np.where(to_bound == reach, -step, step)
        ways = [self._kept * met]
        most = float(self._room(x + self.scale * met, reflected).min())
        inside = _to_radius(met, reflected, radius)
        least = (1 - self._kept) * reach / min(most, inside) if min(most, inside) > 0 else np.inf
        most = min(self._kept * most, inside) if most <= inside else inside
        if least <= most:
            ways.append(self._lowest(met, reflected, least, most))
        down = -self._gradient
        reach = float(self._room(x, down).min())
        inside = radius / float(norm(down))
        ways.append(self._lowest(0 * down, down, 0.0, self._kept * reach if reach < inside else inside))
        return min(ways, key=self), damping

    def _room(self, x: Array, step: Array) -> Array:
        """Return how often each variable of a step fits between the point and the bound ahead."""
        there = self.scale * step
        with np.errstate(divide="ignore", over="ignore"):
            return np.where(there == 0, np.inf, (self._farthest - np.sign(there) * x) / np.abs(there))

    def _lowest(self, start: Array, way: Array, least: float, most: float) -> Array:
        """Return the lowest point between two lengths of a way from a start."""
        along = self._slopes @ way
        slope = self._gradient @ way + (self._slopes @ start) @ along
        lowest = -slope / max(float(along @ along), 1e-300)
        return start + way * np.clip(lowest, least, most)

    def _within_radius(self, radius: float, damping: float) -> tuple[Array, float]:
        """Return the lowest point within a radius, and its damping.

        Source:
            J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and theory", 1977.
        """
        if self._full_rank and norm(self._off / self._values) <= radius:
            return -(self._off / self._values) @ self._axes, 0.0
        steep, squares = self._values * self._off, self._values**2

        def too_long(damping: float) -> tuple[float, float]:
            damped = steep / (squares + damping)
            length = float(norm(damped))
            return length - radius, -float(np.sum(damped**2 / (squares + damping))) / length

        most, least = float(norm(steep)) / radius, 0.0
        if self._full_rank:
            excess, slope = too_long(0.0)
            least = -excess / slope
        for _ in range(_DAMPING_ROUNDS):
            if not least < damping <= most:
                damping = max(0.001 * most, (least * most) ** 0.5)
            excess, slope = too_long(damping)
            if excess < 0:
                most = damping
            least = max(least, damping - excess / slope)
            damping -= (excess + radius) / radius * excess / slope
            if abs(excess) < _RADIUS_ERROR * radius:
                break
        step = -(steep / (squares + damping)) @ self._axes
        return step * (radius / norm(step)), damping


def _to_radius(start: Array, way: Array, radius: float) -> float:
    """Return how far a way from a start goes on within a radius."""
    a, b, c = float(way @ way), float(start @ way), float(start @ start) - radius**2
    root = math.sqrt(b * b - a * c)
    return (root - b) / a if b < 0 else -c / (root + b)
