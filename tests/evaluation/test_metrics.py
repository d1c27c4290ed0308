import math
import warnings

import numpy as np
import pytest
import torch

from fxst.evaluation import metrics
from fxst.evaluation.metrics import METRICS

RATE = 24_000


def sine(hz, seconds=2.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None].astype(np.float32)


def distances(output, target, sample_rate=RATE):
    return {m.name: m.measure(output, target, sample_rate=sample_rate) for m in METRICS}


@pytest.fixture
def pair(speech):
    """Two different signals of two channels."""
    x = speech(RATE, 2, 2.0)
    return x, (0.3 * np.diff(x, axis=1, prepend=0) + 0.2 * x[::-1]).astype(np.float32)


def test_the_same_signal_is_at_distance_0(pair):
    x, _ = pair
    assert set(distances(x, x.copy()).values()) == {0.0}


def test_every_metric_is_symmetric(pair):
    x, y = pair
    assert distances(x, y) == pytest.approx(distances(y, x), rel=1e-5)


def test_twice_the_amplitude_is_6_db_and_no_other_colour(pair):
    x, _ = pair
    found = distances(2 * x, x)
    six = 20 * math.log10(2)
    assert found["rms_db"] == pytest.approx(six, abs=1e-5)
    assert found["loudness_db"] == pytest.approx(six, abs=0.01)  # the absolute gate may let one block more through
    assert found["crest_db"] == pytest.approx(0, abs=1e-5)
    assert found["centroid_hz"] == pytest.approx(0, abs=0.01)
    assert found["mae"] == pytest.approx(float(np.abs(x).mean()), rel=1e-5)


def test_mae_of_an_offset_is_the_offset():
    assert metrics.mae(sine(440) + 0.25, sine(440), sample_rate=RATE) == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(("low", "high"), [(1000, 1500), (440, 5000)])
def test_the_centroid_of_a_sine_is_its_frequency(low, high):
    assert metrics.spectral_centroid(sine(low), sine(high), sample_rate=RATE) == pytest.approx(high - low, abs=5)


def test_the_crest_factor_of_a_sine_is_3_db_above_a_square_waves():
    difference = metrics.crest_factor(sine(375), np.sign(sine(375.1)), sample_rate=RATE)
    assert difference == pytest.approx(10 * math.log10(2), abs=0.01)


@pytest.mark.parametrize("seconds", [1.4, 2.0, 5.4615])
def test_mrstft_is_auraloss_own_figure(pair, seconds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from auraloss.freq import MultiResolutionSTFTLoss
    windows = [32, 128, 512, 2048, 8192, 32768]
    loss = MultiResolutionSTFTLoss(windows, [w // 2 for w in windows], windows, w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0)
    x, y = (np.resize(z, (2, round(seconds * RATE))) for z in pair)
    theirs = loss(torch.from_numpy(x)[None], torch.from_numpy(y)[None]).item()
    assert metrics.mrstft(x, y, sample_rate=RATE) == pytest.approx(theirs, rel=1e-5)


def test_mrstft_of_twice_the_amplitude_has_the_logarithm_of_two(noise):
    x = noise(RATE, 1, 2.0)  # no bin of which is at the floor
    single, double = (metrics.mrstft(a * x, x, sample_rate=RATE) for a in (2, 3))
    # Linear parts are as 1 to 2, logarithmic parts log 2 and log 3.
    assert double - math.log(3) == pytest.approx(2 * (single - math.log(2)), rel=1e-4)


def test_the_centroid_is_torchaudios(pair):
    from torchaudio.transforms import SpectralCentroid

    theirs = [SpectralCentroid(RATE, n_fft=2048, hop_length=512)(torch.from_numpy(x)).mean(1) for x in pair]
    expected = (theirs[0] - theirs[1]).abs().mean().item()
    assert metrics.spectral_centroid(*pair, sample_rate=RATE) == pytest.approx(expected, rel=1e-3)


def test_channels_do_not_make_up_for_one_another():
    x = np.concatenate([sine(440, amplitude=0.5), sine(2000, amplitude=0.05)])
    found = distances(x, x[::-1])
    assert found["rms_db"] == pytest.approx(20, abs=1e-3)
    assert found["centroid_hz"] == pytest.approx(1560, abs=10)


def test_a_channel_that_is_silent_in_both_says_nothing():
    x = np.concatenate([sine(440), np.zeros_like(sine(440))])
    assert distances(x, x) == dict.fromkeys(distances(x, x), 0.0)
    assert metrics.rms(2 * x, x, sample_rate=RATE) == pytest.approx(20 * math.log10(2), abs=1e-5)


def test_silence_has_no_level_and_no_colour():
    silence = np.zeros_like(sine(440))
    for found, defined in ((distances(silence, silence), True), (distances(silence, sine(440)), False)):
        assert [name for name, value in found.items() if not math.isnan(value)] == ["mae", "mrstft"]
        assert (found["mae"] == found["mrstft"] == 0) is defined


@pytest.mark.parametrize(("metric", "shortest"), [("mrstft", 32_768), ("centroid_hz", 2048), ("loudness_db", 9600)])
def test_what_is_too_short_is_missing(noise, metric, shortest):
    x = noise(RATE, 1, 2.0)
    assert distances(x[:, :shortest], -x[:, :shortest])[metric] == pytest.approx(0, abs=1e-4)
    assert math.isnan(distances(x[:, : shortest - 1], -x[:, : shortest - 1])[metric])


def test_mono_is_as_loud_as_two_equal_channels():
    faint = sine(997, amplitude=10 ** (-68 / 20))  # -71 LUFS as one channel, -68 as two: the gate is at -70
    assert metrics.loudness(faint, 2 * faint, sample_rate=RATE) == pytest.approx(20 * math.log10(2), abs=1e-4)


def test_tensors_and_arrays_are_alike_and_stay_as_they_are(pair):
    x, y = pair
    before = x.copy()
    assert distances(torch.from_numpy(x), torch.from_numpy(y)) == distances(x, y)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("shape", [(1, 100), (2, 99), (200,)])
def test_different_shapes_are_not_compared(shape):
    for metric in METRICS:
        with pytest.raises(ValueError, match="one shape"):
            metric.measure(np.zeros((2, 100)), np.zeros(shape), sample_rate=RATE)
