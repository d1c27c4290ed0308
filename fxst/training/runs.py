"""What every training has in common: steps, checkpoints, logs, the loss table, resuming and stopping."""

import csv
import io
import logging
import math
import resource
import signal
import statistics
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fxst import data_parallel, staging
from fxst.configs import TrainingConfig
from fxst.data import manifest
from fxst.errors import FxstError, SettingsError
from fxst.memory import keep_freed_memory
from fxst.training import launch, run_folder
from fxst.training.progress import DivergedError, Monitor, Progress, Report, StoppedError, leave_signals
from fxst.version import __version__

__all__ = ["LossCurve", "Run", "TrainingModule", "describe", "device_is_there", "run"]

Batch = tuple[Tensor, ...]

REPORTED_STEPS = 10
"""Every so many steps the loss is reported: to read it makes a device wait."""

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"

PREPARED = "checkpoints/prepared"
"""A file that is there while the first of several processes prepares what all train on."""
LOSS_RATIO = "val_ratio"
"""Column of the loss table: how far the output is from the target, relative to the unprocessed input."""

INAUDIBLE = 0.05
"""An input whose loss is less is the target for what anyone hears: to be worse than that is no failure."""

WORSE, WORSE_AT_FIRST = 1.01, 1.1
"""A model at a higher ratio is worse than doing nothing; while its learning rate still rises, it has hardly begun."""

Draw = Callable[[str, int], Batch]
"""Gives the batch of a split (`train` or `val`) and a step, and depends on nothing else, so that resuming is exact."""


class TrainingModule(lightning.LightningModule, ABC):
    """A model in training: its losses of every batch are logged, and its learning rate rises and falls.

    Args:
        model: What is trained.
        config: The run's settings.
    """

    columns: ClassVar[tuple[str, ...]]
    """Columns of the loss table."""

    stage: ClassVar[str] = "training"
    """What progress calls the steps of this module."""

    def __init__(self, model: nn.Module, config: Any) -> None:
        super().__init__()
        self.model: Any = model
        self.config: Any = config
        self.monitor = Monitor(None)
        self.schedules: list[tuple[int, int]] = [(0, config.steps)]

    @abstractmethod
    def measure(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of a batch; `loss` is what is minimised.

        Those of a validation batch include `output_loss` and `input_loss`: how far the model's output and the
        unprocessed input are from the target.
        """

    def prepare(self, folder: Path) -> None:
        """Train what is trained before the first step, and report it to the monitor."""

    def setup(self, stage: str) -> None:
        folder = Path(self.trainer.default_root_dir)
        resumed = (folder / LAST).is_file()
        launch.agree(self.config, resumed=resumed)
        if not resumed:
            launch.by_the_first(partial(self.prepare, folder), folder / PREPARED, self.monitor)
        if data_parallel.processes() > 1:  # gradients of all that has one are awaited
            trained = {id(parameter) for group in self.parameter_groups() for parameter in group["params"]}
            for parameter in self.parameters():
                parameter.requires_grad_(parameter.requires_grad and id(parameter) in trained)

    def on_train_start(self) -> None:
        if data_parallel.processes() > 1:  # Lightning's handler talks to the other processes at any time
            self.monitor.hold_signals()

    def training_step(self, batch: Batch, _: int) -> dict[str, Tensor]:
        loss, losses = self._finite(batch)
        self.log_dict({f"train_{name}": value for name, value in losses.items()})
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return {"loss": loss, "mean_loss": losses["loss"]}

    def validation_step(self, batch: Batch, _: int) -> None:
        losses = self._finite(batch)[1]
        self.log_dict({f"val_{name}": value for name, value in losses.items()}, batch_size=batch[0].shape[0])

    def on_train_epoch_start(self) -> None:
        if self._is_to_stop():
            raise StoppedError  # all is kept since the validation

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        figures = {"loss": float(outputs["mean_loss"])} if self.global_step % REPORTED_STEPS == 0 else {}
        self.monitor.report(Progress(self.stage, self.global_step, self.config.steps, figures))
        # At the last step of an epoch the validation comes first, for Lightning would leave it out of a resumed run.
        if self._is_to_stop() and not self.trainer.is_last_batch:
            self.trainer.save_checkpoint(Path(self.trainer.default_root_dir, LAST).resolve(), weights_only=False)
            raise StoppedError

    def on_validation_batch_end(self, outputs: Any, batch: Any, index: int, *_: Any) -> None:
        self.monitor.report(Progress("validation", index + 1, _validation_batches(self.config)))

    def on_validation_epoch_end(self) -> None:
        metrics = self.trainer.callback_metrics
        least = INAUDIBLE if getattr(self.config, "loss", None) is None else 1e-12
        self.log(LOSS_RATIO, metrics["val_output_loss"] / metrics["val_input_loss"].clamp_min(least))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["schedules"] = [list(schedule) for schedule in self.schedules]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the schedule of the checkpoint, and from it to that of another number of steps."""
        step = checkpoint["global_step"]
        kept = [(first, steps) for first, steps in checkpoint.get("schedules", self.schedules)]
        changed = [(step, self.config.steps)] if kept[-1][1] != self.config.steps else []
        self.schedules = [*kept, *changed]

    def _is_to_stop(self) -> bool:
        """Whether any process has got a signal: all end after the same step."""
        number = data_parallel.largest(self.monitor.signal or 0, self.device)
        if number:
            self.monitor.take(number)
        return bool(number)

    def _finite(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure a batch: the loss of this process's rows, and the losses of all rows.

        A loss that is not finite would train on to the end, and every weight with it.
        """
        measured = self.measure(batch)
        losses = data_parallel.means(measured)
        if not losses["loss"].isfinite():
            if data_parallel.rank():
                raise StoppedError  # the first process says so
            raise DivergedError(
                f"The loss is not finite at step {self.global_step}: start a new run with a lower --learning-rate, or "
                "with narrower ranges of an effect of your own."
            )
        return measured["loss"], losses

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained, and the peak learning rate of each part of it."""
        return [{"params": list(self.model.parameters()), "lr": self.config.learning_rate}]

    def configure_optimizers(self) -> Any:
        config: TrainingConfig = self.config
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=config.learning_rate, weight_decay=1e-4, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, self.schedules, warmup_steps=config.warmup_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def learning_rate_factor(step: int, schedules: Sequence[tuple[int, int]], *, warmup_steps: int) -> float:
    """Return the learning rate of a step, relative to its peak.

    It rises for the first steps, then falls along half a cosine to a hundredth at the last one. Where a resumed run got
    another number of steps, it moves to the cosine of that number over as many steps as it rose first.

    Args:
        step: The step.
        schedules: From which step on the run was to have how many steps, the first from step 0.
        warmup_steps: Over how many steps it rises.
    """
    *earlier, (first, steps) = [schedule for schedule in schedules if schedule[0] <= step]
    if step < warmup_steps:
        factor = (step + 1) / warmup_steps
    else:
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    if not earlier:
        return factor
    before = learning_rate_factor(first, earlier, warmup_steps=warmup_steps)
    return before + min(1.0, (step - first) / warmup_steps) * (factor - before)


class _Batches(Dataset[Batch]):
    """Batches by their step: of each, the rows that are this process's."""

    def __init__(self, draw: Draw, split: str, first: int, count: int) -> None:
        self.draw, self.split, self.first, self.count = draw, split, first, count
        self.process = data_parallel.rank(), data_parallel.processes()  # not known in a process of --loaders

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        return data_parallel.part(self.draw(self.split, self.first + index), *self.process)


class _Data(lightning.LightningDataModule):
    """Training batches by step, one stretch between validations at a time; validation batches always the same."""

    def __init__(self, draw: Draw, config: TrainingConfig) -> None:
        super().__init__()
        self.draw, self.config = draw, config

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        first = self.trainer.global_step
        # Lightning counts what is done of an epoch that it resumes, and begins with a finished one to find it finished.
        loop = self.trainer.fit_loop.epoch_loop
        done = loop.batch_progress.current.ready if loop.restarting else 0
        finished = loop.restarting and loop.batch_progress.is_last_batch
        count = done if finished else min(self.config.validate_every, self.config.steps - first + done)
        loaders = getattr(self.config, "loaders", 0)
        batches = _Batches(self.draw, "train", first, count)
        return DataLoader(batches, batch_size=None, num_workers=loaders, worker_init_fn=leave_signals)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(_Batches(self.draw, "val", 0, _validation_batches(self.config)), batch_size=None)


def _validation_batches(config: TrainingConfig) -> int:
    return math.ceil(config.validation_examples / config.batch)


class _LossTable(Callback):
    """Keeps one row of losses a validation, and a checkpoint of the last one and of the best.

    The rows travel in the checkpoint, so a resumed run has all.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        # Whole paths, for Lightning would write to what begins like an address.
        self.folder, self.columns = folder.resolve(), columns
        self.rows: list[dict[str, float]] = []
        self.step_seconds: list[float] = []
        self._seconds = 0.0
        self._since = time.monotonic()
        self._training: list[Tensor] = []
        self._last_step: float | None = None

    @property
    def seconds(self) -> float:
        """How long the training has taken."""
        return self._seconds + time.monotonic() - self._since

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self._training.append(outputs["mean_loss"])
        now = time.monotonic()
        if self._last_step is not None:
            self.step_seconds.append(now - self._last_step)
        self._last_step = now

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._last_step = None  # a step after a validation would count its time
        if not self._training:
            return
        known = {name: value.item() for name, value in trainer.callback_metrics.items()}
        known |= {"step": trainer.global_step, "seconds": round(self.seconds, 1)}
        known["train_loss"] = torch.stack(self._training).mean().item()
        self._training = []
        # A validation of few batches may have none of a kind. The parts of a declared loss have names of their own.
        columns = (*self.columns, *(name for name in known if name.startswith("val_loss_")))
        self.rows.append({name: known[name] for name in columns if name in known})

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if _best(self.rows) is self.rows[-1]:
            trainer.save_checkpoint(self.folder / BEST, weights_only=False)
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds, "training": [loss.cpu() for loss in self._training]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self._seconds, self._training = (state_dict[name] for name in ("rows", "seconds", "training"))


def _best(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return min(rows, key=lambda row: row["val_loss"], default={})


class LossCurve(NamedTuple):
    """A column of the loss table as it is drawn: what the legend calls it, and its line."""

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
        steps: How many steps it took.
        seconds: How long it trained.
        step_seconds: How long a step took, in the median.
        signal: Which signal stopped it before its last step, if any.
        last: How far it was then.
        failure: Why it ended before its last step by itself, if it did.
        processes: In how many processes it ran at last.
    """

    module: Module
    folder: Path
    rows: list[dict[str, float]]
    steps: int
    seconds: float
    step_seconds: float
    signal: int | None
    last: Progress | None
    failure: str | None = None
    processes: int = 1

    @property
    def problem(self) -> str | None:
        """What is wrong with the model of a run that no signal stopped, in sentences; None if nothing is."""
        best, last = self.best.get(LOSS_RATIO, 0.0), self.rows[-1].get(LOSS_RATIO, 0.0) if self.rows else 0.0
        worse = WORSE if self.steps > self.module.config.warmup_steps else WORSE_AT_FIRST
        if self.signal is not None or (self.failure is None and max(best, last) <= worse):
            return None
        remedy = "start a new run with a lower --learning-rate"
        if best > worse:
            found = f"The model is worse than doing nothing: its loss is {best:.3g} times that of the unprocessed input"
            remedy += ", or continue this one with more --steps (--resume)"
        elif last > worse:
            found = (
                f"The run diverged: at its last validation its loss was {last:.3g} times that of the unprocessed "
                f"input, so it was worse than doing nothing, and the model of step {self.best['step']} is kept"
            )
        else:
            return f"{self.failure} The model of step {self.best['step']} is kept."
        return f"{self.failure or ''} {found}; {remedy}.".lstrip()

    @property
    def best(self) -> dict[str, float]:
        """Row of the table whose weights were kept; of a run that was never validated, empty."""
        return _best(self.rows)

    def card(self, data: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Describe the training, for the model's card.

        Args:
            data: What it was trained on; see `describe`.
            more: What else there is to say of the training.
        """
        return {
            "fxst_version": __version__,
            "training": {
                "command": run_folder.command_of(self.folder),
                "config": {name: _plain(value) for name, value in asdict(self.module.config).items()},
                "data": data | {"note": self.module.config.data_note},
                **more,
                "steps": self.steps,
                "interrupted": self.signal is not None,
                "validated": bool(self.rows),
                "seconds": round(self.seconds),
                "examples": self.steps * self.module.config.batch,
                "ms_per_step": None if math.isnan(self.step_seconds) else round(1000 * self.step_seconds),
                "peak_memory_mb": round(_peak_memory(self.module.device)),
                "machine": f"{torch.get_num_threads()} threads, {self.module.device.type}"
                + (f", {self.processes} processes" if self.processes > 1 else ""),
            },
            "losses": {name: round(value, 6) for name, value in self.best.items()},
        }

    def write_losses(self, title: str, curves: Sequence[LossCurve], *, unit: str) -> None:
        """Write the loss table, and draw it; a run that was never validated has none.

        Args:
            title: What was trained.
            curves: What to draw.
            unit: What the vertical axis shows.
        """
        if not self.rows:
            return
        text = io.StringIO()
        columns = dict.fromkeys([*self.module.columns, *(name for row in self.rows for name in row)])
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.rows)
        staging.write(self.folder / "losses.csv", text.getvalue().encode())

        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            values = [row.get(curve.column, math.nan) for row in self.rows]
            colour = None if curve.style == "-" else "grey"
            axes.plot([row["step"] for row in self.rows], values, curve.style, label=curve.label, color=colour)
        axes.set(xlabel="step", ylabel=unit, title=title, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=120)
        staging.write(self.folder / "losses.png", image.getvalue())


def run(
    config: TrainingConfig,
    folder: Path,
    make: Callable[[], tuple[Module, Draw]],
    *,
    resume: bool,
    report: Report | None,
) -> Run[Module]:
    """Begin a run, or resume it, and train until its last step or until Ctrl-C or SIGTERM ends it.

    Args:
        config: Its settings.
        folder: Its folder; see `run_folder`.
        make: Makes what is trained and what draws its batches; called once all random choices have their seed.
        resume: Whether the folder holds a run to continue.
        report: Gets the progress of every stage.

    Raises:
        FxstError: The folder will not do, or the processes that were asked for are not there.
        SystemExit: This is not the first process of several, which alone keeps the run.
    """
    rank, processes = launch.check(config)
    last = folder / LAST
    resume = resume or (launch.is_requeued() and run_folder.is_of(config, folder))
    if not resume:
        run_folder.begin(config, folder, first=rank == 0)
        launch.wait_for(folder / run_folder.CONFIG)
    elif last.is_file():
        parts = {"state_dict", "global_step", "loops", "callbacks", "optimizer_states"}
        step = run_folder.read_checkpoint(last, parts)["global_step"]
        if step > config.steps:
            raise SettingsError(f"The run in {str(folder)!r} has already taken {step} steps: use a larger --steps.")
        if rank == 0:
            run_folder.change(config, folder)
    lightning.seed_everything(config.seed, verbose=False)
    keep_freed_memory()
    _silence_lightning()
    module, draw = make()
    table = _LossTable(folder, module.columns)
    failure = None
    with run_folder.writable(folder):
        trainer = _trainer(config, folder, table)
        with Monitor(report if rank == 0 else None) as monitor:
            module.monitor = monitor
            # Stopped by a signal; Lightning raises SystemExit at a second one, and here the model is exported first.
            with _loader_errors(monitor), suppress(StoppedError, SystemExit), launch.joined(rank, processes):
                # By its whole path, for Lightning would fetch what begins like an address, and as plain data.
                start = last.resolve() if last.is_file() else None
                try:
                    trainer.fit(module, datamodule=_Data(draw, config), ckpt_path=start, weights_only=True)
                except DivergedError as error:
                    if not table.rows:
                        raise
                    failure = str(error)
    if rank:
        raise SystemExit(0)
    if table.rows:
        best = run_folder.read_checkpoint(folder / BEST, {"state_dict"})
        module.load_state_dict(best["state_dict"])
    finished = failure is not None or (bool(table.rows) and table.rows[-1]["step"] == config.steps)
    return Run(
        module,
        folder,
        table.rows,
        trainer.global_step,
        table.seconds,
        statistics.median(table.step_seconds) if table.step_seconds else math.nan,
        None if finished else monitor.signal or signal.SIGINT,
        monitor.last,
        failure,
        processes,
    )


@contextmanager
def _loader_errors(monitor: Monitor) -> Iterator[None]:
    """Give a loader's error without the traceback that torch adds, and ignore loaders that a signal has ended."""
    try:
        yield
    except Exception as error:
        if monitor.signal is not None:
            return  # a terminal sends it to all processes, and the death of one may be reported in many ways
        kind, by_loader = type(error), "DataLoader worker" in str(error)
        if issubclass(kind, FxstError) and by_loader:
            raise kind(str(error).rsplit(f"{kind.__name__}: ")[-1].removesuffix(r"\n")) from error
        if (issubclass(kind, RuntimeError) and by_loader) or issubclass(kind, EOFError | ConnectionError):
            # Torch has noticed it, or what the process was sending ends early.
            raise FxstError(
                "A process of --loaders died, possibly out of memory: resume the run with fewer --loaders."
            ) from error
        raise


def _silence_lightning() -> None:
    # Tips, devices that are not there, remarks on workers (batches are copied from a file; a worker would only take a
    # processor), on proxies that are not trained, on signals, on what resuming means here, and on means over processes.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    remarks = "many workers|LeafSpec|in eval mode at the start|logging interval|is not empty"
    remarks += "|could not find the monitored|across ranks is zero|ended before the epoch ended|sync_dist=True"
    warnings.filterwarnings("ignore", message=f".*({remarks}).*")


def _peak_memory(device: torch.device) -> float:
    """Return the most memory that this process has held, in MB: the device's, or the computer's on a CPU."""
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


def _plain(value: Any) -> Any:
    """Write a setting as JSON has it; where files lay on one machine means nothing on another, but for their names."""
    return value.name if isinstance(value, Path) else [_plain(v) for v in value] if isinstance(value, tuple) else value


def _trainer(config: TrainingConfig, folder: Path, table: _LossTable) -> lightning.Trainer:
    return lightning.Trainer(
        default_root_dir=folder,
        max_steps=config.steps,
        **launch.options(config),
        callbacks=[table],
        enable_checkpointing=False,
        logger=[CSVLogger(folder / "logs", name="csv"), TensorBoardLogger(folder / "logs", name="tensorboard")],
        log_every_n_steps=10,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=1,
        reload_dataloaders_every_n_epochs=1,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def describe(data: manifest.Dataset, *others: manifest.Dataset) -> dict[str, Any]:
    """Describe the datasets of a training, for the model's card.

    Args:
        data: The dataset.
        others: Further ones.
    """
    splits = {split: data.indices_by_speaker(split) for split in ("train", "val", "test")}
    return {
        # Where the recordings lay on one machine means nothing on another; their folders' names do.
        "built_with": data.settings | {"sources": [Path(source).name for source in data.settings["sources"]]},
        "speakers": {split: len(speakers) for split, speakers in splits.items()},
        "clips": {split: sum(map(len, speakers.values())) for split, speakers in splits.items()},
    } | ({"also": [describe(other) for other in others]} if others else {})
