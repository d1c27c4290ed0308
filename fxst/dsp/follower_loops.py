"""The envelope follower's loops, compiled: v[n] = u[n] + c (v[n-1] - u[n]), and its adjoint; see `fxst.dsp.follower`.

Source:
    The adjoint is the same recursion run backwards (C.-Y. Yu et al., "Differentiable all-pole filters for time-varying
    audio systems", DAFx 2024).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array
from fxst.dsp.compiled import Compiled, inlined

__all__ = ["LANES", "Rows", "adjoin", "adjoin_rows", "follow", "follow_rows"]

Rows = npt.NDArray[Any]

LANES = 8
"""Rows that are followed side by side."""


@inlined  # type: ignore[untyped-decorator]
def _step(u: float, level: float, attack: float, release: float) -> float:
    c = attack if u > level else release
    return u + c * (level - u)


@inlined  # type: ignore[untyped-decorator]
def follow(u: Rows, attack: float, release: float, level: float, v: Rows) -> float:
    """Follow one row from an initial level; return the last level."""
    for n in range(u.shape[0]):
        level = _step(u[n], level, attack, release)
        v[n] = level
    return level


@inlined  # type: ignore[untyped-decorator]
def adjoin(
    grad_v: Rows, u: Rows, v: Rows, attack: float, release: float, begin: float, grad_u: Rows, grad: Rows
) -> None:
    """Run the adjoint over one row, backwards in time; `grad` receives the gradients of attack, release and begin."""
    adjoint = 0.0
    grad_attack = 0.0
    grad_release = 0.0
    for n in range(u.shape[0] - 1, -1, -1):
        previous = v[n - 1] if n > 0 else begin
        adjoint += grad_v[n]
        if u[n] > previous:
            grad_attack += adjoint * (previous - u[n])
            grad_u[n] = adjoint * (1 - attack)
            adjoint *= attack
        else:
            grad_release += adjoint * (previous - u[n])
            grad_u[n] = adjoint * (1 - release)
            adjoint *= release
    grad[0] = grad_attack
    grad[1] = grad_release
    grad[2] = adjoint


@Compiled
def follow_rows(u: Rows, attack: Rows, release: Rows, level: Array, v: Rows) -> None:
    """Follow each row from its level, which is replaced by the last one."""
    # A step waits for the one before it; meanwhile the CPU can take those of other rows.
    lanes = np.zeros(LANES)
    grouped = u.shape[0] - u.shape[0] % LANES
    for first in range(0, grouped, LANES):
        lanes[:] = level[first : first + LANES]
        for n in range(u.shape[1]):
            for lane in range(LANES):
                row = first + lane
                lanes[lane] = _step(u[row, n], lanes[lane], attack[row], release[row])
                v[row, n] = lanes[lane]
        level[first : first + LANES] = lanes
    for row in range(grouped, u.shape[0]):
        level[row] = follow(u[row], attack[row], release[row], level[row], v[row])


@Compiled
def adjoin_rows(
    grad_v: Rows, u: Rows, v: Rows, attack: Rows, release: Rows, begin: Array, grad_u: Rows, grad: Rows
) -> None:
    """Run the adjoint over each row."""
    for row in range(u.shape[0]):
        adjoin(grad_v[row], u[row], v[row], attack[row], release[row], begin[row], grad_u[row], grad[row])
