"""Items drawn from recordings: the published evaluation of DeepAFx-ST, and targets that our own chains made."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from fxst.audio import Samples
from fxst.chain import Chain
from fxst.errors import AudioError, SettingsError
from fxst.evaluation.corruption import (
    Compander,
    FrequencyCorruption,
    draw_compressor,
    draw_expander,
    draw_frequency_corruption,
)
from fxst.evaluation.items import Item
from fxst.evaluation.voices import Stretch, Voices, read
from fxst.tables import Table

__all__ = ["PATCH_SAMPLES", "DrawnItems"]

PATCH_SAMPLES: Final[Mapping[int, int]] = {24_000: 131_072, 44_100: 262_144}
"""Length of an input, and of a reference, by sample rate."""

BASE_PEAK: Final = 10 ** (-12 / 20)
QUIETEST: Final = 1e-5
"""Mean square that both halves of a patch must exceed."""

FADE_SECONDS: Final = 0.05
EQUALISED: Final = 0.75
EXPANDED: Final = 0.10
COMPRESSED: Final = 0.75
"""How often input and target are equalised, the input is expanded, and the target is compressed."""

TRIES: Final = 100


class DrawnItems:
    """Items drawn from voices: two passages in a row, one to be changed and one to sound like.

    An item depends on the recordings, the seed and its number alone, on every machine.

    Args:
        voices: Whose recordings.
        chain: None for protocol P: random equalisers, and at times an expander before the model and a compressor in
            the target. With a chain: random settings of its exact effects, which the item then tells.
        sample_rate: 24,000 or 44,100 Hz.
        count: How many items.
        seed: Seed of the draw.

    Attributes:
        names: Protocol, seed and number of each.
        has_targets: True.

    Raises:
        SettingsError: Another sample rate, or no voice is long enough.

    Source:
        C. J. Steinmetz et al., "Style transfer of audio effects with differentiable signal processing", 2022, and
        its published code for what the paper leaves out.
    """

    has_targets = True

    def __init__(self, voices: Voices, *, chain: Chain | None, sample_rate: int, count: int, seed: int) -> None:
        if sample_rate not in PATCH_SAMPLES:
            raise SettingsError(
                f"Items are defined at {' and '.join(map(str, PATCH_SAMPLES))} Hz, not at {sample_rate}: choose one."
            )
        self._voices, self._chain, self._sample_rate, self._seed = voices, chain, sample_rate, seed
        self._samples = PATCH_SAMPLES[sample_rate]
        protocol = "p" if chain is None else chain.name
        self.names = tuple(f"{protocol}-{sample_rate}-{seed}-{number}" for number in range(count))
        self._patch(self._generator(0))  # what cannot be drawn shows here, before any work

    def __getitem__(self, index: int) -> Item:
        """Make an item.

        Raises:
            AudioError: A recording is damaged.
        """
        rng = self._generator(index)
        voice, stretches, patch = self._patch(rng)
        base = patch * np.float32(BASE_PEAK / np.abs(patch).max())
        first = rng.random() < 0.5
        drawn: dict[str, Any] = {
            "voice": voice,
            "passage": [asdict(stretch) for stretch in stretches],
            "input_is": "first half" if first else "second half",
        }
        halves = (slice(None, self._samples), slice(self._samples, None))
        ours, theirs = halves if first else halves[::-1]
        settings: Table | None = None
        if self._chain is None:
            x, target, styles = self._corrupted(base, rng)
            drawn |= styles
            reference = target[:, theirs]
            x, target = x[:, ours], target[:, ours]
        else:
            settings = self._settings(self._chain, rng)
            drawn["settings"] = {f"{row.effect} {row.parameter}": row.value for row in settings}
            x = base[:, ours]
            target, reference = (self._rendered(passage, settings) for passage in (x, base[:, theirs]))
        rate = self._sample_rate
        return Item(self.names[index], voice, x, reference, target, rate, rate, settings, drawn)

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, index))

    def _patch(self, rng: np.random.Generator) -> tuple[str, tuple[Stretch, ...], Samples]:
        """Draw a passage in whose halves there is something to hear."""
        seconds = 2 * self._samples / self._sample_rate
        names = list(self._voices.names)
        while names:
            # Voices count alike, however much there is of each.
            voice = names.pop(int(rng.random() * len(names)))
            for _ in range(TRIES):
                stretches = self._voices.passage(voice, at=rng.random(), seconds=seconds)
                if stretches is None:
                    break
                patch = read(stretches, samples=2 * self._samples, sample_rate=self._sample_rate)
                if patch is not None and min(np.square(half).mean() for half in np.split(patch, 2, axis=1)) > QUIETEST:
                    return voice, stretches, patch
        raise SettingsError(
            f"None of the {len(self._voices.names)} voice(s) has {seconds:.1f} s of sound for an item, two passages of "
            f"{seconds / 2:.1f} s: add recordings, or use another --split."
        )

    def _corrupted(self, base: Samples, rng: np.random.Generator) -> tuple[Samples, Samples, dict[str, Any]]:
        """Make input and target of protocol P out of one passage."""
        x, input_styles = self._styled(base, rng, EQUALISED, None, 0.0)
        x, expanded = self._styled(_at_peak(x), rng, 0.0, draw_expander(rng), EXPANDED)
        # The target enters its compressor as the equaliser left it: so it was published.
        target, target_styles = self._styled(base, rng, EQUALISED, draw_compressor(rng), COMPRESSED)
        return (
            _at_peak(self._faded(x)),
            _at_peak(self._faded(target)),
            {"input": input_styles | expanded, "target": target_styles},
        )
