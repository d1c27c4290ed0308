"""CPU cores and threads: their number, and work that runs on several."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["one_blas_thread", "one_thread", "processors", "side_by_side"]

_BLAS: Final = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables with the threads of NumPy's linear algebra; torch has its own."""

Result = TypeVar("Result")


def processors() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> None:
    """Let NumPy compute on one thread, unless the user has chosen; only before it is imported.

    The matrices here are small: its other threads wait for work in a loop, for three times the processor time.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        for name in _BLAS:
            os.environ.setdefault(name, "1")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: for small windows several threads cost more than they gain."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]]) -> list[Result]:
    """Call a function once for each tuple of arguments, on as many threads as torch has, without autograd.

    Torch parallelises one operation at a time, and its threads wait for each other after each. That makes small
    operations slower, above all on a busy machine, and does not apply to Fourier transforms.

    Args:
        work: The function; it releases the GIL most of the time, as torch, NumPy and compiled loops do.
        calls: Its arguments.

    Returns:
        Its results, in the order of the calls.
    """
    import torch

    given = list(calls)
    count = torch.get_num_threads()
    if min(count, len(given)) <= 1:
        return [_without_autograd(work, arguments) for arguments in given]
    futures = [_threads(count).submit(_without_autograd, work, arguments) for arguments in given]
    return [future.result() for future in futures]


def _without_autograd(work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    import torch

    with torch.no_grad():  # which is set per thread
        return work(*arguments)


@cache
def _threads(count: int) -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(count, "side by side", initializer=_use_one_torch_thread)


def _use_one_torch_thread() -> None:
    import torch

    torch.get_num_threads()  # without this call torch would reset the number in a new thread at its first operation
    torch.set_num_threads(1)
