"""What every training has in common: steps, checkpoints, logs, the loss table and its curve, resuming and stopping."""

import csv
import ctypes
import io
import json
import logging
import math
import pickle
import resource
import shlex
import signal
import statistics
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fxst import interrupts, staging
from fxst.configs import ProxyConfig, StyleConfig
from fxst.data import manifest
from fxst.errors import ModelError, SettingsError
from fxst.version import __version__

__all__ = ["Curve", "Run", "TrainingModule", "device_is_there", "keep_freed_memory", "run"]

Config = StyleConfig | ProxyConfig

Batch = tuple[Tensor, ...]

Draw = Callable[[str, int], Batch]
"""Gives the batch of a split (`train` or `val`) and a step, and depends on nothing else, so that resuming is exact."""


class TrainingModule(lightning.LightningModule, ABC):
    """A model in training: its losses of every batch are logged, and its learning rate rises and falls.

    Args:
        model: What is trained.
        config: The run's settings.
    """

    def __init__(self, model: nn.Module, config: Config) -> None:
        super().__init__()
        self.model: Any = model
        self.config: Any = config

    @abstractmethod
    def measure(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of a batch; `loss` is what is minimised."""

    def training_step(self, batch: Batch, _: int) -> Tensor:
        losses = self._finite(batch)
        self.log_dict({f"train_{name}": value for name, value in losses.items()}, prog_bar=True)
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return losses["loss"]

    def validation_step(self, batch: Batch, _: int) -> None:
        losses = self._finite(batch)
        self.log_dict({f"val_{name}": value for name, value in losses.items()}, batch_size=batch[0].shape[0])

    def _finite(self, batch: Batch) -> dict[str, Tensor]:
        """Measure a batch; a loss that is no number would train on to the end, and every weight with it."""
        losses = self.measure(batch)
        if not losses["loss"].isfinite():
            raise SettingsError(
                f"The loss is no finite number at step {self.global_step}: begin a run with a lower --learning-rate "
                "or, with an effect of your own, with narrower ranges; this run's checkpoints keep what was before."
            )
        return losses

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give what is trained, and the peak learning rate of each part of it."""
        return [{"params": list(self.model.parameters()), "lr": self.config.learning_rate}]

    def configure_optimizers(self) -> Any:
        config: Config = self.config
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=config.learning_rate, weight_decay=1e-4, fused=True)

        def factor(step: int) -> float:
            """Rise for the first steps, then fall along half a cosine to a hundredth."""
            if step < config.warmup_steps:
                return (step + 1) / config.warmup_steps
            progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
            return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class _Batches(Dataset[Batch]):
    """Batches by their step."""

    def __init__(self, draw: Draw, split: str, first: int, count: int) -> None:
        self.draw, self.split, self.first, self.count = draw, split, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        return self.draw(self.split, self.first + index)


class _Data(lightning.LightningDataModule):
    """Training batches by step, one stretch between validations at a time; validation batches always the same."""

    def __init__(self, draw: Draw, config: Config) -> None:
        super().__init__()
        self.draw, self.config = draw, config

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        first = self.trainer.global_step
        count = min(self.config.validate_every, self.config.steps - first)
        loaders = getattr(self.config, "loaders", 0)
        return DataLoader(_Batches(self.draw, "train", first, count), batch_size=None, num_workers=loaders)

    def val_dataloader(self) -> DataLoader[Batch]:
        batches = math.ceil(self.config.validation_examples / self.config.batch)
        return DataLoader(_Batches(self.draw, "val", 0, batches), batch_size=None)


class _LossTable(Callback):
    """Keeps one row of losses a validation; they travel in Lightning's checkpoint, so a resumed run has all."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._since = time.monotonic()
        self._training: list[Tensor] = []
        self.step_seconds: list[float] = []
        self._last_step: float | None = None

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        interrupts.check()
        self._training.append(outputs["loss"].detach())
        now = time.monotonic()
        if self._last_step is not None:
            self.step_seconds.append(now - self._last_step)
        self._last_step = now

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        interrupts.check()

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._last_step = None  # a step after a validation would count its time
        if trainer.sanity_checking or not self._training:
            return
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        known = {name: value.item() for name, value in trainer.callback_metrics.items()}
        known |= {"step": trainer.global_step, "seconds": round(self.seconds, 1)}
        known["train_loss"] = torch.stack(self._training).mean().item()
        self._training = []
        self.rows.append({name: known[name] for name in self.columns})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]


@dataclass(frozen=True)
class Curve:
    """A column of the loss table as it is drawn.

    Args:
        column: Which column.
        label: What the legend calls it.
        style: Its line.
    """

    column: str
    label: str
    style: str = "-"


Module = TypeVar("Module", bound=TrainingModule)


@dataclass(frozen=True)
class Run(Generic[Module]):
    """A run at its end, however it came to it.

    Args:
        module: What was trained, with its best weights.
        folder: Where the run is kept.
        rows: The loss table.
        seconds: How long it trained.
        step_seconds: How long a step took, in the median.
        interrupted: Whether it was stopped before its last step.
    """

    module: Module
    folder: Path
    rows: list[dict[str, float]]
    seconds: float
    step_seconds: float
    interrupted: bool

    @property
    def best(self) -> dict[str, float]:
        """Row of the table whose weights were kept."""
        return min(self.rows, key=lambda row: row["val_loss"])

    @property
    def steps(self) -> int:
        """Steps that the table reaches to."""
        return int(self.rows[-1]["step"])

    def card(self, *datasets: manifest.Dataset, **more: Any) -> dict[str, Any]:
        """Tell of the training, for the model's card.

        Args:
            datasets: What it was trained on.
            more: What else there is to tell of the training.
        """
        return {
            "fxst_version": __version__,
            "training": {
                "command": shlex.join(["fxst", *sys.argv[1:]]),
                "config": _plain(self.module.config),
                "data": _describe(*datasets) | {"note": self.module.config.data_note},
                **more,
                "steps": self.steps,
                "interrupted": self.interrupted,
                "seconds": round(self.seconds),
                "examples": self.steps * self.module.config.batch,
                "ms_per_step": None if math.isnan(self.step_seconds) else round(1000 * self.step_seconds),
                "peak_memory_mb": round(_peak_memory(self.module.device)),
                "machine": f"{torch.get_num_threads()} threads, {self.module.device.type}",
            },
            "losses": {name: round(value, 6) for name, value in self.best.items()},
        }

    def write_losses(self, title: str, curves: tuple[Curve, ...], *, unit: str) -> None:
        """Write the loss table, and draw it.

        Args:
            title: What was trained.
            curves: What to draw.
            unit: What the vertical axis shows.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)
        staging.write(self.folder / "losses.csv", text.getvalue().encode())

        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            values = [row[curve.column] for row in self.rows]
            colour = None if curve.style == "-" else "grey"
            axes.plot([row["step"] for row in self.rows], values, curve.style, label=curve.label, color=colour)
        axes.set(xlabel="step", ylabel=unit, title=title, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
        picture = io.BytesIO()
        figure.savefig(picture, dpi=120)
        staging.write(self.folder / "losses.png", picture.getvalue())


def run(
    config: Config, folder: Path, make: Callable[[], Module], draw: Draw, *, columns: tuple[str, ...]
) -> Run[Module]:
    """Begin a run, or resume it, and train until its last step or until Ctrl-C or a termination signal ends it.

    The folder gets `losses.csv`, `losses.png`, `logs/` (CSV and TensorBoard), `checkpoints/` (`last.ckpt` for resuming,
    `best.ckpt`), and `config.json`, which a resumed run is held to.

    Args:
        config: Its settings.
        folder: Its folder.
        make: Makes what is trained; called once all random choices have their seed.
        draw: Gives its batches.
        columns: Columns of the loss table.

    Raises:
        FxstError: The folder will not do.
        KeyboardInterrupt: It was interrupted before there was a model.
    """
    last = _begin(config, folder)
    lightning.seed_everything(config.seed, verbose=False)
    keep_freed_memory()
    module = make()
    table = _LossTable(columns)
    # Tips, devices that are not there, remarks on workers (batches are copied from a file; a worker would only take a
    # processor), on proxies that are not trained, and on what resuming means here.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    remarks = "many workers|LeafSpec|in eval mode at the start|logging interval|is not empty"
    remarks += "|could not find the monitored|across ranks is zero"
    warnings.filterwarnings("ignore", message=f".*({remarks}).*")
    trainer = _trainer(config, folder, table)
    _fit(trainer, module, _Data(draw, config), resume_from=last if config.resume else None)
    if not table.rows:
        raise (interrupts.was_asked() or KeyboardInterrupt)(
            f"interrupted at step {trainer.global_step}; there is no model before the first validation, "
            f"at step {config.validate_every}"
        )
    module.load_state_dict(_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"])
    step_seconds = statistics.median(table.step_seconds) if table.step_seconds else math.nan
    return Run(module, folder, table.rows, table.seconds, step_seconds, trainer.global_step < config.steps)


def _peak_memory(device: torch.device) -> float:
    """Tell the most memory that this process has held, in MB: the device's, or the computer's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux counts in units of 1024 bytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def device_is_there(device: str) -> None:
    """Check that torch can use a device.

    Raises:
        SettingsError: It cannot.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("There is no CUDA device that this torch can use: use auto or cpu.")


def _begin(config: Config, folder: Path) -> Path:
    """Make the run's folder, or check that it holds a run that can be resumed; return where its last checkpoint is."""
    last = folder / "checkpoints" / "last.ckpt"
    begun_with = folder / "config.json"
    settings = _plain(config)
    try:
        if not config.resume:
            leftovers = {path.name for path in folder.iterdir()} if folder.exists() else set()
            # A run that ended before its first checkpoint leaves nothing that anyone would miss.
            if last.is_file() or not leftovers <= {"config.json", "lessons", "logs", "checkpoints"}:
                raise ModelError(
                    f"{folder} is not empty; continue its run with --resume, or name another folder with -o."
                )
            folder.mkdir(parents=True, exist_ok=True)
            staging.write(begun_with, (json.dumps(settings, indent=1) + "\n").encode())
            return last
        if not last.is_file():
            raise ModelError(f"There is no {last} to resume from; leave out --resume to begin a new run.")
        first = json.loads(begun_with.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"The folder {folder} cannot be used ({error.strerror}); name another with -o.") from error
    except ValueError as error:
        raise ModelError(f"{begun_with} is damaged; begin a new run in another folder.") from error
    free = {"resume", "output", "device", "data_note", "test_examples"}
    other = [name for name in settings if name not in free and settings[name] != first.get(name)]
    if other:
        values = ", ".join(f"{name} {first.get(name)}" for name in other)
        raise SettingsError(f"The run in {folder} was begun with {values}; resume it with the same.")
    _checkpoint(last)
    return last


def _checkpoint(path: Path) -> dict[str, Any]:
    """Read Lightning's own file: tensors and plain data, and never an object, whose making could run a program.

    Raises:
        ModelError: It is no such file, or damaged.
    """
    try:
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not kept.keys() >= {"state_dict", "global_step", "loops", "callbacks", "optimizer_states"}:
            raise ValueError("parts are missing")
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(
            f"The checkpoint {str(path)!r} is damaged, or none that this training wrote; begin a new run in another "
            "folder."
        ) from error
    return kept


def _plain(config: Config) -> dict[str, Any]:
    """Write the run's settings as JSON has them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return plain


def _fit(trainer: lightning.Trainer, module: TrainingModule, data: _Data, *, resume_from: Path | None) -> None:
    """Run the training; return at its end, and likewise when Ctrl-C or a termination signal ends it early."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        # Not between any two steps, for a checkpoint is written in several: after a batch the table asks.
        with interrupts.deferred():
            # By its whole path, for Lightning would fetch what begins like an address, and as plain data.
            trainer.fit(
                module, datamodule=data, ckpt_path=resume_from.resolve() if resume_from else None, weights_only=True
            )
    except (SystemExit, SIGTERMException):
        # Lightning ends the process on Ctrl-C; here the best model so far must be exported first.
        signal.signal(signal.SIGINT, on_interrupt)
    except Exception:
        if interrupts.was_asked() is None:  # else loaders died of the same signal
            raise


def _trainer(config: Config, folder: Path, table: _LossTable) -> lightning.Trainer:
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


def _describe(data: manifest.Dataset, *others: manifest.Dataset) -> dict[str, Any]:
    splits = {split: data.indices_by_speaker(split) for split in ("train", "val", "test")}
    return {
        # Where the recordings lay on one machine means nothing on another; their folders' names do.
        "built_with": data.settings | {"sources": [Path(source).name for source in data.settings["sources"]]},
        "speakers": {split: len(speakers) for split, speakers in splits.items()},
        "clips": {split: sum(map(len, speakers.values())) for split, speakers in splits.items()},
    } | ({"also": [_describe(other) for other in others]} if others else {})


def keep_freed_memory() -> None:
    """Ask glibc not to hand large buffers back to the system: on a CPU, page faults took a third of each step."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_mmap_threshold, 2**30)
        mallopt(m_trim_threshold, 2**31 - 1)
