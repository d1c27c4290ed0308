"""Loudness range and true peaks; what is measured of loudness itself is tested beside the sound files."""

import math
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from fxst.dsp.loudness import LoudnessMeter, TruePeakMeter, joint_loudness, loudness, loudness_range, true_peak

RATES = [8_000, 24_000, 44_100, 48_000, 96_000, 192_000]


def tones(levels_db, seconds=20.0, sample_rate=48_000):
    """Stereo sines of 1 kHz one after the other, each of a level."""
    gain = np.repeat(10 ** (np.array(levels_db) / 20), round(seconds * sample_rate))
    sine = gain * np.sin(2 * np.pi * 1000 * np.arange(len(gain)) / sample_rate)
    return np.stack([sine, sine]).astype(np.float32)


def said_by_ffmpeg(x, sample_rate, path):
    """Loudness range and true peak as FFmpeg's ebur128 prints them, with one decimal."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("there is no ffmpeg here")
    soundfile.write(path, x.T, sample_rate, subtype="FLOAT")
    command = ["ffmpeg", "-nostats", "-i", path, "-filter_complex", "ebur128=peak=true", "-f", "null", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr.rpartition("Summary:")[2]
    return float(re.search(r"LRA: +(\S+) LU", text)[1]), float(re.search(r"Peak: +(\S+) dBFS", text)[1])


@pytest.mark.parametrize(
    ("levels_db", "expected"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
)
def test_the_standards_own_cases(levels_db, expected):
    # EBU Tech 3342, table 1, which allows 1 LU either way.
    assert loudness_range(tones(levels_db), sample_rate=48_000) == pytest.approx(expected, abs=0.1)


def test_pauses_and_gain_change_no_loudness_range():
    x = tones((-20, -26))
    alone = loudness_range(x, sample_rate=48_000)
    assert loudness_range(x / 2, sample_rate=48_000) == pytest.approx(alone, abs=1e-4)
    for pause in (np.zeros_like(x), 1e-3 * x):
        assert loudness_range(np.concatenate([x, pause], axis=1), sample_rate=48_000) == pytest.approx(alone, abs=0.5)


def test_what_has_no_loudness_range():
    x = tones((-20,), seconds=3.0)
    assert loudness_range(x, sample_rate=48_000) == 0
    assert math.isnan(loudness_range(x[:, :-1], sample_rate=48_000))
    assert math.isnan(loudness_range(0 * x, sample_rate=48_000))


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_ffmpeg_hears_the_same(speech, tmp_path, sample_rate):
    x = speech(sample_rate, 2, 3.0)
    x = np.concatenate([gain * x for gain in np.geomspace(0.05, 1, 20)], axis=1)
    theirs = said_by_ffmpeg(x, sample_rate, tmp_path / "x.wav")
    assert loudness_range(x, sample_rate=sample_rate) == pytest.approx(theirs[0], abs=0.15)
    assert true_peak(x, sample_rate=sample_rate) == pytest.approx(theirs[1], abs=0.1)


@pytest.mark.parametrize("sample_rate", RATES)
def test_a_sine_between_whose_samples_is_its_peak(sample_rate):
    # At a quarter of the sample rate and 45 degrees: every sample is 3 dB below the peak. It fades in and out, for a
    # sine that begins at once goes higher.
    x = np.sin(np.pi / 2 * np.arange(sample_rate) + np.pi / 4) * np.hanning(sample_rate) ** 0.1
    x = x.astype(np.float32)[None]
    assert 20 * math.log10(np.abs(x).max()) == pytest.approx(-3.01, abs=0.001)
    assert true_peak(x, sample_rate=sample_rate) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("sample_rate", RATES)
def test_the_true_peak_is_that_of_the_continuous_waveform(sample_rate):
    # Noise up to 0.4 of the sample rate that repeats itself: a longer inverse FFT is the waveform between its samples.
    for seed in range(10):
        generator = np.random.default_rng(seed)
        spectrum = np.zeros(1025, complex)
        spectrum[1:819] = generator.standard_normal((2, 818)).T @ (1, 1j)
        fine = np.fft.irfft(spectrum, 2048 * 256) * 256
        x = np.tile(fine[::256], 3).astype(np.float32)[None] / 3
        exact = 20 * math.log10(np.abs(fine).max() / 3)
        # Points are at most so far from the peak of the highest frequency.
        missed = -20 * math.log10(math.cos(math.pi * 0.4 * sample_rate / 192_000))
        middle = x[:, 1024:5120]  # its ends are cut off, at no peak
        assert exact - missed - 0.01 <= true_peak(x, sample_rate=sample_rate) <= exact + 0.2
        assert true_peak(middle, sample_rate=sample_rate) >= exact - missed - 0.01


@pytest.mark.parametrize("sample_rate", RATES)
def test_no_peak_is_overlooked(speech, sample_rate):
    """Most of a signal is passed over where no peak can be: every point between samples says the same."""
    from scipy import signal

    x = speech(sample_rate, 2, 1.5)
    factor = math.ceil(192_000 / sample_rate)
    theirs = signal.resample_poly(x.astype(np.float64), factor, 1, axis=1, window=("kaiser", 8.0))
    meter = TruePeakMeter(sample_rate=sample_rate, channels=2)
    meter.process(x)
    np.testing.assert_allclose(meter.peaks_dbtp(), 20 * np.log10(np.abs(theirs).max(axis=1)), atol=0.1)
    assert true_peak(x, sample_rate=sample_rate) == meter.peaks_dbtp().max()


def test_the_true_peak_is_never_below_the_sample_peak():
    x = np.zeros((1, 100), np.float32)
    for at in (0, 31, 32, 50, 99):
        x[:] = 0
        x[0, at] = -0.5
        assert true_peak(x, sample_rate=48_000) == pytest.approx(20 * math.log10(0.5), abs=1e-6)
    assert true_peak(0 * x, sample_rate=48_000) == -math.inf


def test_the_last_samples_have_peaks_too(noise):
    x = noise(48_000, 1, 0.1)
    for end in range(4000, 4070):
        backwards = np.ascontiguousarray(x[:, :end][:, ::-1])
        assert true_peak(x[:, :end], sample_rate=48_000) == pytest.approx(
            true_peak(backwards, sample_rate=48_000), abs=1e-5
        )


@pytest.mark.parametrize("sizes", [(1, 300), (31,), (7, 64, 0, 1000), (5000,)])
def test_a_stream_is_measured_as_a_whole_is(noise, sizes):
    x = noise(8_000, 2, 4.0)
    x[:, 12_345] *= 20
    meters = [kind(sample_rate=8_000, channels=2) for kind in (LoudnessMeter, TruePeakMeter)]
    position, turn = 0, 0
    while position < x.shape[1]:
        block = x[:, position : position + sizes[turn % len(sizes)]]
        for meter in meters:
            meter.process(block)
        position += block.shape[1]
        turn += 1
    assert meters[0].loudness_range() == pytest.approx(loudness_range(x, sample_rate=8_000), abs=1e-6)
    assert meters[1].peaks_dbtp().max() == pytest.approx(true_peak(x, sample_rate=8_000), abs=1e-5)


def test_recordings_together_are_as_loud_as_one_after_the_other(noise):
    parts = [gain * noise(48_000, 2, seconds) for gain, seconds in ((0.5, 6), (0.1, 3), (0.002, 4))]
    meters = [LoudnessMeter(sample_rate=48_000, channels=2) for _ in parts]
    for meter, part in zip(meters, parts, strict=True):
        meter.process(part)
    together = loudness(np.concatenate(parts, axis=1), sample_rate=48_000)
    assert joint_loudness(meters) == pytest.approx(together, abs=0.15)  # but for the blocks that span two of them
    assert joint_loudness(meters[:1]) == meters[0].integrated()
    # The gate is that of all: what is far below the rest does not count.
    assert joint_loudness(meters) == joint_loudness(meters[:2])
    assert joint_loudness([]) == -np.inf
