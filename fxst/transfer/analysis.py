"""The analysis of a whole recording, of any length, in bounded memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import msgspec
import numpy as np

from fxst.audio import Resampler, Samples, resample
from fxst.dsp.voice_activity import FRAME_SECONDS
from fxst.models.network import StyleNetwork
from fxst.transfer.descriptors import (
    FLOOR_PERCENTILE,
    SILENCE,
    Descriptors,
    Excerpt,
    describe,
    noise_floor_db,
)
from fxst.transfer.level_matching import loudness_key

__all__ = ["BEYOND_FULL_SCALE", "Analyser", "Analysis", "from_tenths", "in_tenths", "merged", "thinned"]

BEYOND_FULL_SCALE: Final = np.errstate(over="ignore", invalid="ignore")
"""Decorates what may meet numbers beyond float32, which are refused with a sentence, and not with NumPy's warnings."""

SILENCE_DB: Final = -100.0
"""Windows softer than this are silent, and do not count."""
RANGE_DB: Final = 30
"""Windows further than this below the loudest tenth are pauses, and do not count."""

TURNS_AFTER: Final = 64
"""In a recording of more windows than this one channel of each is analysed, the channels in turn; else all are."""

_BUCKET_DB: Final = 3
_BUCKETS: Final = 50
_MOST_KEPT: Final = 16
_MOST_PAUSES: Final = 4
_MOST_MERGED: Final = 32
_MOST_CHANNELS: Final = 2
# So many windows stay in a processor's cache; more at once are slower.
_BATCH: Final = 16


@dataclass(frozen=True)
class Analysis:
    """The analysis of a recording.

    Args:
        statistics: The model's statistics, the mean over all windows that count; None for silence.
        excerpt: Some of the windows that count, evenly spread, of the first two channels, without a constant offset.
        pauses: The windows with the softest moments of all, likewise: noise shows there. Digital silence does not
            count. Empty where there is nothing else.
        seconds: The length of the recording.
        short: Whether it is shorter than one window, so that it was repeated to fill one.
        frames: The levels of short-time frames of the excerpt, in dB to a tenth, the softest first: their order in time
            is not kept. There are none in silence, or for a model that uses none.
        sample_rate: The sample rate of the recording, which may differ from that of the excerpt.
        active_seconds: The length of the windows that count.

    Shape:
        statistics: (D,); frames: (n, bands), or (0, 0).
    """

    statistics: Samples | None
    excerpt: Excerpt
    pauses: Excerpt
    seconds: float
    short: bool
    frames: Samples
    sample_rate: int
    active_seconds: float = 0.0

    @cached_property
    def descriptors(self) -> Descriptors:
        """The descriptors of the recording, which level matching and the safety check compare."""
        described = describe(self.excerpt)
        if not self.pauses.samples.size:
            return described
        return msgspec.structs.replace(described, floor_db=noise_floor_db(self.pauses))


class Analyser:
    """Analyses a recording block by block, in windows, at the model's analysis rate.

    Every window counts, from the first to the one that ends with the recording, except pauses. Which windows are pauses
    is known only at the end, so sums are kept by level, a few decibels each. Channels are analysed one by one: their
    mix would be softer than they are, or cancel. In a long recording they take turns.

    Args:
        model: The model.
        sample_rate: The recording's sample rate.
    """

    def __init__(self, model: StyleNetwork, *, sample_rate: int) -> None:
        self._model = model
        self._sample_rate = sample_rate
        self._model_rate = model.analysis_rate(sample_rate)
        self._window = model.window_at(self._model_rate)
        self._resampler: Resampler | None = None
        self._samples = 0
        self._last_window = np.zeros((0, 0), np.float32)
        self._rest = np.zeros((0, 0), np.float32)
        self._times = 0
        self._kept: list[Samples] = []
        self._softest: list[tuple[float, int, Samples]] = []  # the level of its soft frames, its number, the window
        self._every = 1  # so many windows are passed over for each that is kept
        self._waiting: list[tuple[bool, Samples]] = []
        # By level, and by whether it was a channel's turn: the others do not count once the recording proves long.
        self._counts = np.zeros(2 * _BUCKETS)
        self._sums = np.zeros((2 * _BUCKETS, 0))

    def process(self, block: Samples) -> None:
        """Take in the next stretch of the recording.

        Args:
            block: Audio, of any length.

        Shape:
            `(channels, time)`.
        """
        if self._resampler is None:
            channels = block.shape[0]
            rates = {"source_rate": self._sample_rate, "target_rate": self._model_rate}
            self._resampler = Resampler(**rates, channels=channels)
            self._last_window = self._rest = np.zeros((channels, 0), np.float32)
        self._samples += block.shape[1]
        self._take(self._resampler.process(block))

    def finish(self) -> Analysis:
        """Return the analysis; no block can follow."""
        if self._resampler is not None:
            self._take(self._resampler.process(self._rest[:, :0], last=True))
        short = not self._last_window.shape[1]
        rest = self._rest.shape[1]
        if rest:
            # The end is analysed with what comes before it, or a short recording with itself.
            before = np.tile(self._rest, math.ceil(self._window / rest)) if short else self._last_window
            self._wait(np.concatenate([before, self._rest], axis=1)[:, -self._window :])
        self._analyse()
        (mean, active), excerpt = self._mean(), self._excerpt()
        softest = [window for _, _, window in sorted(self._softest, key=lambda one: one[1])]
        pauses = Excerpt(np.concatenate([self._rest[:_MOST_CHANNELS, :0], *softest], axis=1), self._model_rate)
        frames = np.zeros((0, 0), np.float32) if mean is None else _measured_frames(self._model, excerpt)
        seconds = self._samples / self._sample_rate
        return Analysis(mean, excerpt, pauses, seconds, short, frames, self._sample_rate, active * seconds)

    def _excerpt(self) -> Excerpt:
        powers = [float(np.square(window, dtype=np.float64).mean(axis=1).max()) for window in self._kept]
        least = max(powers, default=0.0) * 10 ** (-RANGE_DB / 10)
        windows = [window for window, power in zip(self._kept, powers, strict=True) if power >= least]
        samples = np.concatenate([self._rest[:_MOST_CHANNELS, :0], *windows], axis=1)
        return Excerpt(samples, self._model_rate, surround=len(self._rest) > _MOST_CHANNELS)

    def _take(self, x: Samples) -> None:
        x = np.concatenate([self._rest, x], axis=1)
        whole = x.shape[1] - x.shape[1] % self._window
        for first in range(0, whole, self._window):
            self._last_window = x[:, first : first + self._window]
            self._wait(self._last_window)
        self._rest = x[:, whole:]

    def _wait(self, channels: Samples) -> None:
        # Batches are filled by count and not by block, so that the sums are the same for any block size.
        self._keep_soft(channels[:_MOST_CHANNELS])
        if self._times % self._every == 0:
            window = channels[:_MOST_CHANNELS]
            self._kept.append(window - window.mean(axis=1, keepdims=True))
            if len(self._kept) > _MOST_KEPT:
                self._every *= 2
                self._kept = self._kept[::2]
        turn = self._times % len(channels)
        for channel, window in enumerate(channels):
            if channel == turn or self._times < TURNS_AFTER:
                self._waiting.append((channel == turn, window))
            if len(self._waiting) == _BATCH:
                self._analyse()
        self._times += 1

    @BEYOND_FULL_SCALE
    def _keep_soft(self, window: Samples) -> None:
        """Keep a window if its softest moments are among the softest of all so far."""
        frame = round(FRAME_SECONDS * self._model_rate)
        whole = window[:, : window.shape[1] // frame * frame]
        powers = np.square(whole - whole.mean(axis=1, keepdims=True)).reshape(len(window), -1, frame).mean(axis=(0, 2))
        heard = powers[powers > SILENCE]
        if not len(heard):
            return
        level = float(np.percentile(heard, FLOOR_PERCENTILE))
        if len(self._softest) == _MOST_PAUSES:
            loudest = max(one[:2] for one in self._softest)
            if level >= loudest[0]:
                return
            self._softest = [one for one in self._softest if one[:2] != loudest]
        self._softest.append((level, self._times, window - window.mean(axis=1, keepdims=True)))

    @BEYOND_FULL_SCALE
    def _analyse(self) -> None:
        if not self._waiting:
            return
        windows = np.stack([window for _, window in self._waiting])
        turns = np.array([turn for turn, _ in self._waiting])
        self._waiting.clear()
        # A constant offset is a fault of a recorder, not a style; it would pass for level and bass.
        windows -= windows.mean(axis=1, keepdims=True)
        powers = np.square(windows, dtype=np.float64).mean(axis=1)
        levels_db = 10 * np.log10(np.maximum(powers, 1e-30))
        audible = levels_db > SILENCE_DB
        if not audible.any():
            return
        buckets = ((levels_db[audible] - SILENCE_DB) // _BUCKET_DB).clip(0, _BUCKETS - 1)
        index = buckets.astype(np.int64) + np.where(turns[audible], 0, _BUCKETS)
        statistics = self._model.analyse(windows[audible], sample_rate=self._model_rate)
        if not self._sums.shape[1]:
            self._sums = np.zeros((2 * _BUCKETS, statistics.shape[1]))
        np.add.at(self._sums, index, statistics)
        np.add.at(self._counts, index, 1)

    def _mean(self) -> tuple[Samples | None, float]:
        """Return the mean statistics, and the share of the windows that count."""
        if not self._counts.any():
            return None, 0.0
        counts, sums = self._counts.reshape(2, _BUCKETS), self._sums.reshape(2, _BUCKETS, -1)
        counts, sums = (counts[0], sums[0]) if self._times > TURNS_AFTER else (counts.sum(0), sums.sum(0))
        # The loudest tenth sets the level: one clap must not turn all the rest into pauses.
        from_the_top = counts[::-1].cumsum()
        loudest = _BUCKETS - 1 - int(np.argmax(from_the_top >= 0.1 * from_the_top[-1]))
        loud = slice(max(0, loudest - RANGE_DB // _BUCKET_DB), _BUCKETS)
        mean: Samples = (sums[loud].sum(0) / counts[loud].sum()).astype(np.float32)
        analysed = self._times * (1 if self._times > TURNS_AFTER else len(self._rest))
        return mean, float(counts[loud].sum() / analysed)


def merged(model: StyleNetwork, analyses: Sequence[Analysis]) -> Analysis:
    """Return the analysis of several recordings together, each weighted by its active length.

    Args:
        model: The model that analysed them.
        analyses: One or more, each at the level at which it is rendered; silent ones do not count.
    """
    sounding = [one for one in analyses if one.statistics is not None and one.excerpt.samples.size]
    if len(sounding) < 2:
        return (sounding or analyses)[0]
    weights = np.array([one.active_seconds for one in sounding])
    shares = weights / weights.sum()
    statistics = (shares @ np.array([one.statistics for one in sounding], np.float64)).astype(np.float32)
    rate = max(sounding, key=lambda one: one.active_seconds).excerpt.sample_rate
    channels = max(len(one.excerpt.samples) for one in sounding)
    window = model.window_at(rate)

    def windows(x: Excerpt) -> list[Samples]:
        samples = resample(x.samples, source_rate=x.sample_rate, target_rate=rate)
        samples = np.repeat(samples, channels, axis=0) if len(samples) < channels else samples
        samples = np.pad(samples, [(0, 0), (0, -samples.shape[1] % window)], mode="edge")  # of resampling
        return [samples[:, first : first + window] for first in range(0, samples.shape[1], window)]

    # Windows evenly spread over all active signal, as if the recordings were one.
    ends = np.cumsum(shares)
    kept: dict[tuple[int, int], Samples] = {}
    softest: list[tuple[float, int, Samples]] = []
    for index, one in enumerate(sounding):
        points = (np.arange(_MOST_MERGED) + 0.5) / _MOST_MERGED
        points = points[np.searchsorted(ends[:-1], points, side="right") == index]
        if len(points):
            found = windows(one.excerpt)
            within = (points - (ends[index] - shares[index])) / shares[index]
            kept |= {
                (index, place): found[place] for place in (within * len(found)).astype(int).clip(0, len(found) - 1)
            }
        softest += [(noise_floor_db(Excerpt(pause, rate)), len(softest), pause) for pause in windows(one.pauses)]
        softest = sorted(softest, key=lambda one: one[:2])[:_MOST_PAUSES]
    nothing = np.zeros((channels, 0), np.float32)
    surround = any(one.excerpt.surround for one in sounding)
    excerpt = Excerpt(np.concatenate([nothing, *kept.values()], axis=1), rate, surround)
    return Analysis(
        statistics,
        excerpt,
        Excerpt(np.concatenate([nothing, *(window for _, _, window in softest)], axis=1), rate),
        sum(one.seconds for one in sounding),
        all(one.short for one in sounding),
        _measured_frames(model, excerpt),
        max(one.sample_rate for one in sounding),
        float(weights.sum()),
    )


def thinned(model: StyleNetwork, analysis: Analysis, most: int) -> Analysis:
    """Return an analysis with so many windows of its excerpt, evenly spread, and of its pauses at most.

    Args:
        model: The model that made it.
        analysis: The analysis.
        most: The number of windows, 1 or more.
    """

    def thin(x: Excerpt) -> Excerpt:
        windows = x.samples.reshape(len(x.samples), -1, model.window_at(x.sample_rate))
        places = np.linspace(0, windows.shape[1] - 1, min(most, windows.shape[1])).round().astype(int)
        return Excerpt(windows[:, places].reshape(len(windows), -1), x.sample_rate, x.surround)

    return replace(analysis, excerpt=thin(analysis.excerpt), pauses=thin(analysis.pauses))


@BEYOND_FULL_SCALE
def _measured_frames(model: StyleNetwork, excerpt: Excerpt) -> Samples:
    windows = excerpt.samples.reshape(-1, model.window_at(excerpt.sample_rate))
    frames: Samples = model.frames(windows, sample_rate=excerpt.sample_rate)
    if not excerpt.samples.any():  # the active signal lies between the windows that were kept
        frames = frames[:0]
    # Rounded as a profile rounds them, so that a profile is as good as its recording. In their own order, those of a
    # short recording would be a picture that its sound could be made from again.
    rows = sorted(in_tenths(frames), key=loudness_key)
    return from_tenths(rows) if rows else frames


def in_tenths(frames: Samples) -> tuple[tuple[int, ...], ...]:
    """Round levels to whole tenths of a decibel, as style profiles hold them.

    Shape:
        frames: (n, bands), in dB.
    """
    return tuple(tuple(row) for row in (10 * frames).round().astype(int).tolist())


def from_tenths(rows: Sequence[Sequence[int]]) -> Samples:
    """Return levels in dB that are held in tenths of a decibel.

    Shape:
        result: (n, bands), in dB; (0, 0) where there are none.
    """
    tenths = np.array(rows, np.float32).reshape(len(rows), len(rows[0]) if rows else 0)
    return tenths / np.float32(10)
