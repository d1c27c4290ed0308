"""Train a style model: hide random settings in a reference, and ask the model to find them."""

import csv
import ctypes
import io
import json
import logging
import math
import shlex
import signal
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fxst import __version__
from fxst.chain import CHAINS, Chain
from fxst.configs import StyleConfig
from fxst.data import manifest
from fxst.data.examples import StyleExamples, draw
from fxst.errors import ModelError, SettingsError
from fxst.gradients import AutodiffRenderer, Renderer
from fxst.models import checkpoint
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.style import StyleModel, StyleModelConfig
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


class StyleModule(lightning.LightningModule):
    """One training step: render a reference and a target, predict, render the prediction, compare.

    Args:
        model: Predicts knobs.
        renderer: Passes the gradient from audio to knobs.
        config: The run's settings.
    """

    def __init__(self, model: StyleModel, renderer: Renderer, config: StyleConfig) -> None:
        super().__init__()
        self.model = model
        self.renderer = renderer
        self.config = config
        self.sample_rate = model.config.encoder.sample_rate
        self.loss = StyleLoss(windows=config.stft_windows, hop=config.stft_hop, mae_weight=config.mae_weight)

    def measure(self, examples: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch, and the spectral distance that doing nothing leaves.

        Shape:
            examples: dry input and reference (B, clips, T), and hidden knobs (B, P).
        """
        dry, reference, hidden = examples
        first = dry[:, :1]
        with torch.no_grad():
            # The clips of one example share settings, so they are rendered as channels of one signal.
            target = self.renderer.chain.autodiff(first, hidden, sample_rate=self.sample_rate)
            produced = self.renderer.chain.autodiff(reference, hidden, sample_rate=self.sample_rate)
        knobs = self.model(dry, produced)
        output = self.renderer(first, knobs, sample_rate=self.sample_rate)
        mae, stft = self.loss(output, target)
        losses = {"loss": self.config.mae_weight * mae + stft, "mae": mae, "stft": stft}
        if not self.training:
            losses["input_stft"] = self.loss(first, target)[1]
        return losses

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        losses = self.measure(batch)
        self.log_dict({f"train_{name}": value for name, value in losses.items()}, prog_bar=True)
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return losses["loss"]

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        losses = self.measure(batch)
        self.log_dict({f"val_{name}": value for name, value in losses.items()}, batch_size=batch[0].shape[0])

    def on_validation_epoch_end(self) -> None:
        metrics = self.trainer.callback_metrics
        self.log("val_stft_ratio", metrics["val_stft"] / metrics["val_input_stft"], prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.config.learning_rate, weight_decay=1e-4)

        def factor(step: int) -> float:
            """Rise for the first steps, then fall along half a cosine to a hundredth."""
            if step < self.config.warmup_steps:
                return (step + 1) / self.config.warmup_steps
            progress = (step - self.config.warmup_steps) / max(1, self.config.steps - self.config.warmup_steps)
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class _Batches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Batches by their step: what is drawn depends on the seed and the step alone, so resuming is exact."""

    def __init__(self, module: StyleModule, data: manifest.Dataset, split: str, first: int, count: int) -> None:
        self.module, self.data, self.split, self.first, self.count = module, data, split, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        config = self.module.config
        examples: StyleExamples = draw(
            self.data,
            self.split,
            n_knobs=self.module.model.config.n_knobs,
            batch=config.batch,
            clips=config.listen_clips,
            seed=config.seed,
            step=self.first + index,
        )
        arrays = (examples.input, examples.reference, examples.knobs)
        return tuple(torch.from_numpy(array) for array in arrays)  # type: ignore[return-value]


class _Data(lightning.LightningDataModule):
    """Training batches by step, one stretch between validations at a time; validation batches always the same."""

    def __init__(self, module: StyleModule, data: manifest.Dataset) -> None:
        super().__init__()
        self.module, self.data = module, data

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        assert self.trainer is not None
        config = self.module.config
        first = self.trainer.global_step
        count = min(config.validate_every, config.steps - first)
        return DataLoader(_Batches(self.module, self.data, "train", first, count), batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        batches = math.ceil(self.module.config.validation_examples / self.module.config.batch)
        return DataLoader(_Batches(self.module, self.data, "val", 0, batches), batch_size=None)


COLUMNS = ("step", "seconds", "train_loss", "val_loss", "val_mae", "val_stft", "val_input_stft", "val_stft_ratio")


class _LossTable(Callback):
    """Keeps one row of losses a validation; they travel in Lightning's checkpoint, so a resumed run has all."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._since = time.monotonic()
        self._training: list[Tensor] = []

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self._training.append(outputs["loss"].detach())

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not self._training:
            return
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        known = {name: value.item() for name, value in trainer.callback_metrics.items()}
        known |= {"step": trainer.global_step, "seconds": round(self.seconds, 1)}
        known["train_loss"] = torch.stack(self._training).mean().item()
        self._training = []
        self.rows.append({name: known[name] for name in COLUMNS})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]


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
        raise SettingsError(f"There is no chain {config.chain!r}; there are: {', '.join(CHAINS)}.")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("There is no CUDA device that this torch can use: use auto or cpu.")
    if min(config.stft_windows) < 2:
        raise SettingsError("An STFT window must have at least 2 samples.")
    chain = CHAINS[config.chain]
    data = manifest.Dataset.open(config.dataset)
    shortest = max(Encoder.spectrum_fft, *(window // 2 + 1 for window in config.stft_windows))
    if data.clip_samples < shortest:
        raise SettingsError(
            f"The clips of {config.dataset} have {data.clip_samples} samples, and {shortest} are needed: build a "
            "dataset of longer ones with `fxst dataset build --seconds`."
        )
    for split in ("train", "val"):  # what is missing must not be found out after hundreds of steps
        draw(data, split, n_knobs=1, batch=1, clips=config.listen_clips, seed=0, step=0)
    folder = config.output if config.output is not None else Path("runs") / config.chain
    last = _begin(config, folder)

    lightning.seed_everything(config.seed, verbose=False)
    _keep_freed_memory()
    encoder = EncoderConfig(sample_rate=data.sample_rate, window_samples=data.clip_samples)
    module = StyleModule(StyleModel(StyleModelConfig(len(chain.knobs), encoder)), AutodiffRenderer(chain), config)
    table = _LossTable()
    # Tips, devices that are not there, remarks on workers (batches are copied from a file; a worker would only take a
    # processor) and on what resuming means here.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    remarks = "many workers|LeafSpec|logging interval|is not empty|could not find the monitored|across ranks is zero"
    warnings.filterwarnings("ignore", message=f".*({remarks}).*")
    trainer = _trainer(config, folder, table)
    _fit(trainer, module, _Data(module, data), resume_from=last if config.resume else None)
    if not table.rows:
        raise KeyboardInterrupt(
            f"interrupted at step {trainer.global_step}; there is no model before the first validation, "
            f"at step {config.validate_every}"
        )
    return _export(folder, module, chain, data, table, interrupted=trainer.global_step < config.steps)


def _begin(config: StyleConfig, folder: Path) -> Path:
    """Make the run's folder, or check that it holds the run to resume; return where its last checkpoint is."""
    last = folder / "checkpoints" / "last.ckpt"
    begun_with = folder / "config.json"
    settings = _plain(config)
    try:
        if not config.resume:
            leftovers = {path.name for path in folder.iterdir()} if folder.exists() else set()
            # A run that ended before its first checkpoint leaves nothing that anyone would miss.
            if last.is_file() or not leftovers <= {"config.json", "logs", "checkpoints"}:
                raise ModelError(
                    f"{folder} is not empty; continue its run with --resume, or name another folder with -o."
                )
            folder.mkdir(parents=True, exist_ok=True)
            begun_with.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
            return last
        if not last.is_file():
            raise ModelError(f"There is no {last} to resume from; leave out --resume to begin a new run.")
        first = json.loads(begun_with.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"The folder {folder} cannot be used ({error.strerror}); name another with -o.") from error
    except ValueError as error:
        raise ModelError(f"{begun_with} is damaged; begin a new run in another folder.") from error
    free = {"resume", "output", "device", "data_note"}
    other = [name for name in settings if name not in free and settings[name] != first.get(name)]
    if other:
        values = ", ".join(f"{name} {first.get(name)}" for name in other)
        raise SettingsError(f"The run in {folder} was begun with {values}; resume it with the same.")
    return last


def _plain(config: StyleConfig) -> dict[str, Any]:
    """Write the run's settings as JSON has them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


def _fit(trainer: lightning.Trainer, module: StyleModule, data: _Data, *, resume_from: Path | None) -> None:
    """Run the training; return at its end, and likewise when Ctrl-C or a termination signal ends it early."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        # Lightning's own file, made by this very run, holds more than weights.
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=False if resume_from else None)
    except (SystemExit, SIGTERMException):
        # Lightning ends the process on Ctrl-C; here the best model so far must be exported first.
        signal.signal(signal.SIGINT, on_interrupt)


def _trainer(config: StyleConfig, folder: Path, table: _LossTable) -> lightning.Trainer:
    checkpoints: dict[str, Any] = {
        "dirpath": folder / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    return lightning.Trainer(
        default_root_dir=folder,
        max_steps=config.steps,
        accelerator=config.device,
        devices=1,
        callbacks=[
            table,
            ModelCheckpoint(filename="best", monitor="val_loss", mode="min", **checkpoints),
            ModelCheckpoint(filename="last", **checkpoints),
            *([TQDMProgressBar(refresh_rate=10)] if sys.stderr.isatty() else []),
        ],
        logger=[CSVLogger(folder / "logs", name="csv"), TensorBoardLogger(folder / "logs", name="tensorboard")],
        log_every_n_steps=10,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=1,
        reload_dataloaders_every_n_epochs=1,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )


def _export(
    folder: Path, module: StyleModule, chain: Chain, data: manifest.Dataset, table: _LossTable, *, interrupted: bool
) -> Trained:
    best = min(table.rows, key=lambda row: row["val_loss"])
    state = torch.load(folder / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=False)["state_dict"]
    module.load_state_dict(state)
    card = {
        "fxst_version": __version__,
        "training": {
            "command": shlex.join(["fxst", *sys.argv[1:]]),
            "config": _plain(module.config),
            "data": _describe(data) | {"note": module.config.data_note},
            "gradient": "autodiff",
            "steps": int(table.rows[-1]["step"]),
            "interrupted": interrupted,
            "seconds": round(table.seconds),
            "machine": f"{torch.get_num_threads()} threads, {module.device.type}",
        },
        "losses": {name: round(value, 6) for name, value in best.items()},
    }
    checkpoint.save(folder, module.model, chain, sample_rate=module.sample_rate, card=card)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in table.rows)
    (folder / "losses.csv").write_text(text.getvalue(), encoding="utf-8")
    _plot(table.rows, folder / "losses.png", chain.name)
    return Trained(
        folder=folder,
        steps=int(table.rows[-1]["step"]),
        best_step=int(best["step"]),
        val_loss=best["val_loss"],
        val_stft_ratio=best["val_stft_ratio"],
        interrupted=interrupted,
    )


def _describe(data: manifest.Dataset) -> dict[str, Any]:
    splits = {split: data.indices_by_speaker(split) for split in ("train", "val", "test")}
    return {
        # Where the recordings lay on one machine means nothing on another; their folders' names do.
        "built_with": data.settings | {"sources": [Path(source).name for source in data.settings["sources"]]},
        "speakers": {split: len(speakers) for split, speakers in splits.items()},
        "clips": {split: sum(map(len, speakers.values())) for split, speakers in splits.items()},
    }


def _plot(rows: list[dict[str, float]], path: Path, title: str) -> None:
    """Draw the loss curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    for name, label in (("train_loss", "training"), ("val_loss", "validation, unseen speakers")):
        axes.plot(steps, [row[name] for row in rows], label=label)
    axes.plot(
        steps,
        [row["val_input_stft"] for row in rows],
        "--",
        color="grey",
        label="validation, unprocessed input (MR-STFT alone)",
    )
    axes.set(xlabel="step", ylabel="loss (MAE + MR-STFT)", title=title, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def _keep_freed_memory() -> None:
    """Ask glibc not to hand large buffers back to the system: on a CPU, page faults took a third of each step."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_mmap_threshold, 2**30)
        mallopt(m_trim_threshold, 2**31 - 1)
