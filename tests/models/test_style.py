import numpy as np
import pytest
import torch

from fxst.dsp.arrays import split
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig
from fxst.models.trainable import StyleModel


@pytest.fixture(scope="module")
def model(in_numpy):
    torch.manual_seed(0)
    return in_numpy(StyleModel(StyleModelConfig(8, EncoderConfig(sample_rate=24_000, window_samples=12_720))).eval())


@pytest.fixture
def encoder(model):
    return model.encoder


@pytest.fixture(scope="module")
def windows(noise):
    return np.concatenate([noise(24_000, 6, 0.53), 0.3 * noise(24_000, 6, 0.53)]).astype(np.float32)


def test_knobs_are_on_0_to_1_and_each_pair_is_heard_alone(model, windows):
    first, second = windows[:8].reshape(4, 2, -1), windows[4:].reshape(4, 2, -1)
    knobs = model.knobs_of_windows(first, second, sample_rate=24_000)
    assert knobs.shape == (4, 8)
    assert ((knobs >= 0) & (knobs <= 1)).all()
    alone = model.knobs_of_windows(first[1:2], second[1:2], sample_rate=24_000)
    np.testing.assert_allclose(alone, knobs[1:2], rtol=1e-4, atol=1e-5)


def test_the_statistics_of_a_long_signal_are_the_mean_of_its_windows(model, windows):
    statistics = model.statistics(windows)
    heard = model.controls(statistics[:3].mean(0, keepdims=True), statistics[3:9].mean(0, keepdims=True))
    at_once = model.knobs_of_windows(windows[None, :3], windows[None, 3:9], sample_rate=24_000)
    np.testing.assert_allclose(at_once, heard, rtol=1.3e-6, atol=1e-5)


def test_windows_that_are_heard_a_few_at_a_time_are_heard_alike(model, windows, monkeypatch):
    at_once = model.statistics(windows)
    for samples in (1, 5 * 1024 * model.window_samples // 256):  # a window a block, and five
        monkeypatch.setattr("fxst.models.encoder.BLOCK_SAMPLES", samples)
        np.testing.assert_allclose(model.statistics(windows), at_once, rtol=1e-4, atol=1e-6)


def test_statistics_are_finite_for_silence_clipping_and_denormals(model):
    for level in (0.0, 1e-40, 1.0, 1e3):
        x = np.full((1, model.window_samples), level, np.float32)
        assert np.isfinite(model.controls(model.statistics(x), model.statistics(x))).all()


def test_the_long_term_spectrum_tells_a_sine_from_its_octave(encoder):
    time = np.arange(12_720) / 24_000
    sines = np.stack([0.5 * np.sin(2 * np.pi * f0 * time) for f0 in (250.0, 500.0)]).astype(np.float32)
    spectrum = split(encoder(sines), encoder.sizes)[4]
    octave = (encoder.config.bands - 1) / np.log2(0.95 * 12_000 / 20)
    distance = spectrum.argmax(1)[1] - spectrum.argmax(1)[0]
    assert distance == pytest.approx(octave, abs=1)


def test_levels_are_those_of_the_signal(encoder):
    square = np.sign(np.sin(2 * np.pi * 1000 * np.arange(12_720) / 24_000 + 0.1)).astype(np.float32)
    heard = encoder(10 ** (-30.5 / 20) * square[None])
    distribution = split(heard, encoder.sizes)[5][0, : encoder.config.levels]
    # Every 5 ms are at -30.5 dB: thresholds 6 dB below are always passed, those 6 dB above never.
    assert (distribution[encoder.thresholds < -36.5] > 0.95).all()
    assert (distribution[encoder.thresholds > -24.5] < 0.05).all()


def test_a_gain_moves_the_heard_spectrum_by_as_many_decibels(encoder, windows):
    quiet, loud = (encoder.features(encoder(gain * windows[:1])) for gain in (1.0, 10 ** (6 / 20)))
    start = sum(encoder.sizes[:4])
    rise = 20 * (loud - quiet)[0, start : start + encoder.config.bands]
    np.testing.assert_allclose(rise, 6.0, rtol=0, atol=0.01)


def test_sizes_travel_as_plain_data():
    config = StyleModelConfig(6, EncoderConfig(sample_rate=48_000, window_samples=9000, n_mels=32), (64,))
    assert StyleModelConfig.from_dict(config.to_dict()) == config
