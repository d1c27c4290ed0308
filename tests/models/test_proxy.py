import math

import numpy as np
import pytest
import torch
from scipy.signal import hilbert

from fxst.models.proxy import ProxyModel, ProxyModelConfig

RATE = 24_000
SMALL = {"hidden": 8, "tone_bands": 8, "echo_samples": 301, "echo_kernels": 3, "gain_channels": 5, "gain_layers": 2}
PARTS = {
    "all": {},
    "tone": {"echo_kernels": 0, "gain_head": 0},
    "echoes": {"tone_bands": 0, "gain_head": 0},
    "dynamics": {"tone_bands": 0, "echo_kernels": 0},
    "waveshape": {"tone_bands": 0, "echo_kernels": 0, "gain_layers": 0},
}


def shaken(*, n_knobs=2, seed=0, **sizes):
    """A proxy of random weights that does something."""
    torch.manual_seed(seed)
    model = ProxyModel(ProxyModelConfig(n_knobs, RATE, **SMALL | sizes)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return model


@pytest.fixture
def x():
    return 0.3 * torch.randn(2, 1, 500, generator=torch.manual_seed(1), dtype=torch.float64)


@pytest.fixture(params=PARTS.values(), ids=PARTS)
def model(request):
    return shaken(**request.param)


def test_an_untrained_proxy_is_nearly_a_wire(x):
    model = ProxyModel(ProxyModelConfig(2, RATE, **SMALL | {"echo_kernels": 0})).double()
    torch.testing.assert_close(model(x, torch.rand(2, 2).double()), x)


def test_audio_and_knobs_have_the_gradient_that_small_differences_show(model, x):
    x = x[:, :, :60].clone().requires_grad_()
    knobs = torch.tensor([[0.3, 0.8], [0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (x, knobs))


def test_a_proxy_that_was_used_before_can_be_trained_after(x):
    """`fxst apply` and validation compute without gradients, and what they leave in memory is used again."""
    model, knobs = shaken(tone_bands=11), torch.tensor([[0.3, 0.8]] * 2, dtype=torch.float64)
    with torch.inference_mode():
        model(x, knobs)
    model(x, knobs.requires_grad_()).square().sum().backward()
    assert (knobs.grad != 0).all()


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 1e-6, 100.0])
def test_gradients_are_finite_at_the_rails(model, x, end, level):
    x = (level * x).requires_grad_()
    knobs = torch.full((2, 2), end, dtype=torch.float64, requires_grad=True)
    model(x, knobs).square().sum().backward()
    assert x.grad.isfinite().all()
    assert knobs.grad.isfinite().all()


def test_the_knobs_of_one_recording_are_not_those_of_another(model, x):
    knobs = torch.tensor([[0.3, 0.8], [0.5, 0.1]], dtype=torch.float64)
    both = model(x, knobs)
    for row in range(2):
        torch.testing.assert_close(both[row : row + 1], model(x[row : row + 1], knobs[row : row + 1]))
    assert not torch.allclose(model(x[:1], knobs[:1]), model(x[:1], knobs[1:]))


def test_channels_are_processed_one_by_one(model, x):
    knobs = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    stereo = model(x.view(1, 2, 500), knobs)
    torch.testing.assert_close(stereo[0, :1], model(x[:1], knobs)[0])
    torch.testing.assert_close(stereo[0, 1:], model(x[1:], knobs)[0])


@pytest.mark.parametrize("part", ["all", "tone", "echoes", "dynamics", "waveshape"])
def test_what_comes_later_changes_nothing_before_it(part, x):
    """Causal, but for the few samples of one step of the convolutions that follow the level."""
    model, knobs = shaken(**PARTS[part]), torch.tensor([[0.3, 0.8]] * 2, dtype=torch.float64)
    changed = x.clone()
    changed[..., 250:] *= -3
    ahead = model.config.gain_hop if part in ("all", "dynamics") else 0
    before = slice(0, 250 - ahead)
    # An FFT's rounding knows no before and after.
    torch.testing.assert_close(model(x, knobs)[..., before], model(changed, knobs)[..., before], atol=1e-12, rtol=0)
    assert not torch.allclose(model(x, knobs)[..., 250:], model(changed, knobs)[..., 250:])


def test_a_shorter_recording_is_rendered_like_the_beginning_of_a_longer_one(model, x):
    knobs = torch.tensor([[0.3, 0.8]] * 2, dtype=torch.float64)
    whole = model(x, knobs)
    for time in (1, 7, 237):
        ahead = model.config.gain_hop if model.gain is not None and model.config.gain_layers else 0
        sure = max(0, time - ahead)
        torch.testing.assert_close(model(x[..., :time], knobs)[..., :sure], whole[..., :sure], atol=1e-12, rtol=0)


@pytest.mark.parametrize("part", ["tone", "echoes"])
def test_filters_are_linear_and_time_invariant(part, x):
    model, knobs = shaken(**PARTS[part]), torch.tensor([[0.3, 0.8]] * 2, dtype=torch.float64)
    y = model(x, knobs)
    torch.testing.assert_close(model(3 * x + x.flip(0), knobs), 3 * y + model(x.flip(0), knobs))
    later = torch.nn.functional.pad(x, (40, 0))[..., :500]
    torch.testing.assert_close(model(later, knobs)[..., 40:], y[..., :460])


def test_a_tone_curve_is_a_minimum_phase_filter_of_that_curve():
    """Its phase is the Hilbert transform of its log magnitude; SciPy's transform is the second opinion."""
    model = shaken(**PARTS["tone"])
    click = torch.zeros(1, 1, 4096, dtype=torch.float64)
    click[..., 0] = 1
    kernel = model(click, torch.tensor([[0.3, 0.8]], dtype=torch.float64))[0, 0].detach().numpy()
    response = np.fft.fft(kernel, 1 << 15)
    phase = -np.imag(hilbert(np.log(np.abs(response))))
    np.testing.assert_allclose(np.unwrap(np.angle(response)), phase, atol=1e-3)


def test_a_waveshape_is_of_the_moment_alone(x):
    model, knobs = shaken(**PARTS["waveshape"]), torch.tensor([[0.3, 0.8]] * 2, dtype=torch.float64)
    order = torch.randperm(500, generator=torch.manual_seed(0))
    torch.testing.assert_close(model(x, knobs)[..., order], model(x[..., order], knobs))
    torch.testing.assert_close(model(-x, knobs), -model(x, knobs))


def test_a_level_is_heard_for_as_long_as_it_is_held():
    """A click long before must still be able to change the gain: the meters carry it beyond the convolutions."""
    model = shaken(**PARTS["dynamics"] | {"gain_holds": 2})
    with torch.no_grad():
        model.gain.holds.log_fall.fill_(math.log(1e-4))
    x = torch.full((1, 1, 4000), 0.01, dtype=torch.float64)
    clicked = x.clone()
    clicked[..., 100] = 1
    knobs = torch.tensor([[0.3, 0.8]], dtype=torch.float64)
    assert (model(x, knobs) - model(clicked, knobs))[..., 3900:].abs().min() > 1e-6
