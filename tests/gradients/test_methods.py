"""The contract of every way to pass a gradient, on chains of every effect."""

import pytest
import torch

from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_exact
from fxst.errors import ModelError, SettingsError
from fxst.gradients import METHODS, MethodOptions, Renderer, make_renderer

RATE = 24_000
OF_PROXIES = ("proxy", "half-hybrid", "full-hybrid")


@pytest.fixture
def make(own_proxies):
    """Give `make(method, chain)`: its renderer, through proxies of ours where none is shipped."""

    def make(method, chain, **options):
        if method in OF_PROXIES:
            options = {"proxies": own_proxies(chain)} | options
        return make_renderer(method, chain, sample_rate=RATE, options=MethodOptions(**options))

    return make


def gradient(renderer, x, knobs, direction):
    knobs = knobs.clone().requires_grad_()
    (renderer(x, knobs, sample_rate=RATE) * direction).sum().backward()
    return knobs.grad


@pytest.fixture
def audio(speech):
    return torch.from_numpy(speech(RATE))[None].repeat(2, 1, 1)


def settings(chain, batch=2):
    return torch.rand(batch, len(chain.knobs), generator=torch.manual_seed(0))


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_in_gives_a_batch_out_and_a_gradient_for_every_example(method, chain, audio, make):
    renderer = make(method, chain)
    assert isinstance(renderer, Renderer)
    assert not any(parameter.requires_grad for parameter in renderer.parameters())
    knobs = settings(chain)
    found = gradient(renderer, audio, knobs, torch.ones_like(audio))
    assert renderer(audio, knobs, sample_rate=RATE).shape == audio.shape
    assert found.shape == knobs.shape
    assert (found.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
@pytest.mark.parametrize("level", [0.0, 1.0], ids=["silence", "speech"])
@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_all_is_finite_at_the_rails(method, end, level, chain, audio, make):
    knobs = torch.full((2, len(chain.knobs)), end)
    renderer = make(method, chain)
    assert renderer(level * audio, knobs, sample_rate=RATE).isfinite().all()
    assert gradient(renderer, level * audio, knobs, torch.ones_like(audio)).isfinite().all()


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
@pytest.mark.parametrize(("method", "training"), [("full-hybrid", True), ("spsa", True), ("half-hybrid", False)])
def test_the_sound_is_the_exact_effects(method, training, chain, audio, make):
    knobs = settings(chain)
    exact = render_exact(chain, audio, knobs, sample_rate=RATE)
    for turned in (knobs, knobs.clone().requires_grad_()):
        rendered = make(method, chain).train(training)(audio, turned, sample_rate=RATE)
        torch.testing.assert_close(rendered.detach(), exact, rtol=0, atol=0)


@pytest.mark.parametrize("chain", [chain.predicted for chain in CHAINS.values()], ids=lambda chain: chain.name)
@pytest.mark.parametrize("method", ["half-hybrid", "full-hybrid"])
def test_the_gradient_of_a_hybrid_is_the_proxies(method, chain, audio, make):
    knobs = settings(chain)
    direction = torch.randn(audio.shape, generator=torch.manual_seed(1))
    wanted = gradient(make("proxy", chain), audio, knobs, direction)
    torch.testing.assert_close(gradient(make(method, chain), audio, knobs, direction), wanted)


def test_a_half_hybrid_trains_on_what_the_proxies_render(audio, make):
    chain = CHAINS["eq-comp"]
    knobs = settings(chain)
    imitated = make("proxy", chain)(audio, knobs, sample_rate=RATE)
    torch.testing.assert_close(make("half-hybrid", chain).train()(audio, knobs, sample_rate=RATE), imitated)
    assert not torch.equal(make("half-hybrid", chain).eval()(audio, knobs, sample_rate=RATE), imitated)


def test_options_belong_to_their_method(make):
    chain = CHAINS["eq-comp"]
    assert make("spsa", chain, directions=3, epsilon=0.02, seed=7).directions == 3
    with pytest.raises(SettingsError, match="SPSA takes"):
        make("spsa", chain, epsilon=0.9)
    for method in METHODS:
        for option, value, flag in (
            ("proxies", ("compressor",), "--proxy, which is for proxy, half-hybrid, full-hybrid"),
            ("directions", 3, "--spsa-directions, which is for spsa"),
            ("epsilon", 0.02, "--spsa-epsilon, which is for spsa"),
            ("epsilon_decay", 0.5, "--spsa-epsilon-decay, which is for spsa"),
        ):
            if method in (OF_PROXIES if option == "proxies" else ("spsa",)):
                make(method, chain, **{option: value})
            else:
                with pytest.raises(SettingsError, match=f"--gradient {method} has no {flag}: leave it out"):
                    make(method, chain, **{option: value})
    with pytest.raises(SettingsError, match="choose from: autodiff, proxy, half-hybrid, full-hybrid, spsa"):
        make("magic", chain)


@pytest.mark.parametrize("method", OF_PROXIES)
def test_proxies_of_another_rate_are_refused(method):
    with pytest.raises(ModelError, match="24000 Hz"):
        make_renderer(method, CHAINS["eq-comp"], sample_rate=44_100, options=MethodOptions())
