import math

import numpy as np
import pytest

from fxst.evaluation.audio_features import (
    AF_RATE,
    _bark_bank,
    _edges_hz,
    audio_feature_distance,
    crest_distance,
    measure_features,
    spectrum_distance,
    width_distance,
)


def noise(channels=2, seconds=1.2, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * AF_RATE)))).astype(np.float32)


def sine(hz, amplitude=0.1, seconds=2.0):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * AF_RATE)) / AF_RATE)).astype(np.float32)[None]


PARTS = (spectrum_distance, crest_distance, width_distance)


def between(x, y, measure=audio_feature_distance):
    return measure(measure_features([x]), measure_features([y]))


def as_defined(x, y):
    """The whole definition at once, another way: frames of zero-padded lists, and a loop over everything."""

    def features(z):
        left, right = z[0].astype(np.float64), z[-1].astype(np.float64)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32_768) / 32_768)
        hz = np.arange(16_385) * 22_050 / 16_384
        edges = [
            20, 110.463255, 208.783652, 300.749613, 400.860477, 510.248398, 630.265555, 762.540331, 909.051625,
            1072.22854, 1255.08612, 1461.41336, 1696.03861, 1965.21212, 2277.17115, 2642.99766, 3077.96245, 3603.71077,
            4251.97601, 5071.23198, 6139.40885, 7590.27607, 9674.36959, 12921.9615, 18684.6680, 31730.5980,
        ]  # fmt: skip
        spectra = []
        for signal in (left + right, left - right):
            padded = np.pad(signal, 16_384, mode="reflect")
            count = 1 + (len(padded) - 32_768) // 8192
            frames = [np.abs(np.fft.rfft(window * padded[8192 * n : 8192 * n + 32_768])) for n in range(count)]
            mean = np.mean(frames, axis=0)
            for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
                triangle = np.interp(hz, [low, peak, high], [0, 1, 0])
                spectra.append(math.log(triangle @ mean + 1e-8))
        energies = [np.mean(channel**2) for channel in (left, right)]
        rms = [math.sqrt(max(energy, 1e-8)) for energy in energies]
        crest = [
            20 * math.log10(max(np.abs(channel).max(), 1e-8) / max(math.sqrt(energy), 1e-8))
            for channel, energy in zip((left, right), energies, strict=True)
        ]
        width = np.mean((left - right) ** 2) / max(np.mean((left + right) ** 2), 1e-8)
        imbalance = (energies[1] - energies[0]) / max(sum(energies), 1e-8)
        return [np.array(values) for values in (rms, crest, [width], [imbalance], spectra)]

    weights = (0.1, 0.001, 1, 1, 0.1)
    return sum(w * np.mean((a - b) ** 2) for w, a, b in zip(weights, features(x), features(y), strict=True))


def test_it_is_the_sum_that_was_published():
    x = noise()
    y = np.cumsum(0.1 * noise(seed=1), axis=1)[:, :AF_RATE] * np.float32([[0.2], [0.05]])
    for ours, theirs in ((x, y), (x[:1], y), (x, x[:1]), (0.1 * x[:1], x[:1])):
        assert between(ours, theirs) == pytest.approx(as_defined(ours, theirs), rel=1e-6)
        assert between(ours, theirs) == between(theirs, ours)


@pytest.mark.parametrize("length", [1000, 30_000, 50_000])
def test_blocks_of_any_length_make_the_same_features(length):
    x, y = noise(), noise(seed=1)
    cut = measure_features([x[:, first : first + length] for first in range(0, x.shape[1], length)])
    assert audio_feature_distance(cut, measure_features([x])) == pytest.approx(0, abs=1e-20)
    assert audio_feature_distance(cut, measure_features([y])) == pytest.approx(between(x, y), rel=1e-9)
    assert spectrum_distance(cut, measure_features([y])) == pytest.approx(between(x, y, spectrum_distance), rel=1e-6)


def test_the_last_edges_are_the_published_codes():
    np.testing.assert_allclose(_edges_hz()[[0, -4, -3, -2, -1]], [20, 9674, 12_922, 18_685, 31_731], atol=1)
    bank = _bark_bank()
    assert bank.shape == (24, 16_385)
    assert bank.max() <= 1
    assert (bank.max(axis=1) > 0.96).all()  # the peaks lie between bins at most


def test_a_recording_is_at_no_distance_from_itself():
    for x in (noise(), noise(1), sine(1000)):
        assert between(x, x) == 0
        assert [between(x, x, part) for part in PARTS] == [0, 0, 0]


def test_6_db_of_level_cost_what_the_spectrum_of_mid_costs():
    x = noise(1)
    expected = 0.1 * math.log(2) ** 2 / 2  # 0.024: half of the bands are of a side that is silent
    level = 0.1 * float(np.sqrt(np.square(x, dtype=np.float64).mean())) ** 2
    assert between(2 * x, x) == pytest.approx(expected + level, rel=1e-3)
    assert between(2 * x, x) == pytest.approx(0.024, abs=0.002)


def test_at_equal_loudness_level_costs_nothing():
    x = noise()
    for part in PARTS:
        assert between(4 * x, x, part) == pytest.approx(0, abs=1e-9)
        assert between(4 * x, noise(seed=1), part) == pytest.approx(between(x, noise(seed=1), part), rel=1e-3)
    # The balance of mid and side is not a matter of the spectrum either.
    wide = np.stack([3 * x[0] - x[1], 3 * x[1] - x[0]]) / 2
    assert between(wide, x, spectrum_distance) == pytest.approx(0, abs=1e-5)
    assert between(wide, x, width_distance) > 1


def test_a_missing_side_is_the_trap_of_the_sum_and_of_no_part_but_width():
    x = noise()
    mono = x.mean(axis=0, keepdims=True)
    assert between(mono, x) > 20
    assert between(mono, x, spectrum_distance) == pytest.approx(0, abs=1e-5)
    width = float(np.square(x[0] - x[1]).mean() / np.square(x[0] + x[1]).mean())
    assert between(mono, x, width_distance) == pytest.approx(width**2, rel=1e-3)
    # Two equal channels are mono.
    assert between(mono, mono[[0, 0]]) == 0


def test_the_crest_factor_counts_by_channel():
    square = np.sign(sine(375.1))
    assert between(sine(375), square, crest_distance) == pytest.approx(0.001 * (10 * math.log10(2)) ** 2, rel=1e-2)
    both = np.concatenate([sine(375), square])
    assert between(both, square, crest_distance) == pytest.approx(0.0005 * (10 * math.log10(2)) ** 2, rel=1e-2)


def test_a_tilt_costs_by_its_square():
    """A gain above 1 kHz of so many dB moves the bands up there alone."""
    low, high = sine(300), sine(4000)
    single, double = (between(low + gain * high, low + high, spectrum_distance) for gain in (1.1, 1.21))
    assert double == pytest.approx(4 * single, rel=0.25)


def test_silence_and_what_is_short():
    short = noise(seconds=16_384 / AF_RATE)
    assert short.shape[1] == 16_384
    assert math.isnan(between(short, noise()))
    assert math.isnan(between(noise(), short, spectrum_distance))
    longer = noise(seconds=16_385 / AF_RATE)
    assert between(longer, longer) == 0
    assert math.isnan(between(0 * noise(), noise(), spectrum_distance))  # no loudness to match
    assert math.isfinite(between(0 * noise(), noise()))
