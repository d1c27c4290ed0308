"""Processors and threads: how many there are, and work that is shared out over them."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

__all__ = ["one_thread", "processors", "side_by_side"]

Result = TypeVar("Result")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: windows are small, and threads that wait for each other cost more than they give."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> list[Result]:
    """Call a function once for each tuple of arguments, on as many threads as torch has; autograd records nothing.

    Torch shares out one operation at a time, and its threads wait for each other after each. Small operations lose more
    by that than they gain, above all where another program wants the processors too, and Fourier transforms are not
    shared out at all.

    Args:
        work: What to do; it lets go of Python's lock most of the time, as torch, NumPy and compiled loops do.
        calls: Its arguments.

    Returns:
        What it returned, in the order of the calls.
    """
    import torch

    given = list(calls)
    count = torch.get_num_threads()
    if min(count, len(given)) <= 1:
        return [_unrecorded(work, arguments) for arguments in given]
    futures = [_threads(count).submit(_unrecorded, work, arguments) for arguments in given]
    return [future.result() for future in futures]


def _unrecorded(work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    import torch

    with torch.no_grad():  # which each thread has of its own
        return work(*arguments)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "side by side", initializer=_have_torch_alone)


def _have_torch_alone() -> None:
    import torch

    torch.get_num_threads()  # once asked, torch does not set a new thread's number again, to that of all, when it works
    torch.set_num_threads(1)
