import numpy as np
import pytest
import torch

from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_exact
from fxst.errors import SettingsError
from fxst.gradients import AutodiffRenderer, spsa
from fxst.gradients.spsa import SPSARenderer

RATE = 24_000
EQ_COMP = CHAINS["eq-comp"]


@pytest.fixture
def audio(speech):
    return torch.from_numpy(np.concatenate([speech(RATE), speech(RATE, 2)[1:]])[:, None])


def gradient(renderer, x, knobs, direction):
    knobs = knobs.clone().requires_grad_()
    (renderer(x, knobs, sample_rate=RATE) * direction).sum().backward()
    return knobs.grad


def about_as_long(found, truth):
    """Within three standard errors of 256 directions, sqrt(2 / 256) each; halved at the rails it would be 0.5."""
    ratio = found.norm(dim=1) / truth.norm(dim=1)
    return (ratio > 0.73) & (ratio < 1.27)


def middling(chain, batch=2):
    knobs = torch.rand(batch, len(chain.knobs), generator=torch.manual_seed(2)) * 0.6 + 0.2
    for column, (_, parameter) in enumerate(chain.knobs):
        if parameter.name == "threshold_db":
            knobs[:, column] = 0.1  # low, so that the compressor has work to do
    return knobs


def test_it_renders_what_the_exact_effects_render(audio):
    """Each recording of the batch by itself, with settings of its own, as the chain renders a table."""
    knobs = middling(EQ_COMP)
    y = SPSARenderer(EQ_COMP)(audio, knobs, sample_rate=RATE)
    torch.testing.assert_close(y, render_exact(EQ_COMP, audio, knobs, sample_rate=RATE), rtol=0, atol=0)
    for index in range(2):
        table = EQ_COMP.settings(knobs[index])
        exact = EQ_COMP.exact(table, sample_rate=RATE, channels=1)(audio[index].numpy())
        error = np.sum((y[index].numpy() - exact) ** 2) / np.sum(exact**2)
        assert 10 * np.log10(error) < -55  # a table rounds its values to what it prints


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)
def test_the_mean_of_many_directions_is_the_gradient(chain, audio):
    audio, knobs = audio[..., : RATE // 5], middling(chain)  # renders by the thousand
    with torch.no_grad():
        target = chain.autodiff(audio, knobs * 0.8 + 0.1, sample_rate=RATE)
        direction = (chain.autodiff(audio, knobs, sample_rate=RATE) - target).sign()
    truth = gradient(AutodiffRenderer(chain), audio, knobs, direction)
    # The power of the noise is about (P - 1) / directions of the gradient's.
    directions = max(256, 24 * (len(chain.knobs) - 1))
    found = gradient(SPSARenderer(chain, directions=directions), audio, knobs, direction)
    assert (torch.cosine_similarity(found, truth) >= 0.95).all()
    assert about_as_long(found, truth).all()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_at_the_rails_the_gradient_is_as_long_as_inside(end, audio):
    """What is divided by is the step that was taken: half of it is beyond the end, and was not."""
    chain = CHAINS["eq"]
    knobs = torch.full((2, 6), end)
    direction = torch.randn(audio.shape, generator=torch.manual_seed(0))
    truth = gradient(AutodiffRenderer(chain), audio, knobs, direction)
    found = gradient(SPSARenderer(chain, directions=256), audio, knobs, direction)
    assert (torch.cosine_similarity(found, truth) >= 0.95).all()
    assert about_as_long(found, truth).all()


def test_directions_depend_on_the_step_alone(audio):
    direction = torch.ones_like(audio)
    knobs = middling(EQ_COMP)

    def at(step, seed=0):
        renderer = SPSARenderer(EQ_COMP, seed=seed)
        renderer.at_step(step)
        return gradient(renderer, audio, knobs, direction)

    torch.testing.assert_close(at(3), at(3), rtol=0, atol=0)
    assert not torch.equal(at(3), at(4))
    assert not torch.equal(at(3), at(3, seed=1))


def test_no_gradient_is_claimed_for_the_audio(audio):
    x = audio.clone().requires_grad_()
    knobs = middling(EQ_COMP).requires_grad_()
    SPSARenderer(EQ_COMP)(x, knobs, sample_rate=RATE).sum().backward()
    assert x.grad is None
    assert knobs.grad is not None


@pytest.fixture
def louder(monkeypatch):
    """Give `louder(gains)`: in the place of the chain, the sum of its knobs, each by its gain, turns the sound up.

    `louder.moved` is where the knobs of all renders were. A knob's estimate is its gain, plus the others' noise.
    """

    def make(gains):
        def render(chain, x, knobs, *, sample_rate):
            make.moved.append(knobs)
            return x * (knobs.double() @ gains)[:, None, None]

        make.moved = []
        monkeypatch.setattr(spsa, "render_exact", render)

    return make


@pytest.mark.parametrize(("step", "epsilon"), [(0, 0.02), (99, 0.002), (1_000_000, 1e-4)])
def test_knobs_are_moved_by_an_epsilon_that_falls_and_does_not_vanish(step, epsilon, louder):
    louder(torch.ones(8, dtype=torch.float64))
    renderer = SPSARenderer(EQ_COMP, directions=3, epsilon=0.02, epsilon_decay=0.5)
    renderer.at_step(step)
    x = torch.ones(1, 1, 4)
    found = gradient(renderer, x, torch.full((1, 8), 0.5), x)
    assert found.isfinite().all()
    unmoved, moved = louder.moved
    torch.testing.assert_close(unmoved, torch.full((1, 8), 0.5))
    assert moved.shape == (6, 8)
    torch.testing.assert_close((moved - 0.5).abs(), torch.full((6, 8), epsilon), rtol=1e-3, atol=0)


@pytest.mark.parametrize("step", [0, 5000, 10_000_000])
def test_each_knob_is_divided_by_the_step_that_it_took(step, louder):
    """At its end, near it, and in the middle, side by side; the gain of all others is nought, and so is their noise."""
    knobs = torch.tensor([[0.0, 0.00004, 0.004, 0.5, 0.5, 0.996, 0.99996, 1.0]])
    x = torch.ones(1, 1, 4)
    for knob in range(8):
        gains = torch.zeros(8, dtype=torch.float64)
        gains[knob] = 3.0
        louder(gains)
        renderer = SPSARenderer(EQ_COMP, epsilon=0.01, epsilon_decay=1.0)
        renderer.at_step(step)
        found = gradient(renderer, x, knobs, x)
        assert found[0, knob].item() == pytest.approx(12.0, rel=1e-3)


def test_of_a_knob_beyond_its_range_nothing_is_claimed(louder):
    louder(torch.ones(8, dtype=torch.float64))
    x = torch.ones(1, 1, 4)
    found = gradient(SPSARenderer(EQ_COMP), x, torch.tensor([[1.5, -0.5, *[0.5] * 6]]), x)
    assert found.isfinite().all()
    assert (found[0, :2] == 0).all()
    assert (found[0, 2:] != 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"directions": 0},
        {"epsilon": 0.0},
        {"epsilon": 5e-5},
        {"epsilon": 0.6},
        {"epsilon_decay": -1},
        {"epsilon_decay": 2},
    ],
    ids=str,
)
def test_options_out_of_range(options):
    with pytest.raises(SettingsError, match="SPSA"):
        SPSARenderer(EQ_COMP, **options)
