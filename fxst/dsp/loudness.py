"""Loudness, loudness range and true peaks by the broadcast standards, block by block."""

import functools
import math
from array import array
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.channels import ChannelLayout
from fxst.dsp.kernels import sosfilt

__all__ = ["LoudnessMeter", "TruePeakMeter", "joint_loudness", "loudness", "loudness_range", "true_peak"]

ABSOLUTE_GATE_LUFS: Final = -70.0
RELATIVE_GATE_LU: Final = -10.0
RANGE_RELATIVE_GATE_LU: Final = -20.0
RANGE_PERCENTILES: Final = (10, 95)
TRUE_PEAK_RATE: Final = 192_000
"""Lowest sample rate at which true peaks are measured, in Hz."""

_OFFSET_LU: Final = -0.691
_STEP_SECONDS: Final = 0.1
_STEPS_A_BLOCK: Final = 4
_STEPS_A_SHORT_TERM_BLOCK: Final = 30
_CHUNK_FRAMES: Final = 1 << 18
_TAPS: Final = 32
_KAISER_BETA: Final = 6.0


_Meter = TypeVar("_Meter", "LoudnessMeter", "TruePeakMeter")


def loudness(x: Samples, *, sample_rate: int) -> float:
    """Measure the integrated loudness of a recording in LUFS, gated so that pauses do not count.

    Args:
        x: Audio.
        sample_rate: Its sample rate.

    Returns:
        Integrated loudness; minus infinity for silence. Audio shorter than one 400 ms block is not gated.

    Shape:
        x: `(channels, time)`.

    Source:
        ITU-R BS.1770-4, annex 1.
    """
    return _fed(LoudnessMeter(sample_rate=sample_rate, channels=x.shape[0]), x).integrated()


def joint_loudness(meters: "Sequence[LoudnessMeter]") -> float:
    """Return the integrated loudness of several recordings as one programme, in LUFS; minus infinity for silence.

    The gate is that of the programme, so a soft song counts less beside a loud one. No block spans two recordings.

    Args:
        meters: The meter of each recording.
    """
    blocks = [meter.blocks() for meter in meters]
    return _gated_lufs(np.concatenate(blocks)) if blocks else -math.inf


def loudness_range(x: Samples, *, sample_rate: int) -> float:
    """Measure the loudness range of a recording in LU; pauses do not count.

    Args:
        x: Audio.
        sample_rate: Its sample rate.

    Returns:
        Loudness range; NaN for silence and for less than the 3 s of one short-term value. It is meaningful from about a
        minute on.

    Shape:
        x: `(channels, time)`.

    Source:
        EBU Tech 3342.
    """
    return _fed(LoudnessMeter(sample_rate=sample_rate, channels=x.shape[0]), x).loudness_range()


def true_peak(x: Samples, *, sample_rate: int) -> float:
    """Measure the true peak of a recording in dBTP.

    Args:
        x: Audio.
        sample_rate: Its sample rate.

    Returns:
        The highest peak of all channels, full scale 0 dB; minus infinity for silence.

    Shape:
        x: `(channels, time)`.

    Source:
        ITU-R BS.1770-4, annex 2.
    """
    return float(_fed(TruePeakMeter(sample_rate=sample_rate, channels=x.shape[0]), x).peaks_dbtp().max())


class LoudnessMeter:
    """Measure the loudness and loudness range of a stream.

    Args:
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        layout: Their loudspeakers, which weight them; by default guessed from their number.
    """

    def __init__(self, *, sample_rate: int, channels: int, layout: ChannelLayout | None = None) -> None:
        self._sections = _k_weighting(sample_rate)
        self._state = np.zeros((2, channels, 2))
        self._weights = (layout or ChannelLayout.guessed(channels)).weights
        self._step_frames = max(1, round(_STEP_SECONDS * sample_rate))
        self._step_energies = array("d")  # thousands of small arrays would fragment the memory
        self._pending = np.zeros(0)
        self._energy = 0.0
        self._frames = 0

    def process(self, block: Samples) -> None:
        """Take in the next block.

        Shape:
            block: `(channels, time)`.
        """
        if not block.shape[1]:
            return
        weighted, self._state = sosfilt(self._sections, block, self._state)
        power = self._weights @ np.square(weighted)
        self._energy += float(power.sum())
        self._frames += len(power)
        power = np.concatenate([self._pending, power])
        whole = len(power) - len(power) % self._step_frames
        self._step_energies.frombytes(power[:whole].reshape(-1, self._step_frames).mean(axis=1).tobytes())
        self._pending = power[whole:]

    def integrated(self) -> float:
        """Return the integrated loudness so far, in LUFS; minus infinity for silence."""
        steps = np.array(self._step_energies)
        if len(steps) < _STEPS_A_BLOCK:
            return _lufs(self._energy / self._frames if self._frames else 0.0)
        return _gated_lufs(_blocks(steps, _STEPS_A_BLOCK))

    def blocks(self) -> Array:
        """Return the energies of the blocks of 400 ms so far; of less than one, that of all.

        Shape:
            `(blocks,)`.
        """
        steps = np.array(self._step_energies)
        if len(steps) < _STEPS_A_BLOCK:
            return np.array([self._energy / self._frames] if self._frames else [])
        return _blocks(steps, _STEPS_A_BLOCK)

    def ungated(self) -> float:
        """Return the loudness so far without gates, in LUFS; minus infinity for digital silence."""
        return _lufs(self._energy / self._frames if self._frames else 0.0)

    def loudness_range(self) -> float:
        """Return the loudness range so far, in LU; NaN for silence and for less than 3 s."""
        steps = np.array(self._step_energies)
        if len(steps) < _STEPS_A_SHORT_TERM_BLOCK:
            return math.nan
        blocks = _gated(_blocks(steps, _STEPS_A_SHORT_TERM_BLOCK), RANGE_RELATIVE_GATE_LU)
        if not len(blocks):
            return math.nan
        # Nearest rank, as in the standard: no interpolation between two blocks.
        soft, loud = (np.sort(blocks)[int((len(blocks) - 1) * p / 100 + 0.5)] for p in RANGE_PERCENTILES)
        return _lufs(float(loud)) - _lufs(float(soft))


class TruePeakMeter:
    """Measure the true peaks of a stream: those of the waveform between samples as well.

    Args:
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
    """

    def __init__(self, *, sample_rate: int, channels: int) -> None:
        # An even number of points per sample: most peaks are half-way between two samples.
        self._between, self._most_gain = _interpolation(2 * math.ceil(TRUE_PEAK_RATE / 2 / sample_rate))
        self._held = np.zeros((channels, _TAPS), np.float32)  # silence before the stream
        self._peaks = np.zeros(channels)

    def process(self, block: Samples) -> None:
        """Take in the next block.

        Shape:
            block: `(channels, time)`.
        """
        if block.shape[1]:
            self._peaks = np.maximum(self._peaks, np.abs(block).max(axis=1))
            x = np.concatenate([self._held, block], axis=1)
            whole = x.shape[1] - x.shape[1] % _TAPS
            self._peaks = self._highest(x[:, :whole])
            self._held = x[:, whole - _TAPS :].copy()

    def peaks_dbtp(self) -> Array:
        """Return each channel's true peak so far, full scale 0 dB; minus infinity for silence.

        Shape:
            `(channels,)`.
        """
        ending = np.pad(self._held, [(0, 0), (0, 3 * _TAPS - self._held.shape[1])])
        with np.errstate(divide="ignore"):
            return 20 * np.log10(self._highest(ending))

    def _highest(self, x: Samples) -> Array:
        peaks = self._peaks.copy()
        for channel, row in enumerate(x):
            blocks = row.reshape(-1, _TAPS)
            tops = np.abs(blocks).max(axis=1)
            # Interpolated points are at most this gain times the samples around them, so most are skipped.
            near = np.flatnonzero(np.maximum(tops[:-1], tops[1:]) * self._most_gain > peaks[channel])
            if len(near):
                around = np.concatenate([blocks[near], blocks[near + 1]], axis=1)
                peaks[channel] = max(peaks[channel], float(np.abs(around @ self._between).max()))
        return peaks


def _fed(meter: _Meter, x: Samples) -> _Meter:
    # In chunks: meters need several times the memory of their audio, and a recording may be hours long.
    for first in range(0, x.shape[1], _CHUNK_FRAMES):
        meter.process(x[:, first : first + _CHUNK_FRAMES])
    return meter


def _blocks(steps: Array, steps_a_block: int) -> Array:
    """Return the energies of overlapping blocks of so many steps."""
    return np.convolve(steps, np.full(steps_a_block, 1 / steps_a_block), mode="valid")


def _gated_lufs(blocks: Array) -> float:
    gated = _gated(blocks, RELATIVE_GATE_LU)
    return _lufs(float(gated.mean())) if len(gated) else -math.inf


def _gated(blocks: Array, relative_gate: float) -> Array:
    """Return the energies of the blocks that pass the absolute and the relative gate."""
    blocks = blocks[blocks > _energy(ABSOLUTE_GATE_LUFS)]
    if not len(blocks):
        return blocks
    return blocks[blocks > _energy(_lufs(float(blocks.mean())) + relative_gate)]


def _lufs(energy: float) -> float:
    return _OFFSET_LU + 10 * math.log10(energy) if energy > 0 else -math.inf


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LU) / 10))


@functools.cache
def _interpolation(factor: int) -> tuple[Samples, float]:
    """Return the matrix from two blocks of samples to the points between samples, and its largest gain.

    The kernel is a windowed sinc, flat to 0.44 of the sample rate. It passes through the samples, so only the points
    between them are computed.

    Shape:
        `(2 * taps, taps * (factor - 1))`.
    """
    matrix = np.zeros((2 * _TAPS, _TAPS, factor - 1))
    half = _TAPS // 2
    most = 0.0
    for phase in range(1, factor):
        time = np.arange(_TAPS) - (half - 1) - phase / factor
        taps = np.sinc(time) * np.i0(_KAISER_BETA * np.sqrt(1 - np.square(time / half)))
        taps /= taps.sum()
        most = max(most, float(np.abs(taps).sum()))
        for first in range(_TAPS):
            matrix[first : first + _TAPS, first, phase - 1] = taps
    return matrix.reshape(2 * _TAPS, -1).astype(np.float32), most


def _k_weighting(sample_rate: int) -> Array:
    """Design the two biquads of the standard, a high shelf and a high-pass, at any sample rate.

    The standard tabulates them at 48 kHz only; these analogue prototypes reproduce its table there.

    Source:
        libebur128, ebur128_init_filter.
    """
    corner_hz, gain_db, q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = math.tan(math.pi * min(corner_hz / sample_rate, 0.499))
    high = 10 ** (gain_db / 20)
    middle = high**0.4996667741545416
    norm = 1 + k / q + k * k
    poles = [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    zeros = [(high + middle * k / q + k * k) / norm, 2 * (k * k - high) / norm, (high - middle * k / q + k * k) / norm]
    shelf = [*zeros, *poles]
    corner_hz, q = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * min(corner_hz / sample_rate, 0.499))
    norm = 1 + k / q + k * k
    high_pass = [1, -2, 1, 1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    return np.array([shelf, high_pass])
