"""What the meter shows is what the compressor did."""

import numpy as np
import pytest

from fxst.effects import Compressor

SAMPLE_RATE = 24_000


def test_the_signal_times_the_reduction_times_make_up_is_the_exact_output(speech, null_db):
    compressor = Compressor()
    generator = np.random.default_rng(3)
    for sample_rate in (SAMPLE_RATE, 48_000):
        x = speech(sample_rate, 2)
        for _ in range(10):
            values = {p.name: float(np.float32(p.to_value(generator.uniform()))) for p in compressor.parameters}
            y = compressor.exact(values, sample_rate=sample_rate, channels=2)(x)
            gain = compressor.gain_reduction(x, values, sample_rate=sample_rate)
            assert gain.shape == x.shape
            assert null_db(x * gain * 10 ** (values["makeup_db"] / 20), y) <= compressor.autodiff_error_db


def test_a_steady_tone_is_turned_down_by_what_the_ratio_leaves_of_it():
    values = {"threshold_db": -30.0, "ratio": 3.0, "attack_ms": 50.0, "release_ms": 50.0, "makeup_db": 12.0}
    steady = np.full((1, SAMPLE_RATE // 2), 10 ** (-6 / 20), np.float32)
    gain = Compressor().gain_reduction(steady, values, sample_rate=SAMPLE_RATE)
    assert 20 * np.log10(gain[0, -1]) == pytest.approx((-6 + 30) * (1 / 3 - 1), abs=0.01)
    assert gain.max() == 1  # before the attack: make-up is no part of it
