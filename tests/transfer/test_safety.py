from dataclasses import replace

import msgspec
import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.transfer import safety
from fxst.transfer.descriptors import Excerpt, active_level_db, describe, distance_db, noise_floor_db
from fxst.transfer.safety import limit_amount

RATE = 24_000
STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
BRIGHT = NOTHING.with_values({"parametric_eq": {"high_shelf_gain_db": 12.0, "high_shelf_f0_hz": 4000.0}})


def render(x, table):
    return table.chain.exact(table, sample_rate=RATE, channels=len(x))(x)


def noise_db(x):
    """The noise floor relative to the active signal."""
    return describe(Excerpt(x, RATE)).noise_db


def test_what_brings_a_recording_nearer_is_applied_whole(halves):
    x, other = halves
    result = limit_amount(STUDIO, BRIGHT.rows, Excerpt(x, RATE), describe(Excerpt(render(other, BRIGHT), RATE)))
    assert result.amount == 1
    assert result.settings == BRIGHT.rows
    assert result.after_db < result.before_db


def test_what_takes_a_recording_away_is_not_applied_at_all(halves):
    x, other = halves
    dull = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": -18.0}})
    reference = describe(Excerpt(render(other, BRIGHT), RATE))
    as_loud = msgspec.structs.replace(reference, level_db=active_level_db(Excerpt(x, RATE)))
    result = limit_amount(STUDIO, dull.rows, Excerpt(x, RATE), as_loud)
    assert result.amount == 0
    np.testing.assert_allclose(render(x, Table(STUDIO, result.settings)), x, rtol=1e-4)
    assert not limit_amount(STUDIO, dull.rows, Excerpt(x, RATE), reference, tuple).levelled


def test_where_nothing_of_a_style_is_applied_the_level_is_matched_all_the_same(halves):
    x, other = halves
    dull = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": -18.0}})
    reference = describe(Excerpt(render(other, BRIGHT), RATE))
    soft = Excerpt(0.1 * x, RATE)
    result = limit_amount(STUDIO, dull.rows, soft, reference)
    assert (result.amount, result.levelled) == (0, True)
    assert "only the level was changed" in result.remark
    table = Table(STUDIO, result.settings)
    gain_db = table.to_dict()["compressor"]["makeup_db"]
    np.testing.assert_allclose(render(soft.samples, table), 10 ** (gain_db / 20) * soft.samples, rtol=1e-4, atol=1e-6)
    assert active_level_db(Excerpt(render(soft.samples, table), RATE)) == pytest.approx(reference.level_db, abs=0.3)


def test_a_level_that_comes_nearer_is_no_reason_for_the_effect_that_came_with_it(halves):
    x, other = halves
    dull = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": -18.0}, "compressor": {"makeup_db": 20.0}})
    reference, soft = describe(Excerpt(other, RATE)), Excerpt(0.1 * x, RATE)
    nearer_db = distance_db(describe(Excerpt(render(soft.samples, dull), RATE)), reference)
    assert nearer_db < distance_db(describe(soft), reference)
    result = limit_amount(STUDIO, dull.rows, soft, reference)
    assert result.amount < 1
    assert result.after_db < nearer_db


def test_too_much_of_the_right_thing_is_turned_down(halves):
    x, other = halves
    far = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": 24.0}})
    reference = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": 4.0}})
    result = limit_amount(STUDIO, far.rows, Excerpt(x, RATE), describe(Excerpt(render(other, reference), RATE)))
    assert 0 < result.amount < 1


def test_noise_rises_by_no_more_than_the_limit_relative_to_the_signal_beyond_both_recordings_own(noise):
    rng = np.random.default_rng(0)
    talks = np.repeat(rng.random(60) < 0.7, RATE // 10)[None]
    hiss = 1e-4 * rng.standard_normal(talks.shape).astype(np.float32)
    x = (talks * noise(RATE, 1, 6) + hiss).astype(np.float32)
    squashed = NOTHING.with_values({"compressor": {"threshold_db": -60.0, "ratio": 4.0, "makeup_db": 20.0}})
    clean = describe(Excerpt((talks * noise(RATE, 1, 6) + 0.1 * hiss).astype(np.float32), RATE))
    result = limit_amount(STUDIO, squashed.rows, Excerpt(x, RATE), clean)
    assert result.noisy
    assert 0 < result.amount < 1
    assert 0 < noise_db(render(x, Table(STUDIO, result.settings))) - noise_db(x) <= safety.MOST_NOISE_DB
    assert "more would have raised the noise floor by more than 9 dB relative to the signal" in result.remark
    noisy = Excerpt(render(x, squashed), RATE)  # the reference has the noise itself
    assert limit_amount(STUDIO, squashed.rows, Excerpt(x, RATE), describe(noisy)).amount == 1


def test_what_is_louder_is_not_noisier_but_what_is_but_noise_does_not_become_as_loud_as_a_voice(halves, noise):
    x, other = (0.1 * half for half in halves)
    louder, loudest = (NOTHING.with_values({"compressor": {"makeup_db": gain}}) for gain in (20.0, 40.0))
    reference = msgspec.structs.replace(describe(Excerpt(render(other, louder), RATE)), floor_db=-80.0)
    result = limit_amount(STUDIO, louder.rows, Excerpt(x, RATE), reference)
    assert (result.amount, result.noisy) == (1, False)
    hiss = 10 ** (-70 / 20) * noise(RATE, 1, 3)
    result = limit_amount(STUDIO, loudest.rows, Excerpt(hiss, RATE), reference)
    assert result.noisy
    raised = noise_floor_db(Excerpt(render(hiss, Table(STUDIO, result.settings)), RATE))
    assert raised <= safety.MOST_RISE_DB + max(reference.floor_db, noise_floor_db(Excerpt(hiss, RATE)))


def test_where_an_upward_compressor_raises_noise_it_alone_is_turned_down(noise, monkeypatch):
    monkeypatch.setattr(safety, "TOLERANCE_DB", 100.0)  # noise is all that is looked at
    talks = np.repeat(np.random.default_rng(0).random(60) < 0.7, RATE // 10)[None]
    hiss = noise(RATE, 1, 6)
    x, clean = ((talks + share) * hiss for share in (0.003, 0.0003))
    dull = BRIGHT.with_values({"parametric_eq": {"high_shelf_gain_db": -12.0}})
    lifting = dull.with_values({"upward_compressor": {"threshold_db": -20.0, "ratio": 4.0}})
    as_loud = describe(Excerpt(render(clean, dull), RATE))
    reference = msgspec.structs.replace(
        as_loud, level_db=as_loud.level_db - 6, floor_db=as_loud.floor_db - 6
    )  # to be levelled
    result = limit_amount(STUDIO, lifting.rows, Excerpt(x, RATE), reference)
    assert (result.amount, result.noisy) == (1, True)
    assert 0 <= result.upward_share < 1
    table = Table(STUDIO, result.settings)
    level = {"compressor": {"makeup_db": table.to_dict()["compressor"]["makeup_db"]}}
    assert table == lifting.at_amount({"upward_compressor": result.upward_share}).with_values(level)
    assert describe(Excerpt(render(x, table), RATE)).level_db == pytest.approx(reference.level_db, abs=0.3)
    assert noise_db(render(x, table)) - noise_db(x) <= safety.MOST_NOISE_DB
    assert "of the upward compressor was applied: more would have raised the noise floor" in result.remark
    assert not limit_amount(STUDIO, dull.rows, Excerpt(x, RATE), reference).remark


def test_pauses_that_become_softer_are_no_noise_though_a_word_reaches_into_one(monkeypatch, noise):
    frame = round(0.05 * RATE)
    loud = np.repeat(np.arange(99) % 9 > 0, frame)  # little more than a tenth of all frames are pauses
    x = np.where(loud, 0.1, 2e-3) * noise(RATE, 1, 5)[:, : len(loud)]
    longer = loud | (np.arange(len(loud)) < frame)
    after = np.where(longer, 0.1, 1e-3) * noise(RATE, 1, 5)[:, : len(loud)]
    before, after = (Excerpt(y.astype(np.float32), RATE) for y in (x, after))
    assert noise_floor_db(after) - noise_floor_db(before) > 6
    monkeypatch.setattr(safety, "rendered", lambda *_: after)
    result = limit_amount(STUDIO, BRIGHT.rows, before, describe(before))
    assert not result.noisy
    assert result.amount == 1


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
    result = limit_amount(STUDIO, rows, Excerpt(x, RATE), reference)
    assert result.amount == 1
    assert result.after_db < 0.1
