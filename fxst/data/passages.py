"""Passages of voices and songs that training pairs are made of, drawn from the clips of a dataset."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxst import audio
from fxst.audio import Samples
from fxst.data.manifest import Dataset
from fxst.errors import SettingsError

__all__ = ["AUGMENTED", "VOICE_SHARE", "Passages"]

SPEED: Final = (0.72, 1.35)
"""How fast a passage is played in training: other voices, and other instruments, for there are few."""

VOICE_SHARE: Final = 0.35
"""The power with which the number of a voice's clips tells how often it comes."""

SONG_SHARE: Final = 0.7
"""The same of songs, the recordings of all datasets but the first: most of them are short sounds."""

AUGMENTED: Final = 0.85
"""How often a passage is augmented: in its speed here, and in its spectrum where pairs are made."""

SAME_CORPUS: Final = 0.5
"""How often another speaker is looked for in the same corpus first."""

MIXED: Final = 0.5
"""How often songs are played together: two at once are another one, as two voices are not."""

MOST_MIXED: Final = 2
"""How many are added to one at most."""

MIXED_DB: Final = (-14.0, 0.0)
"""How loud they are beside it."""


@dataclass(frozen=True)
class Passages:
    """The passages of a dataset: stretches of one voice, or of one song or several at once.

    Args:
        dataset: The clips.
        split: `train`, `val` or `test`.
        clips: Clips of half a passage.
        augment: Whether to make other voices and songs of those there are.
        songs: Whether they are songs.
        rate: The sample rate of passages.
    """

    dataset: Dataset
    split: str
    clips: int
    augment: bool
    songs: bool
    rate: int

    def draw(self, rng: np.random.Generator, *, unlike: str | None = None) -> tuple[str, Samples]:
        """Draw a passage as it was recorded, and its speaker; of songs, sometimes several at once.

        Args:
            rng: The source of chance.
            unlike: A speaker whose passage it must not be, where there is another.

        Shape:
            (1, 2 * T).

        Raises:
            SettingsError: No speaker of the split has two clips.
        """
        speaker, base = self._passage(rng, unlike)
        if self.augment and self.songs and rng.random() < MIXED:
            for _ in range(rng.integers(1, MOST_MIXED + 1)):
                _, more = self._passage(rng, unlike)
                base = base + more * np.float32(_rms(base) / _rms(more) * 10 ** (rng.uniform(*MIXED_DB) / 20))
        own_rate = self.dataset.sample_rate
        if self.rate != own_rate:
            samples = 2 * self.clips * round(self.dataset.clip_samples * self.rate / own_rate)
            base = audio.resample(base, source_rate=own_rate, target_rate=self.rate)[:, :samples]
            base = np.pad(base, ((0, 0), (0, samples - base.shape[1])))  # of rounding, by a sample or two
        return speaker, base

    def _passage(self, rng: np.random.Generator, unlike: str | None) -> tuple[str, Samples]:
        """Draw both halves of a passage, one after the other."""
        speaker, mine = self._speaker(rng, unlike)
        return speaker, _cut(self.dataset, mine, clips=self.clips, augment=self.augment, rng=rng)

    def _speaker(self, rng: np.random.Generator, unlike: str | None) -> tuple[str, NDArray[np.int64]]:
        """Draw a speaker: its name, and its clips."""
        speakers = {name: mine for name, mine in self.dataset.indices_by_speaker(self.split).items() if len(mine) >= 2}
        if not speakers:
            raise SettingsError(
                f"The dataset {str(self.dataset.folder)!r} has no speaker with two clips in its {self.split} split; "
                "build it from more speakers, or of shorter clips."
            )
        if unlike is not None:
            others = {name: mine for name, mine in speakers.items() if name != unlike}
            corpus, _, _ = unlike.rpartition("/")
            near = {name: mine for name, mine in others.items() if corpus and name.startswith(corpus + "/")}
            speakers = (near if near and rng.random() < SAME_CORPUS else others) or speakers
        # Speakers with more clips come more often, but far less than in proportion, so that no voice takes over.
        weights = np.array([len(mine) for mine in speakers.values()]) ** (SONG_SHARE if self.songs else VOICE_SHARE)
        names = list(speakers)
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        return name, speakers[name]


def _cut(dataset: Dataset, mine: NDArray[np.int64], *, clips: int, augment: bool, rng: np.random.Generator) -> Samples:
    """Cut both halves of a passage out of a speaker's clips: (1, 2 * T)."""
    speed = round(float(rng.uniform(*SPEED)), 3) if augment and rng.random() < AUGMENTED else 1.0
    needed = int(np.ceil(2 * clips * speed))
    if len(mine) >= needed:
        first = int(rng.integers(len(mine) - needed + 1))
        picked = mine[first : first + needed]  # in their order: as they were spoken, for the most part
    else:
        # A speaker with too few clips repeats them, within its own half.
        speed, half = 1.0, len(mine) // 2
        picked = np.concatenate([np.resize(part, clips) for part in (mine[:half], mine[half:])])
    x = dataset.clips(picked).reshape(1, -1)
    samples = 2 * clips * dataset.clip_samples
    if speed != 1:
        x = audio.resample(x, source_rate=round(1000 * speed), target_rate=1000)
    return x[:, :samples]


def _rms(x: Samples) -> float:
    return max(math.sqrt(float(np.square(x, dtype=np.float64).mean())), 1e-6)
