"""The layers of networks in torch, which train; the other family of layers is `fxst.models.layers`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import BatchNorm1d, Conv1d, Conv2d, Dropout, Linear, ModuleList, ReLU, Sequential, init

from fxst.threads import side_by_side as without_gradients

__all__ = [
    "BatchNorm1d",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Linear",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "TorchModule",
    "detached",
    "init",
    "on_gpu",
    "without_gradients",
]


class TorchModule(nn.Module):
    """A torch module that takes its fixed numbers as NumPy arrays."""

    def register_buffer(self, name: str, values: Any, persistent: bool = True) -> None:
        """Keep fixed numbers among the weights."""
        tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
        super().register_buffer(name, tensor, persistent)


Module = TorchModule
"""As the other family calls it."""


def Parameter(values: npt.NDArray[Any]) -> nn.Parameter:  # noqa: N802  # as torch.nn calls it
    """Return weights with initial values."""
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)))


def on_gpu(x: Tensor) -> bool:
    """Return whether a tensor lies on a GPU."""
    return x.is_cuda


def detached(x: Tensor) -> Tensor:
    """Return what no gradient passes through."""
    return x.detach()
