import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.transfer.eq_fitting import fitted

EQ = CHAINS["studio"].effects[1]
HZ = 20 * 2 ** (np.arange(96) / 9.6)


def response_db(knobs, hz, sample_rate):
    values = {p.name: p.to_value(knob[None]) for p, knob in zip(EQ.parameters, np.float64(knobs), strict=True)}
    return EQ.response_db(values, hz, sample_rate=sample_rate)[0]


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_a_curve_that_an_equaliser_has_is_found_from_near_it(sample_rate):
    hz = HZ[: 87 if sample_rate == 24_000 else 96]
    rng = np.random.default_rng(0)
    before, after = [], []
    for _ in range(10):
        knobs = 0.2 + 0.6 * rng.random(len(EQ.parameters))
        curve = response_db(knobs, hz, sample_rate)
        start = np.clip(knobs + 0.08 * rng.standard_normal(len(knobs)), 0, 1)
        found = fitted(EQ, start, curve, hz, sample_rate=sample_rate)
        before.append(np.abs(response_db(start, hz, sample_rate) - curve).mean())
        after.append(np.abs(response_db(found, hz, sample_rate) - curve).mean())
    assert np.mean(before) > 1
    assert np.mean(after) < 0.2


def test_it_gets_no_further_from_the_curve():
    hz = HZ[:80]
    rng = np.random.default_rng(1)
    for _ in range(10):
        knobs = rng.random(len(EQ.parameters), np.float32)
        curve = 10 * rng.standard_normal(len(hz))  # no equaliser has this
        found = fitted(EQ, knobs, curve, hz, sample_rate=24_000)
        off = [np.abs(response_db(k, hz, 24_000) - curve).mean() for k in (found, knobs)]
        assert off[0] <= off[1]
        assert (found >= 0).all()
        assert (found <= 1).all()
        assert found.dtype == np.float32


def test_what_fits_stays():
    hz = HZ[:80]
    knobs = np.linspace(0.2, 0.8, len(EQ.parameters))
    curve = response_db(knobs, hz, 24_000)
    found = fitted(EQ, knobs, curve, hz, sample_rate=24_000)
    np.testing.assert_allclose(response_db(found, hz, 24_000), curve, rtol=0, atol=1e-2)
    np.testing.assert_array_equal(fitted(EQ, knobs, hz[:0], hz[:0], sample_rate=24_000), knobs)


def test_what_fits_at_the_ends_of_its_ranges_stays_there():
    hz = HZ[:80]
    knobs = np.arange(len(EQ.parameters)) % 2.0  # where least squares, which keep inside, cannot begin
    np.testing.assert_array_equal(fitted(EQ, knobs, response_db(knobs, hz, 24_000), hz, sample_rate=24_000), knobs)


def test_a_band_above_half_the_sample_rate_stays_there():
    hz = HZ[:70]
    knobs = np.full(len(EQ.parameters), 0.5)
    curve = np.where(hz > 1000, 6.0, -6.0)
    found = fitted(EQ, knobs, curve, hz, sample_rate=8000)
    unheard = [p.name == "high_shelf_f0_hz" for p in EQ.parameters]
    assert np.abs(found - knobs).max() > 0.1
    np.testing.assert_allclose(found[unheard], 0.5, atol=1e-9)
