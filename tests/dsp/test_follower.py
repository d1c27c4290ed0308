import numpy as np
import pytest
import torch

from fxst.dsp.ballistics import envelope
from fxst.dsp.follower import Follower

ATTACK, RELEASE = 0.9, 0.999


def follow(u, *, begin=0.0):
    return Follower(ATTACK, RELEASE, begin=begin, channels=len(u))(u)


def bursts(channels):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((channels, 3000)) * np.repeat(rng.random((channels, 30)) ** 4, 100, axis=1)
    return np.abs(x).astype(np.float32)


def test_it_follows_as_the_differentiable_one_does():
    u = bursts(3)
    coefficients = (torch.full((1,), c, dtype=torch.float64) for c in (ATTACK, RELEASE))
    theirs = envelope(torch.from_numpy(u)[None].double(), *coefficients)[0].numpy()
    np.testing.assert_allclose(follow(u), theirs, rtol=1e-12)


def test_it_begins_where_it_is_told_and_goes_on_from_block_to_block():
    u = bursts(2)
    whole = follow(u, begin=0.5)
    first = float(u[0, 0])
    assert first < 0.5
    assert whole[0, 0] == pytest.approx(first + RELEASE * (0.5 - first), rel=1e-12)
    one = Follower(ATTACK, RELEASE, begin=0.5, channels=2)
    parts = [one(part) for part in np.split(u, [1, 2, 700, 700, 2999], axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
