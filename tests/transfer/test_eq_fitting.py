import numpy as np
import pytest
import torch

from fxst.chains.named import CHAINS
from fxst.models.feature_extractor import octave_centres
from fxst.transfer.eq_fitting import fitted

EQ = CHAINS["studio"].effects[1]


def response_db(knobs, hz, sample_rate):
    values = {p.name: p.to_value(knob[None]) for p, knob in zip(EQ.parameters, knobs.unbind(), strict=True)}
    return EQ.response_db(values, hz, sample_rate=sample_rate)[0]


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_a_curve_that_an_equaliser_has_is_found_from_near_it(sample_rate):
    hz = octave_centres(96).float()
    hz = hz[hz < 0.45 * sample_rate]
    rng = torch.Generator().manual_seed(0)
    before, after = [], []
    for _ in range(10):
        knobs = 0.2 + 0.6 * torch.rand(len(EQ.parameters), generator=rng)
        curve = response_db(knobs, hz, sample_rate)
        start = (knobs + 0.08 * torch.randn(len(knobs), generator=rng)).clamp(0, 1)
        found = fitted(EQ, start, curve, hz, sample_rate=sample_rate)
        before.append((response_db(start, hz, sample_rate) - curve).abs().mean().item())
        after.append((response_db(found, hz, sample_rate) - curve).abs().mean().item())
    assert np.mean(before) > 1
    assert np.mean(after) < 0.2


def test_it_gets_no_further_from_the_curve():
    hz = octave_centres(96).float()[:80]
    rng = torch.Generator().manual_seed(1)
    for _ in range(10):
        knobs = torch.rand(len(EQ.parameters), generator=rng)
        curve = 10 * torch.randn(len(hz), generator=rng)  # no equaliser has this
        found = fitted(EQ, knobs, curve, hz, sample_rate=24_000)
        off = [(response_db(k, hz, 24_000) - curve).abs().mean() for k in (found, knobs)]
        assert off[0] <= off[1]
        assert (found >= 0).all()
        assert (found <= 1).all()


def test_what_fits_stays():
    hz = octave_centres(96).float()[:80]
    knobs = torch.linspace(0.2, 0.8, len(EQ.parameters))
    curve = response_db(knobs, hz, 24_000)
    found = fitted(EQ, knobs, curve, hz, sample_rate=24_000)
    torch.testing.assert_close(response_db(found, hz, 24_000), curve, rtol=0, atol=1e-2)
    assert torch.equal(fitted(EQ, knobs, torch.zeros(0), torch.zeros(0), sample_rate=24_000), knobs)


def test_what_fits_at_the_ends_of_its_ranges_stays_there():
    hz = octave_centres(96).float()[:80]
    knobs = (torch.arange(len(EQ.parameters)) % 2).float()  # where least squares, which keep inside, cannot begin
    assert torch.equal(fitted(EQ, knobs, response_db(knobs, hz, 24_000), hz, sample_rate=24_000), knobs)
