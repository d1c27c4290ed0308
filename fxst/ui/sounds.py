"""Recordings of a tab: drawn as a waveform, measured, and sent to the page as plain samples."""

import math
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from fxst import audio
from fxst.audio import Samples
from fxst.report.recordings import OnDisk, Outline, OutlineMeter

__all__ = ["MOST_HEARD_CHANNELS", "Sound", "heard_rate", "level", "repeated"]

_PAIRS_A_SECOND: Final = 50
_MOST_PAIRS: Final = 1200
"""More than a waveform has pixels."""
_HEARD_RATES: Final = (8_000, 96_000)
"""Sample rates that every browser plays."""
MOST_HEARD_CHANNELS: Final = 32
"""Channels that every browser plays."""


class Sound(OnDisk):
    """A recording on disk, and its waveform.

    Whoever reads it first passes its blocks to `watch`, so that the waveform and the loudest excerpt need no reading of
    their own. What the meters show is measured later, when it is asked for.

    Args:
        path: The file.
        name: What the user calls it.
        check: Called with each block that is measured; what it raises ends the measuring.

    Raises:
        AudioError: The file is not a readable sound file.
    """

    def __init__(self, path: Path, name: str, check: Callable[[], None]) -> None:
        super().__init__(path)
        self.name = name
        self._check = check
        self._pairs = array("f")
        self._meter = OutlineMeter(sample_rate=self.sample_rate)

    def watch(self, block: Samples) -> None:
        """Take in the next block of the recording, the first time that it is read.

        Shape:
            block: `(channels, time)`.
        """
        self._meter.process(block)
        starts = np.arange(0, block.shape[1], max(1, self.sample_rate // _PAIRS_A_SECOND))
        low = np.minimum.reduceat(block.min(axis=0), starts)
        high = np.maximum.reduceat(block.max(axis=0), starts)
        self._pairs.frombytes(np.stack([low, high], axis=1).astype(np.float32).tobytes())

    def look(self) -> None:
        """Read it, where nobody has done so yet."""
        for block in self._blocks():
            self.watch(block)

    @property
    def outline(self) -> Outline:
        """How loud it is over time."""
        return self._meter.outline()

    def _blocks(self) -> Iterator[Samples]:
        for block in super()._blocks():
            self._check()
            yield block

    def waveform(self) -> list[list[float]]:
        """Return the lowest and the highest sample of each of some equal parts."""
        pairs = np.array(self._pairs, np.float32).reshape(-1, 2)
        starts = np.arange(min(len(pairs), _MOST_PAIRS)) * len(pairs) // min(len(pairs), _MOST_PAIRS)
        low, high = np.minimum.reduceat(pairs[:, 0], starts), np.maximum.reduceat(pairs[:, 1], starts)
        return [list(pair) for pair in zip(_shortened(low), _shortened(high), strict=True)]

    def figures(self) -> dict[str, float | None]:
        """Return what the meters show; None for silence."""
        survey = self.survey
        frames = len(survey.step_powers) * max(1, round(survey.step_seconds * self.sample_rate))
        power = float(survey.step_powers.sum()) / (frames * self.channels) if frames else 0.0
        crest = survey.true_peak_dbtp - 10 * math.log10(power) if power > 0 else math.nan
        figures = {
            "loudness": survey.lufs,
            "range": survey.loudness_range_lu,
            "true_peak": survey.true_peak_dbtp,
            "crest": crest,
        }
        return {name: round(value, 2) if math.isfinite(value) else None for name, value in figures.items()}

    def described(self) -> dict[str, Any]:
        """Return what the page shows of it."""
        return {
            "name": self.name,
            "seconds": self.outline.seconds,
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "waveform": self.waveform(),
        }


def _shortened(values: Samples) -> list[float]:
    return [round(float(value), 3) for value in values]


def heard_rate(sample_rate: int) -> int:
    """Return the sample rate at which a page plays a recording: its own, where browsers play that."""
    return min(max(sample_rate, _HEARD_RATES[0]), _HEARD_RATES[1])


def repeated(x: Samples, frames: int) -> Samples:
    """Return audio of this length: its beginning, or itself again and again.

    Shape:
        x: `(channels, time)`, not empty; result: `(channels, frames)`.
    """
    return np.tile(x, (1, -(-frames // x.shape[1])))[:, :frames]


def level(x: Samples, *, sample_rate: int) -> float | None:
    """Return the loudness of an excerpt in LUFS; None for silence."""
    lufs = audio.loudness(x, sample_rate=sample_rate) if x.size else -math.inf
    return round(lufs, 2) if math.isfinite(lufs) else None
