"""Train a style model: hide random settings in a reference, and ask the model to find them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxst import extras
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_autodiff, render_exact
from fxst.checkpoints import checkpoint
from fxst.configs import ClipsConfig, PassagesConfig, check_used
from fxst.data import manifest
from fxst.data.examples import draw
from fxst.errors import SettingsError, unknown
from fxst.gradients import MethodOptions, Renderer, make_renderer
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.network import StyleNetwork
from fxst.models.style import StyleModelConfig
from fxst.models.trainable import StyleModel
from fxst.training import declarations, networks, runs, studio
from fxst.training.losses import StyleLoss
from fxst.training.progress import Report

__all__ = ["StyleModule", "train"]


class StyleModule(runs.TrainingModule):
    """One training step: render a reference and a target, predict, render the prediction, compare.

    Args:
        model: Predicts knobs: a `StyleNetwork` in torch.
        renderer: Passes the gradient from audio to knobs.
        config: The run's settings.
        sample_rate: The data's sample rate in Hz.
    """

    columns = (
        "step", "seconds", "train_loss", "val_loss", "val_mae", "val_stft", "val_input_stft", "val_stft_ratio",
        runs.LOSS_RATIO,
    )  # fmt: skip

    def __init__(self, model: Any, renderer: Renderer, config: ClipsConfig, *, sample_rate: int) -> None:
        super().__init__(model, config)
        self.renderer, self.sample_rate = renderer, sample_rate
        self.loss = StyleLoss(windows=config.stft_windows, hop=config.stft_hop, mae_weight=config.mae_weight)

    def measure(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the losses of a batch, and the spectral distance that doing nothing leaves.

        Shape:
            batch: dry input and reference (B, clips, T), and hidden knobs (B, P); of a declared dataset type dry input,
            reference and target, (B, 1, T) each.
        """
        if self.config.dataset_type is None:
            dry, reference, hidden = batch
            x = dry[:, :1]
            chain = self.renderer.chain
            # The two forms null; in a batch, torch's is the faster one.
            render = partial(render_autodiff if chain.differentiable else render_exact, chain)
            # The clips of one example share settings, so they are rendered as channels of one signal.
            target = render(x, hidden, sample_rate=self.sample_rate)
            reference = render(reference, hidden, sample_rate=self.sample_rate)
        else:
            x, reference, target = batch
            dry, reference = (self._windows(recording) for recording in (x, reference))
        self.renderer.at_step(self.global_step)
        knobs = self.model.knobs_of_windows(dry, reference, sample_rate=self.sample_rate)
        output = self.renderer(x, knobs, sample_rate=self.sample_rate)
        own = {}
        if self.config.loss is not None:
            own = declarations.measure(self.config.loss, output[:, 0], target[:, 0], sample_rate=self.sample_rate)
            if self.training:
                return own
        mae, stft = self.loss(output, target)
        losses = {"loss": self.config.mae_weight * mae + stft, "mae": mae, "stft": stft} | own
        if not self.training:
            input_mae, losses["input_stft"] = self.loss(x, target)
            losses["output_loss"] = losses["loss"]
            losses["input_loss"] = self.config.mae_weight * input_mae + losses["input_stft"]
            if self.config.loss is not None:
                losses["input_loss"] = declarations.measure(
                    self.config.loss, x[:, 0], target[:, 0], sample_rate=self.sample_rate
                )["loss"]
        return losses

    def _windows(self, x: Tensor) -> Tensor:
        """Cut recordings into the windows that the model analyses: (B, 1, T) to (B, clips, window)."""
        clips, window = self.config.listen_clips, self.model.window_at(self.sample_rate)
        return x[..., : clips * window].reshape(len(x), clips, window)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        metrics = self.trainer.callback_metrics
        self.log("val_stft_ratio", metrics["val_stft"] / metrics["val_input_stft"])


CURVES = (
    runs.LossCurve("train_loss", "training"),
    runs.LossCurve("val_loss", "validation, unseen speakers"),
    runs.LossCurve("val_input_stft", "validation, unprocessed input (MR-STFT alone)", "--"),
)


def train(
    config: ClipsConfig | PassagesConfig, *, resume: bool = False, report: Report | None = None
) -> runs.Run[StyleModule] | runs.Run[studio.StudioModule]:
    """Train a style model on a built dataset, and export the best one.

    The run's folder gets `model.safetensors` and `card.json`, which `fxst apply` loads, and what every run has
    (`run_folder`). An interrupted run exports the best model so far, or one that was never validated. Batches depend on
    the seed and the step alone, so a resumed run continues as if never stopped.

    Args:
        config: The settings of a recipe.
        resume: Whether `output` holds the run to continue.
        report: Gets the progress of every stage.

    Raises:
        FxstError: The dataset, chain, device or folder will not do.
    """
    if config.chain not in CHAINS:
        raise SettingsError(f"{unknown('chain', config.chain, CHAINS)}.")
    runs.device_is_there(config.device)
    chain = CHAINS[config.chain]
    if not chain.predicted.knobs:
        raise SettingsError(f"Chain {chain.name} has no knobs for a model: there is nothing to learn.")
    folder = config.output if config.output is not None else Path("runs") / config.chain
    if isinstance(config, PassagesConfig):
        return studio.train(config, chain, folder, resume=resume, report=report)
    return _train_on_clips(config, chain, folder, resume=resume, report=report)


def _train_on_clips(
    config: ClipsConfig, chain: Chain, folder: Path, *, resume: bool, report: Report | None
) -> runs.Run[StyleModule]:
    extras.need("The recipe clips", "torchaudio.functional")  # before there is a folder
    if min(config.stft_windows) < 2:
        raise SettingsError("An STFT window must have at least 2 samples.")
    predicted = chain.predicted
    data = _pairs(config) if config.dataset_type is not None else _clips(config, len(predicted.knobs))
    for split in ("train", "val"):  # what is missing must not be found out after hundreds of steps
        data.draw(split, 0)
    shortest = max(Encoder.spectrum_fft, *(window // 2 + 1 for window in config.stft_windows))
    if data.window_samples < shortest:
        raise SettingsError(
            f"The clips of {config.dataset} have {data.window_samples} samples, and {shortest} are needed: "
            f"{data.remedy}."
        )
    if config.loss is not None:
        if config.mae_weight != ClipsConfig.mae_weight:
            raise SettingsError("--mae-weight is for the recipe's own loss: leave out --mae-weight, or --loss.")
        declarations.try_loss(config.loss, samples=data.window_samples, sample_rate=data.sample_rate)
    _renderer(config, predicted, data.sample_rate)
    _model(config, len(predicted.knobs), data)

    def make() -> tuple[StyleModule, runs.Draw]:
        model, renderer = _model(config, len(predicted.knobs), data), _renderer(config, predicted, data.sample_rate)
        return StyleModule(model, renderer, config, sample_rate=data.sample_rate), data.draw

    run = runs.run(config, folder, make, resume=resume, report=report)
    card = run.card(data.description, gradient=config.gradient)
    checkpoint.save(folder, run.module.model, chain, sample_rate=data.sample_rate, card=card)
    run.write_losses(chain.name, CURVES, unit=f"loss ({config.loss or 'MAE + MR-STFT'})")
    return run


@dataclass(frozen=True)
class _Data:
    """What a training draws its batches from.

    Args:
        sample_rate: Sample rate in Hz.
        window_samples: Length of a clip that the model analyses.
        draw: Draws a batch.
        description: What a card says of it.
        remedy: What to do where the clips are too short.
    """

    sample_rate: int
    window_samples: int
    draw: runs.Draw
    description: dict[str, Any]
    remedy: str


def _model(config: ClipsConfig, n_knobs: int, data: _Data) -> StyleNetwork:
    """Make the recipe's own network, or one that the user declares."""
    rate, window = data.sample_rate, data.window_samples
    if config.network is not None:
        return networks.make(config.network, n_knobs, sample_rate=rate, window_samples=window)
    return StyleModel(StyleModelConfig(n_knobs, EncoderConfig(sample_rate=rate, window_samples=window)))


def _clips(config: ClipsConfig, n_knobs: int) -> _Data:
    data = manifest.Dataset(config.dataset)
    remedy = "build a dataset of longer ones with `fxst dataset build --seconds`"
    batch = partial(_draw, config, data, n_knobs)
    return _Data(data.sample_rate, data.clip_samples, batch, runs.describe(data), remedy)


def _pairs(config: ClipsConfig) -> _Data:
    pairs = declarations.DeclaredPairs(str(config.dataset_type), config.dataset)
    remedy = f"give longer items, or fewer --listen-clips than {config.listen_clips}"
    window = pairs.samples // config.listen_clips
    return _Data(pairs.sample_rate, window, partial(_draw_pairs, config, pairs), pairs.describe(), remedy)


def _draw_pairs(config: ClipsConfig, pairs: declarations.DeclaredPairs, split: str, step: int) -> tuple[Tensor, ...]:
    drawn = pairs.draw(split, batch=config.batch, seed=(config.seed, step))
    return torch.split(torch.from_numpy(drawn), 1, dim=1)


def _draw(config: ClipsConfig, data: manifest.Dataset, n_knobs: int, split: str, step: int) -> tuple[Tensor, ...]:
    examples = draw(
        data, split, n_knobs=n_knobs, batch=config.batch, clips=config.listen_clips, seed=config.seed, step=step
    )
    return tuple(torch.from_numpy(array) for array in (examples.input, examples.reference, examples.knobs))


def _renderer(config: ClipsConfig, chain: Chain, rate: int) -> Renderer:
    spsa = config.gradient == "spsa", "--gradient spsa"
    needs = dict.fromkeys(("spsa_directions", "spsa_epsilon", "spsa_epsilon_decay"), spsa)
    by_proxy = config.gradient in ("proxy", "half-hybrid", "full-hybrid"), "--gradient proxy and the hybrids"
    check_used(config, needs | {"proxies": by_proxy})
    options = MethodOptions(
        proxies=config.proxies,
        directions=config.spsa_directions,
        epsilon=config.spsa_epsilon,
        epsilon_decay=config.spsa_epsilon_decay,
        seed=config.seed,
    )
    return make_renderer(config.gradient, chain, sample_rate=rate, options=options)
