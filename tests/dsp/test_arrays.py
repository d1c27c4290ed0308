"""What models need beside the array API standard is the same of NumPy arrays and torch tensors."""

import warnings

import numpy as np
import pytest
import torch

from fxst.dsp.arrays import constant, quantile, relu, sigmoid, softmax, split

FORMS = {"numpy": np.asarray, "torch": torch.from_numpy}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request):
    return request.param


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def drawn(*shape, scale=1.0):
    return (scale * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def same(found, expected, atol=1e-6):
    """Compare float32 arrays; neither form may turn them into doubles."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=atol)


@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("size", [1, 2, 7, 256])
def test_a_quantile_is_torchs_and_numpys(form, size, q):
    x = drawn(size, scale=30)
    found = quantile(form(x), q)
    same(found, torch.quantile(torch.from_numpy(x), q))
    same(found, np.quantile(x, q).astype(np.float32), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_shares_are_torchs_and_no_logit_overflows(form, axis):
    for x in (drawn(5, 9), drawn(5, 9, scale=1e4), np.full((2, 3), -3e38, np.float32)):
        same(softmax(form(x), axis), torch.softmax(torch.from_numpy(x), axis))


def test_the_logistic_function_is_torchs_and_no_logit_overflows(form):
    x = np.concatenate((np.linspace(-20, 20, 401), [-3e38, -1e3, 1e3, 3e38])).astype(np.float32)
    same(sigmoid(form(x)), torch.sigmoid(torch.from_numpy(x)), atol=1.2e-7)


def test_the_rectifier_is_torchs(form):
    x = np.concatenate((drawn(99), [0.0, -0.0])).astype(np.float32)
    same(relu(form(x)), torch.relu(torch.from_numpy(x)), atol=0)


def test_columns_are_cut_as_torch_cuts_them(form):
    x, sizes = drawn(4, 12), [5, 0, 1, 6]
    parts = split(form(x), sizes)
    assert len(parts) == len(sizes)
    for found, expected in zip(parts, torch.split(torch.from_numpy(x), sizes, dim=1), strict=True):
        assert found.shape == expected.shape
        same(found, expected, atol=0)


def test_fixed_values_become_arrays_of_the_kind_of_others(form):
    values = drawn(6)
    x = form(drawn(2))
    assert type(constant(values, x)) is type(x)
    same(constant(values, x), values, atol=0)
