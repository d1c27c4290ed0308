"""ffmpeg: a filter graph that nulls against fxst's own rendering."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Final

from fxst.effects import Compressor, Distortion, ParametricEQ, Reverb, StereoWidth
from fxst.effects.stereo_width import across
from fxst.exports.base import Export, Stage, bands, commented, comments, number
from fxst.untrusted import shell_word

__all__ = ["NULL_DB", "write"]

NULL_DB: Final = {
    "parametric_eq": -140.0,
    "compressor": -80.0,
    "distortion": -130.0,
    "reverb": -95.0,
    "stereo_width": -130.0,
}
"""Declared and tested null of the graph against fxst's own rendering, with ffmpeg in double precision."""

_FILTERS: Final = {"low_shelf": "lowshelf", "peak": "equalizer", "high_shelf": "highshelf"}


def write(export: Export) -> str:
    """Write a filter graph, one filter per line.

    The equaliser's bands are ffmpeg's own, computed in double precision. ffmpeg's compressor follows peaks by the same
    recursion as ours, with a coefficient of 4000 / (ms * sample_rate); its hard knee is a knee of 1.

    Source:
        ffmpeg's documentation of its filters, and measurements of them.
    """
    unique = itertools.count(1)
    writers: dict[type, Callable[[Stage], Iterator[str]]] = {
        ParametricEQ: lambda stage: _equalizer(stage, export),
        Compressor: lambda stage: _compressor(stage, export, next(unique)),
        Distortion: _distortion,
        Reverb: lambda stage: _reverb(export),
        StereoWidth: _stereo_width,
    }
    filters, written, left_out = ["aformat=sample_fmts=dblp"], [], []
    for stage in export.stages:
        if writer := writers.get(type(stage.effect)):
            filters += writer(stage)
            written.append(stage.effect.name)
        else:
            left_out.append(stage.label)

    lines = comments(export, "ffmpeg 5 and later")
    if nulls := ", ".join(f"{name} {NULL_DB[name]:.0f} dB" for name in NULL_DB if name in written):
        lines.append(f"Nulls against fxst's own rendering, as tests/exports measures it: {nulls} or less.")
    lines += [f"{label}: left out, so the result differs." for label in left_out]
    graph = "\"$(grep -v '^#' FILE)\""
    if "reverb" in written:
        lines += [
            f"The second input is the reverb's impulse response, {export.impulse_response!a}; FILE is this file:",
            # After a folder's name ffmpeg gives no meaning to a dash or a colon.
            f"ffmpeg -i INPUT -i {shell_word(f'./{export.impulse_response}')} -filter_complex {graph} OUTPUT",
            "For ffmpeg 7 or later. For 5.1, which has no irnorm and convolves at twice the level, replace irnorm=-1 "
            "by "
            "gtype=none:wet=0.5",
        ]
        filters[0] = f"[0:a]{filters[0]}"
    else:
        lines.append(f"FILE is this file: ffmpeg -i INPUT -af {graph} OUTPUT")
    return commented(lines) + ",\n".join(filters) + "\n"


def _equalizer(stage: Stage, export: Export) -> Iterator[str]:
    for kind, *numbers in bands(stage, sample_rate=export.sample_rate):
        f0_hz, gain_db, q = map(number, numbers)
        yield f"{_FILTERS[kind]}=f={f0_hz}:t=q:w={q}:g={gain_db}:r=f64"


def _compressor(stage: Stage, export: Export, serial: int) -> Iterator[str]:
    effect, values = stage.effect, stage.values
    assert isinstance(effect, Compressor)
    # ffmpeg's threshold ends at full scale: for a higher one the signal is attenuated before, and amplified after.
    beyond_db = max(0.0, values["threshold_db"])
    options = {
        "level_in": 10.0 ** (-beyond_db / 20),
        "threshold": 10.0 ** ((values["threshold_db"] - beyond_db) / 20),
        "ratio": values["ratio"],
        "attack": _milliseconds(values["attack_ms"], export.sample_rate),
        "release": _milliseconds(values["release_ms"], export.sample_rate),
    }
    compressor = "acompressor=" + ":".join(f"{name}={number(value)}" for name, value in options.items())
    compressor += ":knee=1:detection=peak:link=maximum"
    if effect.linked or export.channels == 1:
        yield compressor
    else:
        channels, layout = range(export.channels), _layout(export.channels)
        split = "".join(f"[in{serial}_{c}]" for c in channels)
        alone = (
            f"[in{serial}_{c}]pan=mono|c0=c{c},{compressor},pan={layout}|c{c}=c0[out{serial}_{c}];\n" for c in channels
        )
        mix = "".join(f"[out{serial}_{c}]" for c in channels)
        yield f"asplit={export.channels}{split};\n{''.join(alone)}{mix}amix=inputs={export.channels}:normalize=0"
    if (gain_db := values["makeup_db"] + beyond_db) != 0:
        yield f"volume={number(gain_db)}dB:precision=double"


def _milliseconds(ms: float, sample_rate: int) -> float:
    """Return the time at which ffmpeg's recursion has our coefficient."""
    return 4000 / (sample_rate * -math.expm1(-2000 * math.pi / (ms * sample_rate)))


def _distortion(stage: Stage) -> Iterator[str]:
    gain, mix = number(10.0 ** (stage.values["drive_db"] / 20)), stage.values["mix"]
    yield f"aeval='{number(1 - mix)}*val(ch)+{number(mix)}*tanh({gain}*val(ch))':c=same"


def _reverb(export: Export) -> Iterator[str]:
    if export.channels == 2:
        routes, responses = "pan=4c|c0=c0|c1=c0|c2=c1|c3=c1", "anull"
    else:
        layout, channels = _layout(export.channels), range(export.channels)
        routes = f"pan={layout}|" + "|".join(f"c{c}=c{c}" for c in channels)
        responses = f"pan={layout}|" + "|".join(f"c{c}=c0" for c in channels)
    yield f"{routes}[dry];\n[1:a]aformat=sample_fmts=dblp,{responses}[ir];\n[dry][ir]afir=irnorm=-1"
    if export.channels == 2:
        yield "pan=stereo|c0=c0+c2|c1=c1+c3"


def _stereo_width(stage: Stage) -> Iterator[str]:
    own, other = map(number, across(stage.values["width"]))
    yield f"pan=stereo|c0={own}*c0+{other}*c1|c1={other}*c0+{own}*c1".replace("+-", "-")


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels}c")
