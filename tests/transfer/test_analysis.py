import numpy as np
import pytest
import torch

from fxst import audio
from fxst.chains.named import CHAINS
from fxst.checkpoints.torch_models import OnTorch
from fxst.models.encoder import EncoderConfig
from fxst.models.matching import MOST_FRAMES
from fxst.models.style import StyleModelConfig
from fxst.models.trainable import StudioModel, StyleModel
from fxst.training.studio import studio_config
from fxst.transfer.analysis import RANGE_DB, TURNS_AFTER, Analyser, from_tenths, in_tenths, merged, thinned

RATE = 24_000


@pytest.fixture(scope="module")
def in_torch():
    torch.manual_seed(0)
    return StyleModel(StyleModelConfig(8, EncoderConfig(sample_rate=24_000, window_samples=12_720))).eval()


@pytest.fixture(scope="module")
def model(in_torch, in_numpy):
    return in_numpy(in_torch)


@pytest.fixture(scope="module")
def studio(in_numpy):
    torch.manual_seed(0)
    return in_numpy(StudioModel(studio_config(CHAINS["studio"], 0.5, channels=(4,), hidden=(8,), rest_hidden=(8,))))


def heard(model, x, *, sample_rate=RATE, block_frames=1 << 14):
    listener = Analyser(model, sample_rate=sample_rate)
    for first in range(0, x.shape[1], block_frames):
        listener.process(x[:, first : first + block_frames])
    return listener.finish()


@pytest.mark.parametrize("block_frames", [1, 7, 4096, 1 << 17])
def test_what_is_heard_does_not_depend_on_the_blocks(model, noise, block_frames):
    x = noise(44_100, 2, 0.7 if block_frames < 100 else 20)
    whole = heard(model, x, sample_rate=44_100, block_frames=x.shape[1])
    found = heard(model, x, sample_rate=44_100, block_frames=block_frames)
    np.testing.assert_array_equal(found.statistics, whole.statistics)


def test_it_is_the_mean_over_the_windows_of_every_channel(model, noise):
    x = noise(RATE, 2, 5 * model.window_samples / RATE)
    x -= x.reshape(2, 5, -1).mean(-1).repeat(model.window_samples, axis=1)
    expected = model.statistics(x.reshape(10, -1)).mean(0)
    np.testing.assert_allclose(heard(model, x).statistics, expected, rtol=1.3e-6, atol=1e-5)


def test_where_a_voice_stands_in_stereo_changes_nothing(model, speech):
    voice = speech(RATE, 1, 5)
    alone = heard(model, voice).statistics
    for stereo in (voice.repeat(2, 0), np.concatenate([voice, 0 * voice]), np.concatenate([voice, -voice])):
        np.testing.assert_allclose(heard(model, stereo).statistics, alone, rtol=1e-3, atol=1e-4)


def test_in_a_long_recording_channels_take_turns(model, noise):
    windows = TURNS_AFTER + 2
    x = noise(RATE, 2, windows * model.window_samples / RATE)
    x -= x.reshape(2, windows, -1).mean(-1).repeat(model.window_samples, axis=1)
    turns = np.stack([x[time % 2].reshape(windows, -1)[time] for time in range(windows)])
    expected = model.statistics(turns).mean(0)
    np.testing.assert_allclose(heard(model, x).statistics, expected, rtol=1.3e-6, atol=1e-5)


def test_a_short_bang_leaves_the_voice_heard(model, speech):
    voice = 0.02 * np.tile(speech(RATE, 1, 3), 8)
    banged = voice.copy()
    banged[:, 50_000 : 50_000 + round(0.3 * RATE)] = np.random.default_rng(0).uniform(-1, 1, round(0.3 * RATE))
    quiet, loud = heard(model, voice).statistics, heard(model, banged).statistics
    # Of 46 windows two hold the bang: what is heard moves by about their share, and is not the bang.
    bang = heard(model, banged[:, 38_160 : 38_160 + 2 * model.window_samples]).statistics
    assert np.linalg.norm(loud - quiet) < 0.15 * np.linalg.norm(bang - quiet)


def test_a_constant_offset_is_not_heard(model, speech):
    voice = speech(RATE, 1, 5)
    offset, centred = heard(model, voice + 0.05).statistics, heard(model, voice).statistics
    np.testing.assert_allclose(offset, centred, rtol=1e-3, atol=1e-4)


def test_the_end_is_heard_too(model, noise):
    x = noise(RATE, 1, 2.4 * model.window_samples / RATE)
    length = model.window_samples
    windows = np.stack([x[0, first : first + length] for first in (0, length, x.shape[1] - length)])
    expected = model.statistics(windows - windows.mean(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(heard(model, x).statistics, expected, rtol=1.3e-6, atol=1e-5)


def test_the_whole_of_a_long_recording_is_heard(model, noise, speech):
    first, second = noise(RATE, 1, 30), speech(RATE, 1, 3)
    whole = heard(model, np.concatenate([first, np.tile(second, 10)], axis=1)).statistics
    halves = [heard(model, x).statistics for x in (first, np.tile(second, 10))]
    assert not np.allclose(whole, halves[0], rtol=0.01)
    middle = (halves[0] + halves[1]) / 2
    assert np.abs(whole - middle).max() < 0.2 * np.abs(halves[0] - halves[1]).max()


def test_pauses_do_not_dilute_what_is_heard(model, noise):
    loud = noise(RATE, 1, 8 * model.window_samples / RATE)
    pause = 10 ** (-(RANGE_DB + 10) / 20) * loud
    between = 10 ** (-(RANGE_DB - 10) / 20) * loud
    alone = heard(model, loud).statistics
    with_pauses = heard(model, np.concatenate([pause, loud, 0 * loud], axis=1)).statistics
    np.testing.assert_allclose(with_pauses, alone, rtol=1.3e-6, atol=1e-5)
    assert not np.allclose(heard(model, np.concatenate([between, loud], axis=1)).statistics, alone, rtol=0.01)


def test_sample_rates_are_heard_alike(model, speech):
    x = speech(RATE, 1, 3)
    other = audio.resample(x, source_rate=RATE, target_rate=48_000)
    a, b = heard(model, x).statistics, heard(model, other, sample_rate=48_000).statistics
    assert np.abs(a - b).mean() < 0.01 * np.abs(a).mean()


@pytest.mark.parametrize("samples", [10, 12_719])
def test_a_short_recording_is_repeated_to_fill_a_window(model, noise, samples):
    x = noise(RATE, 1, 1)[:, :samples]
    result = heard(model, x)
    tiled = np.tile(x, 12_720 // samples + 2)[:, -12_720 - samples : -samples] if samples == 10 else None
    assert result.short
    assert result.seconds == samples / RATE
    assert np.isfinite(result.statistics).all()
    if tiled is not None:
        expected = model.statistics(tiled - tiled.mean())[0]
        np.testing.assert_allclose(result.statistics, expected, rtol=1.3e-6, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-40, 1e-7])
def test_silence_is_told_as_such(model, value):
    result = heard(model, np.full((2, 50_000), value, np.float32))
    assert result.statistics is None
    assert not result.short


def test_fewer_samples_than_the_model_can_hear_are_silence(model):
    assert heard(model, np.full((2, 1), 0.5, np.float32), sample_rate=192_000).statistics is None


def test_very_loud_recordings_are_heard(model, noise):
    assert np.isfinite(heard(model, 1e6 * noise(RATE, 1, 1)).statistics).all()


@pytest.mark.parametrize("block_frames", [1, 7, 4096, 1 << 17])
def test_moments_do_not_depend_on_the_blocks(studio, noise, block_frames):
    x = noise(44_100, 2, 0.7 if block_frames < 100 else 40)
    whole = heard(studio, x, sample_rate=44_100, block_frames=x.shape[1])
    assert 0 < len(whole.frames) <= MOST_FRAMES
    assert whole.frames.shape[1] == studio.config.spectrum_bands
    found = heard(studio, x, sample_rate=44_100, block_frames=block_frames)
    np.testing.assert_array_equal(found.frames, whole.frames)


def test_moments_are_in_tenths_of_a_decibel_and_come_back_from_them(studio, speech):
    frames = heard(studio, speech(RATE, 1, 3)).frames
    np.testing.assert_array_equal(from_tenths(in_tenths(frames)), frames)
    assert from_tenths(()).shape == (0, 0)


def test_a_gain_moves_every_moment_by_as_much_and_an_offset_none(studio, noise):
    x = noise(RATE, 2, 3)
    frames = heard(studio, x).frames
    below = studio.extractor.octave_centres <= 0.95 * RATE / 2
    change = (heard(studio, 0.1 * x).frames - frames)[:, below]
    assert np.abs(change.mean(1) + 20).max() < 0.1
    assert np.abs((heard(studio, x + 0.05).frames - frames).mean(1)).max() < 0.1


def test_moments_of_every_channel_are_heard_and_none_of_a_silent_one(studio, noise):
    x, y = noise(RATE, 2, 1)[:, :12_000]
    alone = [set(in_tenths(heard(studio, one[None]).frames)) for one in (x, y)]
    assert set(in_tenths(heard(studio, np.stack([x, y])).frames)) == alone[0] | alone[1]
    assert set(in_tenths(heard(studio, np.stack([x, 0 * y])).frames)) == alone[0]


def test_when_a_moment_was_is_not_told(studio, noise):
    x = noise(RATE, 1, 4)
    windows = x.reshape(-1, 12_000)
    turned = windows[::-1].reshape(1, -1)
    frames = heard(studio, x).frames
    assert (np.diff(frames.sum(1, dtype=np.float64)) > -1e-3).all()
    assert sorted(in_tenths(heard(studio, turned).frames)) == sorted(in_tenths(frames))


def test_silence_has_no_moments_and_not_every_model_hears_them(model, studio, noise):
    assert heard(studio, np.zeros((2, 50_000), np.float32)).frames.shape == (0, 0)
    assert heard(model, noise(RATE, 1, 1)).frames.shape == (0, 0)
    seldom = np.zeros((1, 100 * RATE), np.float32)
    seldom[:, 31 * RATE + RATE // 2 : 32 * RATE] = noise(RATE, 1, 0.5)  # in a window that is not kept
    assert not heard(studio, seldom).excerpt.samples.any()
    assert heard(studio, seldom).frames.shape == (0, 96)


def test_a_model_on_torch_hears_the_same_and_torch_keeps_its_threads(in_torch, model, noise):
    x = noise(RATE, 1, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    found = heard(OnTorch(in_torch, "cpu"), x)
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before + 1
    np.testing.assert_allclose(found.statistics, heard(model, x).statistics, rtol=1e-5, atol=1e-5)


def test_an_excerpt_holds_the_active_signal_without_pauses_offset_or_more_than_two_channels(studio, speech):
    voice = speech(RATE, 1, 3)

    def excerpt(x):
        return heard(studio, x).excerpt

    alone = excerpt(voice)
    assert alone.samples.shape == voice.shape
    waiting = excerpt(np.concatenate([voice, np.zeros((1, 60 * RATE), np.float32)], axis=1))
    level = [np.mean(found.samples**2) for found in (alone, waiting)]
    assert abs(10 * np.log10(level[1] / level[0])) < 3
    offset = excerpt(voice + 0.2)
    np.testing.assert_allclose(offset.samples, alone.samples, atol=1e-4)
    assert excerpt(np.repeat(voice, 16, axis=0)).samples.shape == (2, voice.shape[1])


def test_recordings_together_count_by_their_active_length(studio, speech, noise):
    voice, hiss = speech(RATE, 1, 3), noise(RATE, 1, 2)
    pause = np.zeros((1, 6 * RATE), np.float32)
    long = heard(studio, np.tile(voice, 3))
    paused = heard(studio, np.concatenate([hiss, pause], axis=1))
    assert paused.active_seconds == pytest.approx(2, abs=0.6)
    together = merged(studio, [long, paused])
    share = long.active_seconds / (long.active_seconds + paused.active_seconds)
    np.testing.assert_allclose(
        together.statistics, share * long.statistics + (1 - share) * paused.statistics, rtol=1e-5, atol=1e-5
    )
    assert together.seconds == pytest.approx(long.seconds + paused.seconds)
    assert len(together.frames) > 0


def test_an_album_of_one_or_of_two_alike_is_that_recording(studio, speech):
    one = heard(studio, speech(RATE, 2, 3))
    silent = heard(studio, np.zeros((1, RATE), np.float32))
    assert merged(studio, [silent, one]) is one
    assert merged(studio, [silent, silent]).statistics is None
    twice = merged(studio, [one, one])
    np.testing.assert_allclose(twice.statistics, one.statistics, rtol=1e-6)
    for name in ("level_db", "crest_db", "range_db", "side_db"):
        assert getattr(twice.descriptors, name) == pytest.approx(getattr(one.descriptors, name), abs=1.5), name
    assert twice.descriptors.floor_db <= one.descriptors.floor_db  # its softest stretches are there twice


def test_a_thinned_analysis_has_so_many_windows(studio, speech):
    one = heard(studio, speech(RATE, 2, 3))
    window = studio.window_at(one.excerpt.sample_rate)
    thin = thinned(studio, one, 2)
    assert thin.excerpt.samples.shape == (2, 2 * window)
    np.testing.assert_array_equal(thin.excerpt.samples[:, :window], one.excerpt.samples[:, :window])
    np.testing.assert_array_equal(thin.excerpt.samples[:, window:], one.excerpt.samples[:, -window:])
    assert thinned(studio, one, 99).excerpt.samples.shape == one.excerpt.samples.shape
