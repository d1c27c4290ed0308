from contextlib import suppress

import numpy as np
import pytest

from fxst.effects import StereoWidth

with suppress(ImportError):  # the extra train
    import torch

WIDTHS = [0.0, 0.25, 0.9, 1.3, 2.0]


def widen(x, width):
    return StereoWidth().exact({"width": width}, sample_rate=44_100, channels=len(x))(x)


def widen_in_torch(x, width):
    values = {"width": torch.tensor([width])}
    return StereoWidth().autodiff(torch.from_numpy(x)[None], values, sample_rate=44_100)[0].numpy()


def mid_and_side(x):
    left, right = x.astype(np.float64)
    return (left + right) / 2, (left - right) / 2


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("render", [widen, widen_in_torch])
def test_the_side_is_scaled_and_the_mid_stays(render, width, speech, null_db):
    x = speech(44_100, 2)
    (mid, side), (new_mid, new_side) = mid_and_side(x), mid_and_side(render(x, width))
    assert null_db(new_mid, mid) <= -130
    assert np.square(new_side).sum() == pytest.approx(width**2 * np.square(side).sum(), rel=1e-6)
    np.testing.assert_allclose(new_side, width * side, atol=1e-7)


@pytest.mark.parametrize("render", [widen, widen_in_torch])
@pytest.mark.parametrize(("channels", "width"), [(2, 1.0), (1, 0.3), (3, 2.0), (6, 0.0)])
def test_nothing_changes_at_one_nor_without_two_channels(render, channels, width, noise):
    x = noise(44_100, channels)
    x[:, :100] = -0.0
    assert render(x, width).tobytes() == x.tobytes()


def test_no_width_is_mono_to_the_bit(noise):
    left, right = widen(noise(44_100, 2), 0.0)
    np.testing.assert_array_equal(left, right)


def test_widths_multiply(speech, null_db):
    x = speech(44_100, 2)
    assert null_db(widen(widen(x, 0.5), 1.6), widen(x, 0.8)) <= -130
