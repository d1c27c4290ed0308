"""The functions of NumPy or of torch, for what is written once for arrays and tensors."""

from typing import Any, TypeAlias

import numpy as np

__all__ = ["AnyArray", "array_namespace"]

AnyArray: TypeAlias = Any
"""A NumPy array or a torch tensor."""


def array_namespace(x: AnyArray) -> Any:
    """Return the functions of the array API standard for arrays like `x`."""
    if isinstance(x, np.ndarray):
        return np  # which keeps to the standard; array_api_compat's wrapper would load 0.1 CPU seconds of modules
    import array_api_compat

    return array_api_compat.array_namespace(x)
