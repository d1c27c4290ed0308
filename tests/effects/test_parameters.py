import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxst.effects.parameters import Parameter
from fxst.errors import SettingsError

with suppress(ImportError):  # the extra train
    import torch

NUMBERS = st.floats(-1e6, 1e6).map(lambda n: round(n, 6))
POSITIVE = st.floats(1e-3, 1e6)
KNOBS = st.floats(0, 1)


@st.composite
def parameters(draw):
    scale = draw(st.sampled_from(["linear", "log"]))
    low, high = sorted(draw(st.lists(POSITIVE if scale == "log" else NUMBERS, min_size=2, max_size=2)))
    if high - low < 1e-3 * max(abs(low), abs(high), 1):
        high = low + 1e-3 * max(abs(low), abs(high), 1)
    return Parameter("x", low, high, low, scale=scale)


@given(parameters())
def test_both_ends_are_exact(p):
    assert p.to_value(0.0) == p.minimum
    assert p.to_value(1.0) == p.maximum
    assert p.to_knob(p.minimum) == 0
    assert p.to_knob(p.maximum) == 1
    ends = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(p.to_value(ends), torch.tensor([p.minimum, p.maximum]))


@given(parameters(), KNOBS)
def test_value_and_knob_are_inverse(p, knob):
    assert p.to_knob(p.to_value(knob)) == pytest.approx(knob, abs=1e-9)
    value = p.to_value(knob)
    assert p.to_value(p.to_knob(value)) == pytest.approx(value, rel=1e-9, abs=1e-9 * (p.maximum - p.minimum))


@given(parameters(), KNOBS, KNOBS)
def test_a_knob_turned_up_gives_more_and_never_leaves_the_range(p, a, b):
    low, high = sorted((a, b))
    slack = 1e-9 * max(abs(p.minimum), abs(p.maximum))
    assert p.minimum - slack <= p.to_value(low) <= p.to_value(high) + slack
    assert p.to_value(high) <= p.maximum + slack
    if high - low > 1e-6:
        assert p.to_value(low) < p.to_value(high)


@given(parameters())
def test_the_slope_is_finite_and_not_zero_on_the_whole_knob(p):
    knobs = torch.linspace(0, 1, 11, dtype=torch.float64, requires_grad=True)
    p.to_value(knobs).sum().backward()
    assert knobs.grad.isfinite().all()
    assert (knobs.grad > 0).all()


@given(parameters(), NUMBERS)
def test_any_value_has_a_knob_on_0_to_1(p, value):
    assert 0 <= p.to_knob(value) <= 1


def test_the_middle_of_a_knob_is_the_mean_of_its_scale():
    assert Parameter("x", -20.0, 10.0, 0.0).to_value(0.5) == -5
    assert Parameter("x", 20.0, 2000.0, 20.0, scale="log").to_value(0.5) == pytest.approx(200)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_floats_arrays_and_tensors_agree(scale):
    p = Parameter("x", 0.5, 300.0, 1.0, scale=scale)
    knobs = np.linspace(0, 1, 7)
    values = [p.to_value(float(knob)) for knob in knobs]
    np.testing.assert_allclose(p.to_value(knobs), values)
    np.testing.assert_allclose(p.to_value(torch.from_numpy(knobs)).numpy(), values)


def test_a_range_of_one_value_is_a_constant_without_a_knob():
    constant = Parameter("x", 3.0, 3.0, 3.0)
    assert constant.constant
    assert constant.to_knob(3.0) == 0
    assert not Parameter("x", 3.0, 4.0, 3.0).constant


def test_restricting_moves_the_default_into_the_range():
    p = Parameter("x", 0.0, 10.0, 5.0, "dB")
    assert p.restrict(6.0, 8.0) == Parameter("x", 6.0, 8.0, 6.0, "dB")
    assert p.restrict(1.0, 2.0).default == 2


@pytest.mark.parametrize(
    "given",
    [
        {"minimum": math.nan},
        {"maximum": math.inf},
        {"minimum": 2.0},  # above the default
        {"maximum": 0.5},  # below it
        {"minimum": "0"},
        {"scale": "cubic"},
        {"scale": "log"},  # from 0
        {"minimum": -1.0, "scale": "log"},
        {"name": 3},
        {"unit": None},
    ],
    ids=str,
)
def test_what_is_no_range_is_refused(given):
    with pytest.raises(SettingsError):
        Parameter(**({"name": "x", "minimum": 0.0, "maximum": 2.0, "default": 1.0} | given))


def test_ends_that_changed_places_are_told_of_as_such():
    with pytest.raises(SettingsError, match=r"minimum 2\.0 is above the maximum 1\.0"):
        Parameter("x", 2.0, 1.0, 2.0)
