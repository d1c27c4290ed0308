import copy

import numpy as np
import pytest
import torch
from scipy.signal import sosfreqz
from scipy.special import expit, logit

from fxst import audio
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.checkpoints.torch_models import load_trainable
from fxst.data import sox
from fxst.dsp.arrays import split
from fxst.models.feature_extractor import (
    BAND_LEVELS_DB,
    QUANTILES,
    _distribution,
    _quantiles,
    mel_centres,
    octave_centres,
)
from fxst.models.frequency_conv_net import SHAPE_LIMIT_DB, _interpolation
from fxst.models.matching import matched_size
from fxst.models.studio import centred
from fxst.models.trainable import StudioModel
from fxst.training.studio import studio_config

SECONDS = 32_768 / 24_000
STUDIO = CHAINS["studio"]


@pytest.fixture(scope="module")
def in_torch():
    torch.manual_seed(0)
    config = studio_config(STUDIO, SECONDS, channels=(4, 8), hidden=(16,), rest_hidden=(16,))
    return StudioModel(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model(in_torch, in_numpy):
    return in_numpy(in_torch)


@pytest.fixture
def opinionated(in_torch):
    """A model that corrects curves: one that has learned nothing corrects none."""
    made = copy.deepcopy(in_torch)
    torch.manual_seed(1)
    torch.nn.init.normal_(made.controller.frequency_net.output_conv.weight, std=0.1)
    torch.nn.init.normal_(made.controller.frequency_net.film.weight, std=0.1)
    return made


def windows_of(model, x, sample_rate):
    window = model.window_at(sample_rate)
    return x[0, : x.shape[1] // window * window].reshape(-1, window)


def heard(model, x, sample_rate):
    return model.analyse(windows_of(model, x, sample_rate), sample_rate=sample_rate).mean(0, keepdims=True)


def decide(model, x, y, sample_rate=24_000):
    """Decide as for recordings."""
    (a, our_frames), (b, their_frames) = (
        (heard(model, z, sample_rate), model.frames(windows_of(model, z, sample_rate), sample_rate=sample_rate))
        for z in (x, y)
    )
    return model.decide(a, b, model.match(a[0], our_frames, b[0], their_frames)[None])


def test_quantiles_are_those_of_the_levels():
    level = -40 + 8 * np.random.default_rng(0).standard_normal((4, 20_000), np.float32)
    found = _quantiles(_distribution(level, BAND_LEVELS_DB))
    expected = np.quantile(level, QUANTILES, axis=1).T
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.7)  # the distribution is sampled every 4 dB


def test_lines_are_read_off_as_numpy_reads_them():
    source, target = np.array([1.0, 2.0, 4.0, 7.0]), np.linspace(0.5, 8, 16)
    line = np.array([3.0, -1.0, 5.0, 2.0])
    np.testing.assert_allclose(line @ _interpolation(source, target), np.interp(target, source, line), rtol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_recording_sounds_alike_at_every_sample_rate_where_all_reach_to(model, rate, speech):
    x = speech(24_000, 1, 3)
    same = audio.resample(x, source_rate=24_000, target_rate=rate)
    difference = model.extractor.compare(heard(model, x, 24_000), heard(model, same, rate)).difference
    spectrum = difference[0, model.extractor.spectrum_features]
    below = model.extractor.octave_centres < 10_000
    assert np.abs(spectrum[below]).max() < 0.06  # in units of 20 dB
    assert np.abs(spectrum[~below & (model.extractor.octave_centres > 11_400)]).max() == 0


def test_an_octave_band_follows_a_gain_exactly(model, noise):
    x = noise(24_000, 1, 3)
    difference = model.extractor.compare(heard(model, x, 24_000), heard(model, 0.1 * x, 24_000)).difference
    spectrum = difference[0, model.extractor.spectrum_features]
    shared = spectrum != 0
    assert shared.sum() > 60
    np.testing.assert_allclose(np.median(spectrum[shared]), -1, atol=1e-3)


def test_it_decides_on_every_knob_and_effect_in_silence_and_at_full_scale(model):
    for level in (0.0, 1.0, 1e6):
        x = np.full((1, model.window_at(24_000)), level, np.float32)
        decision = decide(model, x, x)
        assert decision.knobs.shape == (1, len(STUDIO.predicted.knobs))
        assert decision.activation.shape == (1, len(STUDIO.predicted.effects))
        assert np.isfinite(decision.knobs).all()
        assert np.isfinite(decision.activation).all()


def test_a_recording_is_heard_at_its_own_rate_up_to_48_khz(model):
    assert [model.analysis_rate(rate) for rate in (8000, 24_000, 44_100, 48_000, 96_000)] == [
        8000, 24_000, 44_100, 48_000, 48_000,
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["torch", "numpy"])
def test_it_comes_back_from_disk_as_it_was(in_torch, model, tmp_path, noise, form):
    saved = in_torch if form == "torch" else model
    checkpoint.save(tmp_path / "model", saved, STUDIO, sample_rate=24_000, card={})
    loaded, to_train = checkpoint.load(tmp_path / "model"), load_trainable(tmp_path / "model")
    x, y = noise(24_000, 1, 3), 0.5 * noise(24_000, 1, 3)
    for ours, theirs in zip(decide(loaded.model, x, y), decide(model, x, y), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    torch.testing.assert_close(to_train.model.state_dict(), in_torch.state_dict(), rtol=0, atol=0)
    assert loaded.chain == to_train.chain == STUDIO


def test_a_curve_leaves_the_level_and_a_gain_makes_up_for_what_is_missing(model, noise):
    x, y = 0.1 * noise(24_000, 1, 3), 0.2 * noise(24_000, 1, 3)
    same, louder = decide(model, x, x), decide(model, x, y)
    hz = model.extractor.octave_centres
    assert abs(louder.curve[0, (hz >= 80) & (hz <= 10_000)].mean()) < 1e-5
    assert not louder.curve[0, hz > 11_400].any()
    logits = logit(np.stack((same.knobs, louder.knobs))[:, 0, model.config.gain_knob])
    # 6 dB are half a logit of a gain of up to 24 dB; what an untrained network adds differs little between the two.
    assert (logits[1] - logits[0]).item() == pytest.approx(6.02 / 12, abs=0.15)


def test_a_gain_knob_turned_by_the_level_is_a_gain_of_as_many_decibels():
    index = [p.name for _, p in STUDIO.knobs].index("makeup_db")
    knob = expit(1.0 / 12)  # one decibel
    assert STUDIO.knobs[index][1].to_value(knob) == pytest.approx(1.0, abs=0.01)


def test_centring_does_not_count_what_a_recording_lacks():
    curve = np.linspace(-1, 1, 96, dtype=np.float32)[None]
    shared = (octave_centres(96) < 4000).astype(np.float32)[None]
    moved = centred(curve, shared)
    assert (moved[shared == 0] == 0).all()
    np.testing.assert_allclose(np.diff(moved[0, :40]), np.diff(curve[0, :40]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(centred(moved + 0.5 * shared, shared), moved, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_moments_are_paired_alike_at_every_sample_rate_where_both_reach_to(model, rate, speech):
    x = speech(24_000, 1, 3)
    a, ours = heard(model, x, 24_000)[0], model.frames(windows_of(model, x, 24_000), sample_rate=24_000)
    other = audio.resample(x, source_rate=24_000, target_rate=rate)
    b, theirs = heard(model, other, rate)[0], model.frames(windows_of(model, other, rate), sample_rate=rate)
    curve = 20 * model.match(a, ours, b, theirs)[96:192]
    below = model.extractor.octave_centres < 10_000
    assert np.abs(curve[below]).mean() < 0.3
    assert not curve[model.extractor.octave_centres > 11_400].any()


def test_an_equaliser_shows_in_what_alike_moments_differ_by(model, speech):
    x = speech(24_000, 1, 6)
    half = x.shape[1] // 2
    band = sox.equalizer(1000, 1.0, 12.0, sample_rate=24_000)

    def curve(reference):
        a, b = heard(model, x[:, :half], 24_000)[0], heard(model, reference, 24_000)[0]
        frames = [model.frames(windows_of(model, y, 24_000), sample_rate=24_000) for y in (x[:, :half], reference)]
        return 20 * model.match(a, frames[0], b, frames[1])[96:192]

    more = curve(sox.filtered(x[:, half:], band)) - curve(x[:, half:])
    hz = model.extractor.octave_centres
    near, far = (hz > 850) & (hz < 1180), ((hz > 100) & (hz < 300)) | ((hz > 4000) & (hz < 10_000))
    assert more[near].mean() - more[far].mean() == pytest.approx(11, abs=1.5)


def test_an_equaliser_shows_in_treble_as_soft_as_the_noise_of_16_bits(model, speech):
    x = audio.resample(speech(24_000, 1, 6), source_rate=24_000, target_rate=44_100)
    x = x / np.abs(x).max() + 10 ** (-94 / 20) * np.random.default_rng(0).standard_normal(x.shape, np.float32)
    half = x.shape[1] // 2
    ours, theirs = x[:, :half], sox.filtered(x[:, half:], sox.treble(15_000, -12.0, sample_rate=44_100))
    frames = [model.frames(windows_of(model, y, 44_100), sample_rate=44_100) for y in (ours, theirs)]
    a, b = (heard(model, y, 44_100)[0] for y in (ours, theirs))
    curve = 20 * model.match(a, frames[0], b, frames[1])[96:192]
    hz = model.extractor.octave_centres
    fall = curve[(hz > 18_500) & (hz < 20_900)].mean() - curve[(hz > 12_500) & (hz < 13_500)].mean()
    response = 20 * np.log10(
        np.abs(sosfreqz(sox.treble(15_000, -12.0, sample_rate=44_100), [13_000, 19_500], fs=44_100)[1])
    )
    assert fall == pytest.approx(response[1] - response[0], abs=0.7)


def test_how_soft_a_recording_is_bends_no_curve(model, speech):
    x = speech(24_000, 1, 3)
    x *= 10 ** (-12 / 20) / np.abs(x).max()
    soft = 10 ** (-60 / 20) * x
    a, b = heard(model, x, 24_000)[0], heard(model, soft, 24_000)[0]
    frames = [model.frames(windows_of(model, y, 24_000), sample_rate=24_000) for y in (x, soft)]
    matched = 20 * model.match(a, frames[0], b, frames[1])
    assert np.abs(matched[96:192]).max() < 0.1
    assert matched[3 * 96] == pytest.approx(-40, abs=0.5)  # told as the most that is told


def coloured(extractor, statistics, steps):
    """Move what was heard in each pair of bands by so many steps of 4 dB, and not what a CNN makes of it."""
    parts = split(statistics, extractor.sizes)
    by_band = 4 * steps.repeat(2) / 20
    parts[3] = parts[3] + 2 * by_band * parts[2] + by_band**2
    parts[2] = parts[2] + by_band
    rows = zip(parts[4].reshape(len(steps), -1), steps, strict=True)
    parts[4] = np.concatenate([(*np.ones(step), *row[: len(row) - step]) for row, step in rows])[None]
    db = np.interp(extractor.octave_centres, mel_centres(extractor.mel_bands)[::2], 4 * steps)
    parts[5] = parts[5] * 10 ** (db / 10)
    return np.concatenate(parts, axis=1).astype(np.float32)


def test_a_curve_heeds_what_recordings_differ_by_and_not_whose_voice_both_have(opinionated, in_numpy, speech, noise):
    model = in_numpy(opinionated)
    a, b = heard(model, 0.05 * speech(24_000, 1, 3), 24_000), heard(model, 0.02 * noise(24_000, 1, 3), 24_000)
    rng = np.random.default_rng(0)
    steps = rng.integers(4, size=model.extractor.mel_bands // 2)
    both = [coloured(model.extractor, x, steps) for x in (a, b)]
    matched = 0.1 * rng.standard_normal((1, matched_size(96)), np.float32)
    curve = model.decide(a, b, matched).curve
    np.testing.assert_allclose(model.decide(*both, matched).curve, curve, rtol=0, atol=1e-4)
    assert np.abs(model.decide(both[0], b, matched).curve - curve).max() > 0.01


def test_a_curve_does_not_ask_how_loud_one_recording_is_beside_the_other(opinionated, in_numpy, speech, noise):
    torch.nn.init.zeros_(opinionated.controller.frequency_net.film.weight)  # else hidden layers, which ask it, count
    model = in_numpy(opinionated)
    x, y = 0.3 * speech(24_000, 1, 3) + 0.003 * noise(24_000, 1, 3), 0.05 * noise(24_000, 1, 3)
    curve, softer = decide(model, x, y).curve, decide(model, 0.1 * x, y).curve
    assert np.abs(20 * (softer - curve)).max() < 0.3


def test_what_pauses_without_any_sound_differ_by_counts_no_more_than_an_equaliser_could_do(model, speech, monkeypatch):
    x = speech(24_000, 1, 3)
    gated = x * (np.arange(x.shape[1]) % 8000 < 1000).astype(np.float32)
    conv, planes = model.controller.frequency_net.input_conv, []
    monkeypatch.setattr(conv, "forward", lambda given: planes.append(given) or type(conv).forward(conv, given))
    decide(model, gated, x)
    a, b = heard(model, gated, 24_000), heard(model, x, 24_000)
    assert np.abs(model.extractor.compare(a, b).difference).max() > 2 * SHAPE_LIMIT_DB / 20
    assert np.abs(planes[0][:, : 4 + len(QUANTILES)]).max() <= SHAPE_LIMIT_DB / 20
