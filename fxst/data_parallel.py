"""Data-parallel training: each process has some rows of every batch, and asks the others for what all rows decide."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

__all__ = ["all_rows", "all_rows_mean", "largest", "means", "my_rows", "part", "processes", "rank", "together"]

Batch = TypeVar("Batch", bound=tuple[Any, ...])

_rank, _processes = 0, 1


def rank() -> int:
    """Return the number of this process, from 0, among those that train together."""
    return _rank


def processes() -> int:
    """Return how many processes train together; 1 outside `together`."""
    return _processes


@contextlib.contextmanager
def together(rank: int, processes: int) -> Iterator[None]:
    """Train together with the other processes of torch's process group during the block, or alone as one process.

    Args:
        rank: The number of this process.
        processes: How many there are.
    """
    global _rank, _processes
    before = _rank, _processes
    _rank, _processes = rank, processes
    try:
        yield
    finally:
        _rank, _processes = before


def all_rows(mine: int) -> int:
    """Return how many rows a batch has of which this process has so many."""
    return mine * _processes


def my_rows(x: Tensor) -> Tensor:
    """Return this process's rows of what was made for all rows of a batch."""
    return x.chunk(_processes)[_rank]


def part(batch: Batch, rank: int, processes: int) -> Batch:
    """Return the rows of a batch that belong to a process; what has no rows belongs to all.

    Args:
        batch: Tensors, all with rows for each process.
        rank: The number of the process, from 0.
        processes: How many there are.
    """
    if processes == 1:
        return batch
    parts = [x.chunk(processes)[rank] if x.ndim else x for x in batch]
    made: Any = batch._make(parts) if hasattr(batch, "_make") else tuple(parts)
    return cast(Batch, made)


def all_rows_mean(x: Tensor) -> Tensor:
    """Return the mean over the processes: of a mean over this process's rows, the mean over all rows of the batch.

    Gradients pass through it.
    """
    if _processes == 1:
        return x
    result: Tensor = _Mean.apply(x)
    return result


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # What each process minimises counts by its share, as do the gradients of weights.
        return _mean(gradients[0])


def _mean(x: Tensor) -> Tensor:
    result = x.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(result)
    return result.div_(_processes)


def means(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the means of scalars over the processes, without gradients."""
    if _processes == 1:
        return {name: value.detach() for name, value in values.items()}
    found = _mean(torch.stack([value.detach().float() for value in values.values()]))
    return dict(zip(values, found.unbind(), strict=True))


def largest(number: int, device: torch.device) -> int:
    """Return the largest of the numbers that the processes give.

    Args:
        number: The number of this process.
        device: Where it keeps what it sends to the others.
    """
    if _processes == 1:
        return number
    numbers = torch.tensor(number, device=device)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return int(numbers)
