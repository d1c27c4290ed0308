"""The two recordings that the README's first command runs on."""

import numpy as np
import pytest
from scipy.signal import welch

from fxst import audio


@pytest.fixture(scope="module")
def recordings(examples):
    return {name: audio.read(examples / f"{name}.wav") for name in ("voice", "radio")}


@pytest.mark.parametrize("name", ["voice", "radio"])
def test_they_are_short_clean_speech(name, recordings, examples):
    x, sample_rate = recordings[name]
    info = audio.probe(examples / f"{name}.wav")
    assert (sample_rate, len(x), info.format, info.subtype) == (24_000, 1, "WAV", "PCM_16")
    assert 4 <= x.shape[1] / sample_rate <= 6.5
    assert (examples / f"{name}.wav").stat().st_size <= 300_000
    assert np.isfinite(x).all()
    assert abs(x).max() < 0.99
    assert 20 * np.log10(x.std()) > -35


def test_they_say_different_things_with_different_spectra(recordings):
    bands_hz = [(60, 250), (250, 500), (500, 1200), (1200, 4000)]
    spectra = {}
    for name, (x, sample_rate) in recordings.items():
        frequency, power = welch(x[0], sample_rate, nperseg=2048)
        spectra[name] = np.array([power[(frequency >= low) & (frequency < high)].mean() for low, high in bands_hz])
    change_db = 10 * np.log10(spectra["radio"] / spectra["voice"])
    assert change_db[0] < change_db[2] - 12  # the bass is gone
    assert change_db[2] > change_db[1]  # and the middle stands out
    shortest = min(x.shape[1] for x, _ in recordings.values())
    a, b = (x[0, :shortest] for x, _ in recordings.values())
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.2
