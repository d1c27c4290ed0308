"""Train a style model: hide random settings in a reference, and ask the model to find them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_autodiff, render_exact
from fxst.checkpoints import checkpoint
from fxst.configs import StyleConfig
from fxst.data import manifest
from fxst.data.examples import draw
from fxst.errors import SettingsError, unknown
from fxst.gradients import MethodOptions, Renderer, make_renderer
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.style import StyleModel, StyleModelConfig
from fxst.training import runs, studio
from fxst.training.losses import StyleLoss

__all__ = ["StyleModule", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What a training run came to.

    Args:
        folder: Where the model, its card, loss table and curve are.
        steps: Steps that were taken in all.
        best_step: Step whose weights were kept.
        val_loss: Validation loss there.
        val_stft_ratio: Spectral distance to the target there, over that of the unprocessed input.
        interrupted: Whether the run was stopped before its last step.
    """

    folder: Path
    steps: int
    best_step: int
    val_loss: float
    val_stft_ratio: float
    interrupted: bool


class StyleModule(runs.TrainingModule):
    """One training step: render a reference and a target, predict, render the prediction, compare.

    Args:
        model: Predicts knobs.
        renderer: Passes the gradient from audio to knobs.
        config: The run's settings.
    """

    def __init__(self, model: StyleModel, renderer: Renderer, config: StyleConfig) -> None:
        super().__init__(model, config)
        self.renderer = renderer
        self.sample_rate = model.config.encoder.sample_rate
        self.loss = StyleLoss(windows=config.stft_windows, hop=config.stft_hop, mae_weight=config.mae_weight)

    def measure(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch, and the spectral distance that doing nothing leaves.

        Shape:
            batch: dry input and reference (B, clips, T), and hidden knobs (B, P).
        """
        dry, reference, hidden = batch
        first = dry[:, :1]
        chain = self.renderer.chain
        # The two forms null; in a batch, torch's is the faster one.
        render = partial(render_autodiff if chain.differentiable else render_exact, chain)
        # The clips of one example share settings, so they are rendered as channels of one signal.
        target = render(first, hidden, sample_rate=self.sample_rate)
        produced = render(reference, hidden, sample_rate=self.sample_rate)
        self.renderer.at_step(self.global_step)
        knobs = self.model(dry, produced)
        output = self.renderer(first, knobs, sample_rate=self.sample_rate)
        mae, stft = self.loss(output, target)
        losses = {"loss": self.config.mae_weight * mae + stft, "mae": mae, "stft": stft}
        if not self.training:
            losses["input_stft"] = self.loss(first, target)[1]
        return losses

    def on_validation_epoch_end(self) -> None:
        metrics = self.trainer.callback_metrics
        self.log("val_stft_ratio", metrics["val_stft"] / metrics["val_input_stft"], prog_bar=True)


COLUMNS = ("step", "seconds", "train_loss", "val_loss", "val_mae", "val_stft", "val_input_stft", "val_stft_ratio")

CURVES = (
    runs.Curve("train_loss", "training"),
    runs.Curve("val_loss", "validation, unseen speakers"),
    runs.Curve("val_input_stft", "validation, unprocessed input (MR-STFT alone)", "--"),
)


def train(config: StyleConfig) -> Trained:
    """Train a style model on a built dataset, and export the best one.

    The folder gets `model.safetensors` and `card.json` (what `fxst apply` loads), `losses.csv`, `losses.png`, `logs/`
    (CSV and TensorBoard), `checkpoints/` (`last.ckpt` for resuming, `best.ckpt`), and `config.json`, which a resumed
    run is held to. An interrupted run exports the best model so far. Batches depend on the seed and the step alone, so
    a resumed run continues as if never stopped.

    Raises:
        FxstError: The dataset, chain, device or folder will not do.
        KeyboardInterrupt: It was interrupted before there was a model.
    """
    if config.chain not in CHAINS:
        raise SettingsError(f"{unknown('chain', config.chain, CHAINS)}.")
    runs.device_is_there(config.device)
    if min(config.stft_windows) < 2:
        raise SettingsError("An STFT window must have at least 2 samples.")
    chain = CHAINS[config.chain]
    if not chain.knobs:
        raise SettingsError(f"Chain {chain.name} has no knobs: there is nothing to learn.")
    folder = config.output if config.output is not None else Path("runs") / config.chain
    if config.recipe == "passages":
        return _trained(studio.train(config, chain, folder), "val_published_ratio")
    if config.also or config.begin_with:
        raise SettingsError("--also and --begin-with are for --recipe passages: leave them out, or add it.")
    data = manifest.Dataset.open(config.dataset)
    shortest = max(Encoder.spectrum_fft, *(window // 2 + 1 for window in config.stft_windows))
    if data.clip_samples < shortest:
        raise SettingsError(
            f"The clips of {config.dataset} have {data.clip_samples} samples, and {shortest} are needed: build a "
            "dataset of longer ones with `fxst dataset build --seconds`."
        )
    for split in ("train", "val"):  # what is missing must not be found out after hundreds of steps
        draw(data, split, n_knobs=1, batch=1, clips=config.listen_clips, seed=0, step=0)
    _renderer(config, chain, data.sample_rate)

    def make() -> StyleModule:
        encoder = EncoderConfig(sample_rate=data.sample_rate, window_samples=data.clip_samples)
        model = StyleModel(StyleModelConfig(len(chain.knobs), encoder))
        return StyleModule(model, _renderer(config, chain, data.sample_rate), config)

    def batch(split: str, step: int) -> tuple[Tensor, ...]:
        examples = draw(
            data,
            split,
            n_knobs=len(chain.knobs),
            batch=config.batch,
            clips=config.listen_clips,
            seed=config.seed,
            step=step,
        )
        return tuple(torch.from_numpy(array) for array in (examples.input, examples.reference, examples.knobs))

    return _export(runs.run(config, folder, make, batch, columns=COLUMNS), chain, data)


def _renderer(config: StyleConfig, chain: Chain, rate: int) -> Renderer:
    options = MethodOptions(
        proxies=config.proxies,
        directions=config.spsa_directions,
        epsilon=config.spsa_epsilon,
        epsilon_decay=config.spsa_epsilon_decay,
        seed=config.seed,
    )
    return make_renderer(config.gradient, chain, sample_rate=rate, options=options)


def _export(run: "runs.Run[StyleModule]", chain: Chain, data: manifest.Dataset) -> Trained:
    checkpoint.save(
        run.folder,
        run.module.model,
        chain,
        sample_rate=run.module.sample_rate,
        card=run.card(data, gradient=run.module.config.gradient),
    )
    run.write_losses(chain.name, CURVES, unit="loss (MAE + MR-STFT)")
    return _trained(run, "val_stft_ratio")


def _trained(run: "runs.Run[Any]", ratio: str) -> Trained:
    return Trained(
        folder=run.folder,
        steps=run.steps,
        best_step=int(run.best["step"]),
        val_loss=run.best["val_loss"],
        val_stft_ratio=run.best[ratio],
        interrupted=run.interrupted,
    )
