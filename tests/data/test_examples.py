from pathlib import Path

import numpy as np
import pytest

from fxst.data.examples import PEAK_DB, draw
from fxst.errors import SettingsError


class Voices:
    """A dataset in memory: clip i is the constant i + 1, so that its audio says which clip it is."""

    folder = Path("voices")

    def __init__(self, **sizes):
        edges = np.cumsum([0, *sizes.values()])
        self.indices = {name: np.arange(a, b) for name, a, b in zip(sizes, edges[:-1], edges[1:], strict=True)}

    def indices_by_speaker(self, split):
        return self.indices if split == "train" else {}

    def clips(self, indices):
        return np.repeat(indices[:, None] + 1.0, 16, 1).astype(np.float32)


VOICES = Voices(anna=40, ben=12, carl=2, dora=1)


def numbers(examples):
    """Which clips were drawn: levels are relative to the first clip, whose number is found by trying all."""
    for level, *rest in np.concatenate([examples.input, examples.reference], 1)[:, :, 0]:
        for first in range(1, 56):
            found = np.array([level, *rest]) * first / level
            if np.allclose(found, np.round(found), atol=1e-3) and found.max() < 56:
                yield np.round(found).astype(int) - 1
                break


@pytest.mark.parametrize("step", range(5))
def test_input_and_reference_are_other_passages_of_one_speaker(step):
    examples = draw(VOICES, "train", n_knobs=8, batch=32, clips=4, seed=3, step=step)
    assert examples.input.shape == examples.reference.shape == (32, 4, 16)
    owner = {clip: name for name, clips in VOICES.indices.items() for clip in clips}
    seen = 0
    for row in numbers(examples):
        speakers = {owner[clip] for clip in row}
        if len(speakers) == 1:
            seen += 1
            assert speakers != {"dora"}
            assert not set(row[:4]) & set(row[4:])
    assert seen >= 30  # a ratio of clip numbers is now and then that of other clips too


def test_a_batch_depends_on_seed_and_step_alone():
    first = draw(VOICES, "train", n_knobs=8, batch=4, clips=4, seed=3, step=7)
    again = draw(VOICES, "train", n_knobs=8, batch=4, clips=4, seed=3, step=7)
    other = draw(VOICES, "train", n_knobs=8, batch=4, clips=4, seed=3, step=8)
    np.testing.assert_array_equal(first.input, again.input)
    np.testing.assert_array_equal(first.knobs, again.knobs)
    assert not np.array_equal(first.knobs, other.knobs)


def test_peaks_and_knobs_fill_their_ranges():
    drawn = [draw(VOICES, "train", n_knobs=8, batch=64, clips=3, seed=0, step=step) for step in range(8)]
    peaks = 20 * np.log10(np.concatenate([examples.input[:, 0].max(-1) for examples in drawn]))
    knobs = np.concatenate([examples.knobs for examples in drawn])
    assert PEAK_DB[0] - 1e-3 <= peaks.min() <= PEAK_DB[0] + 1
    assert PEAK_DB[1] - 1 <= peaks.max() <= PEAK_DB[1] + 1e-3
    np.testing.assert_allclose(knobs.mean(0), 0.5, atol=0.07)
    assert (knobs.min(0) < 0.02).all()
    assert (knobs.max(0) > 0.98).all()


def test_a_split_without_two_clips_of_anybody_is_refused():
    with pytest.raises(SettingsError, match="voices has no speaker with two clips in its val split"):
        draw(VOICES, "val", n_knobs=8, batch=4, clips=4, seed=0, step=0)
