"""Signal processing that effects build on: filters, envelopes, spectra, loudness, limiting."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Samples"]

Samples: TypeAlias = npt.NDArray[np.float32]
"""Audio, `(channels, time)` unless a function says otherwise, full scale at ±1."""

Array: TypeAlias = npt.NDArray[np.float64]
"""Any other values: levels, powers, responses."""
