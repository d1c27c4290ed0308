"""CamillaDSP: filters, processors, mixers and a pipeline for a configuration."""

import json
import math
from collections.abc import Sequence
from typing import Any

from fxst.effects import Compressor, ParametricEQ, Reverb, StereoWidth
from fxst.effects.stereo_width import across
from fxst.exports.base import Export, Stage, bands, commented, comments, number

__all__ = ["write"]

_TYPES = {"low_shelf": "Lowshelf", "peak": "Peaking", "high_shelf": "Highshelf"}


def write(export: Export) -> str:
    """Write YAML for versions 3 and 4, without devices.

    Source:
        CamillaDSP's README, on filters, processors, mixers and the pipeline.
    """
    sections: dict[str, dict[str, Any]] = {"filters": {}, "processors": {}, "mixers": {}}
    pipeline: list[dict[str, Any]] = []
    lines = comments(export, "CamillaDSP 3 and 4")
    everywhere = list(range(export.channels))
    for stage in export.stages:
        match stage.effect:
            case ParametricEQ():
                filters = _equalizer(stage, export)
                sections["filters"] |= filters
                pipeline.append({"type": "Filter", "channels": everywhere, "names": list(filters)})
                lines.append(f"{stage.label}: the same bands, in float64; not measured.")
            case Compressor():
                processors = _compressor(stage, export)
                sections["processors"] |= processors
                pipeline += ({"type": "Processor", "name": name} for name in processors)
                lines.append(
                    f"{stage.label}: approximate, and not measured. It follows the sum of the channels, in decibels; "
                    "fxst follows the amplitude of the loudest one. The times are the same time constants. Version 5 "
                    "also needs attack_unit and release_unit, both s."
                )
            case Reverb():
                _reverb(stage, export, sections, pipeline)
                lines.append(
                    f"{stage.label}: as exact as the impulse response in {export.impulse_response!a}, next to this "
                    "file."
                )
            case StereoWidth():
                sections["mixers"][stage.label] = _stereo_width(stage)
                pipeline.append({"type": "Mixer", "name": stage.label})
                lines.append(f"{stage.label}: a mixer with the same factors; not measured.")
            case _:
                lines.append(f"{stage.label}: CamillaDSP has none: left out, so the result differs.")
    lines.append("Add it to a configuration with your own devices, at the sample rate above.")
    text = commented(lines)
    text += "".join(_yaml({name: section}) for name, section in sections.items() if section)
    return text + _yaml({"pipeline": pipeline})


def _equalizer(stage: Stage, export: Export) -> dict[str, Any]:
    return {
        f"{stage.label}_{index}": {
            "type": "Biquad",
            "parameters": {"type": _TYPES[kind], "freq": f0_hz, "gain": gain_db, "q": q},
        }
        for index, (kind, f0_hz, gain_db, q) in enumerate(bands(stage, sample_rate=export.sample_rate), 1)
    }


def _compressor(stage: Stage, export: Export) -> dict[str, Any]:
    effect, values = stage.effect, stage.values
    assert isinstance(effect, Compressor)
    together = [list(range(export.channels))]
    groups = together if effect.linked else [[channel] for channel in range(export.channels)]
    return {
        stage.label if group in together else f"{stage.label}_{group[0]}": {
            "type": "Compressor",
            "parameters": {
                "channels": export.channels,
                # In seconds; JUCE's time is 2 pi time constants.
                "attack": values["attack_ms"] / (2000 * math.pi),
                "release": values["release_ms"] / (2000 * math.pi),
                "threshold": values["threshold_db"],
                "factor": values["ratio"],
                "makeup_gain": values["makeup_db"],
                "monitor_channels": group,
                "process_channels": group,
            },
        }
        for group in groups
    }


def _reverb(stage: Stage, export: Export, sections: dict[str, dict[str, Any]], pipeline: list[dict[str, Any]]) -> None:
    """Add a convolution: in true stereo through four channels, else of each channel with the first response."""

    def response(channel: int) -> dict[str, Any]:
        return {
            "type": "Conv",
            "parameters": {"type": "Wav", "filename": export.impulse_response, "channel": channel},
        }

    if export.channels != 2:
        sections["filters"][stage.label] = response(0)
        pipeline.append({"type": "Filter", "channels": list(range(export.channels)), "names": [stage.label]})
        return
    paths = ["left_to_left", "left_to_right", "right_to_left", "right_to_right"]
    names = [f"{stage.label}_{path}" for path in paths]
    sections["filters"] |= {name: response(channel) for channel, name in enumerate(names)}
    apart, together = f"{stage.label}_apart", f"{stage.label}_together"
    sections["mixers"] |= {apart: _mixer(2, [[0], [0], [1], [1]]), together: _mixer(4, [[0, 2], [1, 3]])}
    pipeline.append({"type": "Mixer", "name": apart})
    pipeline += ({"type": "Filter", "channels": [channel], "names": [name]} for channel, name in enumerate(names))
    pipeline.append({"type": "Mixer", "name": together})


def _stereo_width(stage: Stage) -> dict[str, Any]:
    shares = across(stage.values["width"])
    return {
        "channels": {"in": 2, "out": 2},
        "mapping": [
            {
                "dest": dest,
                "sources": [
                    {"channel": channel, "gain": 20 * math.log10(abs(share)), "inverted": share < 0}
                    for channel, share in zip((dest, 1 - dest), shares, strict=True)
                ],
            }
            for dest in (0, 1)
        ],
    }


def _mixer(inputs: int, sources: Sequence[Sequence[int]]) -> dict[str, Any]:
    return {
        "channels": {"in": inputs, "out": len(sources)},
        "mapping": [
            {"dest": dest, "sources": [{"channel": channel, "gain": 0.0} for channel in channels]}
            for dest, channels in enumerate(sources)
        ],
    }


def _yaml(mapping: dict[str, Any], indent: str = "") -> str:
    """Format nested dictionaries as YAML; lists of numbers and names stay on their line."""
    lines = []
    for key, value in mapping.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{key}:\n{_yaml(value, indent + '  ')}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            items = (_yaml(item, indent + "    ") for item in value)
            lines.append(f"{indent}{key}:\n" + "".join(f"{indent}  - {item.lstrip()}" for item in items))
        else:
            lines.append(f"{indent}{key}: {_scalar(value)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        # JSON writes characters above 16 bits as surrogate pairs, which YAML does not join.
        return '"' + "".join(map(_escaped, value)) + '"'
    return json.dumps(value)


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08X}"
