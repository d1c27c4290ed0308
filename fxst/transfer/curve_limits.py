"""Limits on the equaliser's curve: the most boost, the most cut, and how smooth it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.chains.chain import Chain, Stage, rounded
from fxst.configs import ApplyConfig
from fxst.dsp import Array
from fxst.effects import ParametricEQ
from fxst.effects.parameters import Setting
from fxst.transfer.eq_fitting import fitted

__all__ = ["CurveLimits"]

LOWEST_HZ: Final = 5.0
HIGHEST_WARPED: Final = 1000.0
POINTS_AN_OCTAVE: Final = 96
"""Points at which limits are checked: between two of them a band of the highest Q passes one by less than `MARGIN_DB`.
The octaves are those of the warped frequency, tan(pi f / sample_rate), for near half the sample rate bands are narrow.
"""

FIT_POINTS_AN_OCTAVE: Final = 12
MOST_FIT_WARPED: Final = 64.0
"""A curve is fitted at fewer points, not as near half the sample rate."""

MARGIN_DB: Final = 0.05
"""A curve is fitted to limits that are so much narrower."""

ROUNDS: Final = 4
"""How often a curve is fitted: wherever it passes a limit, the next target is lower by as much."""

SHARES: Final = np.linspace(1, 0, 101)
"""Shares of the gains that are tried where a fitted curve still passes a limit."""


@dataclass(frozen=True)
class CurveLimits:
    """Limits on the response of all equalisers of a chain together.

    Args:
        max_boost_db: The highest gain at any frequency; 0 or more.
        max_cut_db: The lowest gain at any frequency, as a number of 0 or more.
        smooth_octaves: The width of the average that smooths the curve; 0 leaves it as it is.
    """

    max_boost_db: float = math.inf
    max_cut_db: float = math.inf
    smooth_octaves: float = 0.0

    @staticmethod
    def of(config: ApplyConfig) -> "CurveLimits":
        """Return the limits that a command names."""
        boost, cut = (math.inf if given is None else given for given in (config.max_boost, config.max_cut))
        return CurveLimits(boost, cut, config.smooth)

    @property
    def note(self) -> str:
        """What a table should tell of the limits; nothing where there are none."""
        words = [
            f"at most {most:g} dB of {what}"
            for most, what in ((self.max_boost_db, "boost"), (self.max_cut_db, "cut"))
            if most < math.inf
        ]
        if self.smooth_octaves:
            words.append(f"smoothed over {self.smooth_octaves:g} octaves")
        return ", ".join(words)

    def shaped(self, chain: Chain, settings: Sequence[Setting], *, sample_rate: int) -> tuple[Setting, ...]:
        """Return a table whose curve is smoothed, and within the limits.

        Args:
            chain: The effects.
            settings: The table.
            sample_rate: The sample rate of what is rendered, in Hz.
        """
        return self._limited(chain, settings, sample_rate, self.smooth_octaves)

    def held(self, chain: Chain, settings: Sequence[Setting], *, sample_rate: int) -> tuple[Setting, ...]:
        """Return a table whose curve is within the limits; one that was within them stays as it is.

        Args:
            chain: The effects.
            settings: The table.
            sample_rate: The sample rate of what is rendered, in Hz.
        """
        return self._limited(chain, settings, sample_rate, 0.0)

    def _limited(
        self, chain: Chain, settings: Sequence[Setting], sample_rate: int, smooth: float
    ) -> tuple[Setting, ...]:
        table = tuple(settings)
        if self == CurveLimits():
            return table
        hz, fit = _frequencies(sample_rate)
        so_far = np.zeros_like(hz)  # the curve of the equalisers before
        for stage in chain.stages(table):
            if not isinstance(stage.effect, ParametricEQ) or not stage.active:
                continue
            curve = so_far + _response_db(stage, hz, sample_rate)
            target = _smoothed(curve, hz, smooth) if smooth else curve
            if smooth or self._excess_db(curve).any():
                values = self._fitted(stage, target, so_far, hz, fit, sample_rate)
                table = tuple(
                    replace(row, value=values[row.parameter]) if row.effect == stage.label else row for row in table
                )
                curve = so_far + _response_db(stage._replace(values=values), hz, sample_rate)
            so_far = curve
        return table

    def _excess_db(self, curve: Array) -> Array:
        """Return by how much a curve passes its limits: above 0 for boosts, below 0 for cuts."""
        return np.maximum(curve - self.max_boost_db, 0) + np.minimum(curve + self.max_cut_db, 0)

    def _fitted(
        self, stage: Stage, curve: Array, before: Array, hz: Array, fit: npt.NDArray[np.intp], sample_rate: int
    ) -> dict[str, float]:
        """Return the values of an equaliser with which the curve comes near another and stays within the limits."""
        eq = _around(stage)
        margin = MARGIN_DB
        goal = np.clip(curve, -max(0, self.max_cut_db - margin), max(0, self.max_boost_db - margin))
        knobs = np.array([p.to_knob(stage.values[p.name]) for p in eq.parameters if not p.constant])
        target = goal
        for _ in range(ROUNDS if len(knobs) else 0):
            knobs = fitted(eq, knobs, (target - before)[fit], hz[fit], sample_rate=sample_rate)
            excess = self._excess_db(before + _response_db(_set(stage, eq, knobs), hz, sample_rate))
            if not excess.any():
                break
            target = target - excess - np.sign(excess) * margin
        found = _set(stage, eq, knobs)
        for share in SHARES:
            values = {n: rounded(v * share if n.endswith("_gain_db") else v) for n, v in found.values.items()}
            if not self._excess_db(before + _response_db(found._replace(values=values), hz, sample_rate)).any():
                break
        return values


def _around(stage: Stage) -> ParametricEQ:
    """Return a stage's equaliser with ranges that hold its values: a table may go beyond those of the chain."""
    eq = stage.effect
    assert isinstance(eq, ParametricEQ), "only equalisers have a curve"
    ranges: dict[str, float | tuple[float, float]] = {}
    for p in eq.parameters:
        value = stage.values[p.name]
        ranges[p.name] = value if p.constant else (min(p.minimum, value), max(p.maximum, value))
    found = ParametricEQ(kinds=eq.kinds).restrict(**ranges)
    assert isinstance(found, ParametricEQ)
    return found


def _set(stage: Stage, eq: ParametricEQ, knobs: Array) -> Stage:
    left = iter(knobs.tolist())
    return stage._replace(
        values={p.name: p.minimum if p.constant else float(p.to_value(next(left))) for p in eq.parameters}
    )


def _response_db(stage: Stage, hz: Array, sample_rate: int) -> Array:
    eq = stage.effect
    assert isinstance(eq, ParametricEQ), "only equalisers have a curve"
    values = {name: np.array([value]) for name, value in stage.values.items()}
    response: Array = eq.response_db(values, hz, sample_rate=sample_rate)[0]
    return response


def _frequencies(sample_rate: int) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the frequencies at which limits are checked, and the numbers of those at which a curve is fitted."""
    lowest = math.tan(math.pi * LOWEST_HZ / sample_rate)
    octaves = math.log2(HIGHEST_WARPED / lowest)
    warped = lowest * 2 ** np.linspace(0, octaves, round(octaves * POINTS_AN_OCTAVE) + 1)
    hz = np.arctan(warped) * (sample_rate / math.pi)
    fit = np.flatnonzero(warped <= MOST_FIT_WARPED)[:: POINTS_AN_OCTAVE // FIT_POINTS_AN_OCTAVE]
    return hz, fit


def _smoothed(curve: Array, hz: Array, octaves: float) -> Array:
    """Average a curve over a range of octaves; beyond its ends it goes on as it ends."""
    at = np.log2(hz)
    even = np.arange(at[0], at[-1], 1 / POINTS_AN_OCTAVE)
    half = max(1, round(octaves * POINTS_AN_OCTAVE / 2))
    padded = np.pad(np.interp(even, at, curve), half, mode="edge")
    return np.interp(at, even, np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid"))
