import math
from contextlib import suppress

import numpy as np
import pytest

from fxst.effects import Compressor
from fxst.errors import SettingsError

with suppress(ImportError):  # the extra train
    import torch

SAMPLE_RATE = 24_000
VALUES = {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 2.0, "release_ms": 80.0, "makeup_db": 0.0}


def compress(x, sample_rate=SAMPLE_RATE, **values):
    x = np.atleast_2d(np.asarray(x, np.float32))
    return Compressor().exact(VALUES | values, sample_rate=sample_rate, channels=len(x))(x)


def by_its_equations(x, values, sample_rate):
    """The docstring's equations in float64, sample by sample; but the coefficients are float32, which JUCE keeps."""

    def coefficient(ms):
        return float(np.float32(math.exp(-2000 * math.pi / (ms * sample_rate))))

    attack, release = coefficient(values["attack_ms"]), coefficient(values["release_ms"])
    threshold = 10 ** (values["threshold_db"] / 20)
    y = np.zeros(x.shape)
    for channel, row in enumerate(x.astype(np.float64)):
        v = 0.0
        for n, sample in enumerate(row):
            u = abs(sample)
            v = u + (attack if u > v else release) * (v - u)
            gain = 1.0 if v < threshold else (v / threshold) ** (1 / values["ratio"] - 1)
            y[channel, n] = gain * sample * 10 ** (values["makeup_db"] / 20)
    return y


def test_both_forms_follow_the_equations(speech, null_db):
    apart = Compressor(linked=False)
    generator = np.random.default_rng(0)
    for sample_rate in (24_000, 48_000):
        x = speech(sample_rate, 2, seconds=0.2)
        for _ in range(4):
            values = {p.name: float(np.float32(p.to_value(generator.uniform()))) for p in apart.parameters}
            slow = by_its_equations(x, values, sample_rate)
            assert null_db(apart.exact(values, sample_rate=sample_rate, channels=2)(x), slow) <= -100
            tensors = {name: torch.tensor([value]) for name, value in values.items()}
            y = apart.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)[0]
            assert null_db(y, slow) <= -100


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_long_times_null_too(sample_rate, speech, null_db):
    # Where one ulp of a float32 coefficient is a thousandth of the time.
    compressor = Compressor()
    generator = np.random.default_rng(2)
    x = speech(sample_rate, seconds=0.3)
    batch = {p.name: p.to_value(generator.uniform(size=60)) for p in compressor.parameters}
    batch |= {"threshold_db": np.full(60, -50.0), "ratio": np.full(60, 10.0), "makeup_db": np.zeros(60)}
    batch |= {ms: 80 * (batch[ms] / 80) ** 0.5 for ms in ("attack_ms", "release_ms")}
    tensors = {name: torch.from_numpy(values).float() for name, values in batch.items()}
    rendered = compressor.autodiff(torch.from_numpy(x).repeat(60, 1, 1), tensors, sample_rate=sample_rate)
    for index, y in enumerate(rendered):
        values = {name: column[index].item() for name, column in tensors.items()}
        assert null_db(y, compress(x, sample_rate, **values)) <= compressor.autodiff_error_db


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize("threshold_db", [-40.0, -20.0])
def test_a_steady_level_comes_out_on_the_static_curve(ratio, threshold_db):
    for level_db in (threshold_db - 6, threshold_db, threshold_db + 6, -3.0):
        steady = np.full(SAMPLE_RATE // 4, 10 ** (level_db / 20))
        y = compress(steady, threshold_db=threshold_db, ratio=ratio)[0]
        expected_db = min(level_db, threshold_db + (level_db - threshold_db) / ratio)
        assert 20 * math.log10(y[-1]) == pytest.approx(expected_db, abs=0.01)


def test_it_never_boosts(speech):
    compressor = Compressor()
    generator = np.random.default_rng(1)
    x = 4 * speech(SAMPLE_RATE, 2)  # well above full scale, where a wrong knee shows
    for _ in range(30):
        values = {p.name: p.to_value(generator.uniform()) for p in compressor.parameters} | {"makeup_db": 0.0}
        assert (abs(compress(x, **values)) <= abs(x) * (1 + 1e-6)).all()
        tensors = {name: torch.tensor([value]) for name, value in values.items()}
        y = compressor.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=SAMPLE_RATE)[0].numpy()
        assert (abs(y) <= abs(x) * (1 + 1e-6)).all()


def test_below_the_threshold_nothing_happens(speech):
    x = speech(SAMPLE_RATE, 2)
    np.testing.assert_array_equal(compress(x, threshold_db=20.0), x)


def test_a_higher_ratio_turns_down_more(speech):
    x = speech(SAMPLE_RATE)
    powers = [np.square(compress(x, ratio=ratio)).sum() for ratio in (1.0, 1.5, 3.0, 8.0, 20.0)]
    assert powers == sorted(powers, reverse=True)
    assert powers[0] > 4 * powers[-1]


def level_followed(x, **values):
    """Read the envelope back from what the compressor did: gain = (v / t)^(1/ratio - 1)."""
    values = VALUES | {"threshold_db": -60.0, "ratio": 20.0} | values
    gain = compress(x, **values)[0].astype(np.float64) / x
    return 10 ** (values["threshold_db"] / 20) * gain ** (1 / (1 / values["ratio"] - 1))


@pytest.mark.parametrize("ms", [1.0, 20.0, 200.0])
def test_attack_takes_its_time(ms):
    v = level_followed(np.full(SAMPLE_RATE, 0.5), attack_ms=ms)
    samples = np.argmax(v >= 0.5 * (1 - math.exp(-1))) + 1  # when 63 % of the step is done
    # exp(-2000 pi / (ms sr)) is a time constant of ms / (2 pi).
    assert samples == pytest.approx(ms / 1000 / (2 * math.pi) * SAMPLE_RATE, abs=1)


@pytest.mark.parametrize("ms", [20.0, 200.0, 2000.0])
def test_release_takes_its_time(ms):
    high, low, step = 0.5, 0.05, SAMPLE_RATE // 4
    x = np.concatenate([np.full(step, high), np.full(3 * SAMPLE_RATE, low)])
    v = level_followed(x, release_ms=ms)[step:]
    samples = np.argmax(v <= low + (high - low) * math.exp(-1)) + 1
    assert samples == pytest.approx(ms / 1000 / (2 * math.pi) * SAMPLE_RATE, rel=0.01, abs=1)


def test_attack_and_release_each_do_something_to_speech(speech, null_db):
    x = speech(SAMPLE_RATE)
    base = compress(x)
    assert null_db(compress(x, release_ms=800.0), base) > -30
    assert null_db(compress(x, attack_ms=50.0), base) > -30


def test_makeup_is_a_gain_in_decibels(speech, null_db):
    x = speech(SAMPLE_RATE)
    assert null_db(compress(x, makeup_db=20.0), 10 * compress(x)) <= -130
    assert null_db(compress(x, makeup_db=-6.0), 10 ** (-6 / 20) * compress(x)) <= -130


def test_linked_channels_have_the_gain_of_the_loudest(speech, null_db):
    x = np.stack([speech(SAMPLE_RATE)[0], 0.5 * speech(SAMPLE_RATE, 2)[1]])
    loudest = np.abs(x).max(axis=0)
    gain = compress(loudest)[0] / np.where(loudest > 0, loudest, 1).astype(np.float64)
    y = compress(x)
    assert null_db(y, gain * x) <= -140
    first = loudest == np.abs(x[0])
    np.testing.assert_array_equal(np.abs(y[0, first]), compress(loudest)[0, first])
    assert null_db(y, by_its_equations(x, VALUES, SAMPLE_RATE)) > -40  # which follow each channel by itself


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_linked_channels_that_are_alike_are_compressed_as_one(speech, channels):
    one = speech(SAMPLE_RATE)
    np.testing.assert_array_equal(
        compress(np.repeat(one, channels, axis=0)), np.repeat(compress(one), channels, axis=0)
    )
    turned = one * np.resize([[1.0], [-1.0]], (channels, 1)).astype(np.float32)
    np.testing.assert_array_equal(compress(turned), compress(one) * np.sign(turned * one))


def test_a_silent_channel_beside_others_changes_nothing_and_stays_silent(speech):
    loud = speech(SAMPLE_RATE)[0]
    y = compress(np.stack([np.zeros_like(loud), loud]))
    np.testing.assert_array_equal(y, [np.zeros_like(loud), compress(loud)[0]])


def test_channels_that_are_not_linked_know_nothing_of_each_other(speech):
    loud, quiet = speech(SAMPLE_RATE)[0], 0.01 * speech(SAMPLE_RATE, 2)[1]
    both = np.stack([loud, quiet])
    apart = Compressor(linked=False).exact(VALUES, sample_rate=SAMPLE_RATE, channels=2)(both)
    np.testing.assert_array_equal(apart, [compress(loud)[0], compress(quiet)[0]])
    assert np.abs(compress(both)[1]).max() < 0.5 * np.abs(apart[1]).max()


@pytest.mark.parametrize("linked", [True, False])
def test_both_forms_agree_on_whether_channels_are_linked(speech, null_db, linked):
    compressor = Compressor(linked=linked)
    x = speech(SAMPLE_RATE, 3) * np.array([[1.0], [0.1], [0.5]], np.float32)
    tensors = {name: torch.tensor([value]) for name, value in VALUES.items()}
    y = compressor.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=SAMPLE_RATE)[0]
    exact = compressor.exact(VALUES, sample_rate=SAMPLE_RATE, channels=3)(x)
    assert null_db(y, exact) <= compressor.autodiff_error_db
    gain = compressor.gain_reduction(x, VALUES, sample_rate=SAMPLE_RATE)
    assert gain.shape == x.shape
    assert np.array_equal(gain[0], gain[1]) == linked


def test_gradients_pass_through_channels_that_are_not_linked():
    generator = torch.manual_seed(8)
    x = 0.5 * torch.randn(2, 3, 64, dtype=torch.float64, generator=generator)
    values = {name: torch.tensor([value] * 2, dtype=torch.float64) for name, value in VALUES.items()}

    def render(x, threshold_db):
        return Compressor(linked=False).autodiff(x, values | {"threshold_db": threshold_db}, sample_rate=1000)

    threshold = values["threshold_db"]
    assert torch.autograd.gradcheck(render, (x.requires_grad_(), threshold.requires_grad_()), eps=1e-5)


def test_linked_is_true_or_false():
    with pytest.raises(SettingsError, match="true or false, not 'yes'"):
        Compressor(linked="yes")
