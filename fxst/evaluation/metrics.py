"""How far an output is from its target: one function a metric, 0 where the two are the same.

Nothing is normalised first. Channels are compared each with its own and then averaged, so that left and right
cannot make up for one another. What cannot be measured is not a number: NaN, which an evaluation counts as
missing.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from fxst.loudness import loudness as integrated_loudness

__all__ = [
    "METRICS",
    "Metric",
    "crest_factor",
    "loudness",
    "mae",
    "mrstft",
    "rms",
    "spectral_centroid",
]

STFT_WINDOWS: Final = (32, 128, 512, 2048, 8192, 32768)
STFT_FLOOR: Final = 1e-8
"""Power under which every bin counts as equally silent, as auraloss has it."""

CENTROID_WINDOW: Final = 2048
CENTROID_HOP: Final = 512
SILENCE: Final = 1e-12
"""Mean square under which there is nothing to measure: -120 dBFS, below what 20 bits hold."""

LOUDNESS_BLOCK_SECONDS: Final = 0.4
_SPECTRUM_BLOCK: Final = 1 << 18

Signal = npt.NDArray[np.float32]


class Measure(Protocol):
    """A metric's function."""

    def __call__(self, output: Any, target: Any, *, sample_rate: int) -> float:
        """Compare an output with its target."""


@dataclass(frozen=True)
class Metric:
    """A metric, and how it is called in tables and files.

    Args:
        name: Its name in files and requirements, with its unit.
        heading: Its name for people.
        unit: The unit as printed.
        measure: The function.
    """

    name: str
    heading: str
    unit: str
    measure: Measure


def mae(output: Any, target: Any, *, sample_rate: int) -> float:
    """Compare waveforms: the mean absolute difference of their samples.

    Args:
        output: What was rendered.
        target: What it should be.
        sample_rate: Of both; it changes nothing here.

    Shape:
        output, target: `(channels, time)`.
    """
    x, y = _pair(output, target)
    return float(np.abs(x - y).mean(dtype=np.float64))


def mrstft(output: Any, target: Any, *, sample_rate: int) -> float:
    """Compare spectra as they change, from 32 samples at a time to 32,768: linear and log magnitudes together.

    The mean over six FFTs of the mean absolute difference of magnitudes and of their natural logarithms; hops of
    half a window, Hann windows, the ends mirrored. A signal shorter than the longest window has no figure: a mean
    over fewer resolutions would be another measure under the same name.

    Args:
        output: What was rendered.
        target: What it should be.
        sample_rate: Of both; the windows are counted in samples, so figures compare at one rate only.

    Shape:
        output, target: `(channels, time)`.

    Source:
        C. J. Steinmetz et al., "Style transfer of audio effects with differentiable signal processing", 2022, which
        measures with auraloss' `MultiResolutionSTFTLoss(w_sc=0, w_lin_mag=1, w_log_mag=1)`: these are its figures.
    """
    pair = np.stack(_pair(output, target))
    if pair.shape[-1] < max(STFT_WINDOWS):
        return math.nan
    total = 0.0
    for window in STFT_WINDOWS:
        difference, bins = 0.0, 0
        for block in _power_spectra(pair, window=window, hop=window // 2):
            x, y = np.maximum(block, np.float32(STFT_FLOOR))
            difference += float(np.abs(np.sqrt(x) - np.sqrt(y)).sum() + np.abs(np.log(x / y)).sum() / 2)
            bins += x.size
        total += difference / bins
    return total / len(STFT_WINDOWS)


def spectral_centroid(output: Any, target: Any, *, sample_rate: int) -> float:
    """Compare brightness: the difference of the mean spectral centroids, in Hz.

    Frames of silence have no centroid and are left out.

    Args:
        output: What was rendered.
        target: What it should be.
        sample_rate: Of both.

    Shape:
        output, target: `(channels, time)`.
    """
    hz = np.arange(CENTROID_WINDOW // 2 + 1, dtype=np.float32) * np.float32(sample_rate / CENTROID_WINDOW)

    def centroid(x: Signal) -> float:
        if len(x) < CENTROID_WINDOW:
            return math.nan
        frames = []
        for power in _power_spectra(x, window=CENTROID_WINDOW, hop=CENTROID_HOP):
            # A Hann window leaves 3/8 of a signal's power, and half of that is in the bins above 0 Hz.
            sounding = power[power.sum(axis=1) > SILENCE * 3 / 16 * CENTROID_WINDOW**2]
            magnitude = np.sqrt(sounding)
            frames.append(magnitude @ hz / magnitude.sum(axis=1))
        centroids = np.concatenate(frames)
        return float(centroids.mean(dtype=np.float64)) if len(centroids) else math.nan

    return _difference(centroid, output, target)


def rms(output: Any, target: Any, *, sample_rate: int) -> float:
    """Compare levels: the difference of the root mean squares, in dB.

    Args:
        output: What was rendered.
        target: What it should be.
        sample_rate: Of both; it changes nothing here.

    Shape:
        output, target: `(channels, time)`.
    """
    return _difference(lambda x: 10 * math.log10(_mean_square(x)), output, target)


def crest_factor(output: Any, target: Any, *, sample_rate: int) -> float:
    """Compare dynamics: the difference of the crest factors (peak over root mean square), in dB.

    Args:
        output: What was rendered.
        target: What it should be.
        sample_rate: Of both; it changes nothing here.

    Shape:
        output, target: `(channels, time)`.
    """

    def crest(x: Signal) -> float:
        return 20 * math.log10(float(np.abs(x).max())) - 10 * math.log10(_mean_square(x))

    return _difference(crest, output, target)


def loudness(output: Any, target: Any, *, sample_rate: int) -> float:
    """Compare loudness as broadcasters measure it, of all channels together, in dB.

    Mono counts as two equal channels, which is how it is heard. A recording shorter than one gating block of 400 ms,
    or with no block above the gate, has no loudness.

    Args:
        output: What was rendered.
        target: What it should be.
        sample_rate: Of both.

    Shape:
        output, target: `(channels, time)`.

    Source:
        ITU-R BS.1770-4, annex 1.
    """
    pair = _pair(output, target)
    if pair[0].shape[1] < LOUDNESS_BLOCK_SECONDS * sample_rate:
        return math.nan
    heard = (np.repeat(x, 2, axis=0) if len(x) == 1 else x for x in pair)
    ours, theirs = (integrated_loudness(x, sample_rate=sample_rate) for x in heard)
    return abs(ours - theirs) if math.isfinite(ours) and math.isfinite(theirs) else math.nan


METRICS: Final = (
    Metric("mae", "MAE", "", mae),
    Metric("mrstft", "MR-STFT", "", mrstft),
    Metric("centroid_hz", "centroid", "Hz", spectral_centroid),
    Metric("rms_db", "RMS", "dB", rms),
    Metric("loudness_db", "loudness", "dB", loudness),
    Metric("crest_db", "crest factor", "dB", crest_factor),
)
"""Every metric, in the order of the tables."""


def _pair(output: Any, target: Any) -> tuple[Signal, Signal]:
    x, y = np.asarray(output, np.float32), np.asarray(target, np.float32)
    if x.ndim != 2 or x.shape != y.shape or not x.size:
        raise ValueError(f"expected two of one shape (channels, time), got {x.shape} and {y.shape}")
    return x, y


def _difference(measure: Callable[[Signal], float], output: Any, target: Any) -> float:
    """Measure each channel, and average the differences; channels that are silent in both say nothing."""
    differences = []
    for x, y in zip(*_pair(output, target), strict=True):
        silent = [_mean_square(channel) < SILENCE for channel in (x, y)]
        if not all(silent):
            differences.append(math.nan if any(silent) else abs(measure(x) - measure(y)))
    return math.fsum(differences) / len(differences) if differences else math.nan


def _mean_square(x: Signal) -> float:
    return float(np.square(x, dtype=np.float64).mean())


def _power_spectra(x: Signal, *, window: int, hop: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield short-time power spectra, `(..., time)` to `(..., frames, bins)`, a few frames at a time.

    Frame n is centred on sample n * hop, and the ends are mirrored, as torch and librosa have it.
    """
    from scipy import fft, signal

    hann = signal.get_window("hann", window).astype(np.float32)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(window // 2, window // 2)], mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=-1)[..., ::hop, :]
    # Few enough to stay in the processor's cache; a whole recording's frames may not even fit in memory.
    count = max(1, _SPECTRUM_BLOCK * x.shape[-1] // (window * x.size))
    for first in range(0, frames.shape[-2], count):
        spectrum = fft.rfft(frames[..., first : first + count, :] * hann)
        yield np.square(spectrum.real) + np.square(spectrum.imag)
