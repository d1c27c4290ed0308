"""Training through every method of passing a gradient."""

from dataclasses import replace

import pytest
import torch

from fxst.checkpoints import checkpoint, torch_models
from fxst.configs import ClipsConfig
from fxst.errors import ModelError
from fxst.gradients import METHODS, SPSARenderer
from fxst.training.losses import StyleLoss
from fxst.training.style import train


@pytest.fixture
def config(tiny_dataset, tmp_path):
    return ClipsConfig(
        tiny_dataset, output=tmp_path / "run", steps=4, batch=2, validate_every=2, validation_examples=2,
        listen_clips=3, device="cpu",
    )  # fmt: skip


def weights(folder):
    return torch_models.load_trainable(folder).model.state_dict()


@pytest.mark.parametrize("method", METHODS)
def test_a_model_is_trained_and_its_card_says_how(method, config):
    train(replace(config, gradient=method, steps=1, validate_every=1))
    found = checkpoint.load(config.output)
    assert found.card["training"]["gradient"] == method
    # The model alone is kept: whoever uses it renders with the exact effects.
    assert not any("proxies" in name for name in found.model.state_dict())


def test_methods_differ_in_their_gradient_and_in_nothing_else(config, tmp_path):
    """From the same seed and batches; autodiff's and the full hybrid's first steps are nearly the same."""
    for method in ("autodiff", "full-hybrid", "spsa"):
        train(replace(config, gradient=method, steps=2, warmup_steps=1, output=tmp_path / method))
    ours, near, far = (weights(tmp_path / method) for method in ("autodiff", "full-hybrid", "spsa"))
    moved = {
        name: sum((other[key] - ours[key]).double().square().sum() for key in ours if ours[key].is_floating_point())
        for name, other in (("near", near), ("far", far))
    }
    assert 0 < moved["near"] < moved["far"]


class StoppedError(Exception):
    """Ends a run from within, as a crash would."""


def test_a_resumed_run_draws_the_directions_that_it_would_have_drawn(config, tmp_path, monkeypatch):
    whole, cut = (replace(config, gradient="spsa", output=tmp_path / name) for name in ("whole", "cut"))
    train(whole)
    at_step = SPSARenderer.at_step

    def stop_after_the_second(renderer, step):
        if step > 2:
            raise StoppedError
        at_step(renderer, step)

    with monkeypatch.context() as patch:
        patch.setattr(SPSARenderer, "at_step", stop_after_the_second)
        with pytest.raises(StoppedError):
            train(cut)
    train(cut, resume=True)
    for name, value in weights(whole.output).items():
        torch.testing.assert_close(weights(cut.output)[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(("training", "step"), [(True, 2), (False, 4)], ids=["training", "validation"])
def test_a_loss_that_is_not_finite_ends_the_run_and_what_was_before_is_kept(training, step, config, monkeypatch):
    forward = StyleLoss.forward
    trained = []

    def infinite_after_two_steps(loss, output, target):
        mae, stft = forward(loss, output, target)
        trained.append(loss.training)
        return (mae / 0 if loss.training == training and sum(trained) > 2 else mae), stft

    monkeypatch.setattr(StyleLoss, "forward", infinite_after_two_steps)
    run = train(config)
    assert (run.steps, run.signal) == (step, None)
    assert f"not finite at step {step}: " in run.problem
    assert "--learning-rate" in run.problem
    assert "The model of step 2 is kept" in run.problem
    assert (config.output / "model.safetensors").is_file()
    for name in ("best", "last"):
        kept = torch.load(config.output / "checkpoints" / f"{name}.ckpt", weights_only=False)
        assert kept["global_step"] == 2
        assert all(value.isfinite().all() for value in kept["state_dict"].values())


def test_what_is_missing_is_told_before_a_folder_is_made(config, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelError):
        train(replace(config, gradient="proxy", proxies=(tmp_path / "nothing",)))
    assert not config.output.exists()
