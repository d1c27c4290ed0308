import math

import numpy as np
import pytest

from fxst.dsp.bandwidth import sound_band

HZ = 30.0 * 2 ** (np.arange(96) / 10)
"""Tenths of an octave, from 30 Hz to 21.7 kHz."""

LIVELY = np.full(96, 8.0)


def voice():
    """The long-term spectrum of a voice, which becomes softer towards its ends."""
    octaves = np.log2(HZ / 300)
    return -np.where(octaves > 0, 9 * octaves, 6 * np.abs(octaves))


def walled(levels_db, low, high, floor_db=-90.0):
    return np.where((low <= HZ) & (high >= HZ), levels_db, floor_db)


def third_octaves_apart(a, b):
    return abs(3 * math.log2(a / b))


def test_a_voice_that_becomes_softer_ends_where_the_sample_rate_does():
    assert sound_band(HZ, voice(), LIVELY) == (HZ[0], HZ[-1])


@pytest.mark.parametrize("edge", [3400.0, 8000.0, 11_025.0, 12_000.0, 16_000.0])
def test_a_wall_is_found_to_a_third_octave(edge):
    low, high = sound_band(HZ, walled(voice(), 0.0, edge), LIVELY)
    assert low == HZ[0]
    assert third_octaves_apart(high, edge) < 1


@pytest.mark.parametrize("edge", [100.0, 300.0])
def test_so_is_one_at_the_low_end(edge):
    low, high = sound_band(HZ, walled(voice(), edge, 1e6), LIVELY)
    assert third_octaves_apart(low, edge) < 1
    assert high == HZ[-1]


def test_a_level_changes_nothing():
    levels_db = walled(voice(), 300.0, 3400.0)
    assert sound_band(HZ, levels_db - 40, LIVELY) == sound_band(HZ, levels_db, LIVELY)


def test_a_steady_hiss_beyond_a_wall_is_a_floor_and_a_lively_sound_is_none():
    levels_db = np.where(HZ > 4000, -50.0, 0.0)  # louder than the level below which all counts as a floor
    steady = np.where(HZ > 4000, 0.5, 8.0)
    assert third_octaves_apart(sound_band(HZ, levels_db, steady)[1], 4000) < 1
    assert sound_band(HZ, levels_db, LIVELY)[1] == HZ[-1]
