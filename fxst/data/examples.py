"""Training examples of a style model: dry clips of one speaker, and random settings to render them with."""

from dataclasses import dataclass

import numpy as np

from fxst.data.manifest import Dataset
from fxst.dsp import Samples
from fxst.errors import SettingsError

__all__ = ["StyleExamples", "draw"]

PEAK_DB = (-18.0, 0.0)
"""Range of the input's peak level; the speaker's other clips keep their level relative to it."""


@dataclass(frozen=True)
class StyleExamples:
    """A batch of examples: dry audio of two passages of one speaker each, and the target settings.

    Shape:
        input, reference: (B, clips, T), dry; knobs: (B, P), on [0, 1].
    """

    input: Samples
    reference: Samples
    knobs: Samples


def draw(dataset: Dataset, split: str, *, n_knobs: int, batch: int, clips: int, seed: int, step: int) -> StyleExamples:
    """Draw a batch; it depends on the arguments only, so that training can resume at any step.

    Args:
        dataset: The clips.
        split: `train`, `val` or `test`.
        n_knobs: Number of knobs of the chain.
        batch: Number of examples.
        clips: Number of clips of the input and of the reference; no clip is in both.
        seed: Seed of the run.
        step: Number of the batch in the run.

    Raises:
        SettingsError: No speaker of the split has two clips.
    """
    rng = np.random.default_rng((seed, step))
    speakers = [clips_of for clips_of in dataset.indices_by_speaker(split).values() if len(clips_of) >= 2]
    if not speakers:
        raise SettingsError(
            f"{dataset.folder} has no speaker with two clips in its {split} split: build it from more speakers, or of "
            "shorter clips."
        )
    picked = np.empty((batch, 2, clips), dtype=np.int64)
    # Speakers with more clips are drawn more often, but less than in proportion, so that no voice dominates.
    weights = np.sqrt([len(clips_of) for clips_of in speakers])
    for row, speaker in zip(picked, rng.choice(len(speakers), batch, p=weights / weights.sum()), strict=True):
        mine = rng.permutation(speakers[speaker])[: 2 * clips]
        half = len(mine) // 2
        # A speaker with too few clips repeats them, within its own half.
        row[0], row[1] = np.resize(mine[:half], clips), np.resize(mine[half:], clips)
    audio = dataset.clips(picked.reshape(-1)).reshape(batch, 2, clips, -1)
    peak = np.abs(audio[:, 0, 0]).max(-1)
    level = 10 ** (rng.uniform(*PEAK_DB, batch) / 20)
    audio *= (level / np.maximum(peak, 1e-6))[:, None, None, None].astype(np.float32)
    return StyleExamples(audio[:, 0], audio[:, 1], rng.random((batch, n_knobs), dtype=np.float32))
