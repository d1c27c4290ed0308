"""Pedalboard's phaser as an effect, and a chain of it: `fxst --effects docs/phaser.py chains` lists it."""

import pedalboard

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.effects import declare_plugin
from fxst.effects.parameters import Parameter

Phaser = declare_plugin(
    "phaser",
    pedalboard.Phaser,  # a VST3 or Audio Unit: lambda: pedalboard.load_plugin("my.vst3")
    [  # named as the plugin names them, each over the widest range that it may ever take
        Parameter("rate_hz", 0.05, 10.0, 2.0, "Hz", "log"),
        Parameter("depth", 0.0, 1.0, 0.5),
        Parameter("centre_frequency_hz", 100.0, 8000.0, 1000.0, "Hz", "log"),
        Parameter("feedback", 0.0, 0.9, 0.3),
        Parameter("mix", 0.0, 1.0, 0.5),
    ],
)

# What a model is to find. Fixed is the rest: a clip tells nothing of a rate, and a deep sweep leaves no notch in place.
phaser = Phaser().restrict(rate_hz=2.0, depth=0.1, centre_frequency_hz=(200.0, 4000.0), feedback=0.0, mix=(0.0, 0.5))
CHAINS["phaser"] = Chain("phaser", (phaser,))
