from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.models import layers
from fxst.models.feature_extractor import FeatureExtractor
from fxst.models.layers import made_of
from fxst.models.matching import active_frames
from fxst.transfer.choice import OTHER_RATIO
from fxst.transfer.descriptors import Excerpt, describe
from fxst.transfer.level_matching import (
    NEIGHBOUR,
    FrameLevels,
    confidence,
    level_offset_db,
    match_level,
    neighbour_ratio,
    rendered,
)

RATE = 24_000
STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))


def render(x, table):
    return table.chain.exact(table, sample_rate=RATE, channels=len(x))(x)


def test_the_active_signal_becomes_as_loud_as_that_of_the_reference(halves):
    x, _ = halves
    louder = Excerpt(10 ** (8 / 20) * x, RATE)
    rows = match_level(STUDIO, NOTHING.rows, Excerpt(x, RATE), describe(louder))
    assert Table(STUDIO, rows).to_dict()["compressor"]["makeup_db"] == pytest.approx(8.0, abs=0.01)
    squashed = NOTHING.with_values({"compressor": {"threshold_db": -50.0, "ratio": 10.0}})
    rows = match_level(STUDIO, squashed.rows, Excerpt(x, RATE), describe(Excerpt(x, RATE)))
    made_up = Table(STUDIO, rows).to_dict()["compressor"]["makeup_db"]
    assert made_up > 10
    levels = [describe(Excerpt(y, RATE)).level_db for y in (x, render(x, Table(STUDIO, rows)))]
    assert levels[0] == pytest.approx(levels[1], abs=1.0)  # which frames count may change with their level
    loudest = match_level(STUDIO, NOTHING.rows, Excerpt(1e-4 * x, RATE), describe(Excerpt(x, RATE)))
    assert Table(STUDIO, loudest).to_dict()["compressor"]["makeup_db"] == 48  # all that the effect can
    eq = CHAINS["eq"]
    assert match_level(eq, eq.defaults(), Excerpt(x, RATE), describe(louder)) == eq.defaults()


def levels(x):
    """Measure the active frames of an excerpt as a studio model does."""
    extractor = made_of(FeatureExtractor, layers)(16, 96, (4,))  # whose weights play no part
    return active_frames(extractor.frames(x.samples, sample_rate=x.sample_rate).reshape(-1, 96))


def makeup_db(x, reference, *, by_frames=True):
    known = FrameLevels(levels, levels(reference)) if by_frames else None
    rows = match_level(STUDIO, NOTHING.rows, x, describe(reference), known)
    return Table(STUDIO, rows).to_dict()["compressor"]["makeup_db"]


def test_a_gain_on_the_reference_is_a_gain_on_the_result_and_a_recording_is_as_loud_as_itself(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    assert makeup_db(x, x) == pytest.approx(0.0, abs=1e-3)
    louder = Excerpt(np.float32(10 ** (5 / 20)) * other.samples, RATE)
    assert makeup_db(x, louder) == pytest.approx(makeup_db(x, other) + 5, abs=0.01)
    frames = [levels(half) for half in (x, other)]
    there, back = level_offset_db(*frames, begin_db=1.0), level_offset_db(*frames[::-1], begin_db=-1.0)
    assert there == pytest.approx(-back)
    assert level_offset_db(frames[0], frames[0] + 7, begin_db=7.0) == pytest.approx(7.0, abs=1e-4)


def test_recordings_of_the_same_sounds_are_neighbours_and_those_of_other_sounds_are_not(halves):
    rng = np.random.default_rng(0)
    sounds, others = rng.normal(-50.0, 8.0, (2, 12, 96))
    x, same, strange = (
        shapes.repeat(12, axis=0) + rng.normal(0.0, 2.0, (144, 96)) for shapes in (sounds, sounds, others)
    )
    assert neighbour_ratio(x, same) == pytest.approx(1.0, abs=0.05)
    assert neighbour_ratio(strange, same) > 2
    assert neighbour_ratio(*map(levels, map(partial(Excerpt, sample_rate=RATE), halves))) < OTHER_RATIO


def test_neighbours_depend_on_no_level_and_no_order(halves):
    x, other = (levels(Excerpt(half, RATE)) for half in halves)
    ratio = neighbour_ratio(x, other)
    assert neighbour_ratio(x[::-1] + 7, other[::-1] - 3) == pytest.approx(ratio, rel=1e-4)
    assert neighbour_ratio(x, other[: 2 * NEIGHBOUR]) is None
    assert neighbour_ratio(x[:0], other) is None


def test_pauses_in_a_reference_do_not_change_how_loud_pairs_are(halves):
    x, other = halves
    pause = 1e-5 * np.random.default_rng(0).standard_normal(other.shape).astype(np.float32)
    frames = [levels(Excerpt(y, RATE)) for y in (x, other, np.concatenate([other, pause], axis=1))]
    without, with_it = (level_offset_db(frames[0], reference, begin_db=0.0) for reference in frames[1:])
    assert with_it == pytest.approx(without, abs=0.3)


def test_bands_too_faint_to_count_do_not_count_at_any_level():
    rng = np.random.default_rng(0)
    shapes = rng.normal(0.0, 12.0, (4, 24))
    ours, theirs = (rng.normal(-40, 6, (40, 1)) + shapes[rng.integers(4, size=40)] for _ in range(2))
    faint = [np.concatenate([x, rng.normal(-140.0, 3.0, (40, 72))], axis=1) for x in (ours, theirs)]
    without = level_offset_db(ours, theirs, begin_db=0.0)
    for gain_db in rng.uniform(-20, 20, 30):  # at any of which float32 may round the lowest level that counts
        frames = [(x + gain_db).astype(np.float32) for x in faint]
        assert level_offset_db(*frames, begin_db=0.0) == pytest.approx(without, abs=1e-3)


def test_how_often_a_reference_repeats_a_sound_changes_no_level():
    rng = np.random.default_rng(0)
    soft, loud = (rng.normal(level, 12.0, (1, 96)) + rng.normal(0.0, 0.3, (60, 96)) for level in (-70.0, -40.0))
    ours = np.concatenate([soft, loud[:10]])
    theirs = np.concatenate([soft[:10], loud]) + 3
    assert level_offset_db(ours, theirs, begin_db=0.0) == pytest.approx(3.0, abs=0.5)


def test_pairs_set_the_level_and_where_there_are_none_they_count_for_nothing(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    whole_signal = makeup_db(x, other, by_frames=False)
    pairs = level_offset_db(levels(x), levels(other), begin_db=whole_signal)
    assert pairs != pytest.approx(whole_signal, abs=0.05)
    assert makeup_db(x, other) == pytest.approx(pairs, abs=0.01)
    none = np.zeros((0, 0), np.float32)
    assert level_offset_db(levels(x), none, begin_db=2.5) == level_offset_db(none, levels(x), begin_db=2.5) == 2.5
    apart = np.full((2, 4), -90.0)
    apart[:, 0] = -10.0
    assert level_offset_db(apart, apart[:, ::-1], begin_db=2.5) == 2.5


def test_a_share_moves_the_chosen_gain_by_that_share(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    index = next(i for i, row in enumerate(NOTHING.rows) if row.parameter == "makeup_db")
    rows = (*NOTHING.rows[:index], replace(NOTHING.rows[index], value=4.0), *NOTHING.rows[index + 1 :])
    all_of_it, some = (match_level(STUDIO, rows, x, describe(other), share=share)[index].value for share in (1.0, 0.6))
    assert all_of_it != pytest.approx(4.0, abs=0.1)
    assert some == pytest.approx(4.0 + 0.6 * (all_of_it - 4.0), abs=0.01)
    assert match_level(STUDIO, rows, x, describe(other), share=0.0) == rows


def test_confidence_is_in_proportion_to_the_number_of_loud_frames():
    loud, soft = (np.full((1, 4), level, np.float32) for level in (-30.0, -60.0))
    confidences = [confidence(np.concatenate([loud] * count + [soft] * 300), "level") for count in (2, 4, 6)]
    assert confidences[0] == confidences[1] / 2 == confidences[2] / 3 > 0
    assert confidence(np.concatenate([loud] * 250), "chosen") == 1
    assert confidence(np.zeros((0, 0), np.float32), "level") == 0
    # How loud they are does not count, nor what is a little softer than the loudest.
    assert confidence(np.concatenate([loud - 40, loud - 50, soft - 40]), "level") == confidences[0]


def test_where_a_reference_holds_little_sound_neither_the_chosen_gain_nor_its_level_decides_alone(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    index = next(i for i, row in enumerate(NOTHING.rows) if row.parameter == "makeup_db")
    wrong = replace(NOTHING.rows[index], value=-20.0)  # as a model chooses that takes pauses for soft speech
    rows = (*NOTHING.rows[:index], wrong, *NOTHING.rows[index + 1 :])
    louder = msgspec.structs.replace(describe(other), level_db=describe(x).level_db + 20)
    frames = levels(other)
    few = frames[np.argsort(frames.sum(axis=1))[-4:]]
    assert confidence(few, "level") == 0.5
    without, with_few = (
        match_level(STUDIO, rows, x, louder, known, share=0.6)[index].value
        for known in (None, FrameLevels(levels, few))
    )
    assert without == pytest.approx(-20 + 0.6 * 40, abs=0.01)
    assert with_few == pytest.approx(10, abs=3)  # between as loud as it was, and 20 dB louder


def test_a_silent_channel_changes_no_level(halves):
    x, other = halves
    reference = describe(Excerpt(10 ** (8 / 20) * other, RATE))
    half_silent = Excerpt(np.concatenate([x, 0 * x]), RATE)
    assert match_level(STUDIO, NOTHING.rows, half_silent, reference) == match_level(
        STUDIO, NOTHING.rows, Excerpt(x, RATE), reference
    )


def test_a_trial_renders_only_from_the_first_effect_on_that_differs(halves, monkeypatch):
    made = []
    for effect in {type(effect) for effect in STUDIO.effects}:
        exact = effect.exact
        monkeypatch.setattr(
            effect, "exact", lambda self, *args, _exact=exact, **kw: made.append(self.name) or _exact(self, *args, **kw)
        )
    table = Table(STUDIO, STUDIO.defaults()).with_values({"parametric_eq": {"high_shelf_gain_db": 6.0}})
    louder = table.with_values({"compressor": {"makeup_db": 5.0}})
    duller = louder.with_values({"parametric_eq": {"high_shelf_gain_db": -6.0}})
    x = Excerpt(halves[0], RATE)
    for given in (table, louder, louder, duller, NOTHING, table):
        made.clear()
        y = rendered(STUDIO, given.rows, x)
        count = len(made)
        anew = rendered(STUDIO, given.rows, Excerpt(halves[0], RATE))
        np.testing.assert_array_equal(y.samples, anew.samples)
        assert made[:count] == made[len(made) - count :]  # the last effects alone
        if given is louder:
            assert "parametric_eq" not in made[:count]
    made.clear()
    assert rendered(STUDIO, table.rows, x) is rendered(STUDIO, table.rows, x)
    assert not made
