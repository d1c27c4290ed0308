"""The layers of networks in torch, which train; the other family of layers is `fxst.models.layers`."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import Conv1d, Conv2d, Linear, ModuleList, ReLU, Sequential, init
from torch.nn import functional as F

from fxst import data_parallel
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
    "batch_mean",
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


class _BatchNorm1d(nn.BatchNorm1d):
    """Standardises features by the statistics of the whole batch, of which other processes may have rows, too."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or data_parallel.processes() == 1:
            return super().forward(x)
        rows = data_parallel.all_rows(len(x))
        mean = batch_mean(x)
        variance = batch_mean((x - mean).square())
        momentum = self.momentum
        assert momentum is not None
        with torch.no_grad():
            self.get_buffer("num_batches_tracked").add_(1)
            self.get_buffer("running_mean").lerp_(mean, momentum)
            self.get_buffer("running_var").lerp_(variance * (rows / (rows - 1)), momentum)
        return (x - mean) * (variance + self.eps).rsqrt()


class _Dropout(nn.Dropout):
    """Drops the same features of a row however many processes a batch is divided among."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or data_parallel.processes() == 1:
            return super().forward(x)
        of_all = x.new_ones(data_parallel.all_rows(len(x)), *x.shape[1:])
        return x * data_parallel.my_rows(F.dropout(of_all, self.p))


BatchNorm1d, Dropout = _BatchNorm1d, _Dropout
"""As the other family calls them."""


def Parameter(values: npt.NDArray[Any]) -> nn.Parameter:  # noqa: N802  # as torch.nn calls it
    """Return weights with initial values."""
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)))


def on_gpu(x: Tensor) -> bool:
    """Return whether a tensor lies on a GPU."""
    return x.is_cuda


def batch_mean(x: Tensor) -> Tensor:
    """Return the mean over the rows of a batch, of which other processes may have some."""
    return data_parallel.all_rows_mean(x.mean(0))


def detached(x: Tensor) -> Tensor:
    """Return what no gradient passes through."""
    return x.detach()
