"""Write the golden render of every effect: `python tests/effects/make_goldens.py`.

A golden holds a signal, settings and what came out of them when it was made. It is written by this command alone, when
an effect is added or is meant to sound different, and never by a test.
"""

from pathlib import Path

import numpy as np

from fxst.effects import EFFECTS

FOLDER = Path(__file__).parent / "goldens"
SAMPLE_RATE = 24_000


def sweep(seconds=0.1):
    """Make a stereo signal: a falling click on the left, and a loud sweep that starts halfway on the right."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    left = np.exp(-t / 0.005) * np.cos(2 * np.pi * 900 * t)
    right = 0.8 * np.sin(2 * np.pi * (100 + 30_000 * t) * t) * (t > seconds / 2)
    return np.stack([left, right]).astype(np.float32)


def main():
    FOLDER.mkdir(exist_ok=True)
    x = sweep()
    for name, kind in EFFECTS.items():
        effect = kind()
        knobs = [(0.35 + 0.618 * index) % 1 for index in range(len(effect.parameters))]
        values = {p.name: p.to_value(knob) for p, knob in zip(effect.parameters, knobs, strict=True)}
        y = effect.exact(values, sample_rate=SAMPLE_RATE, channels=len(x))(x)
        np.savez_compressed(
            FOLDER / f"{name}.npz",
            x=x,
            y=y,
            names=list(values),
            values=list(values.values()),
            sample_rate=SAMPLE_RATE,
        )


if __name__ == "__main__":
    main()
