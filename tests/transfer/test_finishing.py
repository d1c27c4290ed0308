"""What of an end is kept, and how far up or down a recording goes."""

from types import SimpleNamespace

import numpy as np
import pytest

from fxst.audio import LoudnessMeter
from fxst.dsp.loudness import loudness
from fxst.transfer.finishing import UNTIL_SILENT, ArrayShape, Finish, Finisher, rendered


class Echo:
    """A chain of one echo, half as loud each time."""

    def __init__(self, seconds):
        self._seconds = seconds

    def exact(self, table, *, sample_rate, channels, layout):
        held = np.zeros((channels, round(self._seconds * sample_rate)), np.float32)

        def process(block):
            nonlocal held
            y = np.empty_like(block)
            for n in range(block.shape[1]):
                y[:, n] = block[:, n] + 0.5 * held[:, 0]
                held = np.concatenate([held[:, 1:], y[:, n : n + 1]], axis=1)
            return y

        return process


def kept(seconds, sample_rate, **options):
    table, info = SimpleNamespace(chain=Echo(seconds)), ArrayShape(sample_rate, 1)
    click = np.zeros((1, sample_rate), np.float32)
    click[0, -1] = 1.0
    blocks = list(rendered([click], table, info, Finish(tail_seconds=UNTIL_SILENT), **options))
    assert all(block.size for block in blocks)
    return np.concatenate(blocks, axis=1)[0]


@pytest.mark.parametrize("sample_rate", [10, 100, 1000])
def test_echoes_are_kept_to_the_last_that_is_heard_whatever_the_rate(sample_rate):
    y = kept(1.5, sample_rate)
    # Fourteen halvings are 84.3 dB, and fifteen 90.3.
    assert len(y) == sample_rate + 14 * round(1.5 * sample_rate)
    assert y[-1] == 2.0**-14


def test_what_is_turned_up_afterwards_is_heard_for_longer():
    assert kept(1.5, 100, gain_db=12.0)[-1] == 2.0**-16
    assert kept(1.5, 100, gain_db=-12.0)[-1] == 2.0**-12


def test_no_tail_is_longer_than_half_a_minute():
    assert len(kept(2.9, 10, gain_db=100.0)) == 10 * (1 + 29)  # ten echoes, and the eleventh is too late


def test_what_has_its_loudness_is_not_finished_again(noise):
    x = noise(24_000, 1, 4)
    finisher = Finisher(Finish(loudness=-18.0, ceiling_db=-9.0), ArrayShape(24_000, 1), floats=False)
    finisher.measure([x], LoudnessMeter(sample_rate=24_000, channels=1))
    reached, again = [], True
    while again:
        reached.append(loudness(np.concatenate(list(finisher.finish([x])), axis=1), sample_rate=24_000))
        again = finisher.misses_loudness()
    assert len(reached) > 1  # the limiter takes some of it
    assert max(reached[:-1]) < -18.05 <= reached[-1]
    assert reached == sorted(reached)
