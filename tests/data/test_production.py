import json
import math

import numpy as np
import pytest

from fxst.data.production import (
    Filter,
    LoudnessLimiter,
    Production,
    Room,
    Saturation,
    SoftKneeCompressor,
    Width,
    draw_production,
)
from fxst.dsp.loudness import loudness

RATE = 24_000


def speech_like(channels=1, seconds=4.0, seed=0):
    """Noise in syllables."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    syllables = np.maximum(np.sin(2 * np.pi * 3 * time), 0.01)
    return (0.1 * syllables * rng.standard_normal((channels, len(time)))).astype(np.float32)


def tone(hz, amplitude=0.1, seconds=2.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * time)).astype(np.float32)[None]


def gain_db(step, hz):
    """The gain of a step for a tone once it has settled."""
    x = tone(hz)
    y = step.apply(x, sample_rate=RATE)
    half = x.shape[1] // 2
    return 10 * math.log10(np.square(y[:, half:], dtype=np.float64).mean() / np.square(x[:, half:]).mean())


def harmonic_db(y, hz):
    """The level at a frequency that is a whole number of Hz, in an arbitrary unit."""
    spectrum = np.abs(np.fft.rfft(y[0, -RATE:].astype(np.float64)))
    return 20 * math.log10(spectrum[round(hz)] + 1e-9)


@pytest.mark.parametrize("music", [False, True])
@pytest.mark.parametrize("only", [None, "distortion", "reverb"])
def test_a_production_is_deterministic_finite_and_at_its_loudness(music, only):
    x = speech_like(1 + music)
    before = x.copy()
    for seed in range(8):
        one, same = (
            draw_production(np.random.default_rng(seed), sample_rate=RATE, music=music, only=only) for _ in range(2)
        )
        assert one == same
        y = one.apply(x, sample_rate=RATE)
        np.testing.assert_array_equal(y, same.apply(x, sample_rate=RATE))
        assert y.shape == x.shape
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        assert np.abs(y).max() <= 10 ** (-1 / 20) * (1 + 1e-6)
        assert loudness(y, sample_rate=RATE) == pytest.approx(one.steps[-1].lufs, abs=1.0)
        json.dumps(one.to_data(), allow_nan=False)
    np.testing.assert_array_equal(x, before)


def test_most_gains_are_moderate():
    steps = [step for seed in range(400) for step in draw_production(
        np.random.default_rng(seed), sample_rate=RATE, music=False).steps]  # fmt: skip
    gains = np.array([step.gain_db for step in steps if isinstance(step, Filter) and step.gain_db])
    assert np.abs(gains).max() <= 12
    assert (np.abs(gains) <= 6).mean() > 0.8
    kinds = {type(step) for step in steps}
    assert kinds == {Filter, SoftKneeCompressor, Saturation, Room, LoudnessLimiter}


@pytest.mark.parametrize("only", ["distortion", "reverb"])
def test_one_strong_effect_comes_alone(only):
    kind = {"distortion": Saturation, "reverb": Room}[only]
    for seed in range(20):
        steps = draw_production(np.random.default_rng(seed), sample_rate=RATE, music=False, only=only).steps
        assert [type(step) for step in steps] == [kind, LoudnessLimiter]


@pytest.mark.parametrize(
    ("filter_", "hz", "expected_db"),
    [
        (Filter("high_pass", 100.0), 100.0, -3.01),
        (Filter("low_pass", 3000.0), 3000.0, -3.01),
        (Filter("high_pass", 300.0, steep=True), 300.0, -3.01),
        (Filter("low_pass", 3400.0, steep=True), 3400.0, -3.01),
        (Filter("low_pass", 1000.0, steep=True), 4000.0, -50.0),
        (Filter("bell", 1000.0, 1.0, 5.0), 1000.0, 5.0),
        (Filter("low_shelf", 200.0, gain_db=-6.0), 20.0, -6.0),
        (Filter("high_shelf", 2000.0, gain_db=6.0), 11_000.0, 6.0),
    ],
)
def test_a_filter_has_the_gain_it_names(filter_, hz, expected_db):
    assert gain_db(filter_, hz) == pytest.approx(expected_db, abs=0.25 if expected_db > -40 else 5)


def test_the_sections_of_a_production_are_those_of_its_filters():
    filters = (Filter("high_pass", 80.0), Filter("bell", 900.0, 0.8, 4.0), Filter("low_pass", 5000.0, steep=True))
    production = Production((filters[0], Width(1.0), *filters[1:], LoudnessLimiter(-20.0)))
    assert production.sections(sample_rate=RATE).shape == (4, 6)
    assert Production((LoudnessLimiter(-20.0),)).sections(sample_rate=RATE).shape == (0, 6)


def test_a_compressor_brings_loud_and_soft_together_and_links_channels():
    x = np.concatenate([tone(440, 0.3), tone(440, 0.03)], axis=1)
    x = np.concatenate([x, 0.1 * x])
    y = SoftKneeCompressor(-60.0, 4.0, 5.0, 50.0, 0.0).apply(x, sample_rate=RATE)
    loud, soft = (20 * np.log10(np.abs(part).max()) for part in (y[0, RATE : 2 * RATE], y[0, -RATE:]))
    assert loud - soft == pytest.approx(20 / 4, abs=0.3)
    np.testing.assert_allclose(y[1], 0.1 * y[0], rtol=1e-5)


def test_a_bias_adds_even_harmonics_and_no_offset():
    x = tone(500, 0.3)
    even, odd = (
        harmonic_db(Saturation(12.0, bias, 0.0, 1000.0).apply(x, sample_rate=RATE), 1000) for bias in (0.5, 0.0)
    )
    assert even > odd + 40
    y = Saturation(12.0, 0.5, 6.0, 1000.0).apply(x, sample_rate=RATE)
    assert abs(y[0, -RATE:].mean()) < 1e-3


def test_emphasis_saturates_what_it_raises_and_leaves_the_spectrum():
    quiet = tone(3000, 1e-4)
    assert gain_db_of(Saturation(-60.0, 0.0, 9.0, 1000.0), quiet) == pytest.approx(
        gain_db_of(Saturation(-60.0, 0.0, 0.0, 1000.0), quiet), abs=0.01
    )
    x = tone(3000, 0.2)
    plain, raised = (Saturation(0.0, 0.0, db, 1000.0).apply(x, sample_rate=RATE) for db in (0.0, 9.0))
    assert harmonic_db(raised, 9000) - harmonic_db(raised, 3000) > harmonic_db(plain, 9000) - harmonic_db(plain, 3000)


def gain_db_of(step, x):
    y = step.apply(x, sample_rate=RATE)
    return 10 * math.log10(np.square(y[:, -RATE:], dtype=np.float64).mean() / np.square(x[:, -RATE:]).mean())


@pytest.mark.parametrize("kind", ["room", "plate", "spring"])
def test_a_room_falls_by_60_db_in_its_time_and_comes_at_its_level(kind):
    room = Room(kind, 1.0, -6.0, 7)
    response = room.response(sample_rate=RATE, channels=2)
    assert response.shape == (2, RATE)
    np.testing.assert_allclose(np.square(response, dtype=np.float64).sum(axis=1), 1, rtol=1e-5)
    assert not np.array_equal(response[0], response[1])
    energy = np.square(response, dtype=np.float64).reshape(2, 10, -1).sum(axis=(0, 2))
    assert 10 * np.log10(energy[7] / energy[2]) == pytest.approx(-30, abs=4)
    x = speech_like()
    wet = room.apply(x, sample_rate=RATE) - x
    assert 10 * np.log10(np.square(wet).mean() / np.square(x).mean()) == pytest.approx(-6, abs=0.01)


def test_a_room_uses_the_measured_response_that_it_drew():
    click = np.zeros((1, 2000), np.float32)
    click[0, 240] = 0.5
    other = np.zeros((1, 2000), np.float32)
    other[0, 480] = -3.0
    x = speech_like()
    y = Room("plate", 1.0, 0.0, 1, measured=0.6).apply(x, sample_rate=RATE, responses=[(click, RATE), (other, RATE)])
    wet, delayed = (y - x)[0, 480:], x[0, :-480]
    assert np.corrcoef(wet, delayed)[0, 1] < -0.9999
    modelled = Room("plate", 1.0, 0.0, 1, measured=0.6).apply(x, sample_rate=RATE)
    assert not np.allclose(modelled, y)


def test_a_width_scales_the_side_alone():
    x = speech_like(2)
    y = Width(0.5).apply(x, sample_rate=RATE)
    np.testing.assert_allclose(y.sum(axis=0), x.sum(axis=0), atol=1e-6)
    np.testing.assert_allclose(y[0] - y[1], 0.5 * (x[0] - x[1]), atol=1e-6)
    np.testing.assert_array_equal(Width(0.5).apply(x[:1], sample_rate=RATE), x[:1])


def test_silence_stays_silent():
    silence = np.zeros((2, RATE), np.float32)
    for seed in range(10):
        production = draw_production(np.random.default_rng(seed), sample_rate=RATE, music=True)
        assert not production.apply(silence, sample_rate=RATE).any()
