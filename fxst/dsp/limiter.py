"""A look-ahead limiter that holds a stream under a true-peak ceiling, and passes everything below it unchanged."""

import functools
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array, Samples
from fxst.dsp.channels import ChannelLayout

__all__ = ["Limiter", "moving_maximum"]

OVERSAMPLING: Final = 8
"""Points per sample at which peaks are measured."""

TRIGGER_DB: Final = 0.02
"""The limiter starts to work this far below the ceiling, since another meter may read a little more."""
TARGET_DB: Final = 0.1
"""It reduces peaks to this far below the ceiling."""
PASSES: Final = 3
"""A moving gain makes new peaks near the highest frequencies; the next pass limits those."""

LOOK_AHEAD_SECONDS: Final = 0.002
RELEASE_DB_A_SECOND: Final = 30.0

NOTHING_DB: Final = 1e-6
"""Smaller reductions change no 24-bit sample."""

LEAST_DB: Final = 1e-8
"""The gain of a smaller reduction is 1 in float32."""

CHUNK_FRAMES: Final = 1 << 14
_HALF: Final = 64
_TAPS: Final = 2 * _HALF
_INTERPOLATIONS: Final = ((_HALF, 1.0), (_HALF, 0.957), (10, 1.0))
"""Taps on each side, and cutoff as a fraction of the Nyquist frequency. Meters differ in how they treat the highest
frequencies, by half a decibel on white noise: these are an ideal interpolator, a resampler and a short filter."""
_KAISER_BETA: Final = 5.0
_POINTS: Final = (2, 4, OVERSAMPLING)
"""Resolutions in points per sample, tried in turn; each adds the odd points."""
_BLOCK: Final = 32
_SLACK: Final = 1.05


class Limiter:
    """Reduce the gain of a stream where its true peaks would pass a ceiling.

    All channels get the same gain. It falls along a smooth curve before a peak, and recovers by 30 dB a second after
    it. The LFE does not steer it, and is then limited on its own. Far from peaks samples pass bit for bit. The output
    does not depend on the lengths of the blocks, and is as long as the input.

    Args:
        ceiling_db: The highest true peak, full scale 0 dB.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        layout: Their loudspeakers; by default guessed from their number.
    """

    def __init__(
        self, *, ceiling_db: float, sample_rate: int, channels: int, layout: ChannelLayout | None = None
    ) -> None:
        heard = list((layout or ChannelLayout.guessed(channels)).heard)
        everything = list(range(channels))
        lfe = [channel for channel in everything if channel not in heard]
        groups = [(heard, everything)] * PASSES + [(lfe, lfe)] * (PASSES if lfe else 0)
        self._passes = [
            _Pass(ceiling_db=ceiling_db, sample_rate=sample_rate, steering=steering, steered=steered, channels=channels)
            for steering, steered in groups
        ]
        self._latency = self._early = sum(one.latency for one in self._passes)
        self._waiting: list[Samples] = [np.zeros((channels, 0), np.float32)]
        self._pending = 0  # samples taken in and not yet returned
        self._frames = 0

    @property
    def reduction_db(self) -> float:
        """The largest gain reduction so far; 0 where everything passed unchanged."""
        return sum(one.reduction_db for one in self._passes)

    @property
    def mean_reduction_db(self) -> float:
        """The gain reduction so far, in dB on average over time; 0 where everything passed unchanged."""
        return sum(one.total_db for one in self._passes) / max(1, self._frames)

    def process(self, block: Samples) -> Samples:
        """Process the next block; return the samples that are ready.

        Shape:
            block: `(channels, time)`; result: `(channels, any)`.
        """
        self._pending += block.shape[1]
        self._frames += block.shape[1]
        self._waiting.append(block)
        if sum(part.shape[1] for part in self._waiting) < CHUNK_FRAMES:
            return block[:, :0]
        waiting = np.concatenate(self._waiting, axis=1)
        whole = waiting.shape[1] - waiting.shape[1] % CHUNK_FRAMES
        self._waiting = [waiting[:, whole:]]
        return self._limited(waiting[:, :whole])

    def finish(self) -> Samples:
        """Return the remaining samples; nothing can be processed after this.

        Shape:
            `(channels, any)`.
        """
        rest = np.concatenate(self._waiting, axis=1)
        # Whole chunks to the end, so that the length of the last block makes no difference either.
        silence = self._latency + -(rest.shape[1] + self._latency) % CHUNK_FRAMES
        pending = self._pending
        return self._limited(np.pad(rest, [(0, 0), (0, silence)]))[:, :pending]

    def _limited(self, x: Samples) -> Samples:
        ready = []
        for first in range(0, x.shape[1], CHUNK_FRAMES):
            chunk, changed = x[:, first : first + CHUNK_FRAMES], True
            for number, one in enumerate(self._passes):
                chunk, changed = one.process(chunk, suspect=changed or number == PASSES)
            ready.append(chunk)
        y = np.concatenate(ready, axis=1)[:, self._early :]
        self._early = max(0, self._early - x.shape[1])
        self._pending -= y.shape[1]
        return y


class _Pass:
    """One limiter, which delays by `latency`; all chunks are CHUNK_FRAMES long.

    The needed reduction decays at the rate of the release. Its maximum over the look-ahead, averaged over the same
    window, starts to rise before each peak and is never less than the reduction needed around it.
    """

    def __init__(
        self, *, ceiling_db: float, sample_rate: int, channels: int, steering: list[int], steered: list[int]
    ) -> None:
        self._steering = steering if len(steering) < channels else slice(None)
        self._steered = steered if len(steered) < channels else None
        self._trigger = 10 ** ((ceiling_db - TRIGGER_DB) / 20)
        self._target_db = ceiling_db - TARGET_DB
        self._falling_db = np.arange(CHUNK_FRAMES + 1) * (RELEASE_DB_A_SECOND / sample_rate)
        # Two moving averages in a row, each over half of the look-ahead: a curve without corners.
        self._half = max(2, round(LOOK_AHEAD_SECONDS * sample_rate / 2))
        ramp = 2 * self._half - 2
        self.latency = _TAPS + ramp
        self.reduction_db = self.total_db = 0.0  # the largest, and the sum over all samples
        self._x = np.zeros((channels, self.latency), np.float32)
        self._suspect = self._active = False
        self._gaps_db = np.zeros(1)
        self._needed_db = np.zeros(ramp + _TAPS)
        self._held_db = np.zeros(ramp)

    def process(self, chunk: Samples, *, suspect: bool) -> tuple[Samples, bool]:
        """Process a chunk; return one, and whether any of it was reduced.

        Args:
            chunk: Audio.
            suspect: Whether a peak in it may be too high.

        Shape:
            chunk, result: `(channels, time)`.
        """
        x = np.concatenate([self._x, chunk], axis=1)
        delayed, self._x = x[:, :CHUNK_FRAMES], x[:, CHUNK_FRAMES:]
        # An interpolation needs half of its taps on each side: gaps start that far before the chunk, and end as early.
        around = x[self._steering, self.latency - (_TAPS - 1) :]
        gaps_db = self._attenuation(around) if suspect or self._suspect else None
        self._suspect = suspect
        if gaps_db is None:
            if not self._active:
                return delayed, False
            gaps_db = np.zeros(CHUNK_FRAMES)
        gaps_db = np.concatenate([self._gaps_db, gaps_db])
        self._gaps_db = gaps_db[-1:]
        # Each sample has a gap before it and one after it.
        needed_db = self._released(np.maximum(gaps_db[:-1], gaps_db[1:]))
        needed_db = np.concatenate([self._needed_db, needed_db])
        self._needed_db = needed_db[CHUNK_FRAMES:]
        # Held for as long as an interpolation reaches on both sides of a peak.
        held_db = moving_maximum(needed_db, len(self._needed_db) + 1)
        held_db = np.concatenate([self._held_db, held_db])
        self._held_db = held_db[CHUNK_FRAMES:]
        self._active = bool(self._gaps_db.any() or self._needed_db.any() or self._held_db.any())
        reduction_db = _moving_mean(_moving_mean(held_db, self._half), self._half)
        deepest_db = float(reduction_db.max())
        if deepest_db < NOTHING_DB:
            return delayed, False
        self.reduction_db = max(self.reduction_db, deepest_db)
        self.total_db += float(reduction_db.sum())
        gain = np.ones(CHUNK_FRAMES, np.float32)
        reduced = np.flatnonzero(reduction_db > LEAST_DB)
        gain[reduced] = 10 ** (-reduction_db[reduced] / 20)
        if self._steered is None:
            return delayed * gain, True
        delayed = delayed.copy()
        delayed[self._steered] *= gain
        return delayed, True

    def _released(self, db: Array) -> Array:
        """Let values fall no faster than the release."""
        falling = self._falling_db
        highest = np.maximum.accumulate(np.concatenate([self._needed_db[-1:], db]) + falling)
        released: Array = np.maximum((highest - falling)[1:], 0)
        return released

    def _attenuation(self, x: Samples) -> Array | None:
        """Return the reduction needed in the gap from each sample to the next, in dB; None where no gap needs any.

        Shape:
            `(channels, taps - 1 + time)` to `(time,)`.
        """
        near = _near(x, self._trigger)
        if not near.any():
            return None
        peaks = np.zeros((CHUNK_FRAMES // _BLOCK, _BLOCK), np.float32)
        for row, blocks in zip(x, near, strict=True):
            _raise_to_peaks(peaks, row, np.flatnonzero(blocks), self._trigger)
        high = peaks.reshape(-1)
        over = np.flatnonzero(high > np.float64(self._trigger))
        if not len(over):
            return None
        gaps_db = np.zeros(CHUNK_FRAMES)
        gaps_db[over] = 20 * np.log10(high[over], dtype=np.float64) - self._target_db
        return gaps_db


def _near(x: Samples, trigger: float) -> npt.NDArray[np.bool_]:
    """Return in which blocks of gaps the waveform may be above the trigger.

    Between two samples it lies on a straight line plus a bend, and most recordings bend little.

    Shape:
        `(channels, taps - 1 + time)` to `(channels, time / block)`.
    """
    slopes = x[:, 1:] - x[:, :-1]
    bends = np.zeros((len(x), x.shape[1] + 1), np.float32)
    np.subtract(slopes[:, 1:], slopes[:, :-1], out=bends[:, 1:-2])
    highest = _block_maxima(np.abs(bends, out=bends))
    count = CHUNK_FRAMES // _BLOCK
    bend = functools.reduce(np.maximum, (highest[:, shift : shift + count] for shift in range(1 + _TAPS // _BLOCK)))
    ends = np.abs(x[:, _HALF - 1 : _HALF + CHUNK_FRAMES])
    tops = np.maximum(_block_maxima(ends[:, :-1]), ends[:, _BLOCK::_BLOCK])
    near: npt.NDArray[np.bool_] = tops + max(_interpolation(points)[1] for points in _POINTS) * bend > trigger
    return near


def _raise_to_peaks(peaks: Samples, x: Samples, near: npt.NDArray[np.intp], trigger: float) -> None:
    """Raise the peak of each gap to that of one more channel, where it may be above the trigger.

    Points are added until nothing between them can be above it: around its peaks a band-limited waveform falls off no
    faster than a cosine at the Nyquist frequency (Bernstein's inequality).

    Args:
        peaks: The peaks so far.
        x: The channel.
        near: The numbers of the blocks where it may be above the trigger.
        trigger: The trigger.

    Shape:
        peaks: `(time / block, block)`; x: `(taps - 1 + time,)`.
    """
    step = x.strides[0]
    windows = np.lib.stride_tricks.as_strided(x, (len(peaks), _BLOCK + _TAPS - 1), (_BLOCK * step, step))
    for points in _POINTS:
        if not len(near):
            return
        segments = windows[near]
        interpolated = np.abs(segments @ _interpolation(points)[0]).reshape(len(near), -1, _BLOCK)
        between = functools.reduce(np.maximum, interpolated.swapaxes(0, 1))
        samples = np.abs(segments[:, _HALF - 1 : _HALF + _BLOCK])
        peaks[near] = np.maximum(peaks[near], np.maximum(between, samples[:, :-1]))
        highest = np.maximum(peaks[near].max(axis=1), samples[:, -1])
        near = near[highest * (_SLACK / math.cos(math.pi / (2 * points))) > trigger]


@functools.cache
def _interpolation(points: int) -> tuple[Samples, float]:
    """Return the matrix that interpolates the odd ones of `points` points per gap, and a bound on its bends.

    Returns:
        The matrix, and the largest distance of a point from the straight line between two samples, in units of the
        largest second difference around it.

    Shape:
        `(block + taps - 1, interpolations * points / 2 * block)`.
    """
    phases = [(half, end, odd / points) for half, end in _INTERPOLATIONS for odd in range(1, points, 2)]
    matrix = np.zeros((_BLOCK + _TAPS - 1, len(phases), _BLOCK))
    most = 0.0
    for index, (half, end, phase) in enumerate(phases):
        time = np.arange(2 * half) - (half - 1) - phase
        taps = np.sinc(end * time) * np.i0(_KAISER_BETA * np.sqrt(1 - np.square(time / half)))
        taps /= taps.sum()
        line = np.zeros_like(taps)
        line[half - 1 : half + 1] = 1 - phase, phase
        most = max(most, float(np.abs(np.cumsum(np.cumsum(taps - line))).sum()))
        for gap in range(_BLOCK):
            first = gap + _HALF - half
            matrix[first : first + 2 * half, index, gap] = taps
    return matrix.reshape(len(matrix), -1).astype(np.float32), most


def _block_maxima(x: Samples) -> Samples:
    """Return the maximum of each block; NumPy's own over a short axis takes three times as long.

    Shape:
        `(channels, time)` to `(channels, time / block)`.
    """
    reached = 1
    while reached < _BLOCK:
        x = np.maximum(x[:, :-reached], x[:, reached:])
        reached *= 2
    return x[:, ::_BLOCK]


def moving_maximum(db: Array, width: int) -> Array:
    """Return the maximum of every `width` consecutive values."""
    reached, highest = 1, db
    while 2 * reached <= width:
        highest = np.maximum(highest[:-reached], highest[reached:])
        reached *= 2
    count = len(db) - width + 1
    return np.maximum(highest[:count], highest[width - reached : width - reached + count])


def _moving_mean(db: Array, width: int) -> Array:
    """Return the mean of every `width` consecutive values."""
    total = np.concatenate([[0.0], np.cumsum(db)])
    mean: Array = (total[width:] - total[:-width]) / width
    return mean
