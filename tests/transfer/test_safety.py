from dataclasses import replace

import numpy as np
import pytest
import torch

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import SettingsError
from fxst.models.feature_extractor import FeatureExtractor
from fxst.models.matching import active_frames
from fxst.transfer import safety
from fxst.transfer.descriptors import Excerpt, describe, distance_db, mean_descriptors, noise_floor_db
from fxst.transfer.level_matching import FrameLevels, confidence, level_offset_db, match_level
from fxst.transfer.safety import limit_amount

RATE = 24_000
STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
BRIGHT = NOTHING.with_values({"parametric_eq": {"high_shelf_gain_db": 12.0, "high_shelf_f0_hz": 4000.0}})


def render(x, table):
    return table.chain.exact(table, sample_rate=RATE, channels=len(x))(x)


def distance(x, reference):
    return distance_db(describe(x), describe(reference))


def noise_db(x):
    """How high the noise floor is against what sounds."""
    return describe(Excerpt(x, RATE)).noise_db


@pytest.fixture
def halves(speech):
    x = speech(RATE, 1, 6)
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


def test_a_recording_is_no_distance_from_itself_and_a_style_is_one(halves):
    x, other = halves
    assert distance(Excerpt(x, RATE), Excerpt(x, RATE)) == 0
    bright = Excerpt(render(other, BRIGHT), RATE)
    assert distance(Excerpt(x, RATE), bright) > distance(Excerpt(render(x, BRIGHT), RATE), bright)


def test_what_brings_a_recording_nearer_is_applied_whole(halves):
    x, other = halves
    trial = limit_amount(STUDIO, BRIGHT.rows, Excerpt(x, RATE), describe(Excerpt(render(other, BRIGHT), RATE)))
    assert trial.amount == 1
    assert trial.settings == BRIGHT.rows
    assert trial.after_db < trial.before_db


def test_what_takes_a_recording_away_is_not_applied_at_all(halves):
    x, other = halves
    dull = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": -18.0}})
    trial = limit_amount(STUDIO, dull.rows, Excerpt(x, RATE), describe(Excerpt(render(other, BRIGHT), RATE)))
    assert trial.amount == 0
    np.testing.assert_array_equal(render(x, Table(STUDIO, trial.settings)), x)


def test_too_much_of_the_right_thing_is_turned_down(halves):
    x, other = halves
    far = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": 24.0}})
    reference = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": 4.0}})
    trial = limit_amount(STUDIO, far.rows, Excerpt(x, RATE), describe(Excerpt(render(other, reference), RATE)))
    assert 0 < trial.amount < 1


def test_noise_rises_by_no_more_than_the_limit_against_what_sounds_beyond_both_recordings_own(noise):
    rng = np.random.default_rng(0)
    talks = np.repeat(rng.random(60) < 0.7, RATE // 10)[None]
    hiss = 1e-4 * rng.standard_normal(talks.shape).astype(np.float32)
    x = (talks * noise(RATE, 1, 6) + hiss).astype(np.float32)
    squashed = NOTHING.with_values({"compressor": {"threshold_db": -60.0, "ratio": 4.0, "makeup_db": 20.0}})
    clean = describe(Excerpt((talks * noise(RATE, 1, 6) + 0.1 * hiss).astype(np.float32), RATE))
    trial = limit_amount(STUDIO, squashed.rows, Excerpt(x, RATE), clean)
    assert trial.noisy
    assert 0 < trial.amount < 1
    assert 0 < noise_db(render(x, Table(STUDIO, trial.settings))) - noise_db(x) <= safety.MOST_NOISE_DB
    assert "more would have raised the noise floor by more than 9 dB relative to the signal" in trial.remark
    noisy = Excerpt(render(x, squashed), RATE)  # the reference has the noise itself
    assert limit_amount(STUDIO, squashed.rows, Excerpt(x, RATE), describe(noisy)).amount == 1


def test_what_is_louder_is_not_noisier_but_what_is_but_noise_does_not_become_as_loud_as_a_voice(halves, noise):
    x, other = (0.1 * half for half in halves)
    louder, loudest = (NOTHING.with_values({"compressor": {"makeup_db": gain}}) for gain in (20.0, 40.0))
    reference = replace(describe(Excerpt(render(other, louder), RATE)), floor_db=-80.0)
    trial = limit_amount(STUDIO, louder.rows, Excerpt(x, RATE), reference)
    assert (trial.amount, trial.noisy) == (1, False)
    hiss = 10 ** (-70 / 20) * noise(RATE, 1, 3)
    trial = limit_amount(STUDIO, loudest.rows, Excerpt(hiss, RATE), reference)
    assert trial.noisy
    raised = noise_floor_db(Excerpt(render(hiss, Table(STUDIO, trial.settings)), RATE))
    assert raised <= safety.MOST_RISE_DB + max(reference.floor_db, noise_floor_db(Excerpt(hiss, RATE)))


def test_where_an_upward_compressor_raises_noise_it_alone_is_turned_down(noise, monkeypatch):
    monkeypatch.setattr(safety, "TOLERANCE_DB", 100.0)  # noise is all that is looked at
    talks = np.repeat(np.random.default_rng(0).random(60) < 0.7, RATE // 10)[None]
    hiss = noise(RATE, 1, 6)
    x, clean = ((talks + share) * hiss for share in (0.003, 0.0003))
    dull = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": -12.0}})
    lifting = dull.with_values({"upward_compressor": {"threshold_db": -20.0, "ratio": 4.0}})
    as_loud = describe(Excerpt(render(clean, dull), RATE))
    reference = replace(as_loud, level_db=as_loud.level_db - 6, floor_db=as_loud.floor_db - 6)  # to be levelled
    trial = limit_amount(STUDIO, lifting.rows, Excerpt(x, RATE), reference)
    assert (trial.amount, trial.noisy) == (1, True)
    assert 0 <= trial.upward_share < 1
    table = Table(STUDIO, trial.settings)
    level = {"compressor": {"makeup_db": table.to_dict()["compressor"]["makeup_db"]}}
    assert table == lifting.at_amount({"upward_compressor": trial.upward_share}).with_values(level)
    assert describe(Excerpt(render(x, table), RATE)).level_db == pytest.approx(reference.level_db, abs=0.3)
    assert noise_db(render(x, table)) - noise_db(x) <= safety.MOST_NOISE_DB
    assert "of the upward compressor was applied: more would have raised the noise floor" in trial.remark
    assert not limit_amount(STUDIO, dull.rows, Excerpt(x, RATE), reference).remark


def test_what_sounds_becomes_as_loud_as_what_sounds_in_the_reference(halves):
    x, _ = halves
    louder = Excerpt(10 ** (8 / 20) * x, RATE)
    rows = match_level(STUDIO, NOTHING.rows, Excerpt(x, RATE), describe(louder))
    assert Table(STUDIO, rows).to_dict()["compressor"]["makeup_db"] == pytest.approx(8.0, abs=0.01)
    squashed = NOTHING.with_values({"compressor": {"threshold_db": -50.0, "ratio": 10.0}})
    rows = match_level(STUDIO, squashed.rows, Excerpt(x, RATE), describe(Excerpt(x, RATE)))
    made_up = Table(STUDIO, rows).to_dict()["compressor"]["makeup_db"]
    assert made_up > 10
    levels = [describe(Excerpt(y, RATE)).level_db for y in (x, render(x, Table(STUDIO, rows)))]
    assert levels[0] == pytest.approx(levels[1], abs=1.0)  # which moments count may change with their level
    loudest = match_level(STUDIO, NOTHING.rows, Excerpt(1e-4 * x, RATE), describe(Excerpt(x, RATE)))
    assert Table(STUDIO, loudest).to_dict()["compressor"]["makeup_db"] == 48  # all that the effect can
    eq = CHAINS["eq"]
    assert match_level(eq, eq.defaults(), Excerpt(x, RATE), describe(louder)) == eq.defaults()


def moments(x):
    """Hear the moments of an excerpt as a studio model does."""
    torch.manual_seed(0)
    extractor = FeatureExtractor(16, 96, (4,))
    return active_frames(extractor.frames(torch.from_numpy(x.samples), sample_rate=x.sample_rate).flatten(0, 1)).numpy()


def makeup_db(x, reference, *, by_moments=True):
    known = FrameLevels(moments, moments(reference)) if by_moments else None
    rows = match_level(STUDIO, NOTHING.rows, x, describe(reference), known)
    return Table(STUDIO, rows).to_dict()["compressor"]["makeup_db"]


def test_a_gain_on_the_reference_is_a_gain_on_the_result_and_a_recording_is_as_loud_as_itself(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    assert makeup_db(x, x) == pytest.approx(0.0, abs=1e-3)
    louder = Excerpt(np.float32(10 ** (5 / 20)) * other.samples, RATE)
    assert makeup_db(x, louder) == pytest.approx(makeup_db(x, other) + 5, abs=0.01)
    frames = [moments(half) for half in (x, other)]
    there, back = level_offset_db(*frames, begin_db=1.0), level_offset_db(*frames[::-1], begin_db=-1.0)
    assert there == pytest.approx(-back)
    assert level_offset_db(frames[0], frames[0] + 7, begin_db=7.0) == pytest.approx(7.0, abs=1e-4)


def test_pauses_in_a_reference_do_not_change_how_loud_pairs_are(halves):
    x, other = halves
    pause = 1e-5 * np.random.default_rng(0).standard_normal(other.shape).astype(np.float32)
    frames = [moments(Excerpt(y, RATE)) for y in (x, other, np.concatenate([other, pause], axis=1))]
    without, with_it = (level_offset_db(frames[0], reference, begin_db=0.0) for reference in frames[1:])
    assert with_it == pytest.approx(without, abs=0.3)


def test_what_is_said_more_often_in_a_reference_makes_nothing_louder():
    rng = np.random.default_rng(0)
    soft, loud = (rng.normal(level, 12.0, (1, 96)) + rng.normal(0.0, 0.3, (60, 96)) for level in (-70.0, -40.0))
    ours = np.concatenate([soft, loud[:10]])
    theirs = np.concatenate([soft[:10], loud]) + 3
    assert level_offset_db(ours, theirs, begin_db=0.0) == pytest.approx(3.0, abs=0.5)


def test_pairs_count_for_most_of_it_and_where_there_are_none_for_nothing(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    all_that_sounds = makeup_db(x, other, by_moments=False)
    pairs = level_offset_db(moments(x), moments(other), begin_db=all_that_sounds)
    assert pairs != pytest.approx(all_that_sounds, abs=0.05)
    assert makeup_db(x, other) == pytest.approx((all_that_sounds + 3 * pairs) / 4, abs=0.01)
    none = np.zeros((0, 0), np.float32)
    assert level_offset_db(moments(x), none, begin_db=2.5) == level_offset_db(none, moments(x), begin_db=2.5) == 2.5
    apart = np.full((2, 4), -90.0)
    apart[:, 0] = -10.0
    assert level_offset_db(apart, apart[:, ::-1], begin_db=2.5) == 2.5


def test_a_share_of_the_way_leaves_the_rest_of_the_gain_that_was_chosen(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    index = next(i for i, row in enumerate(NOTHING.rows) if row.parameter == "makeup_db")
    rows = (*NOTHING.rows[:index], replace(NOTHING.rows[index], value=4.0), *NOTHING.rows[index + 1 :])
    all_of_it, some = (match_level(STUDIO, rows, x, describe(other), share=share)[index].value for share in (1.0, 0.6))
    assert all_of_it != pytest.approx(4.0, abs=0.1)
    assert some == pytest.approx(4.0 + 0.6 * (all_of_it - 4.0), abs=0.01)
    assert match_level(STUDIO, rows, x, describe(other), share=0.0) == rows


def test_as_few_loud_moments_as_there_are_so_little_are_they_believed():
    loud, soft = (np.full((1, 4), level, np.float32) for level in (-30.0, -60.0))
    beliefs = [confidence(np.concatenate([loud] * count + [soft] * 300), "level") for count in (2, 4, 6)]
    assert beliefs[0] == beliefs[1] / 2 == beliefs[2] / 3 > 0
    assert confidence(np.concatenate([loud] * 250), "chosen") == 1
    assert confidence(np.zeros((0, 0), np.float32), "level") == 0
    # How loud they are does not count, nor what is a little softer than the loudest.
    assert confidence(np.concatenate([loud - 40, loud - 50, soft - 40]), "level") == beliefs[0]


def test_where_little_sounds_in_a_reference_neither_what_was_chosen_nor_the_reference_alone_tells_the_level(halves):
    x, other = (Excerpt(half, RATE) for half in halves)
    index = next(i for i, row in enumerate(NOTHING.rows) if row.parameter == "makeup_db")
    wrong = replace(NOTHING.rows[index], value=-20.0)  # as a model chooses that takes pauses for soft speech
    rows = (*NOTHING.rows[:index], wrong, *NOTHING.rows[index + 1 :])
    louder = replace(describe(other), level_db=describe(x).level_db + 20)
    frames = moments(other)
    few = frames[np.argsort(frames.sum(axis=1))[-4:]]
    assert confidence(few, "level") == 0.5
    without, with_few = (
        match_level(STUDIO, rows, x, louder, known, share=0.6)[index].value
        for known in (None, FrameLevels(moments, few))
    )
    assert without == pytest.approx(-20 + 0.6 * 40, abs=0.01)
    assert with_few == pytest.approx(10, abs=3)  # between as loud as it was, and 20 dB louder


def test_pauses_that_become_softer_are_no_noise_though_a_word_reaches_into_one(monkeypatch, noise):
    moment = round(0.05 * RATE)
    loud = np.repeat(np.arange(99) % 9 > 0, moment)  # little more than a tenth of all moments are pauses
    x = np.where(loud, 0.1, 2e-3) * noise(RATE, 1, 5)[:, : len(loud)]
    longer = loud | (np.arange(len(loud)) < moment)
    after = np.where(longer, 0.1, 1e-3) * noise(RATE, 1, 5)[:, : len(loud)]
    before, after = (Excerpt(y.astype(np.float32), RATE) for y in (x, after))
    assert noise_floor_db(after) - noise_floor_db(before) > 6
    monkeypatch.setattr(safety, "rendered", lambda *_: after)
    trial = limit_amount(STUDIO, BRIGHT.rows, before, describe(before))
    assert not trial.noisy
    assert trial.amount == 1


def test_an_excerpt_that_begins_in_the_middle_of_a_word_is_no_peak(noise):
    rows = tuple(
        replace(row, value={"threshold_db": -50.0, "ratio": 20.0, "attack_ms": 200.0, "makeup_db": 24.0}[row.parameter])
        if row.effect == "compressor" and row.parameter not in ("release_ms",)
        else row
        for row in NOTHING.rows
    )
    x = 0.3 * noise(RATE, 1, 6)
    process = STUDIO.exact(rows, sample_rate=RATE, channels=1)
    process(x)
    reference = describe(Excerpt(process(x), RATE))  # what it is like once the compressor is at work
    trial = limit_amount(STUDIO, rows, Excerpt(x, RATE), reference)
    assert trial.amount == 1
    assert trial.after_db < 0.1


def test_pauses_are_no_style(halves):
    x, _ = halves
    pause = 1e-4 * np.random.default_rng(0).standard_normal((1, 4 * x.shape[1])).astype(np.float32)
    with_it = describe(Excerpt(np.concatenate([x, pause], axis=1), RATE))
    without = describe(Excerpt(x, RATE))
    assert with_it.level_db == pytest.approx(without.level_db, abs=1.0)
    assert with_it.range_db == pytest.approx(without.range_db, abs=1.0)
    assert with_it.floor_db < without.floor_db - 10


def test_recordings_of_other_rates_and_channel_counts_compare(speech):
    x = Excerpt(speech(RATE, 1, 2), RATE)
    assert np.isfinite(distance(x, Excerpt(speech(48_000, 2, 2), 48_000)))
    assert np.isfinite(distance(x, Excerpt(np.zeros((1, 1000), np.float32), RATE)))


def test_a_channel_without_sound_changes_nothing(halves):
    x, other = halves
    reference = Excerpt(render(other, BRIGHT), RATE)
    half_silent = Excerpt(np.concatenate([x, 0 * x]), RATE)
    assert distance(half_silent, reference) == pytest.approx(distance(Excerpt(x, RATE), reference), abs=1e-6)
    assert noise_floor_db(half_silent) == pytest.approx(noise_floor_db(Excerpt(x, RATE)), abs=1e-6)
    assert match_level(STUDIO, NOTHING.rows, half_silent, describe(reference)) == match_level(
        STUDIO, NOTHING.rows, Excerpt(x, RATE), describe(reference)
    )


def test_colour_level_and_noise_are_compared_by_sound_and_not_by_pauses(speech):
    from fxst.models.studio import StudioModel
    from fxst.training.studio import studio_config
    from fxst.transfer.analysis import Analyser

    config = studio_config(STUDIO, 0.5, channels=(4,), hidden=(8,), rest_hidden=(8,))
    model = StudioModel(config).eval()
    voice = speech(RATE, 1, 3)

    def excerpt(x):
        listener = Analyser(model, sample_rate=RATE)
        listener.process(x)
        return listener.finish().excerpt

    alone = excerpt(voice)
    assert alone.samples.shape == voice.shape
    waiting = excerpt(np.concatenate([voice, np.zeros((1, 60 * RATE), np.float32)], axis=1))
    level = [np.mean(found.samples**2) for found in (alone, waiting)]
    assert abs(10 * np.log10(level[1] / level[0])) < 3
    offset = excerpt(voice + 0.2)
    np.testing.assert_allclose(offset.samples, alone.samples, atol=1e-4)
    assert excerpt(np.repeat(voice, 16, axis=0)).samples.shape == (2, voice.shape[1])


def test_a_mix_of_traits_lies_between_them_in_decibels(halves):
    x, other = halves
    soft, bright = describe(Excerpt(0.1 * x, RATE)), describe(Excerpt(render(other, BRIGHT), RATE))
    assert mean_descriptors([soft], [3.0]) == soft
    middle = mean_descriptors([soft, bright], [1.0, 3.0])
    assert middle.level_db == pytest.approx(0.25 * soft.level_db + 0.75 * bright.level_db)
    assert distance_db(middle, bright) < distance_db(soft, bright)
    assert mean_descriptors([soft, bright], [2.0, 0.0]).crest_db == pytest.approx(soft.crest_db)
    narrow = describe(Excerpt(x[:, :8000], 8000))
    assert (
        mean_descriptors([soft, narrow], [1, 1]).spectrum_db.keys()
        == soft.spectrum_db.keys() & narrow.spectrum_db.keys()
    )
    with pytest.raises(SettingsError, match="none of this recording's third octaves"):
        distance_db(soft, replace(bright, spectrum_db={123.4: -20.0}))
