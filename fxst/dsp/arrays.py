"""The functions of NumPy or of torch, for what is written once for arrays and tensors.

What a model analyses and decides, and what an equaliser does, is written against the array API standard. `fxst apply`
runs these lines on NumPy arrays, and training on torch tensors.

Source:
    Python array API standard 2024.12, https://data-apis.org/array-api/2024.12/.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

__all__ = [
    "AnyArray",
    "array_namespace",
    "at_least",
    "cached_array",
    "constant",
    "mean_and_square",
    "quantile",
    "relu",
    "sigmoid",
    "softmax",
    "split",
]

_Make = TypeVar("_Make", bound=Callable[..., Any])

AnyArray: TypeAlias = Any
"""A NumPy array or a torch tensor."""


def array_namespace(x: AnyArray) -> Any:
    """Return the functions of the array API standard for arrays like `x`."""
    if isinstance(x, np.ndarray):
        return np  # which keeps to the standard; array_api_compat's wrapper would load 0.1 CPU seconds of modules
    import array_api_compat

    return array_api_compat.array_namespace(x)


def cached_array(make: _Make) -> _Make:
    """Decorate a function whose arrays are computed once for each set of arguments; they are read-only."""

    @functools.lru_cache(maxsize=32)
    @functools.wraps(make)
    def read_only(*arguments: Any) -> Any:
        array = make(*arguments)
        array.setflags(write=False)
        return array

    return cast(_Make, read_only)


def constant(values: npt.NDArray[np.floating], x: AnyArray) -> AnyArray:
    """Return fixed values as an array of the kind and on the device of `x`; nobody may write to them."""
    if isinstance(x, np.ndarray):
        return values
    return array_namespace(x).asarray(values, device=x.device, copy=True)


def split(x: AnyArray, sizes: Sequence[int]) -> list[AnyArray]:
    """Cut the columns of `x` into parts of these sizes: (B, sum of sizes) to (B, size) each."""
    ends = np.cumsum(sizes).tolist()
    return [x[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]


def at_least(x: AnyArray, low: float) -> AnyArray:
    """Return `x` where it is above a bound, else the bound."""
    return x.clip(min=low)  # a method that both have; NumPy's function wants both bounds


def mean_and_square(x: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return the mean and the mean square over the second axis, each rounded once: (N, T, ...) to (N, ...) both.

    The variance is the difference of the two, of which float32 sums would leave little where it is small.
    """
    xp = array_namespace(x)
    wide = xp.astype(x, xp.float64)
    return xp.astype(xp.mean(wide, axis=1), x.dtype), xp.astype(xp.mean(wide * wide, axis=1), x.dtype)


def relu(x: AnyArray) -> AnyArray:
    """Return `x` where it is positive, else 0."""
    return at_least(x, 0) if isinstance(x, np.ndarray) else x.relu()  # which has no slope at 0


def sigmoid(x: AnyArray) -> AnyArray:
    """Return the logistic function of `x`."""
    # By tanh, whose values no logit overflows.
    return (array_namespace(x).tanh(x / 2) + 1) / 2


def softmax(x: AnyArray, axis: int) -> AnyArray:
    """Return shares that add up to 1 along an axis, from logits."""
    xp = array_namespace(x)
    shares = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return shares / xp.sum(shares, axis=axis, keepdims=True)


def quantile(x: AnyArray, q: float) -> AnyArray:
    """Return a quantile of the values of `x`, (n,), by linear interpolation between two of them."""
    ordered = array_namespace(x).sort(x)
    place = q * (len(x) - 1)
    below = int(place)
    above = min(below + 1, len(x) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
