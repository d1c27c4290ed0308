import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from fxst.data.corruption import (
    CorruptionBand,
    DynamicsCorruption,
    FrequencyCorruption,
    draw_compressor,
    draw_expander,
    draw_frequency_corruption,
    to_data,
)
from fxst.errors import SettingsError

RATES = {24_000: 10_800, 44_100: 19_845}  # and the highest frequency of a band
PEAKS_HZ = {24_000: [(200, 2000), (800, 4000), (2000, 8000), (4000, 10_800)]}
PEAKS_HZ[44_100] = [*PEAKS_HZ[24_000][:3], (4000, 19_845)]
N = 4000

# What the seed 2024 draws: two equalisers at 24 kHz, a compressor, an expander.
GOLDEN = [
    {
        "kind": "frequency",
        "bands": [
            {"kind": "equalizer", "f0_hz": 585, "q": 3.19452, "gain_db": -38.3744, "applied": False},
            {"kind": "equalizer", "f0_hz": 1051, "q": 1.90824, "gain_db": 17.2631, "applied": True},
            {"kind": "equalizer", "f0_hz": 5700, "q": 1.15386, "gain_db": 27.1551, "applied": True},
            {"kind": "equalizer", "f0_hz": 10634, "q": 8.09428, "gain_db": 28.6475, "applied": False},
            {"kind": "bass", "f0_hz": 99, "q": None, "gain_db": -6.67299, "applied": True},
            {"kind": "treble", "f0_hz": 5864, "q": None, "gain_db": 19.3724, "applied": True},
        ],
    },
    {
        "kind": "frequency",
        "bands": [
            {"kind": "equalizer", "f0_hz": 327, "q": 4.77209, "gain_db": -12.6819, "applied": True},
            {"kind": "equalizer", "f0_hz": 3276, "q": 4.97245, "gain_db": -22.4649, "applied": False},
            {"kind": "equalizer", "f0_hz": 5667, "q": 1.94787, "gain_db": -43.4628, "applied": False},
            {"kind": "bass", "f0_hz": 170, "q": None, "gain_db": -8.37054, "applied": True},
            {"kind": "treble", "f0_hz": 4162, "q": None, "gain_db": 16.7069, "applied": True},
        ],
    },
    {
        "kind": "compressor",
        "attack_ms": 17.5996,
        "release_ms": 72.7678,
        "knee_db": 3.01612,
        "threshold_db": -41.6455,
        "ratio": 4.33856,
        "makeup_db": 2.55359,
    },
    {
        "kind": "expander",
        "attack_ms": 11.0965,
        "release_ms": 112.128,
        "knee_db": 7.02465,
        "threshold_db": -18.406,
        "ratio": 2.61379,
        "makeup_db": 5.66366,
    },
]


class Scripted:
    """A generator that can only be asked for `random`, and gives what it is told to."""

    def __init__(self, *given):
        self._given = iter(given)

    def random(self):
        return next(self._given)


def frequency_draws(sample_rate=24_000):
    rng = np.random.default_rng(0)
    return [draw_frequency_corruption(rng, sample_rate=sample_rate) for _ in range(N)]


def assert_uniform(values, low, high):
    """Kolmogorov and Smirnov's test: by chance it fails once in 30,000 times (2 exp(-2 * 2.35^2))."""
    values = np.sort((np.asarray(values) - low) / (high - low))
    assert values[0] >= 0
    assert values[-1] <= 1
    n = len(values)
    assert n > 500
    assert np.abs(values - (np.arange(n) + 0.5) / n).max() < (2.35 + 0.5) / math.sqrt(n)


def assert_probability(hits, probability):
    """Four standard deviations of a binomial: by chance it fails once in 16,000 times."""
    hits = np.asarray(hits)
    assert abs(hits.mean() - probability) < 4 * math.sqrt(probability * (1 - probability) / len(hits))


@pytest.mark.parametrize("sample_rate", RATES)
def test_shelves_are_drawn_from_their_ranges(sample_rate):
    draws = frequency_draws(sample_rate)
    for kind, low, high in (("bass", 20, 200), ("treble", 4000, RATES[sample_rate])):
        found = [[band for band in drawn.bands if band.kind == kind] for drawn in draws]
        assert_probability([len(bands) for bands in found], 0.8)
        bands = [bands[0] for bands in found if bands]
        assert all(len(bands) <= 1 for bands in found)
        assert all(band.applied and band.q is None for band in bands)
        assert all(isinstance(band.f0_hz, int) and low <= band.f0_hz < high for band in bands)
        assert_uniform([band.f0_hz + 0.5 for band in bands], low, high)
        assert_uniform([band.gain_db for band in bands], -24, 24)


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("number", range(4))
def test_peaks_are_drawn_from_their_ranges(sample_rate, number):
    """One at a time: only the wanted peak's coin says yes."""
    low, high = PEAKS_HZ[sample_rate][number]
    rng = np.random.default_rng(number)
    yes, no = 0.8 - 1e-9, 0.8
    bands = []
    for _ in range(N):
        drawn = draw_frequency_corruption(
            Scripted(*[no] * number, yes, *rng.random(4), *[no] * (5 - number)), sample_rate=sample_rate
        )
        bands.extend(drawn.bands)
    assert len(bands) == N
    assert all(band.kind == "equalizer" and isinstance(band.f0_hz, int) for band in bands)
    assert_uniform([band.f0_hz + 0.5 for band in bands], low, high)
    assert_uniform([band.q for band in bands], 0.1, 10.1)
    assert_uniform([band.gain_db for band in bands], -48, 48)
    assert all(band.applied == (abs(band.gain_db) < 24) for band in bands)


def test_bands_come_in_order_and_each_by_its_own_coin():
    counts = []
    for drawn in frequency_draws():
        kinds = [band.kind for band in drawn.bands]
        peaks = kinds.count("equalizer")
        assert kinds == ["equalizer"] * peaks + [kind for kind in ("bass", "treble") if kind in kinds]
        counts.append(peaks)
    for peaks in range(5):
        expected = math.comb(4, peaks) * 0.8**peaks * 0.2 ** (4 - peaks)
        assert_probability([count == peaks for count in counts], expected)


def test_a_peak_is_left_out_when_the_gains_so_far_reach_24_db():
    left_out = 0
    for drawn in frequency_draws():
        peaks = [band for band in drawn.bands if band.kind == "equalizer"]
        for band, summed in zip(peaks, itertools.accumulate(band.gain_db for band in peaks), strict=True):
            assert band.applied == (abs(summed) < 24)
            left_out += not band.applied
    assert left_out > N  # more than half of what is drawn is 24 dB by itself


@pytest.mark.parametrize(
    ("draw", "attack", "threshold", "ratio"),
    [(draw_compressor, (0.5, 50.5), (-64, -12), (1, 11)), (draw_expander, (1, 51), (-30, -10), (1, 5))],
)
def test_dynamics_are_drawn_from_their_ranges(draw, attack, threshold, ratio):
    rng = np.random.default_rng(0)
    draws = [draw(rng) for _ in range(N)]
    assert_uniform([drawn.attack_ms for drawn in draws], *attack)
    assert_uniform([drawn.release_ms - drawn.attack_ms for drawn in draws], 0, 200)
    assert_uniform([drawn.threshold_db for drawn in draws], *threshold)
    assert_uniform([drawn.ratio for drawn in draws], *ratio)
    assert_uniform([drawn.knee_db for drawn in draws], 0, 12)
    assert_uniform([drawn.makeup_db for drawn in draws], 0, 6)


def test_a_compressors_curve_has_its_ratio_above_the_threshold_and_an_expanders_below():
    settings = {"attack_ms": 1.0, "release_ms": 1.0, "knee_db": 0.0, "makeup_db": 0.0}
    compressor = DynamicsCorruption("compressor", threshold_db=-20.0, ratio=4.0, **settings)
    assert compressor.points == ((-100, -100), (-20, -20), (0, -15))
    expander = DynamicsCorruption("expander", threshold_db=-20.0, ratio=4.0, **settings)
    (low_in, low_out), (high_in, high_out) = expander.points
    assert (high_out - low_out) / (high_in - low_in) == 4
    assert (high_in, high_out) == (-20, -20)
    assert low_out == -100

    def settled_db(dynamics, level_db):
        x = np.full((1, 24_000), 10 ** (level_db / 20), np.float32)
        return 20 * math.log10(dynamics.apply(x, sample_rate=24_000)[0, -1])

    for level_db in (-35.0, -30.0, -25.0):
        assert settled_db(compressor, level_db) == pytest.approx(level_db, abs=1e-3)
        assert settled_db(expander, level_db) == pytest.approx(-20 + 4 * (level_db + 20), abs=1e-3)
    for level_db in (-15.0, -10.0, -1.0):
        assert settled_db(compressor, level_db) == pytest.approx(-20 + (level_db + 20) / 4, abs=1e-3)
        assert settled_db(expander, level_db) == pytest.approx(level_db, abs=1e-3)
    assert settled_db(replace(compressor, makeup_db=3.0), -10.0) == pytest.approx(-17.5 + 3, abs=1e-3)


def test_only_the_compressor_hears_ahead(speech):
    x = speech(24_000, 1)
    x[:, :6000] = 0
    x[:, 6000:] += 0.3
    settings = {"attack_ms": 10.0, "release_ms": 50.0, "knee_db": 0.0, "makeup_db": 0.0, "ratio": 4.0}
    compressed = DynamicsCorruption("compressor", threshold_db=-40.0, **settings).apply(x, sample_rate=24_000)
    attack = 240  # by the end of it, the level has come to 1 - 1/e
    assert abs(compressed[0, 6000]) < 0.6 * abs(x[0, 6000])
    expanded = DynamicsCorruption("expander", threshold_db=-15.0, **settings).apply(x, sample_rate=24_000)
    assert abs(expanded[0, 6000]) < 0.01 * abs(x[0, 6000])
    assert abs(expanded[0, 6000 + 10 * attack]) > 0.9 * abs(x[0, 6000 + 10 * attack])


def test_the_same_seed_draws_the_same_on_any_machine():
    rng = np.random.default_rng(2024)
    drawn = [to_data(draw_frequency_corruption(rng, sample_rate=24_000)) for _ in range(2)]
    drawn += [to_data(draw_compressor(rng)), to_data(draw_expander(rng))]
    assert drawn == GOLDEN


def test_only_the_stable_part_of_the_generator_is_asked():
    rng = np.random.default_rng(5)
    scripted = Scripted(*np.random.default_rng(5).random(2000))
    for _ in range(20):
        for draw in (draw_compressor, draw_expander):
            assert draw(scripted) == draw(rng)
        frequency = [draw_frequency_corruption(source, sample_rate=44_100) for source in (scripted, rng)]
        assert frequency[0] == frequency[1]


def rng_draws(seed, sample_rate=24_000):
    rng = np.random.default_rng(seed)
    return draw_frequency_corruption(rng, sample_rate=sample_rate), draw_compressor(rng), draw_expander(rng)


def test_six_digits_say_all():
    for seed in range(50):
        frequency, *dynamics = rng_draws(seed)
        rows = [to_data(drawn) for drawn in dynamics] + to_data(frequency)["bands"]
        for value in itertools.chain.from_iterable(row.values() for row in rows):
            if isinstance(value, float):
                assert float(f"{value:.6g}") == value


@pytest.mark.parametrize("seed", range(5))
def test_equalising_is_linear(seed, speech):
    x, other = speech(24_000, 2)[:, None]
    eq = rng_draws(seed)[0]
    y, z, both = (eq.apply(signal, sample_rate=24_000) for signal in (x, other, x + other))
    assert np.array_equal(eq.apply(2 * x, sample_rate=24_000), 2 * y)
    # Even where 48 dB push it beyond full scale.
    assert np.array_equal(eq.apply(1024 * x, sample_rate=24_000), 1024 * y)
    np.testing.assert_allclose(both, y + z, atol=1e-5 * np.abs(both).max())


def test_what_was_left_out_is_not_heard(speech):
    x = speech(24_000, 2)
    peak = CorruptionBand("equalizer", 1000, 1.0, 30.0, applied=False)
    bass = CorruptionBand("bass", 100, None, 6.0, applied=True)
    assert np.array_equal(FrequencyCorruption((peak,)).apply(x, sample_rate=24_000), x)
    both, alone = (FrequencyCorruption(bands).apply(x, sample_rate=24_000) for bands in ((peak, bass), (bass,)))
    assert np.array_equal(both, alone)
    assert not np.array_equal(alone, x)


def test_where_nothing_was_drawn_nothing_is_done(speech):
    x = speech(24_000, 2)
    drawn = draw_frequency_corruption(Scripted(*[0.8] * 6), sample_rate=24_000)
    assert drawn == FrequencyCorruption(())
    y = drawn.apply(x, sample_rate=24_000)
    assert np.array_equal(y, x)
    assert y is not x


def test_the_callers_recording_stays_as_it_is(speech):
    x = 3 * speech(24_000, 1)
    before = x.copy()
    x.flags.writeable = False
    for drawn in rng_draws(1):
        y = drawn.apply(x, sample_rate=24_000)
        assert y.dtype == np.float32
        assert y.shape == x.shape
    assert np.array_equal(x, before)


def test_too_low_a_sample_rate_is_refused():
    with pytest.raises(SettingsError, match="16000 Hz"):
        draw_frequency_corruption(np.random.default_rng(0), sample_rate=16_000)
