"""Items drawn from recordings: the published evaluation of DeepAFx-ST, and targets rendered by fxst's own chains."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.chains.table import Table
from fxst.data.corruption import (
    Corruption,
    DynamicsCorruption,
    FrequencyCorruption,
    draw_compressor,
    draw_expander,
    draw_frequency_corruption,
    to_data,
)
from fxst.errors import SettingsError
from fxst.evaluation.items import Item
from fxst.evaluation.voices import Stretch, Voices, read

__all__ = ["PATCH_SAMPLES", "UNREADABLE", "DrawnItems", "Styles", "draw_styles"]

PATCH_SAMPLES: Final[Mapping[int, int]] = {24_000: 131_072, 44_100: 262_144}
"""Length of an input and of a reference, by sample rate in Hz."""

BASE_PEAK: Final = 10 ** (-12 / 20)
MIN_POWER: Final = 1e-5
"""Mean square that each half of a patch must exceed."""

FADE_SECONDS: Final = 0.05
EQUALISED: Final = 0.75
EXPANDED: Final = 0.10
COMPRESSED: Final = 0.75
"""Probabilities: input and target are equalised, the input is expanded, and the target is compressed."""

UNREADABLE: Final = "unreadable"
"""Key of an item's data for the unreadable files of its voice."""

TRIES: Final = 100


@dataclass(frozen=True)
class Styles:
    """The processing of protocol P; None for no effect.

    Args:
        equaliser: Equaliser of the input.
        expander: Expander of the input, after it.
        target_equaliser: Equaliser of the target.
        target_compressor: Compressor of the target, after it.
    """

    equaliser: FrequencyCorruption | None
    expander: DynamicsCorruption | None
    target_equaliser: FrequencyCorruption | None
    target_compressor: DynamicsCorruption | None


def draw_styles(rng: np.random.Generator, *, sample_rate: int) -> Styles:
    """Draw the processing of an item in protocol P.

    Args:
        rng: The random generator.
        sample_rate: Sample rate of the item in Hz.
    """
    return Styles(
        equaliser=draw_frequency_corruption(rng, sample_rate=sample_rate) if rng.random() < EQUALISED else None,
        expander=draw_expander(rng) if rng.random() < EXPANDED else None,
        target_equaliser=draw_frequency_corruption(rng, sample_rate=sample_rate) if rng.random() < EQUALISED else None,
        target_compressor=draw_compressor(rng) if rng.random() < COMPRESSED else None,
    )


class DrawnItems:
    """Items drawn from voices: two consecutive passages, one as input and one as reference.

    An item depends on the recordings, the seed and its number alone, on every machine.

    Args:
        voices: The voices and their recordings.
        chain: None for protocol P: random equalisers, sometimes an expander before the model and a compressor in the
            target. With a chain: random settings of its exact effects, which the item then contains.
        sample_rate: 24,000 or 44,100 Hz.
        count: Number of items.
        seed: Random seed.
        effects: With a chain: number of its effects in a target, the others bypassed; None for all, with every knob
            anywhere in its range.
        other_voice: With protocol P: take the reference from another voice, in the style of the target, which is then
            unknown. The inputs stay the same.

    Attributes:
        names: Protocol, sample rate, seed and number of each item.
        has_targets: Whether the targets are known.

    Raises:
        SettingsError: The sample rate is another one, the chain has fewer effects or one that cannot be bypassed, or
            too few voices are long enough.

    Source:
        C. J. Steinmetz et al., "Style transfer of audio effects with differentiable signal processing", 2022, and
        the published code for what the paper leaves out.
    """

    def __init__(
        self,
        voices: Voices,
        *,
        chain: Chain | None,
        sample_rate: int,
        count: int,
        seed: int,
        effects: int | None = None,
        other_voice: bool = False,
    ) -> None:
        if sample_rate not in PATCH_SAMPLES:
            raise SettingsError(
                f"Items are defined at {' and '.join(map(str, PATCH_SAMPLES))} Hz, not at {sample_rate}: choose one."
            )
        if chain is not None and effects is not None:
            _check_effects(chain, effects)
        self._voices, self._chain, self._sample_rate, self._seed = voices, chain, sample_rate, seed
        self._effects, self._other_voice = effects, other_voice
        self._samples = PATCH_SAMPLES[sample_rate]
        self.has_targets = not other_voice
        protocol = ("p-other-voice" if other_voice else "p") if chain is None else chain.name
        if chain is not None and effects is not None:
            protocol += f"-{effects}-of-{len(chain.predicted.effects)}"
        self.names = tuple(f"{protocol}-{sample_rate}-{seed}-{number}" for number in range(count))
        # Impossible items fail here, before any work.
        long = (voice for voice in voices.names if voices.passage(voice, at=0.0, seconds=self._seconds))
        if len(list(islice(long, self._voices_needed))) < self._voices_needed:
            raise self._too_little()

    def __getitem__(self, index: int) -> Item:
        """Return an item.

        Raises:
            AudioError: A recording is damaged.
        """
        rng = self._generator(index)
        voice, stretches, patch = self._patch(rng, self._voices.names)
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
        target: Samples | None
        if self._chain is None:
            styles = draw_styles(rng, sample_rate=self._sample_rate)
            drawn |= {
                "input": _to_data(styles.equaliser, styles.expander),
                "target": _to_data(styles.target_equaliser, styles.target_compressor),
            }
            x = self._input(base, styles)[:, ours]
            if self._other_voice:
                other, passage, patch = self._patch(rng, [name for name in self._voices.names if name != voice])
                drawn |= {"reference_voice": other, "reference_passage": [asdict(stretch) for stretch in passage]}
                if unreadable := (*drawn.get(UNREADABLE, ()), *self._voices.unreadable(other)):
                    drawn[UNREADABLE] = list(unreadable)
                base = _at_peak(patch)
            produced = self._target(base, styles)
            reference = produced[:, theirs]
            target = None if self._other_voice else produced[:, ours]
        else:
            settings = self._settings(self._chain, rng)
            drawn["settings"] = {f"{row.effect} {row.parameter}": row.value for row in settings}
            x = base[:, ours]
            target, reference = (self._rendered(passage, settings) for passage in (x, base[:, theirs]))
        rate = self._sample_rate
        return Item(self.names[index], voice, x, reference, target, rate, rate, settings, drawn)

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, index))

    def _patch(self, rng: np.random.Generator, voices: Sequence[str]) -> tuple[str, tuple[Stretch, ...], Samples]:
        """Draw a passage of one of the voices whose halves are both audible."""
        names = list(voices)
        while names:
            # Every voice is equally likely, however much there is of it.
            voice = names.pop(int(rng.random() * len(names)))
            for _ in range(TRIES):
                stretches = self._voices.passage(voice, at=rng.random(), seconds=self._seconds)
                if stretches is None:
                    break
                patch = read(stretches, samples=2 * self._samples, sample_rate=self._sample_rate)
                if patch is not None and min(np.square(half).mean() for half in np.split(patch, 2, axis=1)) > MIN_POWER:
                    return voice, stretches, patch
        raise self._too_little()

    @property
    def _seconds(self) -> float:
        """Length of a passage: the input and the reference."""
        return 2 * self._samples / self._sample_rate

    @property
    def _voices_needed(self) -> int:
        return 2 if self._other_voice else 1

    def _too_little(self) -> SettingsError:
        who, has = ("No two", "have") if self._other_voice else ("None", "has")
        return SettingsError(
            f"{who} of the {len(self._voices.names)} voice(s) {has} {self._seconds:.1f} s of sound, which an item "
            "takes: add recordings, or use another --split."
        )

    def _input(self, base: Samples, styles: Styles) -> Samples:
        """Render the input of protocol P from a passage."""
        x = base
        if styles.equaliser is not None:
            x = styles.equaliser.apply(x, sample_rate=self._sample_rate)
        x = _at_peak(x)
        if styles.expander is not None:
            x = styles.expander.apply(x, sample_rate=self._sample_rate)
        return _at_peak(self._faded(x))

    def _target(self, base: Samples, styles: Styles) -> Samples:
        """Render the target of protocol P from a passage."""
        x = base
        # As published, the level before the compressor depends on the equaliser.
        if styles.target_equaliser is not None:
            x = styles.target_equaliser.apply(x, sample_rate=self._sample_rate)
        if styles.target_compressor is not None:
            x = styles.target_compressor.apply(x, sample_rate=self._sample_rate)
        return _at_peak(self._faded(x))

    def _faded(self, x: Samples) -> Samples:
        ramp = np.linspace(0, 1, round(FADE_SECONDS * self._sample_rate), dtype=np.float32)
        faded = x.copy()
        faded[:, : len(ramp)] *= ramp
        faded[:, -len(ramp) :] *= ramp[::-1]
        return faded

    def _settings(self, chain: Chain, rng: np.random.Generator) -> Table:
        predicted = chain.predicted
        if self._effects is not None:
            # Imported here: the module imports the feature extraction of training.
            from fxst.data.training_pairs import draw_settings

            labels = list(predicted.labels)
            active = [labels.pop(int(rng.random() * len(labels))) for _ in range(self._effects)]
            return Table(chain, chain.completed(draw_settings(predicted, active, rng)[1]))
        return Table(chain, chain.completed(predicted.settings([rng.random() for _ in predicted.knobs])))

    def _rendered(self, x: Samples, settings: Table) -> Samples:
        return settings.chain.exact(settings, sample_rate=self._sample_rate, channels=len(x))(x)


def _check_effects(chain: Chain, effects: int) -> None:
    """Check that a target can be rendered with so many predicted effects of the chain, the others bypassed."""
    chain = chain.predicted
    if not 1 <= effects <= len(chain.effects):
        raise SettingsError(
            f"The chain {chain.name} has {len(chain.effects)} effect(s), so no target can be made with {effects} of "
            "them: choose another --effects."
        )
    stuck = next(
        (label for label, effect in zip(chain.labels, chain.effects, strict=True) if not effect.transparent()), ""
    )
    if stuck and effects < len(chain.effects):
        raise SettingsError(f"The effect {stuck} cannot be bypassed: leave out --effects.")


def _to_data(*corruptions: Corruption | None) -> list[dict[str, Any]]:
    return [to_data(corruption) for corruption in corruptions if corruption is not None]


def _at_peak(x: Samples) -> Samples:
    """Normalise the peak to -12 dBFS."""
    normalised: Samples = x * np.float32(BASE_PEAK / np.abs(x).max())
    return normalised
