"""Train a style model: hide random settings in a reference, and ask the model to find them."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_autodiff, render_exact
from fxst.checkpoints import checkpoint
from fxst.configs import ClipsConfig, PassagesConfig
from fxst.data import manifest
from fxst.data.examples import draw
from fxst.errors import SettingsError, unknown
from fxst.gradients import MethodOptions, Renderer, make_renderer
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.style import StyleModelConfig
from fxst.models.trainable import StyleModel
from fxst.training import runs, studio
from fxst.training.losses import StyleLoss
from fxst.training.progress import Report

__all__ = ["StyleModule", "train"]


class StyleModule(runs.TrainingModule):
    """One training step: render a reference and a target, predict, render the prediction, compare.

    Args:
        model: Predicts knobs.
        renderer: Passes the gradient from audio to knobs.
        config: The run's settings.
    """

    columns = ("step", "seconds", "train_loss", "val_loss", "val_mae", "val_stft", "val_input_stft", "val_stft_ratio")

    def __init__(self, model: StyleModel, renderer: Renderer, config: ClipsConfig) -> None:
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
    if not chain.knobs:
        raise SettingsError(f"Chain {chain.name} has no knobs: there is nothing to learn.")
    folder = config.output if config.output is not None else Path("runs") / config.chain
    if isinstance(config, PassagesConfig):
        return studio.train(config, chain, folder, resume=resume, report=report)
    return _train_on_clips(config, chain, folder, resume=resume, report=report)


def _train_on_clips(
    config: ClipsConfig, chain: Chain, folder: Path, *, resume: bool, report: Report | None
) -> runs.Run[StyleModule]:
    if min(config.stft_windows) < 2:
        raise SettingsError("An STFT window must have at least 2 samples.")
    data = manifest.Dataset.open(config.dataset)
    shortest = max(Encoder.spectrum_fft, *(window // 2 + 1 for window in config.stft_windows))
    if data.clip_samples < shortest:
        raise SettingsError(
            f"The clips of {config.dataset} have {data.clip_samples} samples, and {shortest} are needed: build a "
            "dataset of longer ones with `fxst dataset build --seconds`."
        )
    batch = partial(_draw, config, data, len(chain.knobs))
    for split in ("train", "val"):  # what is missing must not be found out after hundreds of steps
        batch(split, 0)
    _renderer(config, chain, data.sample_rate)

    def make() -> tuple[StyleModule, runs.Draw]:
        encoder = EncoderConfig(sample_rate=data.sample_rate, window_samples=data.clip_samples)
        model = StyleModel(StyleModelConfig(len(chain.knobs), encoder))
        return StyleModule(model, _renderer(config, chain, data.sample_rate), config), batch

    run = runs.run(config, folder, make, resume=resume, report=report)
    card = run.card(data, gradient=config.gradient)
    checkpoint.save(folder, run.module.model, chain, sample_rate=data.sample_rate, card=card)
    run.write_losses(chain.name, CURVES, unit="loss (MAE + MR-STFT)")
    return run


def _draw(config: ClipsConfig, data: manifest.Dataset, n_knobs: int, split: str, step: int) -> tuple[Tensor, ...]:
    examples = draw(
        data, split, n_knobs=n_knobs, batch=config.batch, clips=config.listen_clips, seed=config.seed, step=step
    )
    return tuple(torch.from_numpy(array) for array in (examples.input, examples.reference, examples.knobs))


def _renderer(config: ClipsConfig, chain: Chain, rate: int) -> Renderer:
    options = MethodOptions(
        proxies=config.proxies,
        directions=config.spsa_directions,
        epsilon=config.spsa_epsilon,
        epsilon_decay=config.spsa_epsilon_decay,
        seed=config.seed,
    )
    return make_renderer(config.gradient, chain, sample_rate=rate, options=options)
