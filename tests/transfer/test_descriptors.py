import numpy as np
import pytest
from msgspec.structs import replace

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import SettingsError
from fxst.transfer.descriptors import Excerpt, describe, distance_db, mean_descriptors, nearest_db, noise_floor_db

RATE = 24_000
STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
BRIGHT = NOTHING.with_values({"parametric_eq": {"high_shelf_gain_db": 12.0, "high_shelf_f0_hz": 4000.0}})


def render(x, table):
    return table.chain.exact(table, sample_rate=RATE, channels=len(x))(x)


def distance(x, reference):
    return distance_db(describe(x), describe(reference))


def test_a_recording_is_no_distance_from_itself_and_a_style_is_one(halves):
    x, other = halves
    assert distance(Excerpt(x, RATE), Excerpt(x, RATE)) == 0
    bright = Excerpt(render(other, BRIGHT), RATE)
    assert distance(Excerpt(x, RATE), bright) > distance(Excerpt(render(x, BRIGHT), RATE), bright)


def test_no_gain_brings_a_recording_nearer_than_the_nearest(halves):
    x, reference = halves[0], describe(Excerpt(0.1 * halves[1], RATE))
    gains = 10 ** (np.arange(-40, 20, 1.0) / 20).astype(np.float32)
    distances = [distance_db(describe(Excerpt(gain * x, RATE)), reference) for gain in gains]
    assert nearest_db(describe(Excerpt(x, RATE)), reference) == pytest.approx(min(distances), abs=0.5)
    assert all(nearest_db(describe(Excerpt(gain * x, RATE)), reference) <= min(distances) for gain in gains[20::10])


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


def test_mean_descriptors_lie_between_those_of_the_recordings_in_decibels(halves):
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


def test_a_silent_channel_changes_neither_distance_nor_noise_floor(halves):
    x, other = halves
    reference = Excerpt(render(other, BRIGHT), RATE)
    half_silent = Excerpt(np.concatenate([x, 0 * x]), RATE)
    assert distance(half_silent, reference) == pytest.approx(distance(Excerpt(x, RATE), reference), abs=1e-6)
    assert noise_floor_db(half_silent) == pytest.approx(noise_floor_db(Excerpt(x, RATE)), abs=1e-6)
