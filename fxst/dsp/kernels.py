"""SciPy's compiled kernels, without the packages around them.

`import scipy.signal` takes 0.9 CPU seconds and 75 MB, and `import scipy.fft` 0.3 s, mostly for modules that fxst never
calls: more than all other work on a short recording. The compiled functions behind `sosfilt` and `rfft` load
in milliseconds from their own files. They are private to SciPy. So each is tried once on a known answer, and where it
is missing or differs, the public function takes its place.
"""

import functools
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array, Samples

__all__ = ["rfft", "sosfilt"]

_SOSFILT: Final = "scipy.signal._sosfilt"
_POCKETFFT: Final = "scipy.fft._pocketfft.pypocketfft"
_UNSCALED: Final = 0
_LOADING: Final = threading.Lock()


def sosfilt(sections: Array, x: Samples | Array, state: Array) -> tuple[Array, Array]:
    """Filter with second-order sections in series, as `scipy.signal.sosfilt` does, in float64.

    Args:
        sections: The sections in SciPy's layout.
        x: The signal, not empty.
        state: The state of the sections before its first sample.

    Returns:
        The filtered signal, and the state after its last sample.

    Shape:
        sections: (K, 6); x: (C, T); state: (K, C, 2).
    """
    kernel = _cascade()
    if kernel is None:
        from scipy import signal

        y, after = signal.sosfilt(sections, x.astype(np.float64), axis=-1, zi=state)
        return y, after
    y = np.array(x, np.float64, order="C")
    after = np.array(state.transpose(1, 0, 2), np.float64, order="C")
    kernel(np.ascontiguousarray(sections), y, after)
    return y, after.transpose(1, 0, 2)


def rfft(x: npt.NDArray[Any], n: int | None = None) -> Any:
    """Transform real values along the last axis, as `scipy.fft.rfft` does.

    Args:
        x: The values, in float32 or float64.
        n: The length to which each row is cut or filled with zeros; by default its own.
    """
    transform = _transform()
    if transform is None:
        from scipy import fft

        return fft.rfft(x, n)
    return transform(x if n is None else _of_length(x, n))


def _of_length(x: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    length = x.shape[-1]
    if length >= n:
        return x[..., :n]
    filled = np.zeros((*x.shape[:-1], n), x.dtype)
    filled[..., :length] = x
    return filled


@functools.cache
def _cascade() -> Callable[[Array, Array, Array], None] | None:
    """Return SciPy's cascade, which filters in place; None without it."""
    y, state = np.array([[1.0, 0.0, 0.0]]), np.zeros((1, 1, 2))
    try:
        kernel: Callable[[Array, Array, Array], None] = _compiled(_SOSFILT)._sosfilt
        kernel(np.array([[1.0, 2.0, 3.0, 1.0, -0.5, 0.0]]), y, state)
    except Exception:
        return None
    known = y.tolist() == [[1.0, 2.5, 4.25]] and state.tolist() == [[[2.125, 0.0]]]
    return kernel if known else None


@functools.cache
def _transform() -> Callable[[Any], Any] | None:
    """Return SciPy's transform of real values along the last axis; None without it."""
    known = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], np.float32)
    try:
        module = _compiled(_POCKETFFT)

        def forward(x: Any) -> Any:
            return module.r2c(x, (x.ndim - 1,), True, _UNSCALED, None, 1)

        spectrum = forward(known)
    except Exception:
        return None
    return forward if spectrum.tolist() == [[1, 1, 1], [1, -1j, -1]] and spectrum.dtype == np.complex64 else None


def _compiled(name: str) -> Any:
    """Import a compiled module from its file; the packages that its name begins with are not imported.

    The module is found under its name from then on, so SciPy's packages use the same one: a second could not be loaded.

    Raises:
        ImportError: There is no such file, or it does not load.
    """
    with _LOADING:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, _file(name))
        if spec is None or spec.loader is None:
            raise ImportError(f"{name} is not compiled.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


def _file(name: str) -> Path:
    top, *folders, stem = name.split(".")
    package = importlib.util.find_spec(top)  # which does not import it
    for folder in (package and package.submodule_search_locations) or ():
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            if (file := Path(folder, *folders, stem + suffix)).is_file():
                return file
    raise ImportError(f"There is no file of {name}.")
