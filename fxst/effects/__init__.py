"""The effects, one file each; importing this package registers them all in `EFFECTS`."""

from fxst.effects.base import EFFECTS, Effect, Processor
from fxst.effects.compressor import Compressor
from fxst.effects.declarations import undeclared
from fxst.effects.distortion import Distortion
from fxst.effects.dynamics import Dynamics
from fxst.effects.expander import Expander
from fxst.effects.parametric_eq import ParametricEQ
from fxst.effects.plugin import declare_plugin
from fxst.effects.reverb import Reverb
from fxst.effects.stereo_width import StereoWidth
from fxst.effects.upward_compressor import UpwardCompressor

__all__ = [
    "EFFECTS",
    "Compressor",
    "Distortion",
    "Dynamics",
    "Effect",
    "Expander",
    "ParametricEQ",
    "Processor",
    "Reverb",
    "StereoWidth",
    "UpwardCompressor",
    "declare_plugin",
    "undeclared",
]
