import numpy as np
import pytest
import torch

from fxst.dsp.arrays import split
from fxst.models.matching import LEVEL_BINS_DB, MOST_APART_DB, MOST_FRAMES, active_frames, match, matched_size

BANDS = 48
ALL = np.ones(BANDS, np.float32)


@pytest.fixture
def moments():
    """Moments of six kinds, each with a shape of its own, in given numbers: as vowels and consonants are."""
    generator = torch.Generator().manual_seed(0)
    kinds = 12 * torch.randn(6, BANDS, generator=generator) - 40

    def draw(*counts):
        x = kinds.repeat_interleave(torch.tensor(counts), 0)
        levels = 20 * torch.rand(len(x), 1, generator=generator)
        return (x + levels + 0.7 * torch.randn(x.shape, generator=generator)).numpy()

    return draw


def told(matched):
    sizes = [BANDS, BANDS, BANDS, 1, len(LEVEL_BINS_DB)]
    mean, curve, spread, louder, by_level = (part[0] for part in split(20 * matched[None], sizes))
    return mean, curve, spread, louder[0], by_level


@pytest.fixture
def curve():
    wave = 8 * np.sin(np.linspace(0, 9, BANDS, dtype=np.float32))
    return wave - wave.mean()


def test_moments_of_another_order_and_other_levels_differ_by_the_curve_that_was_put_on_them(moments, curve):
    x = moments(20, 20, 20, 20, 20, 20)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(x))
    louder = 15 * rng.random((len(x), 1), np.float32)
    _, found, spread, _, _ = told(match(x, (x + curve + louder)[order], ALL))
    np.testing.assert_allclose(found, curve, rtol=0, atol=0.05)
    assert spread.max() < 2


def test_what_is_said_more_often_in_one_recording_is_no_curve(moments, curve):
    x, y = moments(60, 10, 5, 20, 5, 20), moments(5, 20, 60, 5, 20, 10) + curve
    mean, found, _, _, _ = told(match(x, y, ALL))
    assert np.abs(found - curve).mean() < 0.3
    assert np.abs(mean - curve).mean() > 2


def test_there_and_back_is_nothing(moments, curve):
    x, y = moments(30, 10, 20, 20, 20, 20), moments(10, 30, 20, 20, 20, 20) + curve
    there, back = told(match(x, y, ALL))[1], told(match(y, x, ALL))[1]
    np.testing.assert_allclose(there, -back, rtol=0, atol=0.05)


def test_a_gain_is_no_curve_but_a_level(moments):
    x = moments(20, 20, 20, 20, 20, 20)
    _, found, _, louder, by_level = told(match(x, x + 6, ALL))
    assert np.abs(found).max() < 1e-3
    assert louder == pytest.approx(6, abs=1e-3)
    tilted = 8 * np.linspace(-1, 1, BANDS, dtype=np.float32)
    assert told(match(x, x + tilted + 6, ALL))[3] == pytest.approx(6, abs=0.05)  # a curve is no level
    assert told(match(x, x + 60, ALL))[3] == told(match(x, x + 90, ALL))[3] == MOST_APART_DB
    np.testing.assert_allclose(by_level, told(match(x, x, ALL))[4], rtol=0, atol=1e-3)


def test_a_compressor_shows_in_the_levels(moments):
    x = moments(30, 30, 30, 30, 30, 30)
    level = 10 * np.log10((10 ** (x / 10)).sum(1, keepdims=True))
    loud = np.quantile(level, 0.95).astype(np.float32)
    compressed = match(x, x - (level - loud) / 2, ALL)  # 2:1 at every level
    # Alike moments are of many levels, so what pairs differ by tends to the middle: beside no compressor, it is lifted.
    lifted = told(compressed)[4] - told(match(x, x, ALL))[4]
    assert abs(lifted[-1]) < 2
    assert (np.diff(lifted[2:]) < -1).all()


def test_bands_that_one_recording_lacks_say_nothing(moments, curve):
    x, y = moments(20, 20, 20, 20, 20, 20), moments(20, 20, 20, 20, 20, 20) + curve
    shared = (np.arange(BANDS) < 30).astype(np.float32)
    lacking = np.where(shared > 0, y, np.float32(-100))
    mean, found, spread, louder, by_level = told(match(x, lacking, shared))
    *_, louder_too, by_level_too = told(match(np.where(shared > 0, x, np.float32(30)), lacking, shared))
    np.testing.assert_allclose((louder_too, *by_level_too), (louder, *by_level), rtol=1.3e-6, atol=1e-5)
    for of_bands in (mean, found, spread):
        assert not of_bands[30:].any()
    np.testing.assert_allclose(found[:30], told(match(x, y, shared))[1][:30], rtol=1.3e-6, atol=1e-5)


def test_nothing_to_pair_is_told_as_nothing(moments):
    x, none = moments(1, 1, 1, 1, 1, 1), np.zeros((0, BANDS), np.float32)
    for pair in ((x, none), (none, x), (none, none)):
        np.testing.assert_array_equal(match(*pair, ALL), np.zeros(matched_size(BANDS)))
    assert not match(x, x, 0 * ALL).any()
    assert np.isfinite(match(x[:1], x[1:2] - 300, ALL)).all()


def test_pauses_are_left_out_and_what_is_kept_is_spread_evenly(moments):
    x = moments(100, 100, 100, 100, 100, 100)
    with_pauses = np.concatenate((x, x[:300] - 60))
    kept = active_frames(with_pauses)
    assert len(kept) == MOST_FRAMES
    where = [int((x == row).all(1).nonzero()[0][0]) for row in kept]  # every one of them is no pause
    assert np.diff(where).max() <= 3
    np.testing.assert_array_equal(active_frames(x[:100]), x[:100])
    assert not len(active_frames(np.zeros((0, BANDS), np.float32)))
