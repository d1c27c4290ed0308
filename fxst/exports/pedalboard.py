"""pedalboard: a Python file that builds the same board without fxst."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from fxst.effects import Compressor, Distortion, ParametricEQ, Reverb, StereoWidth
from fxst.exports.base import Export, Stage, bands, commented, comments, number

__all__ = ["NULL_DB", "write"]

NULL_DB: Final = {
    "parametric_eq": -50.0,
    "compressor": -100.0,
    "distortion": -100.0,
    "reverb": -120.0,
    "stereo_width": -130.0,
}
"""Declared and tested null of the board against fxst's own rendering."""

_LINKED: Final = "linked"
_ALONE: Final = "each_alone"
_WIDTH: Final = "stereo_width"
_HELPERS: Final = {
    _LINKED: '''def linked(compressor, audio, sample_rate):
    """Give all channels the gain that the loudest of them would get."""
    loudest = np.abs(audio).max(axis=0)
    gain = compressor(loudest, sample_rate) / np.maximum(loudest, np.finfo(np.float32).tiny, dtype=np.float64)
    return (audio * gain).astype(np.float32)
''',
    _ALONE: '''def each_alone(plugin, audio, sample_rate):
    """Play each channel on its own."""
    return np.stack([plugin(channel, sample_rate) for channel in audio])
''',
    _WIDTH: '''def stereo_width(width, audio, sample_rate):
    """Scale the side signal."""
    return ((1 + width) / 2 * audio + (1 - width) / 2 * audio[::-1]).astype(np.float32)
''',
}

_FILTERS: Final = {"low_shelf": "LowShelfFilter", "peak": "PeakFilter", "high_shelf": "HighShelfFilter"}


def write(export: Export) -> str:
    """Write a module with `render(audio, sample_rate)`.

    fxst renders with the same plugins, except the equaliser, whose bands pedalboard computes in float32 and fxst in
    float64.
    """
    steps: list[_Step] = []
    names, left_out = [], []
    for stage in export.stages:
        match stage.effect:
            case ParametricEQ():
                steps += (_Step(plugin) for plugin in _equalizer(stage, export))
            case Compressor():
                steps += _compressor(stage, export)
            case Distortion():
                steps.append(_Step(_distortion(stage)))
            case Reverb():
                steps.append(_Step(_call("Reverb", stage.values), _ALONE if export.channels > 2 else ""))
            case StereoWidth():
                steps.append(_Step(number(stage.values["width"]), _WIDTH))
            case _:
                left_out.append(stage.label)
                continue
        names.append(stage.effect.name)

    lines = comments(export, "pedalboard")
    if nulls := ", ".join(f"{name} {NULL_DB[name]:.0f} dB" for name in NULL_DB if name in names):
        lines.append(f"Nulls against fxst's own rendering, as tests/exports measures it: {nulls} or less.")
    if "parametric_eq" in names:
        lines.append(
            "The equaliser is approximate, because pedalboard's filters are float32; least exact below 100 Hz."
        )
    lines += [f"pedalboard has no {label} of its own: left out, so the result differs." for label in left_out]
    functions = sorted({step.function for step in steps} & _HELPERS.keys())
    imports = ("import numpy as np\n" if functions else "") + "import pedalboard\n"
    parts = [commented(lines) + imports, *(_HELPERS[function] for function in functions)]
    parts.append(
        'def render(audio, sample_rate):\n    """Render float32 audio of shape (channels, time)."""\n'
        + "".join(_statements(steps))
        + "    return audio\n"
    )
    return "\n\n".join(parts)


class _Step(NamedTuple):
    """A plugin, and the helper function that runs it where it cannot process all channels directly.

    Where pedalboard has no such plugin, it is the argument of a function that is the effect.
    """

    plugin: str
    function: str = ""


def _statements(steps: list[_Step]) -> Iterator[str]:
    for function, group in itertools.groupby(steps, key=lambda step: step.function):
        if function:
            for step in group:
                yield f"    audio = {function}({step.plugin}, audio, sample_rate)\n"
        else:
            board = "".join(f"            {step.plugin},\n" for step in group)
            yield f"    board = pedalboard.Pedalboard(\n        [\n{board}        ]\n    )\n"
            yield "    audio = board(audio, sample_rate)\n"


def _call(plugin: str, arguments: Mapping[str, float]) -> str:
    return f"pedalboard.{plugin}({', '.join(f'{name}={number(value)}' for name, value in arguments.items())})"


def _equalizer(stage: Stage, export: Export) -> Iterator[str]:
    for kind, f0_hz, gain_db, q in bands(stage, sample_rate=export.sample_rate):
        yield _call(_FILTERS[kind], {"cutoff_frequency_hz": f0_hz, "gain_db": gain_db, "q": q})


def _compressor(stage: Stage, export: Export) -> Iterator[_Step]:
    effect, values = stage.effect, dict(stage.values)
    assert isinstance(effect, Compressor)
    makeup_db = values.pop("makeup_db")
    yield _Step(_call("Compressor", values), _LINKED if effect.linked and export.channels > 1 else "")
    if makeup_db != 0:
        yield _Step(_call("Gain", {"gain_db": makeup_db}))


def _distortion(stage: Stage) -> str:
    mix, distortion = stage.values["mix"], _call("Distortion", {"drive_db": stage.values["drive_db"]})
    if mix == 1:
        return distortion
    wet, dry = (_call("Gain", {"gain_db": 20 * math.log10(share)}) for share in (mix, 1 - mix))
    return f"pedalboard.Mix([pedalboard.Chain([{distortion}, {wet}]), {dry}])"
