import math
import warnings

import numpy as np
import pytest

from fxst.dsp.spectra import LongTermSpectrum, third_octaves

RATES = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000]


def sine(hz, seconds, sample_rate):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * sample_rate)) / sample_rate).astype(np.float32)


@pytest.mark.parametrize("sample_rate", RATES)
def test_a_full_scale_sine_is_0_db_in_its_band_and_nowhere_else(sample_rate):
    centres, _ = third_octaves(sine(100, 1.0, sample_rate), sample_rate=sample_rate)
    for band in range(4, len(centres), 4):
        _, levels = third_octaves(sine(centres[band], 3.0, sample_rate), sample_rate=sample_rate)
        assert levels[band] == pytest.approx(0, abs=0.1)
        assert np.delete(levels, band).max() < -15  # beside it, in the lowest, what a window of 1/3 s leaves
        assert levels[np.abs(np.arange(len(levels)) - band) > 2].max() < -60


@pytest.mark.parametrize("sample_rate", RATES)
def test_bands_go_from_20_hz_to_20_khz_or_half_the_sample_rate(noise, sample_rate):
    centres, levels = third_octaves(noise(sample_rate, 1, 1.0), sample_rate=sample_rate)
    assert levels.shape == (1, len(centres))
    np.testing.assert_allclose(np.diff(np.log2(centres)), 1 / 3)
    assert centres[0] == pytest.approx(19.7, abs=0.1)
    top = centres[-1] * 2 ** (1 / 6)
    assert top <= sample_rate / 2
    assert top * 2 ** (1 / 3) > min(sample_rate / 2, 22_600)


@pytest.mark.parametrize("sample_rate", RATES)
def test_white_noise_has_in_each_band_its_share(noise, sample_rate):
    x = noise(sample_rate, 1, 20.0)[0]
    centres, levels = third_octaves(x, sample_rate=sample_rate)
    width = centres * (2 ** (1 / 6) - 2 ** (-1 / 6))
    # 0 dB is a full-scale sine, whose mean square is 1/2.
    expected = 10 * np.log10(2 * np.square(x).mean() * width / (sample_rate / 2))
    np.testing.assert_allclose(levels[centres > 100], expected[centres > 100], atol=0.8)
    np.testing.assert_allclose(levels, expected, atol=2.5)


def test_the_spectrum_does_not_depend_on_the_sample_rate(speech):
    from fxst import audio

    x = speech(24_000, 1, 5.0)
    centres, levels = third_octaves(x, sample_rate=24_000)
    above, high = third_octaves(audio.resample(x, source_rate=24_000, target_rate=48_000), sample_rate=48_000)
    assert np.array_equal(above[: len(centres)], centres)
    np.testing.assert_allclose(high[:, : len(centres) - 1], levels[:, :-1], atol=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.34, 0.4, 0.5])
def test_short_sounds_have_a_level_in_the_bands_that_they_resolve(seconds):
    centres, levels = third_octaves(sine(4000, seconds, 24_000), sample_rate=24_000)
    assert levels.max() == pytest.approx(0, abs=0.5)
    assert centres[0] * 0.2316 * min(seconds, 8192 / 24_000) == pytest.approx(1.5 * 2 ** (1 / 6), rel=2 ** (1 / 6) - 1)


def test_too_short_for_any_band():
    centres, levels = third_octaves(np.ones((2, 3), np.float32), sample_rate=24_000)
    assert centres.shape == (0,)
    assert levels.shape == (2, 0)
    with pytest.raises(ValueError, match="no audio"):
        third_octaves(np.zeros((2, 0), np.float32), sample_rate=24_000)


def test_silence_has_the_lowest_level_there_is():
    assert set(third_octaves(np.zeros(9000, np.float32), sample_rate=24_000)[1]) == {-140.0}


def test_the_last_samples_count(noise):
    x = noise(24_000, 1, 1.4)
    x[:, :-4000] = 0  # 33,600 samples: three and more are left over after the last whole hop
    assert third_octaves(x, sample_rate=24_000)[1].max() > -50


@pytest.mark.parametrize("sizes", [(1000,), (1, 4096, 0, 9000), (70_000,)])
@pytest.mark.parametrize("length", [5000, 8192, 8193, 60_000])
def test_a_stream_is_measured_as_a_whole_is(noise, sizes, length):
    x = noise(24_000, 2, 2.5)[:, :length]
    spectrum = LongTermSpectrum(sample_rate=24_000)
    position, turn = 0, 0
    while position < length:
        block = x[:, position : position + sizes[turn % len(sizes)]]
        spectrum.process(block)
        position += block.shape[1]
        turn += 1
    np.testing.assert_allclose(spectrum.third_octaves()[1], third_octaves(x, sample_rate=24_000)[1], atol=1e-4)


def test_asking_early_changes_nothing(noise):
    x = noise(24_000, 1, 2.0)
    spectrum = LongTermSpectrum(sample_rate=24_000)
    for block in np.array_split(x, 7, axis=1):
        spectrum.process(block)
        spectrum.third_octaves()
    np.testing.assert_allclose(spectrum.third_octaves()[1], third_octaves(x, sample_rate=24_000)[1], atol=1e-4)


def test_twice_the_amplitude_is_6_db_in_every_band(noise):
    x = noise(24_000, 2, 1.0)
    once, twice = (third_octaves(gain * x, sample_rate=24_000)[1] for gain in (1, 2))
    np.testing.assert_allclose(twice - once, 20 * math.log10(2), atol=1e-9)
    np.testing.assert_allclose(third_octaves(x[1], sample_rate=24_000)[1], once[1], atol=1e-5)


def test_the_largest_samples_have_levels_too():
    tone = sine(1000, 1, 24_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hz, loud = third_octaves(tone * np.float32(1e23), sample_rate=24_000)
        _, plain = third_octaves(tone, sample_rate=24_000)
    at = np.abs(hz - 1000).argmin()
    assert loud[at] - plain[at] == pytest.approx(460, abs=0.01)
