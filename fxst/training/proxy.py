"""Train a proxy: show a network what one effect makes of a voice, at every setting and every level."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import proxy_file
from fxst.configs import ClipsConfig, ProxyConfig
from fxst.data import manifest
from fxst.data.renders import draw_renders
from fxst.errors import SettingsError, unknown
from fxst.gradients import ProxyRenderer
from fxst.models.proxy import ProxyModel, ProxyModelConfig
from fxst.training import runs
from fxst.training.fidelity import Fidelity, measure_fidelity
from fxst.training.losses import StyleLoss
from fxst.training.progress import Report

__all__ = ["ProxyModule", "train"]

PEAK_DB = (-30.0, 24.0)
"""Range of the clips' peak level: in a chain, what comes before an effect may have made the signal far louder."""


class ProxyModule(runs.TrainingModule):
    """One training step: imitate, and compare with the exact effect; every clip counts as if they were equally loud.

    Args:
        model: Imitates the effect.
        config: The run's settings.
    """

    columns = ("step", "seconds", "train_loss", "val_loss", "val_mae", "val_stft", "val_error_db", runs.LOSS_RATIO)

    def __init__(self, model: ProxyModel, config: ProxyConfig) -> None:
        super().__init__(model, config)
        # The spectral distance is that of `style train`, whose gradients the proxy is to stand in for.
        self.loss = StyleLoss(windows=ClipsConfig.stft_windows, hop=ClipsConfig.stft_hop, mae_weight=config.mae_weight)

    def measure(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch; in validation also the powers of the error and of what the effect changed.

        Shape:
            batch: input (B, 1, T), knobs (B, P), and what the exact effect made of it (B, 1, T).
        """
        x, knobs, target = batch
        scale = 0.1 / (target.square().mean((1, 2), keepdim=True).sqrt() + 1e-5)
        output, target, x = self.model(x, knobs) * scale, target * scale, x * scale
        mae, stft = self.loss(output, target)
        losses = {"loss": self.config.mae_weight * mae + stft, "mae": mae, "stft": stft}
        if not self.training:
            losses |= {"error": (output - target).square().mean(), "change": (target - x).square().mean()}
            input_mae, input_stft = self.loss(x, target)
            losses |= {"output_loss": losses["loss"], "input_loss": self.config.mae_weight * input_mae + input_stft}
        return losses

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        metrics = self.trainer.callback_metrics
        ratio = metrics["val_error"].clamp_min(1e-30) / metrics["val_change"].clamp_min(1e-30)
        self.log("val_error_db", 10 * ratio.log10())


CURVES = (runs.LossCurve("train_loss", "training"), runs.LossCurve("val_loss", "validation, unseen speakers"))


def train(
    config: ProxyConfig, *, resume: bool = False, report: Report | None = None
) -> tuple[runs.Run[ProxyModule], Fidelity]:
    """Train a proxy of one effect on a built dataset, export the best one, and measure how true it is.

    The run's folder gets `model.safetensors` and `card.json`, and what every run has (`run_folder`). An interrupted run
    exports the best proxy so far, or one that was never validated. Batches depend on the seed and the step alone, so a
    resumed run continues as if never stopped.

    Args:
        config: The settings.
        resume: Whether `output` holds the run to continue.
        report: Gets the progress.

    Raises:
        FxstError: The dataset, chain, effect, device or folder will not do.
    """
    if config.chain not in CHAINS:
        raise SettingsError(f"{unknown('chain', config.chain, CHAINS)}.")
    whole = CHAINS[config.chain]
    if config.effect not in whole.labels:
        where = f" in the chain {whole.name}"
        raise SettingsError(f"{unknown('effect', config.effect, whole.labels, where=where)}.")
    effect = whole.effects[whole.labels.index(config.effect)]
    chain = Chain(effect.name, (effect,))
    if not chain.predicted.knobs:
        raise SettingsError(
            f"The {config.effect} of chain {whole.name} has no knobs for a model; there is nothing to learn."
        )
    others = set(config.parts) - set(PARTS)
    if others:
        named = ", ".join(map(repr, sorted(others)))
        raise SettingsError(f"A proxy has no part {named}; the parts are: {', '.join(PARTS)}.")
    runs.device_is_there(config.device)
    data = manifest.Dataset(config.dataset)
    shortest = max(ClipsConfig.stft_windows) // 2 + 1
    if data.clip_samples < shortest:
        raise SettingsError(
            f"The clips of {config.dataset} have {data.clip_samples} samples, and {shortest} are needed: build a "
            "dataset of longer ones with `fxst dataset build --seconds`."
        )

    def batch(split: str, step: int, count: int = config.batch) -> tuple[Tensor, ...]:
        drawn = draw_renders(data, split, chain, batch=count, peak_db=PEAK_DB, seed=config.seed, step=step)
        return tuple(torch.from_numpy(array) for array in (drawn.input, drawn.knobs, drawn.output))

    for split in ("train", "val", "test"):  # what is missing must not be found out after hundreds of steps
        batch(split, 0, 1)

    def make() -> tuple[ProxyModule, runs.Draw]:
        sizes = ProxyModelConfig(len(chain.knobs), data.sample_rate, echo_samples=data.clip_samples)
        return ProxyModule(ProxyModel(_with_parts(sizes, config.parts)), config), batch

    folder = config.output if config.output is not None else Path("runs") / f"proxy-{config.effect}"
    run = runs.run(config, folder, make, resume=resume, report=report)
    return run, _export(run, chain, data)


PARTS = ("tone", "echoes", "dynamics", "waveshape")


def _with_parts(sizes: ProxyModelConfig, parts: tuple[str, ...]) -> ProxyModelConfig:
    """Leave out what is not among the parts; none named is all."""
    if not parts:
        return sizes
    return replace(
        sizes,
        tone_bands=sizes.tone_bands if "tone" in parts else 0,
        echo_kernels=sizes.echo_kernels if "echoes" in parts else 0,
        gain_head=sizes.gain_head if {"dynamics", "waveshape"} & set(parts) else 0,
        gain_layers=sizes.gain_layers if "dynamics" in parts else 0,
    )


def _export(run: runs.Run[ProxyModule], chain: Chain, data: manifest.Dataset) -> Fidelity:
    model = run.module.model.cpu().eval().requires_grad_(False)
    card = run.card(runs.describe(data))
    made = proxy_file.Proxy(model, chain.effects[0], data.sample_rate, card)
    fidelity = measure_fidelity(ProxyRenderer(chain, [made]), data, examples=run.module.config.test_examples)
    proxy_file.save(run.folder, model, chain.effects[0], card=card | {"fidelity": _plain(fidelity)})
    run.write_losses(f"proxy of the {chain.name}", CURVES, unit="loss (MAE + MR-STFT)")
    return fidelity


def _plain(fidelity: Fidelity) -> dict[str, Any]:
    """Write the figures as JSON has them, which knows no NaN."""
    return {name: None if math.isnan(value) else round(value, 4) for name, value in asdict(fidelity).items()}
