import numpy as np
import pytest
import soxr
from scipy.signal import firwin, resample_poly

from fxst.dsp.limiter import CHUNK_FRAMES, Limiter
from fxst.dsp.loudness import true_peak

RATE = 44_100
CEILING_DB = -1.0


def limit(x, *, block=4096, ceiling_db=CEILING_DB, sample_rate=RATE):
    x = np.atleast_2d(np.asarray(x, np.float32))
    limiter = Limiter(ceiling_db=ceiling_db, sample_rate=sample_rate, channels=len(x))
    blocks = [limiter.process(x[:, first : first + block]) for first in range(0, x.shape[1], block)]
    return np.concatenate([*blocks, limiter.finish()], axis=1), limiter.reduction_db


def highest_db(x):
    """The highest of what meters read that oversample eight times."""
    x = np.pad(np.asarray(x, np.float64), [(0, 0), (500, 500)])
    readings = (
        resample_poly(x, 8, 1, axis=1),
        resample_poly(x, 8, 1, axis=1, window=8 * firwin(16 * 64 + 1, 1 / 8, window=("kaiser", 8.0)) / 8),
        soxr.resample(x.T, 1, 8, quality="VHQ"),
    )
    return 20 * np.log10(max(np.abs(reading).max() for reading in readings))


def in_band(x):
    """Without the last tenth of the spectrum, in which meters differ by more than half a decibel."""
    return np.stack([np.convolve(row, firwin(513, 0.9), mode="same") for row in np.atleast_2d(x)])


def time(seconds=0.5):
    return np.arange(round(seconds * RATE)) / RATE


def generator():
    return np.random.default_rng(0)


NASTY = {
    "a sine between its samples": lambda: 1.2 * np.sin(2 * np.pi * RATE / 4 * time() + np.pi / 4),
    "squares": lambda: in_band(np.sign(np.sin(2 * np.pi * 1000 * time() + 0.3))),
    "low squares, 12 dB too high": lambda: in_band(4 * np.sign(np.sin(2 * np.pi * 41.3 * time() + 0.3))),
    "impulses": lambda: 5.0 * (np.arange(22_050) % 777 == 0),
    "one impulse": lambda: 8.0 * (np.arange(22_050) == 11_000),
    "the first sample": lambda: 8.0 * (np.arange(22_050) == 0),
    "the last sample": lambda: 8.0 * (np.arange(22_050) == 22_049),
    "noise 20 dB too high": lambda: in_band(10 * generator().standard_normal((2, 22_050))),
    "random signs": lambda: in_band(np.sign(generator().standard_normal(22_050))),
    "bursts": lambda: in_band(generator().standard_normal((2, 22_050)) * np.exp(3 * np.sin(2 * np.pi * 7 * time()))),
    "a sweep": lambda: 2 * np.sin(2 * np.pi * RATE / 2 * 0.9 * np.square(time())),
    "gated": lambda: in_band(1.3 * np.sin(0.85 * np.pi * np.arange(22_050)) * (np.sin(2 * np.pi * 50 * time()) > 0)),
}


@pytest.mark.parametrize("name", NASTY)
def test_nothing_passes_the_ceiling(name):
    x = np.atleast_2d(NASTY[name]())
    assert highest_db(x) > CEILING_DB + 1
    y, reduction_db = limit(x)
    assert highest_db(y) <= CEILING_DB
    assert reduction_db > 1
    assert true_peak(y, sample_rate=RATE) <= CEILING_DB


@pytest.mark.parametrize("sample_rate", [8000, 192_000])
@pytest.mark.parametrize("ceiling_db", [-12.0, 0.0])
def test_it_holds_at_any_rate_and_ceiling(speech, sample_rate, ceiling_db):
    x = 6 * speech(sample_rate, 2, 1)
    y, _ = limit(x, sample_rate=sample_rate, ceiling_db=ceiling_db)
    assert ceiling_db - 0.5 < highest_db(y) <= ceiling_db


@pytest.mark.parametrize("frames", [1, 2, 100, CHUNK_FRAMES, CHUNK_FRAMES + 1, 3 * CHUNK_FRAMES - 1])
def test_what_is_under_the_ceiling_passes_to_the_last_bit(noise, frames):
    x = noise(RATE, 2, 2)[:, :frames]
    x = x * np.float32(10 ** ((CEILING_DB - 0.1 - highest_db(x)) / 20))
    y, reduction_db = limit(x)
    np.testing.assert_array_equal(y, x)
    assert reduction_db == 0


def test_blocks_of_any_length_come_out_alike(speech):
    x = 8 * speech(RATE, 2, 2)
    whole, _ = limit(x, block=x.shape[1])
    for block in (701, CHUNK_FRAMES, 1 << 15):
        np.testing.assert_array_equal(limit(x, block=block)[0], whole)


def test_far_from_a_peak_nothing_is_touched(noise):
    x = noise(RATE, 1, 4)
    x[0, 2 * RATE] = 4.0
    y, reduction_db = limit(x)
    assert reduction_db == pytest.approx(20 * np.log10(4) - CEILING_DB, abs=0.3)
    before = 2 * RATE - round(0.01 * RATE)
    after = 2 * RATE + round((0.01 + reduction_db / 30) * RATE)  # it comes back by 30 dB a second
    np.testing.assert_array_equal(y[:, :before], x[:, :before])
    np.testing.assert_array_equal(y[:, after:], x[:, after:])
    assert not np.array_equal(y[:, before:after], x[:, before:after])


def test_all_channels_are_turned_down_alike(speech):
    x = np.concatenate([8 * speech(RATE), 0.1 * speech(RATE)])
    y, _ = limit(x)
    np.testing.assert_allclose(y[0], 80 * y[1], rtol=1e-5, atol=1e-7)


def test_the_gain_moves_smoothly():
    x = np.full((1, RATE), 0.5, np.float32)
    x[0, RATE // 2] = 5.0
    y, _ = limit(x)
    gain_db = 20 * np.log10(np.delete(y[0] / x[0], RATE // 2))
    assert np.abs(np.diff(gain_db)).max() < 0.6
    assert np.abs(np.diff(gain_db, 2)).max() < 0.03
    assert gain_db.max() == 0


def test_silence_stays_silence():
    y, reduction_db = limit(np.zeros((2, 1000)))
    assert not y.any()
    assert y.shape == (2, 1000)
    assert reduction_db == 0
