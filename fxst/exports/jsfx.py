"""REAPER: a JSFX, which is an effect as text, with a slider for every setting."""

import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

from fxst.effects import Compressor, Distortion, Dynamics, ParametricEQ, Reverb, StereoWidth, UpwardCompressor
from fxst.effects.parameters import Parameter
from fxst.effects.parametric_eq import HIGHEST_F0
from fxst.effects.upward_compressor import FLOOR_DB
from fxst.exports.base import Export, Stage, comments, number
from fxst.untrusted import printable

__all__ = ["NULL_DB", "write"]

NULL_DB: Final = {
    "upward_compressor": -140.0,
    "parametric_eq": -140.0,
    "compressor": -90.0,
    "distortion": -130.0,
    "stereo_width": -130.0,
}
"""Declared and tested null of the JSFX' arithmetic against fxst's own rendering."""

_MOST_CHANNELS: Final = 64
"""Channels of a track in REAPER; each has its place in every state."""


class _Code(NamedTuple):
    """The code of one effect.

    Args:
        init: Run when playback begins.
        slider: Run when a slider moves.
        sample: Run for every sample; `spl(c)` is channel c.
    """

    init: str
    slider: str
    sample: str


class _Sliders:
    """Numbers the sliders, and the places of states in the effect's memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._places = itertools.count(0, 2 * _MOST_CHANNELS)

    def add(self, stage: Stage, parameter: Parameter) -> str:
        """Add a slider for a parameter, and return its variable."""
        index = len(self.lines) + 1
        ends = f"{number(parameter.minimum)},{number(parameter.maximum)},0.0001"
        unit = f" ({parameter.unit})" if parameter.unit else ""
        value = number(stage.values[parameter.name])
        self.lines.append(f"slider{index}:{value}<{ends}>{stage.label} {parameter.name}{unit}\n")
        return f"slider{index}"

    def of(self, stage: Stage) -> dict[str, str]:
        """Add a slider for every parameter of an effect, and return their variables by name."""
        return {parameter.name: self.add(stage, parameter) for parameter in stage.effect.widest()}

    def place(self) -> int:
        """Return the place of two numbers for each channel."""
        return next(self._places)


def write(export: Export) -> str:
    """Write a JSFX for tracks of any sample rate and up to 64 channels.

    Source:
        "JSFX programming reference" and its EEL2 code, REAPER's documentation.
    """
    sliders = _Sliders()
    writers: dict[type, Callable[[Stage, str, _Sliders], _Code]] = {
        UpwardCompressor: _upward_compressor,
        ParametricEQ: _equalizer,
        Compressor: _compressor,
        Distortion: _distortion,
        StereoWidth: _stereo_width,
    }
    codes, written, lines = [], [], comments(export, "REAPER, as a JSFX")
    for index, stage in enumerate(export.stages, 1):
        if writer := writers.get(type(stage.effect)):
            codes.append(writer(stage, f"e{index}_", sliders))
            written.append(stage.effect.name)
        elif isinstance(stage.effect, Reverb):
            lines.append(
                f"{stage.label}: left out, so the result differs. Play {export.impulse_response!a} after this effect, "
                "wet only, in a convolution reverb such as ReaVerb."
            )
        else:
            lines.append(f"{stage.label}: left out, so the result differs.")
    if nulls := ", ".join(f"{name} {NULL_DB[name]:.0f} dB" for name in NULL_DB if name in written):
        lines.append(f"Nulls against fxst's own rendering, as tests/exports measures its arithmetic: {nulls} or less.")
    lines.append("Copy it to the folder Effects of REAPER's resource path, then add it to a track.")
    parts = [
        "".join(f"// {printable(line)}\n" for line in lines),
        f"desc:fxst {export.table.chain.name!a}\n",
        *sliders.lines,
    ]
    for name in _Code._fields:
        parts += [f"\n@{name}\n", *(getattr(code, name) for code in codes)]
    return "".join(parts)


def _equalizer(stage: Stage, own: str, sliders: _Sliders) -> _Code:
    """Filter each channel by sections in transposed direct form II, designed as `fxst.effects.parametric_eq` does."""
    effect = stage.effect
    assert isinstance(effect, ParametricEQ)
    parameters = {parameter.name: parameter for parameter in effect.widest()}
    clear, design, process = "", "", "c = 0;\nloop(num_ch,\n  x = spl(c);\n"
    for kind, band in zip(effect.kinds, effect.bands, strict=True):
        if stage.values[f"{band}_gain_db"] == 0.0:
            continue
        gain_db, f0_hz, q = (sliders.add(stage, parameters[f"{band}_{name}"]) for name in ("gain_db", "f0_hz", "q"))
        b, place = f"{own}{band}_", sliders.place()
        names = ("n0", "n1", "n2", "d0", "d1", "d2")
        section = "".join(f"{name} = {term};\n" for name, term in zip(names, _SECTIONS[kind], strict=True))
        design += (
            f"a = 10 ^ ({gain_db} / 40);\nk = tan($pi * min({f0_hz} / srate, {number(HIGHEST_F0)}));\nq = {q};\n"
            f"{section}"
            f"d = d2 + d1 + d0;\n"
            f"{b}b0 = (n2 + n1 + n0) / d;\n{b}b1 = 2 * (n0 - n2) / d;\n{b}b2 = (n2 - n1 + n0) / d;\n"
            f"{b}a1 = 2 * (d0 - d2) / d;\n{b}a2 = (d2 - d1 + d0) / d;\n"
        )
        first, second = f"{place}[2 * c]", f"{place + 1}[2 * c]"
        process += (
            f"  y = {b}b0 * x + {first};\n  {first} = {b}b1 * x - {b}a1 * y + {second};\n"
            f"  {second} = {b}b2 * x - {b}a2 * y;\n  x = y;\n"
        )
        clear += _cleared(place, "0")
    return _Code(clear, design, process + "  spl(c) = x;\n  c = c + 1;\n);\n")


_SECTIONS: Final = {
    "peak": ("k * k", "k * a / q", "1", "k * k", "k / (a * q)", "1"),
    "low_shelf": ("a * a * k * k", "a * k * sqrt(a) / q", "a", "k * k", "k * sqrt(a) / q", "a"),
    "high_shelf": ("a * k * k", "a * k * sqrt(a) / q", "a * a", "a * k * k", "k * sqrt(a) / q", "1"),
}
"""Numerator n and denominator d of each kind of band, as `fxst.effects.parametric_eq.section`."""


def _upward_compressor(stage: Stage, own: str, sliders: _Sliders) -> _Code:
    slider = sliders.of(stage)
    floor = f"10 ^ ({number(FLOOR_DB)} / 20)"
    gain = f"(min(max(v, {floor}), {own}threshold) / {own}threshold) ^ {own}slope"
    place = sliders.place()
    return _Code(
        _cleared(place, f"10 ^ ({slider['threshold_db']} / 20)"),
        _dynamics_design(own, slider),
        _dynamics(stage, own, place, gain),
    )


def _compressor(stage: Stage, own: str, sliders: _Sliders) -> _Code:
    slider = sliders.of(stage)
    gain = f"(v > {own}threshold ? (v / {own}threshold) ^ {own}slope : 1) * {own}makeup"
    design = _dynamics_design(own, slider) + f"{own}makeup = 10 ^ ({slider['makeup_db']} / 20);\n"
    place = sliders.place()
    return _Code(_cleared(place, "0"), design, _dynamics(stage, own, place, gain))


def _dynamics_design(own: str, slider: dict[str, str]) -> str:
    return (
        f"{own}threshold = 10 ^ ({slider['threshold_db']} / 20);\n{own}slope = 1 / {slider['ratio']} - 1;\n"
        f"{own}attack = exp(-2000 * $pi / ({slider['attack_ms']} * srate));\n"
        f"{own}release = exp(-2000 * $pi / ({slider['release_ms']} * srate));\n"
    )


def _dynamics(stage: Stage, own: str, place: int, gain: str) -> str:
    """Follow the loudest channel, or each one, as `fxst.effects.dynamics` does, and turn it by a gain."""
    assert isinstance(stage.effect, Dynamics)
    follow = f"v = u + (u > v ? {own}attack : {own}release) * (v - u);\n"
    if stage.effect.linked:
        return (
            "u = 0;\nc = 0;\nloop(num_ch,\n  u = max(u, abs(spl(c)));\n  c = c + 1;\n);\n"
            f"v = {place}[0];\n{follow}{place}[0] = v;\ng = {gain};\n"
            "c = 0;\nloop(num_ch,\n  spl(c) = spl(c) * g;\n  c = c + 1;\n);\n"
        )
    return (
        f"c = 0;\nloop(num_ch,\n  u = abs(spl(c));\n  v = {place}[2 * c];\n  {follow}  {place}[2 * c] = v;\n"
        f"  spl(c) = spl(c) * {gain};\n  c = c + 1;\n);\n"
    )


def _distortion(stage: Stage, own: str, sliders: _Sliders) -> _Code:
    """Write the hyperbolic tangent by the exponential function: EEL2 has no other."""
    slider = sliders.of(stage)
    design = f"{own}drive = 10 ^ ({slider['drive_db']} / 20);\n{own}mix = {slider['mix']};\n"
    process = (
        f"c = 0;\nloop(num_ch,\n  x = spl(c);\n  t = exp(-2 * {own}drive * abs(x));\n"
        f"  spl(c) = (1 - {own}mix) * x + {own}mix * sign(x) * (1 - t) / (1 + t);\n  c = c + 1;\n);\n"
    )
    return _Code("", design, process)


def _stereo_width(stage: Stage, own: str, sliders: _Sliders) -> _Code:
    """Add its share of the other channel to each, on a track of two; any other number passes unchanged."""
    slider = sliders.of(stage)
    process = (
        f"c = num_ch > 1 ? 1 : 0;\nt = num_ch > 2 ? 0 : (1 - {slider['width']}) / 2 * (spl(c) - spl(0));\n"
        "spl(0) = spl(0) + t;\nspl(c) = spl(c) - t;\n"
    )
    return _Code("", "", process)


def _cleared(place: int, value: str) -> str:
    """Set the state of all channels."""
    return f"c = 0;\nloop({2 * _MOST_CHANNELS},\n  {place}[c] = {value};\n  c = c + 1;\n);\n"
