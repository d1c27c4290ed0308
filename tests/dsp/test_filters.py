import math

import numpy as np
import pytest
import torch
from scipy.signal import bilinear, freqz, lfilter, sosfilt

from fxst.dsp import filters


def sections(generator, count, *, slow=0.05, fast=0.5):
    """Stable sections of the bilinear variable, (count, 3) over (count, 3), in float64."""
    k = slow * (fast / slow) ** torch.rand(count, 1, generator=generator, dtype=torch.float64)
    q = 0.5 + torch.rand(count, 1, generator=generator, dtype=torch.float64)
    numerator = 0.5 + torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return numerator, torch.cat([k * k, k / q, torch.ones_like(k)], 1)


def second_order_sections(numerator, denominator):
    """The same for SciPy, by SciPy's own bilinear transform (s = 2 fs (1 - 1/z) / (1 + 1/z), with fs = 1/2)."""
    return np.array(
        [np.concatenate(bilinear(n.flip(0), d.flip(0), fs=0.5)) for n, d in zip(numerator, denominator, strict=True)]
    )


def test_decibels_are_those_of_the_definition():
    gain = torch.tensor([0.001, 0.5, 1.0, 10.0], dtype=torch.float64)
    db = torch.tensor([-60.0, -6.020599913279624, 0.0, 20.0], dtype=torch.float64)  # 20 log10, and not 20 ln
    torch.testing.assert_close(filters.to_gain(db), gain)


def test_transform_sizes_are_large_enough_even_fast_and_near():
    for n in [*range(1, 300), 12_720, 65_536, 2**20 + 1]:
        size = filters.fast_fft_size(n)
        assert size >= n
        assert size % 2 == 0
        assert size <= max(2, 1.25 * n) + 1
        odd = size // (size & -size)
        assert odd in (1, 3, 5, 9, 15)


FORMS = [filters.filter_sections, filters.filter_sections_sampled]  # on a processor the first is the recursion


@pytest.mark.parametrize(("form", "error"), list(zip(FORMS, (1e-12, 1e-5), strict=True)))
def test_sections_are_scipys(form, error):
    generator = torch.manual_seed(0)
    for _ in range(10):
        numerator, denominator = sections(generator, 4)
        x = torch.randn(1, 2, 500, dtype=torch.float64, generator=generator)
        y = form(x, numerator[None], denominator[None])
        recursion = sosfilt(second_order_sections(numerator, denominator), x.numpy(), axis=-1)
        np.testing.assert_allclose(y.numpy(), recursion, atol=error * abs(recursion).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("time", [1, 2, 3, 4, 8, 9])
def test_gradients_of_sections_are_right_for_signals_of_any_length(time, form):
    # Poles near z = 0 ring for 5 samples, so that the transform is hardly longer than the signal.
    generator = torch.manual_seed(1)
    numerator = 0.5 + torch.rand(2, 1, 3, dtype=torch.float64, generator=generator)
    denominator = torch.tensor([0.9, 1.9, 1.0], dtype=torch.float64).repeat(2, 1, 1)
    x = torch.randn(2, 2, time, dtype=torch.float64, generator=generator)
    inputs = (x.requires_grad_(), numerator.requires_grad_(), denominator.requires_grad_())
    assert torch.autograd.gradcheck(form, inputs)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("time", [1, 6, 7])
def test_a_section_that_does_not_ring_still_has_its_two_zeros(time, form):
    # The numerator alone, over (1 + s)^2, which has both poles at z = 0: a filter of three taps.
    b, _ = bilinear([0.5, 2.0, 3.0], [1.0, 2.0, 1.0], fs=0.5)
    x = torch.randn(1, 1, time, dtype=torch.float64, generator=torch.manual_seed(4))
    numerator, denominator = (torch.tensor([[c]], dtype=torch.float64) for c in ([3.0, 2.0, 0.5], [1.0, 2.0, 1.0]))
    y = form(x, numerator, denominator)
    np.testing.assert_allclose(y.numpy(), lfilter(b, [1], x.numpy()), atol=1e-12)


@pytest.mark.parametrize(
    ("denominator", "left"),
    [
        ((1e-4, 1.4e-2, 1.0), 5e-6),  # a complex pair, which starts late
        ((1e-6, 0.2, 1.0), 1e-6),  # real, the slow one near 0 Hz
        ((1000.0, 1200.0, 1.0), 1e-6),  # real, the slow one near Nyquist
        ((1e-4, 2e-2, 1.0), 5e-5),  # a double one, which falls as n exp(-n)
    ],
)
def test_a_section_has_rung_down_when_it_says(denominator, left):
    b, a = bilinear([1.0], denominator[::-1], fs=0.5)
    count = filters.decay_samples(torch.tensor(denominator).view(1, 1, 3))
    impulse = np.zeros(4 * count)
    impulse[0] = 1
    h = abs(lfilter(b, a, impulse))
    assert h[count:].max() <= 1.1 * left * h.max()
    assert h[count // 2 :].max() > 10 * left * h[5:].max()  # and not much longer than needed


def test_sections_that_ring_alike_ring_longer_together():
    one = torch.tensor([1e-4, 1.4e-2, 1.0]).view(1, 1, 3)
    far = torch.tensor([1e-1, 4e-1, 1.0]).view(1, 1, 3)
    alone = filters.decay_samples(one)
    assert filters.decay_samples(torch.cat([one, far], 1)) == pytest.approx(alone, rel=0.02)
    assert 1.5 * alone < filters.decay_samples(one.repeat(1, 6, 1)) < 2.5 * alone


def test_a_response_of_one_pole_is_its_recursion():
    # Nearly a minute of ringing at 8 kHz, through a transform of half a second.
    pole, time = 0.99998, 2000
    x = torch.randn(2, 1, time, dtype=torch.float64, generator=torch.manual_seed(2))
    y = filters.filter_by_response(x, lambda z_inverse: (1 / (1 - pole * z_inverse))[None, None, None])
    np.testing.assert_allclose(y.numpy(), lfilter([1], [1, -pole], x.numpy(), axis=-1), atol=1e-7)


def test_a_response_is_a_matrix_over_channels():
    def cross_over(z_inverse):
        delay, none = z_inverse**3, torch.zeros_like(z_inverse)
        return torch.stack([torch.stack([none, delay]), torch.stack([2 * torch.ones_like(delay), none])])[None]

    x = torch.randn(1, 2, 100, generator=torch.manual_seed(3))
    y = filters.filter_by_response(x, cross_over)
    torch.testing.assert_close(y[0, 0, 3:], x[0, 1, :-3])
    torch.testing.assert_close(y[0, 1], 2 * x[0, 0])
    assert y[0, 0, :3].abs().max() < 1e-6
    assert y.dtype == x.dtype


def test_the_sections_convention_is_the_bilinear_transform():
    # n0 + n1 s + n2 s^2 at s = j tan(w / 2): what the module says in its comment, against SciPy's response.
    numerator, denominator = (0.3, 0.2, 0.7), (0.5, 0.9, 1.0)
    b, a = bilinear(numerator[::-1], denominator[::-1], fs=0.5)
    w, h = freqz(b, a, worN=[0.1, 1.0, 2.5])
    s = 1j * np.tan(w / 2)
    np.testing.assert_allclose(h, np.polyval(numerator[::-1], s) / np.polyval(denominator[::-1], s))
    impulse = torch.zeros(1, 1, 4096, dtype=torch.float64)
    impulse[..., 0] = 1
    n, d = (torch.tensor(c, dtype=torch.float64).view(1, 1, 3) for c in (numerator, denominator))
    y = filters.filter_sections(impulse, n, d)[0, 0].numpy()
    response = [np.sum(y * np.exp(-1j * frequency * np.arange(4096))) for frequency in w]
    np.testing.assert_allclose(response, h, rtol=1e-6)
    assert math.isclose(abs(h[0]), abs(response[0]), rel_tol=1e-6)
