"""SoX: a command that renders all but reverb and upward compressor almost exactly."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from fxst.dsp.kernels import sosfilt
from fxst.effects import Compressor, Distortion, ParametricEQ, StereoWidth
from fxst.effects.stereo_width import across
from fxst.exports.base import Export, Stage, bands, commented, comments, number

__all__ = ["NULL_DB", "write"]

NULL_DB: Final = {"parametric_eq": -80.0, "compressor": -80.0, "distortion": -80.0, "stereo_width": -130.0}
"""Declared and tested null of the command against fxst's own rendering, with SoX 14.4.2."""

SHORT_ATTACK_DB: Final = -15.0
"""Likewise for a compressor whose attack has a time constant shorter than a sample: SoX then has no attack."""

_NAMES: Final = """\
case $1 in /*) input=$1 ;; *) input=./$1 ;; esac
case $2 in /*) output=$2 ;; *) output=./$2 ;; esac
"""
"""SoX runs a file name that begins with `|` as a command, and takes one that begins with a dash for an option."""

_EFFECTS: Final = {"low_shelf": "bass", "peak": "equalizer", "high_shelf": "treble"}
_INITIAL_DB: Final = -200.0
_LOWEST_DB: Final = -100.0
_CURVE_ERROR_DB: Final = 0.0005
"""Largest error of the piecewise linear curve of a distortion."""

_DRAWN_DB: Final = 120.0
"""Range of a distortion's curve; below, it is straight."""

_STEP_DB: Final = 0.05
_RINGING_SECONDS: Final = 8


def write(export: Export) -> str:
    """Write a shell command, one effect per line.

    SoX computes with integers that end at full scale, so a recording is attenuated before effects that could clip it,
    and amplified at the end. SoX's `compand` follows peaks by the same recursion as our compressor, with a coefficient
    of exp(-1 / (seconds * sample_rate)); with times of 0 it is a waveshaper, which renders a distortion.

    Source:
        SoX's manual, and measurements of the program.
    """
    lines = comments(export, "SoX")
    level = _Level()
    for stage in export.stages:
        match stage.effect:
            case ParametricEQ():
                _equalizer(stage, export, level)
            case Compressor():
                _compressor(stage, export, level)
            case Distortion():
                _distortion(stage, export, level)
            case StereoWidth():
                _stereo_width(stage, level)
            case _:
                lines.append(f"{stage.label}: left out, so the result differs.")
                continue
        lines.append(f"{stage.label}: {_how_exact(stage, export)}, as tests/exports measures it.")
    level.restore()
    lines += ["Samples beyond full scale are clipped at the end.", "Usage: sh FILE INPUT OUTPUT"]
    command = " \\\n".join(['sox --no-glob "$input" "$output"', *(f"  {effect}" for effect in level.effects)])
    return commented(lines) + _NAMES + command + "\n"


def _how_exact(stage: Stage, export: Export) -> str:
    name = stage.effect.name
    if name == "compressor" and _seconds(stage.values["attack_ms"]) * export.sample_rate <= 1:
        return f"approximate, because its attack is shorter than a sample: nulls to {SHORT_ATTACK_DB:.0f} dB or less"
    why = "approximate, because its curve consists of straight lines: " if name == "distortion" else ""
    return f"{why}nulls to {NULL_DB[name]:.0f} dB or less"


class _Level:
    """The effects so far, how much softer their output is than fxst's, and the highest peak possible in fxst's."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.softer_db = 0.0
        self.highest = 1.0

    def rise(self, highest: float) -> None:
        """Attenuate where the next effect may exceed full scale."""
        self.highest = highest
        self._turn(min(self.softer_db, -20 * math.log10(highest)))

    def restore(self) -> None:
        self._turn(0.0)

    def _turn(self, softer_db: float) -> None:
        if softer_db != self.softer_db:
            self.effects.append(f"gain {number(softer_db - self.softer_db)}")
            self.softer_db = softer_db


def _equalizer(stage: Stage, export: Export, level: _Level) -> None:
    effect = stage.effect
    assert isinstance(effect, ParametricEQ)
    sections = effect.sections(stage.values, sample_rate=export.sample_rate)
    active = [row for row, band in zip(sections, effect.bands, strict=True) if stage.values[f"{band}_gain_db"] != 0]
    response = np.zeros((1, _RINGING_SECONDS * export.sample_rate))
    response[0, 0] = level.highest
    for section, (kind, *numbers) in zip(active, bands(stage, sample_rate=export.sample_rate), strict=True):
        # The L1 norm of the impulse response bounds the peak of any output.
        response, _ = sosfilt(section[None], response, np.zeros((1, 1, 2)))
        level.rise(float(np.abs(response).sum()))
        f0_hz, gain_db, q = map(number, numbers)
        shape = f"{f0_hz} {q}q {gain_db}" if kind == "peak" else f"{gain_db} {f0_hz} {q}q"
        level.effects.append(f"{_EFFECTS[kind]} {shape}")


def _compressor(stage: Stage, export: Export, level: _Level) -> None:
    effect, values = stage.effect, stage.values
    assert isinstance(effect, Compressor)
    level.rise(level.highest * 10.0 ** (values["makeup_db"] / 20))
    threshold_db = values["threshold_db"] + level.softer_db
    curve = [(_LOWEST_DB, _LOWEST_DB)]
    if threshold_db < 0:
        curve = [(threshold_db, threshold_db), (0.0, threshold_db * (1 - 1 / values["ratio"]))]
    times = ",".join(number(_seconds(values[name])) for name in ("attack_ms", "release_ms"))
    followers = 1 if effect.linked else export.channels
    level.effects.append(_compand(",".join([times] * followers), curve, values["makeup_db"]))


def _seconds(ms: float) -> float:
    """Return the time constant: JUCE's time is 2 pi of them."""
    return ms / (2000 * math.pi)


def _distortion(stage: Stage, export: Export, level: _Level) -> None:
    """Write a waveshaper, per channel, as a piecewise linear curve in decibels."""
    gain, mix = 10.0 ** (stage.values["drive_db"] / 20), stage.values["mix"]

    def level_db(x_db: float) -> float:
        x = 10.0 ** (x_db / 20)
        return 20 * math.log10((1 - mix) * x + mix * math.tanh(gain * x))

    reached = (1 - mix) * level.highest + mix
    level.rise(max(level.highest, reached))
    level.highest = reached
    # SoX's curves end at its full scale.
    corners = _corners(level_db, -level.softer_db)
    curve = [(x_db + level.softer_db, level_db(x_db) + level.softer_db) for x_db in corners]
    level.effects.append(_compand(",".join(["0,0"] * export.channels), curve, 0.0))


def _stereo_width(stage: Stage, level: _Level) -> None:
    own, other = map(number, across(stage.values["width"]))
    # Of two channels at full scale, one may reach the width itself.
    level.rise(level.highest * max(1.0, stage.values["width"]))
    level.effects.append(f"remix 1v{own},2v{other} 1v{other},2v{own}")


def _corners(level_db: Callable[[float], float], highest_db: float) -> list[float]:
    """Place the corners of a piecewise linear curve, closer where it bends more, within the allowed error.

    A line of length h is off by up to h^2 / 8 times the curve's second derivative.
    """
    x = np.arange(highest_db - _DRAWN_DB, highest_db, _STEP_DB)
    bend = np.abs(np.diff([level_db(value) for value in x], n=2)) / _STEP_DB**2
    lines = np.concatenate([[0.0], np.cumsum(np.sqrt(bend / (8 * _CURVE_ERROR_DB)) * _STEP_DB)])
    at = np.interp(np.arange(1, math.ceil(lines[-1])), lines, x[1:])
    return [float(x[0]), *(float(value) for value in at), highest_db]


def _compand(times: str, curve: list[tuple[float, float]], gain_db: float) -> str:
    points = ",".join(f"{number(round(at_db, 6))},{number(round(out, 6))}" for at_db, out in curve)
    return f"compand {times} {points} {number(gain_db)} {number(_INITIAL_DB)}"
