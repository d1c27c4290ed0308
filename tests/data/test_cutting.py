import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.data import cutting

RNG = np.random.default_rng(0)


def save(path, seconds, *, sample_rate, channels=1, **options):
    x = (0.1 * RNG.standard_normal((round(seconds * sample_rate), channels))).astype(np.float32)
    soundfile.write(path, x, sample_rate, **options)
    return path


def cut(path, windows, *, clip_samples=12_720, sample_rate=24_000):
    return cutting.cut(cutting.CuttingJob(str(path), np.array(windows, np.int64), clip_samples, sample_rate))


def restored(result):
    return result.samples / cutting.FULL_SCALE * result.scale[:, None]


@pytest.mark.parametrize("source_rate", [8000, 16_000, 22_050, 24_000, 44_100, 44_101, 48_000, 192_000])
def test_clips_equal_the_wholly_resampled_recording(tmp_path, source_rate):
    path = save(tmp_path / "x.wav", 8, sample_rate=source_rate, channels=2, subtype="FLOAT")
    x, _ = audio.read(path)
    whole = audio.resample(audio.mono(x), source_rate=source_rate, target_rate=24_000)[0]
    windows = [0, 1, 5, 6, 14]  # neighbours, a gap that is skipped, the last one
    result = cut(path, windows)
    assert result.windows.tolist() == windows
    assert (result.problem, result.usable) == (None, True)
    for window, clip, rms_db in zip(windows, restored(result), result.rms_db, strict=True):
        expected = whole[window * 12_720 : (window + 1) * 12_720]
        error = 20 * np.log10(np.sqrt(np.mean((clip - expected) ** 2) / np.mean(expected**2)))
        assert error < -80  # 16 bits below the clip's peak; the resampler's share is the next test's
        assert rms_db == pytest.approx(10 * np.log10(np.mean(expected.astype(np.float64) ** 2)), abs=1e-3)


@pytest.mark.parametrize("source_rate", [8000, 22_050, 44_100, 48_000, 192_000])
def test_the_cut_leaves_no_edge(tmp_path, source_rate):
    path = save(tmp_path / "x.wav", 4, sample_rate=source_rate, subtype="FLOAT")
    whole = audio.resample(audio.read(path)[0], source_rate=source_rate, target_rate=24_000)[0]
    job = cutting.CuttingJob(str(path), np.array([3], np.int64), 12_720, 24_000)
    with audio.Reader(path) as reader:
        [(_, clip)] = cutting._cut_run(reader, job.windows, job)
    expected = whole[3 * 12_720 : 4 * 12_720]
    assert np.abs(clip - expected).max() < 1e-5 * np.abs(expected).max()  # -100 dB


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
def test_a_clip_does_not_depend_on_which_others_are_cut(tmp_path, extension):
    path = save(tmp_path / f"x.{extension}", 20, sample_rate=24_000)
    every = cut(path, range(37))
    for window in (0, 9, 36):
        alone = cut(path, [window])
        assert np.array_equal(alone.samples[0], every.samples[window])
    assert cut(path, [36, 37, 99]).windows.tolist() == [36]


def test_silence_is_left_out_and_faint_sound_keeps_its_bits(tmp_path):
    x = np.zeros(4 * 12_720, np.float32)
    time = np.arange(12_720) / 24_000
    x[12_720:25_440] = 0.01 * np.sin(2 * np.pi * 440 * time)  # -43 dBFS
    x[25_440:38_160] = 0.002 * np.sin(2 * np.pi * 440 * time)  # -57 dBFS
    soundfile.write(tmp_path / "x.wav", x, 24_000, subtype="FLOAT")
    result = cut(tmp_path / "x.wav", range(4))
    assert result.windows.tolist() == [1]
    assert result.rms_db == pytest.approx([-43.01], abs=0.01)
    assert np.abs(result.samples).max() == cutting.FULL_SCALE
    error = restored(result)[0] - x[12_720:25_440]
    assert np.sqrt(np.mean(error**2)) < 0.01 / 2**16


def test_damage_is_reported(tmp_path):
    path = save(tmp_path / "x.flac", 5, sample_rate=24_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = cut(path, range(9))
    assert not result.usable
    assert "damaged" in (result.problem or "")
    assert result.samples.shape == (0, 12_720)
    path = save(tmp_path / "x.wav", 5, sample_rate=24_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = cut(path, range(9))
    assert result.usable
    assert "ends early" in (result.problem or "")
    assert result.windows.tolist() == [0, 1, 2, 3]


def test_lengths_and_what_is_not_sound(tmp_path):
    path = save(tmp_path / "x.flac", 5, sample_rate=22_050)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    good, bad = cutting.measure([str(path), str(tmp_path / "bad.wav")])
    assert (good.seconds, good.problem) == (5.0, None)
    assert bad.seconds == 0
    assert "bad.wav" in (bad.problem or "")
