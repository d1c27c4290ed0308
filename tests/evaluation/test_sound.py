import math
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest

from fxst.evaluation import sound as sound_module
from fxst.evaluation.metrics import METRICS
from fxst.evaluation.sound import EvaluatedSound, _mel_bank

with suppress(ImportError):  # the extra train
    import torch

RATE = 24_000


def sine(hz, seconds=2.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)[None].astype(np.float32)


@pytest.fixture
def stereo(speech):
    """Six seconds of two voices."""
    return np.tile(speech(RATE, 2, 3.0), 2)


def test_a_sine_and_a_square_wave():
    x = np.concatenate([sine(1000, 4.0), np.sign(sine(375.1, 4.0)) * np.float32(0.25)])
    found = EvaluatedSound(x, sample_rate=RATE)
    np.testing.assert_allclose(
        found.rms_db, [20 * math.log10(0.5) - 10 * math.log10(2), 20 * math.log10(0.25)], atol=1e-3
    )
    np.testing.assert_allclose(found.crest_db, [10 * math.log10(2), 0], atol=1e-3)
    assert found.centroid_hz[0] == pytest.approx(1000, abs=5)
    assert found.true_peak_dbtp[0] == pytest.approx(20 * math.log10(0.5), abs=0.02)
    centres, levels = found.third_octaves
    assert levels[0, np.abs(centres - 1000).argmin()] == pytest.approx(20 * math.log10(0.5), abs=0.05)


def test_what_is_silent_is_not_measured():
    x = np.concatenate([np.zeros_like(sine(440)), sine(440)])
    found = EvaluatedSound(x, sample_rate=RATE)
    assert found.sounding.tolist() == [False, True]
    for values in (found.rms_db, found.crest_db, found.centroid_hz, found.true_peak_dbtp):
        assert np.isnan(values).tolist() == [True, False]
    silence = EvaluatedSound(0 * x, sample_rate=RATE)
    assert math.isnan(silence.loudness_lufs)
    assert math.isnan(silence.loudness_range_lu)


def test_loudness_is_pyloudnorms(stereo):
    pyloudnorm = pytest.importorskip("pyloudnorm")
    meter = pyloudnorm.Meter(RATE)
    both, twice = (meter.integrated_loudness(x.T.astype(np.float64)) for x in (stereo, stereo[[0, 0]]))
    assert EvaluatedSound(stereo, sample_rate=RATE).loudness_lufs == pytest.approx(both, abs=0.1)
    assert EvaluatedSound(stereo[:1], sample_rate=RATE).loudness_lufs == pytest.approx(twice, abs=0.1)


def test_mono_is_heard_as_two_equal_channels(speech):
    x = speech(RATE, 1, 5.0)
    one, two = EvaluatedSound(x, sample_rate=RATE), EvaluatedSound(x[[0, 0]], sample_rate=RATE)
    assert one.loudness_lufs == pytest.approx(two.loudness_lufs, abs=1e-5)
    assert one.loudness_range_lu == pytest.approx(two.loudness_range_lu, abs=1e-5)


@pytest.mark.parametrize("sample_rate", [8_000, 24_000, 44_100, 192_000])
def test_the_mel_bands_are_torchaudios(sample_rate):
    from torchaudio.functional import melscale_fbanks

    theirs = melscale_fbanks(32_769, 0.0, sample_rate / 2, 128, sample_rate, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(_mel_bank(sample_rate).toarray(), theirs.numpy().T, atol=1e-3 * theirs.max().item())


def test_the_mel_bands_are_librosas():
    filters = pytest.importorskip("librosa").filters
    theirs = filters.mel(sr=RATE, n_fft=65_536, n_mels=128)
    np.testing.assert_allclose(_mel_bank(RATE).toarray(), theirs, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("sample_rate", [1, 1_000, 768_000])
def test_no_mel_band_is_empty_at_any_sample_rate(sample_rate):
    assert (_mel_bank(sample_rate).sum(axis=1) > 0).all()


def measured(x, y):
    ours, theirs = (EvaluatedSound(z, sample_rate=RATE) for z in (x, y))
    return {m.name: m.measure(ours, theirs) for m in METRICS if m.name != "pesq"}


def test_a_target_is_measured_once(speech, monkeypatch):
    x = speech(RATE, 1, 5.0)
    target = EvaluatedSound(x, sample_rate=RATE)
    first = {m.name: m.measure(EvaluatedSound(0.5 * x, sample_rate=RATE), target) for m in METRICS}
    measured = []
    for name in ("power_spectra", "third_octaves", "LoudnessMeter", "TruePeakMeter"):
        whole = getattr(sound_module, name)

        def counted(*args, whole=whole, name=name, **kwargs):
            measured.append(name)
            return whole(*args, **kwargs)

        monkeypatch.setattr(sound_module, name, counted)
    again = {m.name: m.measure(target, target) for m in METRICS if m.name != "pesq"}
    assert measured == []
    assert set(again.values()) == {0.0}
    second = {m.name: m.measure(EvaluatedSound(0.5 * x, sample_rate=RATE), target) for m in METRICS}
    assert sorted(set(measured)) == ["LoudnessMeter", "TruePeakMeter", "power_spectra", "third_octaves"]
    assert second == pytest.approx(first, nan_ok=True)


def test_long_sounds_are_measured_alike(stereo, monkeypatch):
    quieter = 0.5 * stereo[::-1]
    kept = measured(stereo, quieter)
    monkeypatch.setattr(sound_module, "MOST_SAMPLES_KEPT", 0)
    monkeypatch.setattr(sound_module, "_CHUNK_FRAMES", 10_000)
    assert measured(stereo, quieter) == pytest.approx(kept, rel=1e-6)


def test_a_long_sound_takes_little_memory():
    generator = np.random.default_rng(0)
    x, y = (generator.standard_normal((2, 5_000_000), dtype=np.float32) for _ in range(2))
    measured(x[:, :100_000], y[:, :100_000])  # what is loaded and kept once
    tracemalloc.start()
    measured(x, y)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A copy of each with its mirrored ends, and what a few frames take.
    assert most < 2.5 * x.nbytes + 50e6


def test_tensors_and_arrays_are_alike_and_stay_as_they_are(stereo):
    before, quieter = stereo.copy(), 0.5 * stereo[::-1]
    assert measured(torch.from_numpy(stereo), torch.from_numpy(quieter)) == measured(stereo, quieter)
    assert np.array_equal(stereo, before)


def test_a_sound_at_another_rate():
    found = EvaluatedSound(sine(1000), sample_rate=RATE)
    assert found.at(16_000).samples.shape == (1, 32_000)
    assert found.at(16_000).rms_db == pytest.approx(found.rms_db, abs=0.01)
    assert found.at(16_000) is found.at(16_000)
    assert found.at(RATE) is found


@pytest.mark.parametrize("shape", [(200,), (1, 0), (0, 5), (1, 1, 5), ()])
def test_what_is_no_sound(shape):
    with pytest.raises(ValueError, match="channels, time"):
        EvaluatedSound(np.zeros(shape), sample_rate=RATE)
