from contextlib import suppress

import numpy as np
import pytest

from fxst.effects import Reverb

with suppress(ImportError):  # the extra train
    import torch

VALUES = {"room_size": 0.6, "damping": 0.4, "wet_level": 0.5, "dry_level": 0.4, "width": 0.7}


def reverberate(x, sample_rate=24_000, **values):
    return Reverb().exact(VALUES | values, sample_rate=sample_rate, channels=len(x))(x)


def reverberate_in_torch(x, sample_rate=24_000, **values):
    tensors = {name: torch.tensor([value]) for name, value in (VALUES | values).items()}
    return Reverb().autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)[0].numpy()


def impulse(channels, time):
    x = np.zeros((channels, time), np.float32)
    x[0, 0] = 1
    return x


class Delay:
    """A circular buffer: what is written comes out `samples` later."""

    def __init__(self, samples):
        self.buffer, self.index = [0.0] * samples, 0

    def read(self):
        return self.buffer[self.index]

    def write(self, value):
        self.buffer[self.index] = value
        self.index = (self.index + 1) % len(self.buffer)


def freeverb(x, values, sample_rate):
    """Freeverb as it is usually told, sample by sample in float64: delay lines, and no transfer function."""
    feedback, damp = 0.7 + 0.28 * values["room_size"], 0.4 * values["damping"]
    wet, dry = 3 * values["wet_level"], 2 * values["dry_level"]
    combs_at_44100 = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)
    allpasses_at_44100 = (556, 441, 341, 225)
    out = []
    for spread in (0, 23)[: len(x)]:
        combs = [Delay(sample_rate * (d + spread) // 44_100) for d in combs_at_44100]
        allpasses = [Delay(sample_rate * (d + spread) // 44_100) for d in allpasses_at_44100]
        lowpassed = [0.0] * len(combs)
        row = []
        for sample in 0.015 * x.astype(np.float64).sum(0):
            total = 0.0
            for i, comb in enumerate(combs):
                echo = comb.read()
                lowpassed[i] = (1 - damp) * echo + damp * lowpassed[i]
                comb.write(sample + feedback * lowpassed[i])
                total += echo
            for allpass in allpasses:
                delayed = allpass.read()
                allpass.write(total + 0.5 * delayed)
                total = delayed - total
            row.append(total)
        out.append(row)
    tank = np.array(out)
    if len(x) == 1:
        # JUCE's mono reverb takes the wet gain of its own side only.
        return dry * x + 0.5 * wet * (1 + values["width"]) * tank
    own, other = 0.5 * wet * (1 + values["width"]), 0.5 * wet * (1 - values["width"])
    return dry * x + own * tank + other * tank[::-1]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate", [8000, 24_000])
def test_both_forms_are_freeverb(channels, sample_rate, noise, null_db):
    x = noise(sample_rate, channels, seconds=0.25)
    slow = freeverb(x, VALUES, sample_rate)
    assert null_db(reverberate(x, sample_rate), slow) <= -100
    assert null_db(reverberate_in_torch(x, sample_rate), slow) <= -100


@pytest.mark.parametrize("render", [reverberate, reverberate_in_torch])
def test_half_the_dry_level_and_nothing_wet_is_unity(render, speech, null_db):
    x = speech(24_000, 2)
    assert null_db(render(x, wet_level=0.0, dry_level=0.5), x) <= -120


@pytest.mark.parametrize("render", [reverberate, reverberate_in_torch])
def test_it_is_linear_and_time_invariant(render, speech, noise, null_db):
    a, b = speech(24_000, 2), noise(24_000, 2)
    assert null_db(render(a + 0.5 * b), render(a) + 0.5 * render(b)) <= -110
    later = np.pad(a, ((0, 0), (1000, 0)))[:, : a.shape[1]]
    assert null_db(render(later)[:, 1000:], render(a)[:, :-1000]) <= -110


def test_the_first_echo_comes_when_the_shortest_comb_lets_it():
    sample_rate = 44_100
    y = reverberate(impulse(1, 2000), sample_rate, dry_level=0.0)[0]
    assert np.flatnonzero(abs(y) > 1e-6)[0] == 1116


def tail_seconds(sample_rate=24_000, **values):
    """Time until the energy still to come has fallen by 60 dB."""
    h = reverberate(impulse(1, 12 * sample_rate), dry_level=0.0, **values)[0].astype(np.float64)
    left = np.cumsum((h**2)[::-1])[::-1]
    return np.argmax(left < 1e-6 * left[0]) / sample_rate


def test_a_larger_room_rings_longer_and_a_damped_one_shorter():
    lengths = [tail_seconds(room_size=size) for size in (0.0, 0.5, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[-1] > 2 * lengths[0]
    assert tail_seconds(damping=1.0) < 0.9 * tail_seconds(damping=0.0)


def test_no_width_is_the_same_wet_signal_on_both_sides(speech, null_db):
    y = reverberate(speech(24_000, 2), dry_level=0.0, width=0.0)
    assert null_db(y[0], y[1]) <= -110
    wide = reverberate(speech(24_000, 2), dry_level=0.0, width=1.0)
    assert null_db(wide[0], wide[1]) > -10


def test_more_channels_than_two_are_reverberated_each_on_its_own(noise):
    x = noise(24_000, 3)
    y = reverberate(x)
    for channel in range(3):
        np.testing.assert_array_equal(y[channel], reverberate(x[channel : channel + 1])[0])
