"""Train a proxy: show a network what one effect makes of a voice, at every setting and every level."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.checkpoints import proxy_file
from fxst.configs import ProxyConfig, StyleConfig
from fxst.data import manifest
from fxst.data.renders import draw_renders
from fxst.errors import SettingsError, unknown
from fxst.gradients import ProxyRenderer
from fxst.models.proxy import ProxyModel, ProxyModelConfig
from fxst.training import runs
from fxst.training.fidelity import Fidelity, measure_fidelity
from fxst.training.losses import StyleLoss

__all__ = ["ProxyModule", "TrainedProxy", "train"]

PEAK_DB = (-30.0, 24.0)
"""Range of the clips' peak level: in a chain, what comes before an effect may have made the signal far louder."""


@dataclass(frozen=True)
class TrainedProxy:
    """What the training of a proxy came to.

    Args:
        folder: Where the proxy, its card, loss table and curve are.
        steps: Steps that were taken in all.
        best_step: Step whose weights were kept.
        val_loss: Validation loss there.
        fidelity: How true it is, on the dataset's test split.
        interrupted: Whether the run was stopped before its last step.
    """

    folder: Path
    steps: int
    best_step: int
    val_loss: float
    fidelity: Fidelity
    interrupted: bool


class ProxyModule(runs.TrainingModule):
    """One training step: imitate, and compare with the exact effect; every clip counts as if they were equally loud.

    Args:
        model: Imitates the effect.
        config: The run's settings.
    """

    def __init__(self, model: ProxyModel, config: ProxyConfig) -> None:
        super().__init__(model, config)
        # The spectral distance is that of `style train`, whose gradients the proxy is to stand in for.
        self.loss = StyleLoss(windows=StyleConfig.stft_windows, hop=StyleConfig.stft_hop, mae_weight=config.mae_weight)

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
        return losses

    def on_validation_epoch_end(self) -> None:
        metrics = self.trainer.callback_metrics
        ratio = metrics["val_error"].clamp_min(1e-30) / metrics["val_change"].clamp_min(1e-30)
        self.log("val_error_db", 10 * ratio.log10(), prog_bar=True)


COLUMNS = ("step", "seconds", "train_loss", "val_loss", "val_mae", "val_stft", "val_error_db")

CURVES = (runs.Curve("train_loss", "training"), runs.Curve("val_loss", "validation, unseen speakers"))


def train(config: ProxyConfig) -> TrainedProxy:
    """Train a proxy of one effect on a built dataset, export the best one, and measure how true it is.

    The folder gets `model.safetensors` and `card.json`, and what every run leaves (`runs.run`). An interrupted run
    exports the best proxy so far. Batches depend on the seed and the step alone, so a resumed run continues as if never
    stopped.

    Raises:
        FxstError: The dataset, chain, effect, device or folder will not do.
        KeyboardInterrupt: It was interrupted before there was a proxy.
    """
    if config.chain not in CHAINS:
        raise SettingsError(f"{unknown('chain', config.chain, CHAINS)}.")
    whole = CHAINS[config.chain]
    if config.effect not in whole.labels:
        raise SettingsError(f"{unknown('effect', config.effect, whole.labels)} in the chain {whole.name}.")
    effect = whole.effects[whole.labels.index(config.effect)]
    chain = Chain(effect.name, (effect,))
    if not chain.knobs:
        raise SettingsError(f"The {config.effect} of chain {whole.name} has no knobs; there is nothing to learn.")
    others = set(config.parts) - set(PARTS)
    if others:
        named = ", ".join(map(repr, sorted(others)))
        raise SettingsError(f"A proxy has no part {named}; the parts are: {', '.join(PARTS)}.")
    runs.device_is_there(config.device)
    data = manifest.Dataset.open(config.dataset)
    shortest = max(StyleConfig.stft_windows) // 2 + 1
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

    def make() -> ProxyModule:
        sizes = ProxyModelConfig(len(chain.knobs), data.sample_rate, echo_samples=data.clip_samples)
        return ProxyModule(ProxyModel(_with_parts(sizes, config.parts)), config)

    folder = config.output if config.output is not None else Path("runs") / f"proxy-{config.effect}"
    return _export(runs.run(config, folder, make, batch, columns=COLUMNS), chain, data)


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


def _export(run: "runs.Run[ProxyModule]", chain: Chain, data: manifest.Dataset) -> TrainedProxy:
    model = run.module.model.cpu().eval().requires_grad_(False)
    card = run.card(data)
    made = proxy_file.Proxy(model, chain.effects[0], data.sample_rate, card)
    fidelity = measure_fidelity(ProxyRenderer(chain, [made]), data, examples=run.module.config.test_examples)
    proxy_file.save(run.folder, model, chain.effects[0], card=card | {"fidelity": _plain(fidelity)})
    run.write_losses(f"proxy of the {chain.name}", CURVES, unit="loss (MAE + MR-STFT)")
    return TrainedProxy(
        folder=run.folder,
        steps=run.steps,
        best_step=int(run.best["step"]),
        val_loss=run.best["val_loss"],
        fidelity=fidelity,
        interrupted=run.interrupted,
    )


def _plain(fidelity: Fidelity) -> dict[str, Any]:
    """Write the figures as JSON has them, which knows no NaN."""
    return {name: None if math.isnan(value) else round(value, 4) for name, value in asdict(fidelity).items()}
