import pytest
import torch

import fxst.gradients
from fxst.chains.named import CHAINS
from fxst.gradients import METHODS, AutodiffRenderer, MethodOptions, Renderer, make_renderer


def test_every_renderer_is_a_method_that_can_be_asked_for():
    public = {
        kind
        for name in fxst.gradients.__all__
        if isinstance(kind := getattr(fxst.gradients, name), type) and issubclass(kind, Renderer)
    } - {Renderer}
    options = MethodOptions()
    made = {type(make_renderer(name, CHAINS["eq-comp"], sample_rate=24_000, options=options)) for name in METHODS}
    assert made == public


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
def test_autodiff_renders_the_chain_in_training_and_out_of_it(chain, speech):
    renderer = AutodiffRenderer(chain)
    x = torch.from_numpy(speech(24_000)).repeat(2, 1, 1)
    knobs = torch.rand(2, len(chain.knobs), generator=torch.manual_seed(0))
    expected = chain.autodiff(x, knobs, sample_rate=24_000)
    for mode in (True, False):
        torch.testing.assert_close(renderer.train(mode)(x, knobs, sample_rate=24_000), expected)


def test_autodiff_has_nothing_to_learn_of_its_own():
    assert not list(AutodiffRenderer(CHAINS["eq"]).parameters())


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
def test_a_gradient_reaches_every_knob_and_the_audio(chain, speech):
    x = torch.from_numpy(speech(24_000, seconds=1.0))[None].requires_grad_()
    # With a low threshold, so that the compressor has work to do.
    knobs = torch.full((1, len(chain.knobs)), 0.4)
    for column, (_, parameter) in enumerate(chain.knobs):
        if parameter.name == "threshold_db":
            knobs[0, column] = 0.05
    knobs.requires_grad_()
    y = AutodiffRenderer(chain)(x, knobs, sample_rate=24_000)
    (y * torch.randn(y.shape, generator=torch.manual_seed(1))).sum().backward()
    assert (knobs.grad.abs() > 1e-4).all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 1.0], ids=["silence", "speech"])
def test_gradients_are_finite_at_the_rails(chain, end, level, speech):
    x = (level * torch.from_numpy(speech(24_000)))[None].requires_grad_()
    knobs = torch.full((1, len(chain.knobs)), end, requires_grad=True)
    AutodiffRenderer(chain)(x, knobs, sample_rate=24_000).sum().backward()
    assert knobs.grad.isfinite().all()
    assert x.grad.isfinite().all()


def test_descending_the_gradient_finds_the_settings_again(speech):
    """What the gradients are for: the knobs that made a recording, found back from its sound."""
    chain = CHAINS["eq"]
    renderer = AutodiffRenderer(chain)
    x = torch.from_numpy(speech(24_000))[None]
    truth = torch.tensor([[0.8, 0.3, 0.6, 0.4, 0.7, 0.3]])
    target = renderer(x, truth, sample_rate=24_000)
    raw = torch.zeros_like(truth, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.4)
    for _ in range(60):
        optimizer.zero_grad()
        (renderer(x, raw.sigmoid(), sample_rate=24_000) - target).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(raw.sigmoid(), truth, atol=0.05, rtol=0)
