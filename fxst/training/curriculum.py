"""Stages that train a model one after the other, each with a goal and an end of its own."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fxst import staging
from fxst.training.progress import DivergedError, Monitor, Progress
from fxst.training.run_folder import damaged, read_checkpoint

__all__ = ["GradientStage", "TrainingStage", "run_stages"]


class TrainingStage(ABC):
    """One stage of a curriculum."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def steps(self) -> int:
        """After how many steps it ends."""

    @abstractmethod
    def run(self, monitor: Monitor) -> None:
        """Run from the first step to the last.

        Raises:
            StoppedError: The training was asked to end.
        """

    def recall(self) -> None:  # noqa: B027  (most stages leave nothing but the model)
        """Make again what later stages need of this one, which was finished before the training was resumed."""


class GradientStage(TrainingStage):
    """A stage that descends along a gradient, its learning rate along a cosine."""

    learning_rate: ClassVar[float]
    weight_decay: ClassVar[float]
    figure: ClassVar[str]
    """What the figure is called that `measure` returns beside the loss."""
    memory: ClassVar[int]
    """Over how many steps, about, that figure is averaged."""

    @abstractmethod
    def parameters(self) -> Iterable[nn.Parameter]:
        """Return what the stage trains."""

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """Return a batch for each step."""

    @abstractmethod
    def measure(self, batch: Any) -> tuple[Tensor, float]:
        """Return the loss of a batch, and the figure to report."""

    def run(self, monitor: Monitor) -> None:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        mean = 0.0
        for step, batch in enumerate(self.batches(), 1):
            loss, figure = self.measure(batch)
            if not loss.isfinite():
                raise DivergedError(
                    f"The loss is not finite at step {step} of the stage {self.name}: check the dataset, and the "
                    "ranges of effects of your own."
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            mean += (figure - mean) / min(step, self.memory)
            monitor.report(Progress(self.name, step, self.steps, {self.figure: mean}))
            monitor.check()


def run_stages(stages: Sequence[TrainingStage], model: nn.Module, path: Path, monitor: Monitor) -> None:
    """Run stages in order, from the first that is not finished yet; a stage that was interrupted starts again.

    Args:
        stages: The stages.
        model: What they train.
        path: The file that keeps the model between two stages.
        monitor: Gets their progress.

    Raises:
        ModelError: The file is damaged.
        DivergedError: A loss is not finite.
        StoppedError: The training was asked to end.
    """
    done = 0
    if path.is_file():
        with damaged(path):
            kept = read_checkpoint(path, {"stages", "model", "random"})
            done = kept["stages"]
            model.load_state_dict(kept["model"])
            if done < len(stages):  # else nothing needs them
                for stage in stages[:done]:
                    stage.recall()
            torch.set_rng_state(kept["random"])
    for number, stage in enumerate(stages[done:], done + 1):
        stage.run(monitor)
        buffer = io.BytesIO()
        torch.save({"stages": number, "model": model.state_dict(), "random": torch.get_rng_state()}, buffer)
        path.parent.mkdir(exist_ok=True)
        staging.write(path, buffer.getvalue())
