"""Items drawn from recordings: the published evaluation of DeepAFx-ST, and targets that our own chains made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fxst.audio import Samples
from fxst.chain import Chain
from fxst.data.corruption import (
    Dynamics,
    FrequencyCorruption,
    draw_compressor,
    draw_expander,
    draw_frequency_corruption,
    to_data,
)
from fxst.errors import SettingsError
from fxst.evaluation.items import Item
from fxst.evaluation.voices import Stretch, Voices, read
from fxst.tables import Table

__all__ = ["PATCH_SAMPLES", "UNREADABLE", "DrawnItems", "Styles", "draw_styles"]

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

UNREADABLE: Final = "unreadable"
"""What an item calls the files of its voice that could not be read."""

TRIES: Final = 100


@dataclass(frozen=True)
class Styles:
    """What protocol P does to input and target; None is nothing.

    Args:
        equaliser: Of the input.
        expander: Of the input, after it.
        target_equaliser: Of the target.
        target_compressor: Of the target, after it.
    """

    equaliser: FrequencyCorruption | None
    expander: Dynamics | None
    target_equaliser: FrequencyCorruption | None
    target_compressor: Dynamics | None


def draw_styles(rng: np.random.Generator, *, sample_rate: int) -> Styles:
    """Draw what protocol P does to an item.

    Args:
        rng: The source of chance.
        sample_rate: The item's.
    """
    return Styles(
        equaliser=draw_frequency_corruption(rng, sample_rate=sample_rate) if rng.random() < EQUALISED else None,
        expander=draw_expander(rng) if rng.random() < EXPANDED else None,
        target_equaliser=draw_frequency_corruption(rng, sample_rate=sample_rate) if rng.random() < EQUALISED else None,
        target_compressor=draw_compressor(rng) if rng.random() < COMPRESSED else None,
    )


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
        # What cannot be drawn shows here, before any work.
        if not any(voices.passage(voice, at=0.0, seconds=self._seconds) for voice in voices.names):
            raise self._too_little()

    def __getitem__(self, index: int) -> Item:
        """Make an item.

        Raises:
            AudioError: A recording is damaged.
        """
        rng = self._generator(index)
        voice, stretches, patch = self._patch(rng)
        base = _at_peak(patch)
        first = rng.random() < 0.5
        drawn: dict[str, Any] = {
            "voice": voice,
            "passage": [asdict(stretch) for stretch in stretches],
            "input_is": "first half" if first else "second half",
        }
        if unreadable := self._voices.unreadable(voice):
            drawn[UNREADABLE] = list(unreadable)
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
        names = list(self._voices.names)
        while names:
            # Voices count alike, however much there is of each.
            voice = names.pop(int(rng.random() * len(names)))
            for _ in range(TRIES):
                stretches = self._voices.passage(voice, at=rng.random(), seconds=self._seconds)
                if stretches is None:
                    break
                patch = read(stretches, samples=2 * self._samples, sample_rate=self._sample_rate)
                if patch is not None and min(np.square(half).mean() for half in np.split(patch, 2, axis=1)) > QUIETEST:
                    return voice, stretches, patch
        raise self._too_little()

    @property
    def _seconds(self) -> float:
        """Length of a passage: what is changed, and what it is to sound like."""
        return 2 * self._samples / self._sample_rate

    def _too_little(self) -> SettingsError:
        return SettingsError(
            f"None of the {len(self._voices.names)} voice(s) has {self._seconds:.1f} s of sound, which an item takes: "
            "add recordings, or use another --split."
        )

    def _corrupted(self, base: Samples, rng: np.random.Generator) -> tuple[Samples, Samples, dict[str, Any]]:
        """Make input and target of protocol P out of one passage."""
        styles = draw_styles(rng, sample_rate=self._sample_rate)
        rate = self._sample_rate
        x, target = base, base
        if styles.equaliser is not None:
            x = styles.equaliser.apply(x, sample_rate=rate)
        x = _at_peak(x)
        if styles.expander is not None:
            x = styles.expander.apply(x, sample_rate=rate)
        # The target enters its compressor as loud as its equaliser left it: so it was published.
        if styles.target_equaliser is not None:
            target = styles.target_equaliser.apply(target, sample_rate=rate)
        if styles.target_compressor is not None:
            target = styles.target_compressor.apply(target, sample_rate=rate)
        drawn = {
            "input": [to_data(style) for style in (styles.equaliser, styles.expander) if style is not None],
            "target": [
                to_data(style) for style in (styles.target_equaliser, styles.target_compressor) if style is not None
            ],
        }
        return _at_peak(self._faded(x)), _at_peak(self._faded(target)), drawn

    def _faded(self, x: Samples) -> Samples:
        ramp = np.linspace(0, 1, round(FADE_SECONDS * self._sample_rate), dtype=np.float32)
        faded = x.copy()
        faded[:, : len(ramp)] *= ramp
        faded[:, -len(ramp) :] *= ramp[::-1]
        return faded

    def _settings(self, chain: Chain, rng: np.random.Generator) -> Table:
        import torch

        knobs = torch.tensor([rng.random() for _ in chain.knobs], dtype=torch.float64)
        return Table(chain, chain.settings(knobs))

    def _rendered(self, x: Samples, settings: Table) -> Samples:
        return settings.chain.exact(settings, sample_rate=self._sample_rate, channels=len(x))(x)


def _at_peak(x: Samples) -> Samples:
    """Bring the peak to -12 dBFS."""
    normalised: Samples = x * np.float32(BASE_PEAK / np.abs(x).max())
    return normalised
