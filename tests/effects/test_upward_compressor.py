import math
from contextlib import suppress

import numpy as np
import pytest

from fxst.data.corruption import DynamicsCorruption as Published
from fxst.effects import UpwardCompressor

with suppress(ImportError):  # the extra train
    import torch

SAMPLE_RATE = 24_000
VALUES = {"threshold_db": -10.0, "ratio": 3.0, "attack_ms": 5.0, "release_ms": 80.0}


def compress(x, sample_rate=SAMPLE_RATE, **values):
    x = np.atleast_2d(np.asarray(x, np.float32))
    return UpwardCompressor().exact(VALUES | values, sample_rate=sample_rate, channels=len(x))(x)


def by_its_equations(x, values, sample_rate):
    """The docstrings' equations in float64, sample by sample."""
    attack, release = (math.exp(-2000 * math.pi / (values[ms] * sample_rate)) for ms in ("attack_ms", "release_ms"))
    threshold = 10 ** (values["threshold_db"] / 20)
    y = np.zeros(x.shape)
    for channel, row in enumerate(x.astype(np.float64)):
        v = threshold
        for n, sample in enumerate(row):
            u = abs(sample)
            v = u + (attack if u > v else release) * (v - u)
            y[channel, n] = sample * (min(max(v, 1e-5), threshold) / threshold) ** (1 / values["ratio"] - 1)
    return y


def test_both_forms_follow_the_equations(speech, null_db):
    apart = UpwardCompressor(linked=False)
    generator = np.random.default_rng(0)
    for sample_rate in (24_000, 48_000):
        x = speech(sample_rate, 2, seconds=0.2)
        for _ in range(4):
            values = {p.name: float(np.float32(p.to_value(generator.uniform()))) for p in apart.parameters}
            slow = by_its_equations(x, values, sample_rate)
            assert null_db(apart.exact(values, sample_rate=sample_rate, channels=2)(x), slow) <= -130
            tensors = {name: torch.tensor([value]) for name, value in values.items()}
            y = apart.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)[0]
            assert null_db(y, slow) <= -100


@pytest.mark.parametrize("ratio", [1.0, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("threshold_db", [-40.0, -10.0])
def test_a_steady_level_comes_out_on_the_static_curve(ratio, threshold_db):
    for level_db in (threshold_db - 50, threshold_db - 6, threshold_db, -3.0):
        steady = np.full(SAMPLE_RATE // 2, 10 ** (level_db / 20))
        y = compress(steady, threshold_db=threshold_db, ratio=ratio)[0]
        expected_db = max(level_db, threshold_db + (level_db - threshold_db) / ratio)
        assert 20 * math.log10(y[-1]) == pytest.approx(expected_db, abs=0.01)


def test_what_is_softer_than_the_floor_is_turned_up_no_further_and_silence_stays_silent():
    most_db = 90 * (1 - 1 / 3)
    for level_db in (-100.0, -130.0, -180.0):
        steady = np.full(SAMPLE_RATE // 4, 10 ** (level_db / 20))
        assert 20 * math.log10(compress(steady)[0, -1]) == pytest.approx(level_db + most_db, abs=0.01)
    assert not compress(np.zeros(SAMPLE_RATE)).any()


def test_it_never_turns_down_and_leaves_what_is_loud(speech):
    x = speech(SAMPLE_RATE, 2)
    y = compress(x)
    assert (abs(y) >= abs(x) * (1 - 1e-6)).all()
    assert (abs(y) > 1.1 * abs(x)).mean() > 0.5
    steady = np.full(SAMPLE_RATE, 0.5)
    np.testing.assert_array_equal(compress(steady)[0, 2000:], np.float32(steady[2000:]))


@pytest.mark.parametrize("linked", [True, False])
def test_both_forms_agree_on_whether_channels_are_linked(speech, null_db, linked):
    effect = UpwardCompressor(linked=linked)
    x = speech(SAMPLE_RATE, 3) * np.array([[1.0], [0.1], [0.5]], np.float32)
    tensors = {name: torch.tensor([value]) for name, value in VALUES.items()}
    y = effect.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=SAMPLE_RATE)[0]
    exact = effect.exact(VALUES, sample_rate=SAMPLE_RATE, channels=3)(x)
    assert null_db(y, exact) <= effect.autodiff_error_db
    gain = exact[:, 1000:] / np.where(x, x, 1)[:, 1000:]
    assert np.allclose(gain[0], gain[1], rtol=1e-5) == linked


def test_what_is_heard_first_is_left_as_it_is():
    steady = np.full(SAMPLE_RATE, 1e-3)
    gain = compress(steady, attack_ms=400.0, release_ms=400.0)[0] / np.float32(1e-3)
    assert gain[:10] == pytest.approx(1, abs=0.01)
    assert (np.diff(gain) >= -1e-6).all()
    assert 20 * math.log10(gain[-1]) == pytest.approx(50 * 2 / 3, abs=0.1)


@pytest.mark.parametrize("ratio", [1.5, 3.0, 5.0])
def test_it_undoes_a_published_expander_whose_times_are_longer_by_the_ratio(speech, null_db, ratio):
    x = speech(SAMPLE_RATE, seconds=4)
    x = 0.25 * x / np.abs(x).max()
    times = {"attack_ms": 2 * math.pi * 5.0, "release_ms": 2 * math.pi * 40.0}
    expander = Published("expander", 5.0 * ratio, 40.0 * ratio, 0.0, -20.0, ratio, 3.0)
    expanded = expander.apply(x, sample_rate=SAMPLE_RATE)
    risen = 10 ** (3.0 / 20) * x
    begun = slice(SAMPLE_RATE // 4, None)  # the two begin at other levels

    def missed_db(**values):
        undone = compress(expanded, **{"threshold_db": -17.0, "ratio": ratio, **times, **values})
        return null_db(undone[:, begun], risen[:, begun])

    assert missed_db() < -20
    assert missed_db(ratio=1.0) > missed_db() + 10
    assert missed_db(**{name: ms * ratio for name, ms in times.items()}) > missed_db() + 6
    assert missed_db(threshold_db=-15.0) > missed_db() + 6
