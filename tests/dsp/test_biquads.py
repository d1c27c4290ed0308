import numpy as np
import pytest
import torch
from scipy.signal import sosfilt

from fxst.dsp.biquads import LANES, cascade


def stable(generator, rows, sections):
    b = torch.randn(rows, sections, 3, dtype=torch.float64, generator=generator)
    radius, angle = 0.9 * torch.rand(2, rows, sections, dtype=torch.float64, generator=generator)
    return b, torch.stack([-2 * radius * torch.cos(np.pi * angle), radius**2], -1)


@pytest.mark.parametrize("rows", [1, LANES, LANES + 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_row_and_channel_is_scipys_cascade(rows, channels):
    generator = torch.manual_seed(0)
    b, a = stable(generator, rows, 3)
    x = torch.randn(rows, channels, 200, generator=generator, dtype=torch.float64)
    y = cascade(x, b, a)
    graded = cascade(x, b.clone().requires_grad_(), a)
    assert torch.equal(y, graded)
    for row in range(rows):
        sos = np.concatenate([b[row], np.ones((3, 1)), a[row]], axis=1)
        np.testing.assert_allclose(y[row], sosfilt(sos, x[row]), atol=1e-12 * float(y[row].abs().max()))


def test_gradients_reach_audio_and_every_coefficient_of_many_sections_and_rows():
    generator = torch.manual_seed(1)
    b, a = stable(generator, LANES + 1, 3)
    x = torch.randn(LANES + 1, 1, 12, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(cascade, (x.requires_grad_(), b.requires_grad_(), a.requires_grad_()))


def test_single_precision_audio_is_filtered_in_double():
    # A pole so near to z = 1 that single precision would lose it.
    b, a = torch.tensor([[[1e-9, 2e-9, 1e-9]]]).double(), torch.tensor([[[-1.9999, 0.99990001]]]).double()
    x = torch.ones(1, 1, 20_000)
    want = sosfilt(np.concatenate([b[0], np.ones((1, 1)), a[0]], axis=1), x[0].double().numpy())
    np.testing.assert_allclose(cascade(x, b, a)[0], want, rtol=1e-6)
