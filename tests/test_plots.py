import numpy as np
import pytest
import soundfile
import torch

from fxst.chain import CHAINS
from fxst.errors import AudioError
from fxst.plots import equaliser_response, long_term_spectrum, plot_transfer
from fxst.tables import Table


def test_a_full_scale_sine_is_at_0_db_in_its_third_octave_and_nowhere_else(tmp_path):
    time = np.arange(48_000 * 3) / 48_000
    soundfile.write(tmp_path / "sine.wav", np.sin(2 * np.pi * 1000 * time), 48_000, subtype="FLOAT")
    centres, levels = long_term_spectrum(tmp_path / "sine.wav")
    assert centres[levels.argmax()] == pytest.approx(1000)
    assert levels.max() == pytest.approx(0, abs=0.05)
    assert levels[np.abs(np.log2(centres / 1000)) > 0.5].max() < -60


def test_white_noise_rises_3_db_an_octave_in_third_octaves(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal((48_000 * 20, 2))
    soundfile.write(tmp_path / "noise.wav", noise, 48_000, subtype="FLOAT")
    centres, levels = long_term_spectrum(tmp_path / "noise.wav")
    slope, _ = np.polyfit(np.log2(centres), levels, 1)
    assert slope == pytest.approx(10 * np.log10(2), abs=0.1)
    # The mean of two independent channels has half their power; each band has its share of all of it.
    expected = 10 * np.log10(2 * 0.01 / 2 * centres * 0.2316 / 24_000)
    np.testing.assert_allclose(levels, expected, atol=1.5)


def test_the_curve_is_that_of_the_equaliser_that_renders():
    chain = CHAINS["eq-comp"]
    rows = chain.settings(torch.linspace(0.1, 0.9, 8))
    frequencies = np.array([30.0, 200.0, 1000.0, 8000.0])
    curve = equaliser_response(chain, Table(chain, rows), frequencies, sample_rate=48_000)
    impulse = np.zeros((1, 1 << 17), np.float32)
    impulse[0, 0] = 1
    response = np.fft.rfft(
        CHAINS["eq"].exact(rows[: len(CHAINS["eq"].defaults())], sample_rate=48_000, channels=1)(impulse)[0]
    )
    at = np.round(frequencies * (1 << 17) / 48_000).astype(int)
    np.testing.assert_allclose(curve, 20 * np.log10(np.abs(response[at])), atol=0.05)


def test_a_picture_is_written_or_its_folder_named(tmp_path, examples):
    chain = CHAINS["eq-comp"]
    files = dict.fromkeys(("input", "output", "reference"), examples / "voice.wav")
    table = Table(chain, chain.defaults())
    plot_transfer(tmp_path / "plot.png", **files, chain=chain, settings=table)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(AudioError, match="nowhere"):
        plot_transfer(tmp_path / "nowhere/plot.png", **files, chain=chain, settings=table)
