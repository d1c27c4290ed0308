"""The layers of networks in NumPy, for use and not for training; they have the names and arguments of `torch.nn`.

A part of a network is written once and made of one of two families of layers: these, or those of
`fxst.models.torch_layers`, which train. Both read the same weights.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from fxst.dsp import Samples

__all__ = [
    "BatchNorm1d",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Linear",
    "Module",
    "ModuleList",
    "Parameter",
    "Part",
    "ReLU",
    "Sequential",
    "detached",
    "init",
    "made_of",
    "on_gpu",
    "without_gradients",
]

T = TypeVar("T")


class Part:
    """A part of a network, whose layers are of one family; a subclass makes and calls them alike in both."""

    nn: Any
    """The family: this module, or `fxst.models.torch_layers`."""
    training: bool
    register_buffer: Any

    def part(self, kind: type[T], *arguments: Any) -> T:
        """Make a part of this part, of the same family of layers."""
        made: T = made_of(kind, self.nn)(*arguments)
        return made


def made_of(kind: Any, nn: Any) -> Any:
    """Return the class of a part that is made of a family of layers.

    Args:
        kind: A subclass of `Part`.
        nn: The family of layers.
    """
    return _made_of(kind, nn)


@cache
def _made_of(kind: Any, nn: Any) -> Any:
    return type(kind.__name__, (kind, nn.Module), {"nn": nn, "__doc__": kind.__doc__, "__module__": kind.__module__})


class Unloaded:
    """The place of weights that have not been loaded: their shape alone, so that a card's sizes take no memory."""

    def __init__(self, *shape: int, dtype: type = np.float32) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)


Weights = npt.NDArray[Any] | Unloaded


class Module:
    """What has weights, or parts with weights. Calling it runs `forward`."""

    training = False

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        forward: Any = self.forward  # type: ignore[attr-defined]  # which every module that is called defines
        return forward(*arguments, **named)

    def register_buffer(self, name: str, values: npt.NDArray[Any]) -> None:
        """Keep fixed numbers among the weights."""
        setattr(self, name, values)

    def state_dict(self) -> dict[str, Weights]:
        """Return the weights by name, those of a part behind its own name and a dot."""
        return {name: weights for name, _, _, weights in self._weights()}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over weights.

        Raises:
            ValueError: They are not of this module's names, shapes and types.
        """
        places = list(self._weights())
        expected = {name: (tuple(weights.shape), weights.dtype) for name, _, _, weights in places}
        if expected != {name: (array.shape, array.dtype) for name, array in state.items()}:
            raise ValueError("its weights do not have the sizes that its card states")
        for name, owner, attribute, _ in places:
            setattr(owner, attribute, state[name])

    def _weights(self, prefix: str = "") -> Iterator[tuple[str, "Module", str, Weights]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value._weights(f"{prefix}{name}.")
            elif isinstance(value, np.ndarray | Unloaded):
                yield f"{prefix}{name}", self, name, value


class Linear(Module):
    """An affine map of the last axis."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.weight: Any = Unloaded(outputs, inputs)
        self.bias: Any = Unloaded(outputs)

    def forward(self, x: Samples) -> Samples:
        result: Samples = x @ self.weight.T + self.bias
        return result


class Conv1d(Module):
    """A convolution along the last axis that keeps its length."""

    def __init__(self, inputs: int, outputs: int, width: int, *, padding: str, dilation: int = 1) -> None:
        assert padding == "same"
        self.weight: Any = Unloaded(outputs, inputs, width)
        self.bias: Any = Unloaded(outputs)
        self._dilation = dilation

    def forward(self, x: Samples) -> Samples:
        _, _, width = self.weight.shape
        reach = self._dilation * (width - 1)
        padded = np.pad(x, ((0, 0), (0, 0), (reach // 2, reach - reach // 2)))
        taps = (padded[..., tap * self._dilation :][..., : x.shape[2]] for tap in range(width))
        result: Samples = sum(self.weight[..., tap] @ part for tap, part in enumerate(taps)) + self.bias[:, None]
        return result


class Conv2d(Module):
    """A convolution of pictures with zeros around them."""

    def __init__(self, inputs: int, outputs: int, width: int, *, stride: int | tuple[int, int], padding: int) -> None:
        self.weight: Any = Unloaded(outputs, inputs, width, width)
        self.bias: Any = Unloaded(outputs)
        self._stride = stride if isinstance(stride, tuple) else (stride, stride)
        self._padding = padding

    def forward(self, x: Samples) -> Samples:
        outputs, inputs, width, _ = self.weight.shape
        around, (down, right) = (self._padding, self._padding), self._stride
        padded = np.pad(x, ((0, 0), (0, 0), around, around))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(2, 3))[:, :, ::down, ::right]
        count, _, height, length = windows.shape[:4]
        columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(count, inputs * width * width, height * length)
        y = self.weight.reshape(outputs, -1) @ columns + self.bias[:, None]
        return np.asarray(y.reshape(count, outputs, height, length))


class BatchNorm1d(Module):
    """Standardises features by the mean and variance that training has found."""

    EPSILON: Final = 1e-5

    def __init__(self, size: int, *, affine: bool, momentum: float) -> None:
        assert not affine
        self.running_mean: Any = Unloaded(size)
        self.running_var: Any = Unloaded(size)
        self.num_batches_tracked: Any = Unloaded(dtype=np.int64)

    def forward(self, x: Samples) -> Samples:
        result: Samples = (x - self.running_mean) / np.sqrt(self.running_var + np.float32(self.EPSILON))
        return result


class ReLU(Module):
    """Cuts off what is negative."""

    def forward(self, x: Samples) -> Samples:
        return np.maximum(x, 0)


class Dropout(Module):
    """Drops features in training, and so nothing here."""

    def __init__(self, share: float) -> None:
        pass

    def forward(self, x: Samples) -> Samples:
        return x


class ModuleList(Module):
    """Modules in a row, to be called one by one."""

    def __init__(self, modules: Iterable[Module]) -> None:
        for number, module in enumerate(modules):
            setattr(self, str(number), module)

    def __iter__(self) -> Iterator[Any]:
        return iter(vars(self).values())


class Sequential(ModuleList):
    """Modules in a row, each called with the result of the one before."""

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Samples) -> Samples:
        for module in self:
            x = module(x)
        return x


def Parameter(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:  # noqa: N802  # as torch.nn calls it
    """Return weights with initial values."""
    return values.astype(np.float32)


def on_gpu(x: Samples) -> bool:
    """Return whether an array lies on a GPU; here none does."""
    return False


def without_gradients(work: Callable[..., T], calls: Iterable[tuple[Any, ...]]) -> list[T]:
    """Call a function once for each tuple of arguments, without gradients."""
    return [work(*arguments) for arguments in calls]


def detached(x: Samples) -> Samples:
    """Return what no gradient passes through; here none does."""
    return x


def _leave(weights: Any, *_: Any, **__: Any) -> None:
    """Leave weights as they are: those of a trained model replace them."""


init: Final = SimpleNamespace(zeros_=_leave, normal_=_leave)
