import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import proxy_file
from fxst.configs import DatasetConfig, ProxyConfig
from fxst.data.build import build
from fxst.data.manifest import Dataset
from fxst.data.renders import draw_renders
from fxst.errors import NothingMatchedError, SettingsError
from fxst.gradients import AutodiffRenderer
from fxst.models.proxy import ProxyModel, ProxyModelConfig
from fxst.training.fidelity import measure_fidelity
from fxst.training.proxy import ProxyModule, train
from fxst.training.run_folder import read_config


@pytest.fixture
def config(tiny_dataset, tmp_path):
    return ProxyConfig(
        tiny_dataset, effect="compressor", output=tmp_path / "run", steps=6, validate_every=3, batch=2,
        validation_examples=2, test_examples=8, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tiny_dataset, tmp_path_factory):
    """A run from its first step to its last."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    config = ProxyConfig(
        tiny_dataset, effect="compressor", output=folder, steps=6, validate_every=3, batch=2, validation_examples=2,
        test_examples=8, device="cpu",
    )  # fmt: skip
    run, fidelity = train(config)
    assert (run.steps, run.signal, fidelity.examples) == (6, None, 8)
    assert np.isfinite(fidelity.gradient_cosine)
    return folder


def test_a_run_leaves_a_proxy_with_its_card_losses_and_curve(unbroken, losses):
    parts = {"config.json", "model.safetensors", "card.json", "losses.csv", "losses.png", "checkpoints", "logs"}
    assert {path.name for path in unbroken.iterdir()} == parts
    assert [row["step"] for row in losses(unbroken)] == ["3", "6"]
    assert set(ProxyModule.columns) - {"seconds"} == set(losses(unbroken)[0])
    proxy = proxy_file.load(unbroken)
    proxy.check(CHAINS["fx"].effects[1], sample_rate=24_000)
    assert proxy.card["fidelity"]["examples"] == 8
    assert proxy.card["training"]["config"]["steps"] == 6


def test_a_run_that_was_stopped_exports_what_there_is_and_resumes_to_the_same(unbroken, config, losses, stopping):
    run, _ = train(config, report=stopping("training", 2, signal.SIGTERM))
    assert (run.steps, run.signal, run.best) == (2, signal.SIGTERM, {})
    card = proxy_file.load(config.output).card
    assert card["training"]["validated"] is False
    assert np.isfinite(card["fidelity"]["error_db"])
    train(read_config(config.output, [ProxyConfig], {}), resume=True)
    assert losses(config.output) == losses(unbroken)
    assert (config.output / "model.safetensors").read_bytes() == (unbroken / "model.safetensors").read_bytes()


def test_the_loss_reaches_every_weight_that_it_begins_with(tiny_dataset):
    torch.manual_seed(0)
    chain = CHAINS["eq"]
    model = ProxyModel(ProxyModelConfig(6, 24_000))
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * torch.randn_like(weight)  # a wire's gates are shut: nothing passes back through a nought
    module = ProxyModule(model, ProxyConfig(dataset=tiny_dataset, effect="parametric_eq"))
    module.measure(drawn(tiny_dataset, chain))["loss"].backward()
    for name, weight in model.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name


def drawn(folder, chain, batch=8, step=0, split="train"):
    made = draw_renders(Dataset(folder), split, chain, batch=batch, peak_db=(-18.0, 0.0), seed=0, step=step)
    return tuple(torch.from_numpy(array) for array in (made.input, made.knobs, made.output))


def test_learning_one_batch_by_heart_brings_the_loss_down(tiny_dataset):
    torch.manual_seed(0)
    batch = drawn(tiny_dataset, CHAINS["eq"], batch=4)
    config = ProxyConfig(dataset=tiny_dataset, effect="parametric_eq")
    module = ProxyModule(ProxyModel(ProxyModelConfig(6, 24_000, gain_head=0, echo_kernels=0)), config)
    optimizer = torch.optim.AdamW(module.model.parameters(), 1e-2)
    values = []
    for _ in range(30):
        loss = module.measure(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize("effect", CHAINS["fx"].effects, ids=lambda effect: effect.name)
def test_what_a_proxy_learns_from_is_the_exact_effect(effect, tiny_dataset):
    chain = Chain(effect.name, (effect,))
    x, knobs, y = drawn(tiny_dataset, chain, batch=3, step=5)
    expected = chain.autodiff(x, knobs, sample_rate=24_000)
    error_db = 10 * ((y - expected).square().sum() / y.square().sum()).log10()
    assert error_db <= effect.autodiff_error_db
    assert all(torch.equal(a, b) for a, b in zip((x, knobs, y), drawn(tiny_dataset, chain, 3, 5), strict=True))


def test_splits_and_steps_have_settings_of_their_own(tiny_dataset):
    """What is validated and tested on must not be what was trained on, and its targets not where it begins."""
    drawings = [
        drawn(tiny_dataset, CHAINS["eq"], step=step, split=split)[1].flatten().tolist()
        for split in ("train", "val", "test")
        for step in (0, 1)
    ]
    begins = []

    class Recorded(AutodiffRenderer):
        def forward(self, x, knobs, *, sample_rate):
            if knobs.requires_grad:
                begins.append(knobs.flatten().tolist())
            return super().forward(x, knobs, sample_rate=sample_rate)

    measure_fidelity(Recorded(CHAINS["eq"]), Dataset(tiny_dataset), examples=20)
    assert len(begins) == 2
    values = [value for knobs in drawings + begins for value in knobs]
    assert len(set(values)) == len(values)


def test_levels_and_settings_are_spread_over_their_whole_ranges(tiny_dataset):
    x, knobs, _ = drawn(tiny_dataset, CHAINS["eq"], batch=256)
    peaks = 20 * x.abs().amax((1, 2)).log10()
    for values, low, high in ((peaks, -18.0, 0.0), *((column, 0.0, 1.0) for column in knobs.T)):
        assert low - 1e-3 <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high + 1e-3
        np.testing.assert_allclose(values.mean(), (low + high) / 2, atol=0.1 * (high - low))


def test_what_cannot_be_trained_is_refused_and_nothing_written(tiny_dataset, tmp_path):
    good = ProxyConfig(dataset=tiny_dataset, effect="reverb", output=tmp_path / "run")
    for bad, kind, words in (
        (replace(good, chain="nosuch"), SettingsError, "nosuch"),
        (replace(good, effect="flanger"), SettingsError, "distortion, reverb"),
        (replace(good, chain="studio", effect="stereo_width"), SettingsError, "has no knobs for a model"),
        (
            replace(good, chain="eq-comp"),
            SettingsError,
            "There is no effect 'reverb' in the chain eq-comp; choose from: parametric_eq, compressor.",
        ),
        (replace(good, parts=("tone", "soul")), SettingsError, "no part 'soul'"),
        (replace(good, parts=("",)), SettingsError, "no part ''; the parts are: tone"),
        (replace(good, dataset=tmp_path), NothingMatchedError, "dataset build"),
        (replace(good, output=tiny_dataset), SettingsError, "not empty"),
    ):
        with pytest.raises(kind, match=words):
            train(bad)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.01, "The clips of {} have 240 samples, and 1025 are needed"), (0.53, "{} has no clips in its val split")],
)
def test_a_dataset_that_will_not_do_is_named_with_what_it_lacks(seconds, words, noise, tmp_path):
    soundfile.write(tmp_path / "alone.wav", noise(24_000, 1, 2)[0], 24_000)
    data = tmp_path / "data"
    build(DatasetConfig(sources=(tmp_path / "alone.wav",), output=data, clips=2, seconds=seconds, workers=1))
    with pytest.raises(SettingsError, match=words.format(data)):
        train(ProxyConfig(dataset=data, effect="reverb", output=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_card_is_plain_json(unbroken):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    json.loads((unbroken / "card.json").read_text(), parse_constant=refuse)
