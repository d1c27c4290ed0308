import sys

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from fxst.dsp.spectra import third_octaves
from fxst.errors import AudioError
from fxst.evaluation import matchering

RATE = 24_000
installed = pytest.mark.skipif(not matchering.available(), reason="the package matchering is not installed")


def matched(x, reference, rate=RATE, reference_rate=RATE):
    return matchering.match(x, reference, sample_rate=rate, reference_sample_rate=reference_rate)


def level_db(x):
    return 10 * np.log10(np.square(x).mean())


def dull(x, rate):
    """Keep what every rate can carry."""
    return sosfilt(butter(8, 5000, fs=rate, output="sos"), x).astype(np.float32)


@installed
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("gain", [0.3, 1.0, 20.0])  # the last has peaks beyond full scale
def test_level_and_length_come_out_right(noise, channels, gain):
    x = dull(noise(RATE, channels, 3.0), RATE)
    reference = np.float32(gain) * dull(noise(44_100, channels, 3.0)[::-1, ::-1], 44_100)
    y = matched(x, reference, reference_rate=44_100)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert level_db(y) == pytest.approx(level_db(reference), abs=0.5)


@installed
def test_its_delay_is_no_more_than_a_sample_of_its_own(noise):
    x = noise(44_100, 1, 2.0)
    y = matched(x, noise(44_100, 2, 2.0), 44_100, 44_100)
    spectra = np.fft.rfft(y[0]) * np.fft.rfft(x[0]).conj()
    assert np.fft.irfft(spectra).argmax() in (0, 1)


@installed
def test_what_is_alike_keeps_its_colour(noise):
    x = noise(44_100, 2, 3.0)
    hz, before = third_octaves(x, sample_rate=44_100)
    _, after = third_octaves(matched(x, x, 44_100, 44_100), sample_rate=44_100)
    assert np.abs(after - before)[:, hz > 30].max() < 0.3


@installed
@pytest.mark.parametrize("make", [lambda noise: noise(RATE, 3, 1.0), lambda noise: noise(RATE, 1, 0.01)])
def test_what_it_refuses_is_said_in_its_words(noise, make, capfd):
    with pytest.raises(AudioError, match=r"Matchering failed: \d+: "):
        matched(make(noise), noise(RATE, 1, 1.0))
    assert capfd.readouterr() == ("", "")


def test_without_the_package_it_says_so(noise, monkeypatch):
    monkeypatch.setitem(sys.modules, "matchering", None)
    monkeypatch.setattr(matchering, "available", lambda: False)
    with pytest.raises(AudioError, match="pip install matchering"):
        matched(noise(RATE, 1, 1.0), noise(RATE, 1, 1.0))
