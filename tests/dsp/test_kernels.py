import subprocess
import sys
import types

import numpy as np
import pytest
from scipy import fft, signal

from fxst.dsp import kernels


def forget():
    kernels._cascade.cache_clear()
    kernels._transform.cache_clear()


def missing(name):
    raise ImportError(name)


def wrong(name):
    """Another SciPy's kernels, which give something else."""
    return types.SimpleNamespace(
        _sosfilt=lambda sections, x, state: None,
        r2c=lambda x, *_: np.zeros((*x.shape[:-1], x.shape[-1] // 2 + 1), np.complex64),
        c2r=lambda spectrum, axes, n, *_: np.zeros((*spectrum.shape[:-1], n), np.float32),
    )


def other(name):
    """Another SciPy's kernels, which are called differently."""
    return types.SimpleNamespace(_sosfilt=lambda x: None, r2c=lambda x: x, c2r=lambda x: x)


@pytest.fixture
def patched(monkeypatch):
    """Change how kernels are loaded, for a test."""

    def patch(compiled):
        forget()
        monkeypatch.setattr(kernels, "_compiled", compiled)

    yield patch
    forget()


@pytest.fixture(params=["compiled", "public"])
def kernel(request, patched):
    """SciPy's compiled kernels, and its public functions in their place."""
    if request.param == "public":
        patched(missing)
    else:
        assert kernels._cascade() is not None
        assert kernels._transform() is not None


@pytest.mark.parametrize("compiled", [missing, wrong, other])
def test_kernels_that_are_missing_or_differ_are_not_used(patched, compiled):
    patched(compiled)
    assert kernels._cascade() is None
    assert kernels._transform() is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("channels", "count"), [(1, 1), (2, 6), (3, 10)])
def test_a_cascade_is_scipys_bit_for_bit(kernel, dtype, channels, count):
    rng = np.random.default_rng(count)
    sections = np.concatenate([signal.butter(2, at, output="sos") for at in rng.uniform(0.001, 0.9, count)])
    x = rng.standard_normal((channels, 1000)).astype(dtype)
    state, theirs = np.zeros((2, count, channels, 2))
    given = x.copy()
    for block in np.split(x, [1, 400], axis=1):
        y, state = kernels.sosfilt(sections, block, state)
        z, theirs = signal.sosfilt(sections, block, zi=theirs)
        assert y.dtype == z.dtype == np.float64
        np.testing.assert_array_equal(y, z)
        np.testing.assert_array_equal(state, theirs)
    np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 2, 33, 1000])
@pytest.mark.parametrize("n", [None, 1, 32, 1023])
def test_transform_are_scipys_bit_for_bit(kernel, dtype, length, n):
    x = np.random.default_rng(length).standard_normal((2, 3, length)).astype(dtype)
    frames = np.lib.stride_tricks.sliding_window_view(x, max(1, length // 2), axis=-1)[..., ::50, :]
    for values in (x, x[0, 0], frames, x[..., ::-1]):
        spectrum = kernels.rfft(values, n)
        theirs = fft.rfft(values, n)
        assert spectrum.dtype == theirs.dtype
        np.testing.assert_array_equal(spectrum, theirs)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_kernels_and_scipys_own_packages_live_in_one_process(first):
    ours = "from fxst.dsp import kernels; assert kernels._cascade() and kernels._transform()"
    theirs = (
        "import scipy.signal, scipy.fft; scipy.signal.sosfilt([[1, 0, 0, 1, 0, 0]], scipy.fft.rfft([1.0, 2.0]).real)"
    )
    code = [ours, theirs] if first == "ours" else [theirs, ours]
    subprocess.run([sys.executable, "-c", "\n".join(code)], check=True)


def test_only_the_kernels_are_loaded():
    code = """if True:
        import sys
        import numpy as np
        from fxst.dsp import kernels
        kernels.sosfilt(np.array([[1.0, 0, 0, 1, 0, 0]]), np.ones((1, 1)), np.zeros((1, 1, 2)))
        kernels.rfft(np.ones(4))
        print(*sorted({name for name in sys.modules if name.startswith("scipy.")}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"scipy.signal", "scipy.fft", "scipy.linalg", "scipy.special"}.isdisjoint(done.stdout.split())
    assert kernels._POCKETFFT in done.stdout.split()
