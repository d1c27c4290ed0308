import numpy as np
import pytest

from fxst.models.network import LongTerm
from fxst.transfer.scope import scope

HZ = 30.0 * 2 ** (np.arange(96) / 10)
CURVE = np.where(np.arange(96) % 2, 6.0, -6.0).astype(np.float32)[None]


def heard(low=30.0, high=1e6, floor_db=-90.0):
    """A recording whose sound is between two frequencies."""
    inside = (low <= HZ) & (high >= HZ)
    ends = HZ[inside][[0, -1]]
    return LongTerm(np.where(inside, 0.0, floor_db), np.ones(96, bool), (float(ends[0]), float(ends[1])))


def test_a_curve_is_free_where_both_have_sound_to_their_ends():
    found = scope(heard(), heard(), HZ)
    assert found.alike
    np.testing.assert_array_equal(found.limited(CURVE, HZ), CURVE)


def test_a_reference_that_just_ends_is_no_instruction_to_cut():
    limited = scope(heard(), heard(high=11_000), HZ).limited(CURVE, HZ)[0]
    assert not limited[HZ > 11_000].any()
    np.testing.assert_array_equal(limited[HZ <= 11_000], CURVE[0, HZ <= 11_000])


def test_nothing_is_raised_where_the_recording_has_no_sound():
    limited = scope(heard(high=11_000), heard(), HZ).limited(CURVE, HZ)[0]
    assert not limited[HZ > 11_000].any()


def test_a_telephone_is_an_instruction_to_cut_and_not_to_boost():
    limited = scope(heard(), heard(300, 3400), HZ).limited(CURVE, HZ)[0]
    outside = (HZ < 300) | (HZ > 3400)
    np.testing.assert_array_equal(limited[outside], np.minimum(CURVE[0, outside], 0))


def test_a_recording_of_the_same_end_and_the_same_floor_is_another_take_of_the_session():
    found = scope(heard(high=16_000), heard(high=16_000), HZ)
    assert found.alike
    assert not found.limited(np.zeros_like(CURVE), HZ).any()


@pytest.mark.parametrize("missing", [HZ > 9000, HZ < 60])
def test_a_band_that_a_sample_rate_does_not_hold_stays_flat(missing):
    hz = np.where(missing, np.nan, HZ)
    assert not scope(heard(), heard(), hz).limited(CURVE, hz)[0, missing].any()


def test_a_slope_down_to_the_floor_is_an_instruction_and_a_wall_is_not():
    """The gentle low-pass of a telephone reaches the floor an octave above its corner."""
    wall = heard(high=8000, floor_db=-130.0)
    sloped = wall._replace(levels_db=wall.levels_db - 24 * np.maximum(np.log2(HZ / 3400), 0))
    beyond = HZ > 9000
    assert not scope(heard(), wall, HZ).limited(CURVE, HZ)[0, beyond].any()
    limited = scope(heard(), sloped, HZ).limited(CURVE, HZ)[0, beyond]
    np.testing.assert_array_equal(limited, np.minimum(CURVE[0, beyond], 0))
