"""The package as researchers use it: arrays and tensors in, the same out, gradients through, and no fork."""

from contextlib import suppress

import numpy as np
import pytest

import fxst
from fxst import audio
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import AudioError, SettingsError

with suppress(ImportError):  # the extra train
    import torch

RATE = 24_000
STUDIO = CHAINS["studio"]


@pytest.fixture(scope="module")
def style():
    return fxst.load("eq-comp", device="cpu")


@pytest.fixture
def table():
    knobs = np.random.default_rng(3).random(len(STUDIO.knobs))
    return Table(STUDIO, STUDIO.settings(knobs, bypassed=["reverb"]))


def test_the_package_lists_its_names():
    assert dir(fxst) == sorted(fxst.__all__)
    assert all(getattr(fxst, name) is not None for name in fxst.__all__)


def test_a_tensor_comes_out_as_a_tensor_of_the_same_sound(style, speech):
    x, reference = speech(RATE, 2, 1), speech(RATE, 1, 1)
    by_array = style.apply(x, reference, sample_rate=RATE)
    by_tensor = style.apply(torch.from_numpy(x), torch.from_numpy(reference), sample_rate=RATE)
    assert isinstance(by_tensor.audio, torch.Tensor)
    np.testing.assert_array_equal(by_tensor.audio.numpy(), by_array.audio)


def test_a_batch_is_its_recordings(speech, table):
    batch = np.stack([speech(RATE, 2, 0.5), 0.3 * speech(RATE, 2, 0.5)])
    rendered = fxst.render(batch, table, sample_rate=RATE)
    for x, y in zip(batch, rendered, strict=True):
        np.testing.assert_array_equal(y, fxst.render(x, table, sample_rate=RATE))


def test_gradients_pass_through_a_table_where_asked_and_null_with_the_exact_effects(speech, table, null_db):
    x = torch.from_numpy(speech(RATE, 1, 0.3))
    exact = fxst.render(x, table, sample_rate=RATE)
    assert null_db(fxst.render(x, table, sample_rate=RATE, gradients=True), exact) < -60
    wide = x.double().requires_grad_(True)
    fxst.render(wide, table, sample_rate=RATE, gradients=True).square().sum().backward()
    step = 1e-8 * torch.randn(x.shape, generator=torch.manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        up, down = (
            fxst.render(wide + sign * step, table, sample_rate=RATE, gradients=True).square().sum() for sign in (1, -1)
        )
    assert float((up - down) / 2) == pytest.approx(float((wide.grad * step).sum()), rel=1e-2)
    with pytest.raises(AudioError, match="give the audio as a tensor"):
        fxst.render(x.numpy(), table, sample_rate=RATE, gradients=True)


@pytest.mark.parametrize("lufs", [-30.0, -18.0])
def test_loudness_and_ceiling_are_those_of_the_command(style, speech, lufs):
    x, reference = speech(RATE, 1, 3), speech(RATE, 2, 3)
    y = style.apply(x, reference, sample_rate=RATE, loudness=lufs).audio
    assert audio.loudness(y, sample_rate=RATE) == pytest.approx(lufs, abs=0.1)
    kept = style.apply(x, reference, sample_rate=RATE, loudness="keep", ceiling_db=-3.0)
    assert np.abs(kept.audio).max() <= 10 ** (-3 / 20)
    matched = style.apply(x, reference, sample_rate=RATE, loudness="reference").audio
    expected = audio.loudness(reference, sample_rate=RATE)
    assert audio.loudness(matched, sample_rate=RATE) == pytest.approx(expected, abs=0.1)


def test_a_loudness_that_is_none_is_refused(style, speech):
    with pytest.raises(SettingsError, match="loudness"):
        style.apply(speech(RATE), speech(RATE), sample_rate=RATE, loudness="loud")


@pytest.mark.parametrize("name", ["eq-comp", "studio"])
def test_an_embedding_is_one_of_the_whole_recording_at_any_length(name, noise):
    style = fxst.load(name, device="cpu")
    x = noise(RATE, 1, 2)
    once, twice = (style.embed(y, sample_rate=RATE) for y in (x, np.concatenate([x, x], axis=1)))
    assert once.ndim == 1
    np.testing.assert_allclose(once, twice, atol=0.1)
    assert np.abs(once - style.embed(0.05 * x, sample_rate=RATE)).max() > 0.35
    with pytest.raises(AudioError, match="no embedding"):
        style.embed(0 * x, sample_rate=RATE)


def test_results_and_tables_are_short_to_look_at(style, speech, table):
    assert repr(table).startswith("<Table of chain 'studio': upward_compressor, ")
    result = style.apply(speech(RATE), speech(RATE), sample_rate=RATE)
    assert repr(result).startswith("Result(audio=(1, 12000), table=<Table of chain 'eq-comp' by eq-comp: ")


@pytest.mark.parametrize("shape", [(), (0,), (1, 2, 0), (1, 1, 1, 8)])
def test_audio_of_another_shape_is_refused(shape, table):
    with pytest.raises(AudioError, match="has the shape"):
        fxst.render(np.zeros(shape, np.float32), table, sample_rate=RATE)
