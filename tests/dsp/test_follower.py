import sys
from types import SimpleNamespace

import numpy as np
import pytest

import fxst.dsp.follower
from fxst.dsp.follower import Follower

ATTACK, RELEASE = 0.9, 0.999


def follow(u, *, begin=0.0):
    return Follower(ATTACK, RELEASE, begin=begin, channels=len(u))(u)


def bursts(channels):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((channels, 3000)) * np.repeat(rng.random((channels, 30)) ** 4, 100, axis=1)
    return np.abs(x).astype(np.float32)


@pytest.fixture(params=["python", "compiled"])
def way(request, monkeypatch):
    """Follow in Python alone, or by the compiled loop alone."""
    if request.param == "compiled":
        import numba  # noqa: F401

        monkeypatch.setattr("fxst.dsp.follower.LOADING_PAYS", -1)
    else:
        monkeypatch.setattr("fxst.dsp.follower._compiled", lambda: None)


@pytest.mark.usefixtures("way")
def test_it_follows_as_the_differentiable_one_does():
    import torch

    from fxst.dsp.ballistics import envelope

    u = bursts(3)
    coefficients = (torch.full((1,), c, dtype=torch.float64) for c in (ATTACK, RELEASE))
    theirs = envelope(torch.from_numpy(u)[None].double(), *coefficients)[0].numpy()
    np.testing.assert_allclose(follow(u), theirs, rtol=1e-12)


def test_python_and_the_compiled_loop_follow_alike_to_the_last_bit(monkeypatch):
    import numba  # noqa: F401

    results = []
    for pays in (10**9, 4000, -1):  # by Python, by both in turn, by the compiled loop
        monkeypatch.setattr(Follower, "_followed", 0)
        monkeypatch.setattr("fxst.dsp.follower.LOADING_PAYS", pays)
        monkeypatch.setattr("fxst.dsp.follower.sys", SimpleNamespace(modules={}))
        loaded = []
        real = fxst.dsp.follower._compiled.__wrapped__
        monkeypatch.setattr("fxst.dsp.follower._compiled", lambda loaded=loaded, real=real: loaded.append(1) or real())
        one = Follower(ATTACK, RELEASE, begin=0.3, channels=2)
        results.append(np.concatenate([one(part) for part in np.split(bursts(2), 3, axis=1)], axis=1))
        assert len(loaded) == {10**9: 0, 4000: 1, -1: 3}[pays]
        monkeypatch.undo()
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_without_numba_python_follows_however_much_it_is(monkeypatch):
    expected = follow(bursts(1))
    monkeypatch.setitem(sys.modules, "fxst.dsp.follower_loops", None)
    monkeypatch.setattr("fxst.dsp.follower._compiled", fxst.dsp.follower._compiled.__wrapped__)
    monkeypatch.setattr("fxst.dsp.follower.LOADING_PAYS", -1)
    np.testing.assert_array_equal(follow(bursts(1)), expected)


@pytest.mark.usefixtures("way")
def test_it_begins_where_it_is_told_and_goes_on_from_block_to_block():
    u = bursts(2)
    whole = follow(u, begin=0.5)
    first = float(u[0, 0])
    assert first < 0.5
    assert whole[0, 0] == pytest.approx(first + RELEASE * (0.5 - first), rel=1e-12)
    one = Follower(ATTACK, RELEASE, begin=0.5, channels=2)
    parts = [one(part) for part in np.split(u, [1, 2, 700, 700, 2999], axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
