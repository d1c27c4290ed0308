import numpy as np
import pytest
import torch

from fxst.models.matching import LEVEL_BINS_DB, MOST_APART_DB, MOST_FRAMES, active_frames, match, matched_size

BANDS = 48
ALL = torch.ones(BANDS)


@pytest.fixture
def moments():
    """Moments of six kinds, each with a shape of its own, in given numbers: as vowels and consonants are."""
    generator = torch.Generator().manual_seed(0)
    kinds = 12 * torch.randn(6, BANDS, generator=generator) - 40

    def draw(*counts):
        x = kinds.repeat_interleave(torch.tensor(counts), 0)
        levels = 20 * torch.rand(len(x), 1, generator=generator)
        return x + levels + 0.7 * torch.randn(x.shape, generator=generator)

    return draw


def told(matched):
    mean, curve, spread, louder, by_level = torch.split(20 * matched, [BANDS, BANDS, BANDS, 1, len(LEVEL_BINS_DB)])
    return mean, curve, spread, louder[0], by_level


@pytest.fixture
def curve():
    wave = 8 * torch.sin(torch.linspace(0, 9, BANDS))
    return wave - wave.mean()


def test_moments_of_another_order_and_other_levels_differ_by_the_curve_that_was_put_on_them(moments, curve):
    x = moments(20, 20, 20, 20, 20, 20)
    order = torch.randperm(len(x), generator=torch.manual_seed(1))
    louder = 15 * torch.rand(len(x), 1, generator=torch.manual_seed(2))
    _, found, spread, _, _ = told(match(x, (x + curve + louder)[order], ALL))
    torch.testing.assert_close(found, curve, rtol=0, atol=0.05)
    assert spread.max() < 2


def test_what_is_said_more_often_in_one_recording_is_no_curve(moments, curve):
    x, y = moments(60, 10, 5, 20, 5, 20), moments(5, 20, 60, 5, 20, 10) + curve
    mean, found, _, _, _ = told(match(x, y, ALL))
    assert (found - curve).abs().mean() < 0.3
    assert (mean - curve).abs().mean() > 2


def test_there_and_back_is_nothing(moments, curve):
    x, y = moments(30, 10, 20, 20, 20, 20), moments(10, 30, 20, 20, 20, 20) + curve
    there, back = told(match(x, y, ALL))[1], told(match(y, x, ALL))[1]
    torch.testing.assert_close(there, -back, rtol=0, atol=0.05)


def test_a_gain_is_no_curve_but_a_level(moments):
    x = moments(20, 20, 20, 20, 20, 20)
    _, found, _, louder, by_level = told(match(x, x + 6, ALL))
    assert found.abs().max() < 1e-3
    assert louder.item() == pytest.approx(6, abs=1e-3)
    tilted = 8 * torch.linspace(-1, 1, BANDS)
    assert told(match(x, x + tilted + 6, ALL))[3].item() == pytest.approx(6, abs=0.05)  # a curve is no level
    assert told(match(x, x + 60, ALL))[3] == told(match(x, x + 90, ALL))[3] == MOST_APART_DB
    torch.testing.assert_close(by_level, told(match(x, x, ALL))[4], rtol=0, atol=1e-3)


def test_a_compressor_shows_in_the_levels(moments):
    x = moments(30, 30, 30, 30, 30, 30)
    level = 10 * (10 ** (x / 10)).sum(1, keepdim=True).log10()
    loud = level.flatten().quantile(0.95)
    compressed = match(x, x - (level - loud) / 2, ALL)  # 2:1 at every level
    # Alike moments are of many levels, so what pairs differ by tends to the middle: beside no compressor, it is lifted.
    lifted = told(compressed)[4] - told(match(x, x, ALL))[4]
    assert abs(lifted[-1]) < 2
    assert (torch.diff(lifted[2:]) < -1).all()


def test_bands_that_one_recording_lacks_say_nothing(moments, curve):
    x, y = moments(20, 20, 20, 20, 20, 20), moments(20, 20, 20, 20, 20, 20) + curve
    shared = (torch.arange(BANDS) < 30).float()
    lacking = torch.where(shared.bool(), y, -100.0)
    mean, found, spread, louder, by_level = told(match(x, lacking, shared))
    *_, louder_too, by_level_too = told(match(torch.where(shared.bool(), x, 30.0), lacking, shared))
    torch.testing.assert_close((louder_too, by_level_too), (louder, by_level))
    for of_bands in (mean, found, spread):
        assert not of_bands[30:].any()
    torch.testing.assert_close(found[:30], told(match(x, y, shared))[1][:30])


def test_nothing_to_pair_is_told_as_nothing(moments):
    x, none = moments(1, 1, 1, 1, 1, 1), torch.zeros(0, BANDS)
    for pair in ((x, none), (none, x), (none, none)):
        assert torch.equal(match(*pair, ALL), torch.zeros(matched_size(BANDS)))
    assert not match(x, x, 0 * ALL).any()
    assert torch.isfinite(match(x[:1], x[1:2] - 300, ALL)).all()


def test_pauses_are_left_out_and_what_is_kept_is_spread_evenly(moments):
    x = moments(100, 100, 100, 100, 100, 100)
    with_pauses = torch.cat((x, x[:300] - 60))
    kept = active_frames(with_pauses)
    assert len(kept) == MOST_FRAMES
    where = [int((x == row).all(1).nonzero()[0]) for row in kept]  # every one of them is no pause
    assert np.diff(where).max() <= 3
    assert torch.equal(active_frames(x[:100]), x[:100])
    assert not len(active_frames(torch.zeros(0, BANDS)))
