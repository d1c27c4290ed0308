"""SoX's `equalizer`, `bass`, `treble` and `compand`, with which the published evaluation corrupts recordings.

Reimplemented, so that an evaluation needs no other program; tested against SoX 14.4.2.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.kernels import sosfilt
from fxst.effects.parametric_eq import Kind, ParametricEQ
from fxst.errors import SettingsError

__all__ = ["Array", "Points", "TransferCurve", "bass", "compand", "curve", "equalizer", "filtered", "treble"]

Points = Sequence[tuple[float, float]]
"""Levels (in, out) in decibels, ascending."""

SHELF_SLOPE: Final = 0.5
LEAST_KNEE_DB: Final = 0.01
NEPER: Final = math.log(10) / 20
"""One decibel in nepers."""


def equalizer(f0_hz: float, q: float, gain_db: float, *, sample_rate: int) -> Array:
    """Design SoX's `equalizer`: a peak or a dip."""
    return _band("peak", f0_hz, q, gain_db, sample_rate)


def bass(f0_hz: float, gain_db: float, *, sample_rate: int) -> Array:
    """Design SoX's `bass`: a low shelf of slope 0.5."""
    return _band("low_shelf", f0_hz, _shelf_q(gain_db), gain_db, sample_rate)


def treble(f0_hz: float, gain_db: float, *, sample_rate: int) -> Array:
    """Design SoX's `treble`: a high shelf of slope 0.5."""
    return _band("high_shelf", f0_hz, _shelf_q(gain_db), gain_db, sample_rate)


def _band(kind: Kind, f0_hz: float, q: float, gain_db: float, sample_rate: int) -> Array:
    eq = ParametricEQ(kinds=(kind,))
    values = zip((parameter.name for parameter in eq.parameters), (gain_db, f0_hz, q), strict=True)
    return eq.sections(dict(values), sample_rate=sample_rate)


def _shelf_q(gain_db: float) -> float:
    """Return the quality factor of a shelf's slope.

    Source:
        R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients".
    """
    a = 10.0 ** (gain_db / 40)
    return 1 / math.sqrt((a + 1 / a) * (1 / SHELF_SLOPE - 1) + 2)


def filtered(x: Samples, sections: Array) -> Samples:
    """Filter a recording in float64 from zero state, without clipping.

    Shape:
        x and result: (channels, time); sections: (K, 6).
    """
    if not x.size or not len(sections):
        return x.copy()
    y, _ = sosfilt(sections, x, np.zeros((len(sections), len(x), 2)))
    return y.astype(np.float32)


@dataclass(frozen=True)
class TransferCurve:
    """A transfer curve: pieces of parabolas, gain over level, both in nepers.

    Args:
        starts: Level at the start of each piece, ascending; below the first, the gain is constant.
        gains: Gain at the start of each piece.
        slopes: Slope at the start of each piece.
        bends: Curvature of each piece; 0 for a line.
    """

    starts: Array
    gains: Array
    slopes: Array
    bends: Array

    def __call__(self, level: Array) -> Array:
        """Return the gain factor for amplitudes on [0, 1], full scale 1."""
        u = np.log(np.maximum(level, math.exp(self.starts[0])))
        piece = np.maximum(np.searchsorted(self.starts, u, side="right") - 1, 0)
        u -= self.starts[piece]
        factor: Array = np.exp(self.gains[piece] + u * (self.slopes[piece] + u * self.bends[piece]))
        return factor


def curve(points: Points, *, knee_db: float, gain_db: float) -> TransferCurve:
    """Return the transfer curve of `compand`, with rounded corners.

    Args:
        points: The corners. Full scale maps to itself unless the points state otherwise; below the first corner, the
            gain is constant.
        knee_db: Length of the rounding on either side of a corner, along the curve.
        gain_db: Gain added to every level.

    Raises:
        SettingsError: The points do not rise, or go beyond full scale.
    """
    corners = [(level, out - level) for level, out in points]
    levels = [level for level, _ in corners]
    if not levels or levels[-1] > 0 or any(a >= b for a, b in itertools.pairwise(levels)):
        raise SettingsError("The points of a transfer curve must rise from one to the next, and end at 0 dB or below.")
    if levels[-1] < 0:
        corners.append((0.0, 0.0))
    knee_db = max(knee_db, LEAST_KNEE_DB)
    # A flat piece, so that the first corner can be rounded.
    corners.insert(0, (corners[0][0] - 2 * knee_db, corners[0][1]))
    path = [(NEPER * level, NEPER * (gain + gain_db)) for level, gain in _without_straight(corners)]

    start, end, pieces = path[0], path[-1], []
    for corner, after in itertools.pairwise(path[1:]):
        # At most half of the next line, so that its other corner has as much.
        here = _toward(corner, start, min(NEPER * knee_db, math.dist(start, corner)))
        there = _toward(corner, after, min(NEPER * knee_db, math.dist(corner, after) / 2))
        pieces += [_line(start, here), _parabola(here, corner, there)]
        start = there
    pieces.append(_line(start, end))
    return TransferCurve(*np.array(pieces).T)


Point = tuple[float, float]


def _without_straight(corners: list[Point]) -> list[Point]:
    """Return the corners without those on a straight line."""
    kept = corners[:2]
    for corner in corners[2:]:
        (x0, y0), (x1, y1) = kept[-2:]
        if (y1 - y0) * (corner[0] - x1) == (corner[1] - y1) * (x1 - x0):
            kept.pop()
        kept.append(corner)
    return kept


def _toward(corner: Point, other: Point, distance: float) -> Point:
    """Return the point at a distance from a corner along a line."""
    part = distance / math.dist(corner, other)
    return corner[0] + part * (other[0] - corner[0]), corner[1] + part * (other[1] - corner[1])


class _Piece(NamedTuple):
    """A piece of a curve: its first point, and the slope and the bend of the parabola from there."""

    x: float
    y: float
    slope: float
    bend: float


def _line(start: Point, end: Point) -> _Piece:
    """Return a line as a piece of the curve; one without length is never looked up."""
    width = end[0] - start[0]
    return _Piece(*start, slope=(end[1] - start[1]) / width if width > 0 else 0.0, bend=0.0)


def _parabola(start: Point, corner: Point, end: Point) -> _Piece:
    """Return the parabola that rounds a corner, through the centroid of the three points."""
    (x0, y0), (x1, y1), (x2, y2) = start, corner, end
    middle = (x0 + x1 + x2) / 3 - x0, (y0 + y1 + y2) / 3 - y0
    width, height = x2 - x0, y2 - y0
    bend = (height / width - middle[1] / middle[0]) / (width - middle[0])
    return _Piece(x0, y0, slope=middle[1] / middle[0] - bend * middle[0], bend=bend)


def compand(
    x: Samples,
    points: Points,
    *,
    attack_ms: float,
    release_ms: float,
    knee_db: float,
    gain_db: float,
    initial_db: float,
    delay_ms: float,
    sample_rate: int,
) -> Samples:
    """Compress or expand as SoX's `compand` does, each channel independently.

    SoX computes with integers, so input and output clip at full scale, as they do here. (In the last `delay_ms`, SoX
    14.4.2 does not clip the output and its integers overflow; here they do not.)

    Args:
        x: The recording.
        points: Corners of the transfer curve.
        attack_ms: Time constant of rising levels.
        release_ms: Time constant of falling levels.
        knee_db: Rounding of the curve's corners.
        gain_db: Gain added to every level.
        initial_db: The level before the recording begins.
        delay_ms: Look-ahead of the gain.
        sample_rate: Sample rate of the recording in Hz.

    Shape:
        x and result: (channels, time).

    Raises:
        SettingsError: The points do not rise, or go beyond full scale.
    """
    from fxst.dsp.follower import Follower

    factor = curve(points, knee_db=knee_db, gain_db=gain_db)
    if not x.size:
        return x.copy()
    clipped = np.clip(x.astype(np.float64), -1, 1)
    attack, release = (_coefficient(ms / 1000, sample_rate) for ms in (attack_ms, release_ms))
    follow = Follower(attack, release, begin=10 ** (initial_db / 20), channels=len(x))
    gain = factor(follow(np.abs(clipped)))
    # The look-ahead buffer holds whole samples; its rest comes out with the last gain.
    delay = min(int(delay_ms / 1000 * sample_rate), x.shape[1])
    gain = np.concatenate([gain[:, delay:], np.repeat(gain[:, -1:], delay, axis=1)], axis=1)
    y: Samples = np.clip(clipped * gain, -1, 1).astype(np.float32)
    return y


def _coefficient(seconds: float, sample_rate: int) -> float:
    """Return the envelope's coefficient for one sample; 0 for a time of one sample or less."""
    return math.exp(-1 / (sample_rate * seconds)) if seconds * sample_rate > 1 else 0.0
