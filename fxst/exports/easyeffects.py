"""EasyEffects: a preset for the audio of a Linux desktop."""

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any, Final

from fxst.effects import Compressor, ParametricEQ, StereoWidth
from fxst.exports.base import Band, Export, Stage, bands, comments

__all__ = ["LSP_TIME", "NULL_DB", "write"]

NULL_DB: Final = {"parametric_eq": -50.0, "compressor": -100.0, "stereo_width": -120.0}
"""Declared and tested null of the plugins at these settings against fxst's own rendering: LSP's, and for the stereo
width Calf's Stereo Tools, as ffmpeg has them."""

LSP_TIME: Final = -math.log(1 - math.sqrt(0.5)) / (2 * math.pi)
"""LSP's times in units of ours: within LSP's a level covers 71 % of a step; JUCE's are 2 pi time constants."""

_TYPES: Final = {"low_shelf": "Lo-shelf", "peak": "Bell", "high_shelf": "Hi-shelf"}
_MOST_BANDS: Final = 30
_THRESHOLDS_DB: Final = (-60.0, 0.0)
_LOWEST_SIDE_DB: Final = -36.0


def write(export: Export) -> str:
    """Write a preset for EasyEffects 7 or later; notes for the user are under `fxst`, which it ignores.

    EasyEffects runs LSP's plugins: the equaliser has our bands in the mode APO (DR), and the compressor our recursion.

    Source:
        Presets that EasyEffects saved, its settings' schemas, and LSP Plugins' coefficients.
    """
    plugins: dict[str, Any] = {}
    notes = comments(export, "EasyEffects 7")
    for stage in export.stages:
        match stage.effect:
            case ParametricEQ():
                everything = list(bands(stage, sample_rate=export.sample_rate))
                for first in range(0, len(everything), _MOST_BANDS):
                    plugins[_next("equalizer", plugins)] = _equalizer(everything[first : first + _MOST_BANDS])
                notes.append(
                    f"{stage.label}: approximate, because its filters are float32; least exact below 100 Hz: "
                    f"{_measured('parametric_eq')}"
                )
            case Compressor():
                plugins[_next("compressor", plugins)] = _compressor(stage)
                notes.append(f"{stage.label}: {_measured('compressor')}")
                if not _THRESHOLDS_DB[0] <= stage.values["threshold_db"] <= _THRESHOLDS_DB[1]:
                    notes.append(
                        f"{stage.label}: approximate, and not measured: its threshold is limited to EasyEffects' "
                        "range, -60 to 0 dB."
                    )
            case StereoWidth():
                plugins[_next("stereo_tools", plugins)] = _stereo_tools(stage)
                null = f"{NULL_DB['stereo_width']:.0f} dB or less"
                notes.append(
                    f"{stage.label}: nulls to {null}, as tests/exports measures ffmpeg's form of Calf's Stereo Tools, "
                    "which EasyEffects plays; the side signal falls by at most 36 dB."
                )
            case _:
                notes.append(f"{stage.label}: left out, so the result differs.")
    preset = {"fxst": notes, "output": {"blocklist": [], **plugins, "plugins_order": list(plugins)}}
    return json.dumps(preset, indent=4) + "\n"


def _measured(effect: str) -> str:
    null = f"{NULL_DB[effect]:.0f} dB or less"
    return f"nulls to {null}, as tests/exports measures LSP Plugins 1.2.5, which EasyEffects plays."


def _next(plugin: str, plugins: dict[str, Any]) -> str:
    """Return the name of the next plugin of a kind, numbered as in EasyEffects."""
    return next(name for index in itertools.count() if (name := f"{plugin}#{index}") not in plugins)


def _equalizer(everything: Sequence[Band]) -> dict[str, Any]:
    channel = {
        f"band{index}": {
            "type": _TYPES[kind],
            "mode": "APO (DR)",
            "slope": "x1",
            "solo": False,
            "mute": False,
            "gain": gain_db,
            "frequency": f0_hz,
            "q": q,
            "width": 4.0,
        }
        for index, (kind, f0_hz, gain_db, q) in enumerate(everything)
    }
    return {
        "bypass": False,
        "input-gain": 0.0,
        "output-gain": 0.0,
        "mode": "IIR",
        "num-bands": len(channel),
        "split-channels": False,
        "balance": 0.0,
        "pitch-left": 0.0,
        "pitch-right": 0.0,
        "left": channel,
        "right": channel,
    }


def _stereo_tools(stage: Stage) -> dict[str, Any]:
    width = max(stage.values["width"], 10 ** (_LOWEST_SIDE_DB / 20))
    return {
        "bypass": False,
        "input-gain": 0.0,
        "output-gain": 0.0,
        "dry": -100.0,
        "wet": 0.0,
        "mode": "LR > LR (Stereo Default)",
        "side-level": 20 * math.log10(width),
        "side-balance": 0.0,
        "middle-level": 0.0,
        "middle-panorama": 0.0,
        "balance-in": 0.0,
        "balance-out": 0.0,
        "mutel": False,
        "muter": False,
        "phasel": False,
        "phaser": False,
        "softclip": False,
        "sc-level": 1.0,
        "stereo-base": 0.0,
        "stereo-phase": 0.0,
        "delay": 0.0,
    }


def _compressor(stage: Stage) -> dict[str, Any]:
    effect, values = stage.effect, stage.values
    assert isinstance(effect, Compressor)
    return {
        "bypass": False,
        "input-gain": 0.0,
        "output-gain": 0.0,
        "dry": -80.01,
        "wet": 0.0,
        "mode": "Downward",
        "attack": values["attack_ms"] * LSP_TIME,
        "release": values["release_ms"] * LSP_TIME,
        "release-threshold": -100.0,
        "threshold": min(max(values["threshold_db"], _THRESHOLDS_DB[0]), _THRESHOLDS_DB[1]),
        "ratio": values["ratio"],
        "knee": 0.0,
        "makeup": values["makeup_db"],
        "boost-threshold": -72.0,
        "boost-amount": 6.0,
        "stereo-split": not effect.linked,
        "sidechain": {
            "type": "Feed-forward",
            "mode": "Peak",
            "source": "Max",
            "stereo-split-source": "Left/Right",
            "preamp": 0.0,
            "reactivity": 0.0,
            "lookahead": 0.0,
        },
        "hpf-mode": "Off",
        "hpf-frequency": 10.0,
        "lpf-mode": "Off",
        "lpf-frequency": 20000.0,
    }
