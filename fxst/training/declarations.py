"""Losses and datasets of the user's own, by the name that `fxst style train` takes. Nothing here imports torch."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np

from fxst.dsp import Samples
from fxst.effects.declarations import declared_in, failure, run_declarations, undeclared
from fxst.errors import FxstError, SettingsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "DATASETS",
    "LOSSES",
    "DeclaredPairs",
    "Loss",
    "PairDataset",
    "declare_dataset",
    "declare_loss",
    "find",
    "measure",
    "reported",
    "try_loss",
]


class Loss(Protocol):
    """Measures how far outputs are from their targets."""

    def __call__(self, output: "Tensor", target: "Tensor", *, sample_rate: int) -> "Tensor | Mapping[str, Tensor]":
        """Return a scalar, or scalars by name: training minimises their sum and logs each of them.

        Shape:
            output, target: (B, T).
        """


class PairDataset(Protocol):
    """One split of a dataset: recordings with and without the effects that a model is to reproduce."""

    sample_rate: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Samples, Samples, Samples]:
        """Return the dry input, the reference, and the input as it should sound.

        Shape:
            three times (T,), the same T for all items.
        """


LOSSES: Final[dict[str, Loss]] = {}
DATASETS: Final[dict[str, Callable[[Path, str], PairDataset]]] = {}

_Declared = TypeVar("_Declared", bound=Callable[..., Any])


def declare_loss(name: str) -> Callable[[_Declared], _Declared]:
    """Declare a `Loss`, a function or a module, for `fxst style train --loss NAME`.

    Args:
        name: Its name in commands, run folders and cards.
    """
    return _declare("loss", name, LOSSES)


def declare_dataset(name: str) -> Callable[[_Declared], _Declared]:
    """Declare a dataset for `fxst style train DATASET --dataset-type NAME`.

    Declare what makes a `PairDataset` from the folder DATASET and a split, `train` or `val`: a class or a function.

    Args:
        name: Its name in commands, run folders and cards.
    """
    return _declare("dataset type", name, DATASETS)


def _declare(what: str, name: str, known: dict[str, Any]) -> Callable[[_Declared], _Declared]:
    if name in known:
        raise SettingsError(f"There is a {what} {name!r} already: choose another name.")

    def declare(declared: _Declared) -> _Declared:
        known[name] = declared
        return declared

    return declare


def find(what: str, name: str, known: Mapping[str, Any]) -> Any:
    """Return what was declared under a name.

    Args:
        what: What the name is of.
        name: The name.
        known: All that is declared.

    Raises:
        SettingsError: Nothing of that name is declared.
    """
    if name not in known:
        raise SettingsError(undeclared(what, name, known))
    return known[name]


@contextlib.contextmanager
def reported(what: str, name: str) -> Iterator[None]:
    """Turn an exception in the user's code into a sentence that names the line.

    Args:
        what: What runs.
        name: Its name.

    Raises:
        SettingsError: It failed.
    """
    try:
        yield
    except FxstError:
        raise
    except Exception as error:
        raise SettingsError(f"The {what} {name!r} failed{failure(error)}") from error


def measure(name: str, output: "Tensor", target: "Tensor", *, sample_rate: int) -> "dict[str, Tensor]":
    """Measure by a loss that was declared: `loss` is the sum, the others are its parts.

    Args:
        name: Its name.
        output: What the model made.
        target: What it should be.
        sample_rate: The sample rate of both in Hz.

    Shape:
        output, target: (B, T); results: scalars.

    Raises:
        SettingsError: It is not declared, fails, or returns something else.
    """
    import torch

    with reported("loss", name):
        found = find("loss", name, LOSSES)(output, target, sample_rate=sample_rate)
    parts = {f"loss_{part}": value for part, value in found.items()} if isinstance(found, Mapping) else {"loss": found}
    if not parts or not all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in parts.values()):
        raise SettingsError(f"The loss {name!r} must return a scalar tensor, or a dict of named scalar tensors.")
    return {"loss": torch.stack(list(parts.values())).sum()} | parts


def try_loss(name: str, *, samples: int, sample_rate: int) -> None:
    """Measure noise by a loss that was declared, so that a fault does not first appear in training.

    Args:
        name: Its name.
        samples: Length of the noise.
        sample_rate: Its sample rate in Hz.

    Raises:
        SettingsError: It is not declared, fails, is not finite, or passes no gradient on to the output.
    """
    import torch

    noise = np.random.default_rng(0).standard_normal((2, 2, samples))
    output, target = torch.from_numpy(0.1 * noise.astype(np.float32))
    output.requires_grad_()
    loss = measure(name, output, target, sample_rate=sample_rate)["loss"]
    gradient = torch.autograd.grad(loss, output, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None or not (loss.isfinite() and gradient.isfinite().all()):
        raise SettingsError(f"The loss {name!r} must be finite, and differentiable with respect to the output.")


class DeclaredPairs:
    """Batches of a dataset whose type was declared. Other processes open it again.

    Args:
        name: The type's name.
        folder: The dataset.

    Raises:
        SettingsError: The type is not declared or fails, or a split has no items.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        make = find("dataset type", name, DATASETS)
        self._splits: dict[str, PairDataset] = {}
        with reported("dataset type", name):
            for split in ("train", "val"):
                self._splits[split] = make(folder, split)
                if not len(self._splits[split]):
                    raise SettingsError(f"The dataset {str(folder)!r} of the type {name!r} has no {split} items.")
            self.sample_rate = int(self._splits["train"].sample_rate)
            self.samples = len(self._splits["train"][0][0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (tuple(declared_in), self.name, self.folder)

    def describe(self) -> dict[str, Any]:
        """Return what a card says of it."""
        return {"dataset_type": self.name, "items": {split: len(data) for split, data in self._splits.items()}}

    def draw(self, split: str, *, batch: int, seed: tuple[int, ...]) -> Samples:
        """Draw a batch of items.

        Args:
            split: `train` or `val`.
            batch: How many items.
            seed: The random seed.

        Shape:
            result: (B, 3, T): dry input, reference and target.

        Raises:
            SettingsError: An item is not three arrays of finite samples, as long as those of the first one.
        """
        data = self._splits[split]
        indices = np.random.default_rng(seed).integers(len(data), size=batch).tolist()
        with reported("dataset type", self.name):
            items = [[np.asarray(part, np.float32) for part in data[index]] for index in indices]
        for item in items:
            if [part.shape for part in item] != [(self.samples,)] * 3 or not np.isfinite(item).all():
                raise SettingsError(
                    f"The dataset type {self.name!r} must return items of three arrays (dry, reference, target), each "
                    f"of {self.samples} finite samples, as many as its first one has."
                )
        return np.array(items)


def _open_again(files: Sequence[Path], name: str, folder: Path) -> DeclaredPairs:
    for path in files:
        if path not in declared_in:
            run_declarations(path)
    return DeclaredPairs(name, folder)
