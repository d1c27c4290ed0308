"""Items whose reference is another voice or song in the style of the target: protocol Q."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from fxst import audio
from fxst.audio import Samples
from fxst.data.production import Only, Production, Response, draw_production
from fxst.errors import SettingsError
from fxst.evaluation.items import Item
from fxst.evaluation.protocol import PATCH_SAMPLES, UNREADABLE, at_peak, check_rate, draw_passage, faded
from fxst.evaluation.voices import Stretch, Voices

__all__ = ["MUSIC_RATE", "SAME_STUDIO", "ProducedItems"]

SAME_STUDIO: Final = "same-studio"
MUSIC_RATE: Final = 44_100
"""The sample rate of music, which keeps its two channels; speech is mono."""

DRY: Final = 0.5
"""Share of the inputs that are not produced."""

Passage = tuple[str, tuple[Stretch, ...], Samples]
"""A voice's name, where its passage is, and the passage."""


class ProducedItems:
    """Items of protocol Q: the target is the input's passage in a produced style, the reference another voice in it.

    Half of the inputs are dry, the others have a production of their own. An item depends on the recordings, the seed
    and its number alone, on every machine.

    Args:
        voices: The voices and their recordings.
        kind: Whose voice the reference is: `same-studio` for one of the same corpus or album, `any-studio` for one of
            another.
        sample_rate: 24,000 Hz for speech, in mono, or 44,100 Hz for music, in stereo where both recordings are.
        count: Number of items.
        seed: Random seed.
        only: `distortion` or `reverb` for styles of this one strong effect on dry inputs; None for whole productions.
        responses: Measured room responses; without any, all rooms are modelled.

    Attributes:
        names: Protocol, kind, sample rate, seed and number of each item.
        has_targets: True: the targets are known.

    Raises:
        SettingsError: The sample rate is another one, or no two voices of this kind are long enough.
    """

    def __init__(
        self,
        voices: Voices,
        *,
        kind: str,
        sample_rate: int,
        count: int,
        seed: int,
        only: Only | None = None,
        responses: Sequence[Response] = (),
    ) -> None:
        check_rate(sample_rate)
        self._voices, self._kind, self._sample_rate, self._seed = voices, kind, sample_rate, seed
        self._only, self._responses = only, responses
        self._samples = PATCH_SAMPLES[sample_rate]
        self.has_targets = True
        protocol = "-".join(filter(None, ("q", kind, only)))
        self.names = tuple(f"{protocol}-{sample_rate}-{seed}-{number}" for number in range(count))
        # Impossible items fail here, before any work.
        if not self._possible():
            raise self._too_little()

    def __getitem__(self, index: int) -> Item:
        """Return an item.

        Raises:
            AudioError: A recording is damaged.
        """
        rng = np.random.default_rng((self._seed, index))
        (voice, stretches, x), (other, other_stretches, y) = self._pair(rng)
        if len(x) != len(y):
            x, y = audio.mono(x), audio.mono(y)
        style = self._draw(rng)
        own = None if self._only or rng.random() < DRY else self._draw(rng)
        base, other_base = at_peak(x), at_peak(y)
        rate = self._sample_rate

        def produced(passage: Samples) -> Samples:
            return style.apply(passage, sample_rate=rate, responses=self._responses)

        dry = base if own is None else own.apply(base, sample_rate=rate, responses=self._responses)
        drawn: dict[str, Any] = {
            "voice": voice,
            "passage": [asdict(stretch) for stretch in stretches],
            "reference_voice": other,
            "reference_passage": [asdict(stretch) for stretch in other_stretches],
            "channels": len(base),
            "input": [] if own is None else own.to_data(),
            "target": style.to_data(),
        }
        if unreadable := (*self._voices.unreadable(voice), *self._voices.unreadable(other)):
            drawn[UNREADABLE] = list(unreadable)
        source, target, reference = (faded(z, sample_rate=rate) for z in (dry, produced(base), produced(other_base)))
        return Item(self.names[index], voice, source, reference, target, rate, rate, None, drawn)

    def _draw(self, rng: np.random.Generator) -> Production:
        return draw_production(
            rng, sample_rate=self._sample_rate, music=self._sample_rate == MUSIC_RATE, only=self._only
        )

    def _pair(self, rng: np.random.Generator) -> tuple[Passage, Passage]:
        """Draw a passage of one of the voices, and a passage of another one of the kind that is asked for."""
        names = list(self._voices.names)
        while names:
            # Every voice is equally likely, however much there is of it.
            ours = self._passage(rng, names)
            if ours is None:
                break
            theirs = self._passage(rng, [name for name in self._voices.names if self._fits(ours[0], name)])
            if theirs is not None:
                return ours, theirs
        raise self._too_little()

    def _passage(self, rng: np.random.Generator, names: list[str]) -> Passage | None:
        """Draw a passage of one of the voices, and take those that were tried from the list."""
        while names:
            voice = names.pop(int(rng.random() * len(names)))
            drawn = draw_passage(
                rng,
                self._voices,
                voice,
                samples=self._samples,
                sample_rate=self._sample_rate,
                stereo=self._sample_rate == MUSIC_RATE,
            )
            if drawn is not None:
                return voice, *drawn
        return None

    def _fits(self, voice: str, other: str) -> bool:
        """Return whether a voice can be the reference of another one."""
        same = self._voices.studio(voice) == self._voices.studio(other)
        return voice != other and same == (self._kind == SAME_STUDIO)

    def _possible(self) -> bool:
        """Return whether any two voices that are long enough can make an item."""
        studios: Counter[str] = Counter()
        for voice in self._voices.names:
            if self._voices.passage(voice, at=0.0, seconds=self._seconds):
                studios[self._voices.studio(voice)] += 1
                if (max(studios.values()) if self._kind == SAME_STUDIO else len(studios)) > 1:
                    return True
        return False

    @property
    def _seconds(self) -> float:
        return self._samples / self._sample_rate

    def _too_little(self) -> SettingsError:
        where = "in one folder" if self._kind == SAME_STUDIO else "in two folders"
        other = "any-studio" if self._kind == SAME_STUDIO else SAME_STUDIO
        return SettingsError(
            f"No two of the {len(self._voices.names)} voice(s) {where} have {self._seconds:.1f} s of sound, which an "
            f"item of --kind {self._kind} takes: add recordings, or use another --split or --kind {other}."
        )
