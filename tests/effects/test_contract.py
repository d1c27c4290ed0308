"""What every effect promises, held over random settings; the test finds the effects by itself."""

from contextlib import suppress

import numpy as np
import pedalboard
import pytest

from fxst.effects import EFFECTS, declare_plugin
from fxst.effects.parameters import Parameter

with suppress(ImportError):  # the extra train
    import torch

RATES = (24_000, 44_100, 48_000)
DRAWS = 9  # of each kind of signal, rate and width: 2 x 3 x 2 x 9 = 108 settings an effect

MISSION_DB = {  # median and worst null that the project promises; any other effect keeps to what it declares
    "parametric_eq": (-100, -70),
    "compressor": (-100, -100),
    "distortion": (-100, -100),
    "reverb": (-80, -80),
}

shipped = [kind() for kind in EFFECTS.values()]
every_effect = pytest.mark.parametrize("effect", shipped, ids=lambda e: e.name)


def declared(name, make, *parameters):
    """A plugin as an effect, which no other test is to find."""
    effect = declare_plugin(name, make, parameters)()
    del EFFECTS[name]
    return effect


MIX = Parameter("mix", 0.0, 1.0, 0.5)
plugins = [
    declared("phaser", pedalboard.Phaser, Parameter("rate_hz", 0.1, 5.0, 1.0, "Hz", "log"), MIX),
    declared("chorus", pedalboard.Chorus, Parameter("centre_delay_ms", 3.0, 20.0, 7.0, "ms"), MIX),
    declared("ladder", pedalboard.LadderFilter, Parameter("cutoff_hz", 100.0, 5000.0, 1000.0, "Hz", "log")),
]
every_exact_form = pytest.mark.parametrize("effect", shipped + plugins, ids=lambda e: e.name)


def draw(effect, generator):
    """Turn every knob at random over its widest range; the values are such as float32 can hold."""
    return {p.name: float(np.float32(p.to_value(generator.uniform()))) for p in effect.parameters}


def render_exact(effect, x, values, sample_rate):
    return effect.exact(values, sample_rate=sample_rate, channels=len(x))(x)


def render_autodiff(effect, x, values, sample_rate):
    tensors = {name: torch.tensor([value]) for name, value in values.items()}
    with torch.no_grad():
        return effect.autodiff(torch.from_numpy(x)[None], tensors, sample_rate=sample_rate)[0].numpy()


def at_knobs(effect, x, knobs, sample_rate):
    values = {p.name: p.to_value(knobs[:, i]) for i, p in enumerate(effect.parameters)}
    return effect.autodiff(x, values, sample_rate=sample_rate)


def test_the_promises_name_effects_that_exist():
    assert MISSION_DB.keys() <= EFFECTS.keys()


@every_effect
def test_autodiff_nulls_against_exact(effect, speech, noise, null_db):
    generator = np.random.default_rng(1)
    nulls = []
    for signal in (speech, noise):
        for sample_rate in RATES:
            for channels in (1, 2):
                x = signal(sample_rate, channels, seconds=0.4)
                for _ in range(DRAWS):
                    values = draw(effect, generator)
                    y = render_autodiff(effect, x, values, sample_rate)
                    nulls.append(null_db(y, render_exact(effect, x, values, sample_rate)))
    median_db, worst_db = MISSION_DB.get(effect.name, (effect.autodiff_error_db,) * 2)
    assert len(nulls) >= 100
    assert max(nulls) <= min(worst_db, effect.autodiff_error_db)
    assert np.median(nulls) <= median_db


@every_effect
@pytest.mark.parametrize(("sample_rate", "channels"), [(8000, 1), (96_000, 1), (24_000, 3), (24_000, 6)])
def test_any_rate_and_any_number_of_channels_null_too(effect, sample_rate, channels, noise, null_db):
    x = noise(sample_rate, channels, seconds=0.2)
    generator = np.random.default_rng(2)
    for _ in range(3):
        values = draw(effect, generator)
        y = render_autodiff(effect, x, values, sample_rate)
        assert null_db(y, render_exact(effect, x, values, sample_rate)) <= effect.autodiff_error_db


@every_exact_form
def test_exact_gives_float32_of_the_same_shape_and_leaves_its_input_alone(effect, noise):
    x = noise(24_000, 2)
    x *= np.geomspace(1, 1e-6, x.shape[1], dtype=np.float32)  # as loud and as soft as any threshold
    before = x.copy()
    y = render_exact(effect, x, draw(effect, np.random.default_rng(3)), 24_000)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    np.testing.assert_array_equal(x, before)
    assert not np.array_equal(y, x)


@every_exact_form
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("blocks", "time"),
    [
        ((1,), 600),
        ((2,), 600),  # as many samples as channels: which axis is time cannot be guessed
        ((7,), 6000),
        ((4096,), 20_000),
        ((2**17,), 2**17 + 1000),
        ((1, 7, 0, 4096, 9000, 3), 40_000),  # blocks that grow
    ],
    ids=str,
)
def test_blocks_of_any_length_render_as_the_whole(effect, channels, blocks, time, noise):
    x = noise(48_000, channels, seconds=time / 48_000)
    values = draw(effect, np.random.default_rng(4))
    whole = render_exact(effect, x, values, 48_000)

    process = effect.exact(values, sample_rate=48_000, channels=channels)
    rendered, start = [], 0
    while start < time:
        length = blocks[len(rendered) % len(blocks)]
        rendered.append(process(x[:, start : start + length]))
        start += length
    np.testing.assert_array_equal(np.concatenate(rendered, axis=1), whole)


@every_exact_form
def test_two_processors_share_nothing(effect, noise):
    x = noise(24_000)
    values = draw(effect, np.random.default_rng(5))
    first, second = (effect.exact(values, sample_rate=24_000, channels=1) for _ in range(2))
    whole = first(x)
    np.testing.assert_array_equal(second(x), whole)


@every_effect
def test_a_batch_is_its_items_rendered_alone(effect, noise, null_db):
    generator = np.random.default_rng(6)
    x = torch.from_numpy(np.stack([noise(24_000, 2) * gain for gain in (1, 0.3, 2)]))
    rows = [draw(effect, generator) for _ in x]
    columns = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
    batch = effect.autodiff(x, columns, sample_rate=24_000)
    for item, values, together in zip(x, rows, batch, strict=True):
        assert null_db(together, render_autodiff(effect, item.numpy(), values, 24_000)) <= -100


@every_effect
def test_autodiff_never_writes_to_what_it_is_given(effect, noise):
    x = torch.from_numpy(noise(24_000, 2))[None].requires_grad_()
    knobs = torch.rand(1, len(effect.parameters), generator=torch.manual_seed(7)).requires_grad_()
    x_before, knobs_before = x.detach().clone(), knobs.detach().clone()
    y = at_knobs(effect, x, knobs, 24_000)
    y.square().sum().backward()
    assert torch.equal(x, x_before)
    assert torch.equal(knobs, knobs_before)


@every_effect
@pytest.mark.parametrize(
    ("sample_rate", "batch", "channels"),
    [(1000, 2, 1), (1000, 1, 2), (16_000, 2, 1), (16_000, 1, 3)],  # at 1 kHz a reverb's echoes are 26 samples apart
)
def test_gradients_of_audio_and_of_every_parameter_are_right(effect, sample_rate, batch, channels):
    generator = torch.manual_seed(8)
    x = 0.5 * torch.randn(batch, channels, 64, dtype=torch.float64, generator=generator)
    knobs = 0.1 + 0.8 * torch.rand(batch, len(effect.parameters), dtype=torch.float64, generator=generator)

    def render(x, knobs):
        return at_knobs(effect, x, knobs, sample_rate)

    assert torch.autograd.gradcheck(render, (x.requires_grad_(), knobs.requires_grad_()), eps=1e-5)


@every_effect
@pytest.mark.parametrize("level", [0.0, 1.0], ids=["silence", "speech"])
def test_gradients_are_finite_at_both_ends_of_every_range(effect, level, speech):
    count = len(effect.parameters)
    rows = [torch.zeros(1, count), torch.ones(1, count)]
    for end in (0.0, 1.0):
        one_at_its_end = torch.full((count, count), 0.5)
        one_at_its_end.fill_diagonal_(end)
        rows.append(one_at_its_end)
    knobs = torch.cat(rows).requires_grad_()
    x = level * torch.from_numpy(speech(8000, 2, seconds=0.1)).repeat(len(knobs), 1, 1)
    x.requires_grad_()

    y = at_knobs(effect, x, knobs, 8000)
    (y * torch.linspace(-1, 1, y.shape[-1])).sum().backward()

    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert knobs.grad.isfinite().all()


@every_effect
def test_no_parameter_is_dead(effect, speech):
    knobs = 0.1 + 0.8 * torch.rand(8, len(effect.parameters), generator=torch.manual_seed(9))
    knobs.requires_grad_()
    x = torch.from_numpy(speech(24_000, 2)).repeat(len(knobs), 1, 1)
    y = at_knobs(effect, x, knobs, 24_000)
    # A loss that knows each sample from the next, as a phase does and an energy does not.
    (y * torch.randn(y.shape, generator=torch.manual_seed(10))).sum().backward()
    strongest = knobs.grad.abs().amax(0)
    dead = [p.name for p, slope in zip(effect.parameters, strongest, strict=True) if slope < 1e-3]
    assert not dead


@every_effect
def test_cuda_renders_and_differentiates_as_the_processor_does(effect, noise, null_db):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    knobs = torch.rand(4, len(effect.parameters), generator=torch.manual_seed(11))
    x = torch.from_numpy(noise(24_000, 2)).repeat(4, 1, 1)
    results = {}
    for device in ("cpu", "cuda"):
        audio = x.to(device).requires_grad_()
        settings = knobs.to(device).requires_grad_()
        y = at_knobs(effect, audio, settings, 24_000)
        y.square().mean().backward()
        results[device] = [tensor.detach().cpu() for tensor in (y, audio.grad, settings.grad)]
    for on_cuda, on_cpu in zip(results["cuda"], results["cpu"], strict=True):
        assert null_db(on_cuda, on_cpu) <= -80
