"""NumPy arrays and torch tensors alike: what the array API standard lacks, and what models need.

What a model analyses and decides is written once, against the array API standard. `fxst apply` runs these lines on
NumPy arrays, and training on torch tensors.

Source:
    Python array API standard 2024.12, https://data-apis.org/array-api/2024.12/.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device

__all__ = ["AnyArray", "array_namespace", "constant", "device", "quantile", "relu", "sigmoid", "softmax", "split"]

AnyArray: TypeAlias = Any
"""A NumPy array or a torch tensor, in float32."""


def constant(values: npt.NDArray[np.float32], x: AnyArray) -> AnyArray:
    """Return fixed values as an array of the kind and on the device of `x`; nobody may write to them."""
    if isinstance(x, np.ndarray):
        return values
    return array_namespace(x).asarray(values, device=device(x))


def split(x: AnyArray, sizes: Sequence[int]) -> list[AnyArray]:
    """Cut the columns of `x` into parts of these sizes: (B, sum of sizes) to (B, size) each."""
    ends = np.cumsum(sizes).tolist()
    return [x[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]


def relu(x: AnyArray) -> AnyArray:
    """Return `x` where it is positive, else 0."""
    return array_namespace(x).clip(x, 0)


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
