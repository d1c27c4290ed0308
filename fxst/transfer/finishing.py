"""What comes behind the chain: one gain for the loudness, a ceiling for the peaks, and how long the reverb may ring."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from fxst.audio import LoudnessMeter, Samples
from fxst.chains.table import Table
from fxst.configs import REFERENCE, ApplyConfig
from fxst.dsp.channels import ChannelLayout
from fxst.dsp.limiter import Limiter
from fxst.dsp.loudness import ABSOLUTE_GATE_LUFS, TruePeakMeter
from fxst.errors import SettingsError
from fxst.untrusted import number

__all__ = [
    "BLOCK_FRAMES",
    "KEEP",
    "LONGEST_HEARD_TAIL_SECONDS",
    "REFERENCE",
    "UNTIL_SILENT",
    "ArrayShape",
    "AudioShape",
    "Finish",
    "Finisher",
    "rendered",
]

BLOCK_FRAMES: Final = 1 << 15
"""Recordings are rendered in blocks: larger ones leave a processor's cache, smaller ones spend their time on calls."""

KEEP: Final = "keep"
UNTIL_SILENT: Final = math.inf
"""A tail as long as it is heard."""

LONGEST_HEARD_TAIL_SECONDS: Final = 30.0
HEARD_DBFS: Final = -90.0
"""What rings on is heard while it is louder than this."""
LONGEST_PAUSE_SECONDS: Final = 3.0
"""At least so far behind the last one an echo may be."""

_NOTICED_LU: Final = 0.1
_BETWEEN_SAMPLES_DB: Final = 6.0
"""By so much a true peak is above the highest sample at most, for all that one meets."""
_MOST_MORE_DB: Final = 6.0
_MOST_PASSES: Final = 4
"""What a limiter takes of the loudness is made up for by so much gain at most, for beyond it the recording would be
flattened; and it is found in so many passes at most, the last of which are written."""

HEAVY_DB: Final = 6.0
"""A limiter that reduces peaks by so much is heard."""

_MOST_ENCODINGS: Final = 4
_SPARE_DB: Final = 0.1
"""What an encoder adds to the peaks is taken off the ceiling, and a little more, for it adds something else each time.
A recording is encoded so many times at most."""

_LUFS: Final = (-70.0, 0.0)
_DBTP: Final = (-60.0, 0.0)
_TAIL_SECONDS: Final = (0.0, 600.0)


class AudioShape(Protocol):
    """The sample rate and the channels of a recording, and their loudspeakers."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def layout(self) -> ChannelLayout: ...


class ArrayShape(NamedTuple):
    """The shape of a recording in memory."""

    sample_rate: int
    channels: int

    @property
    def layout(self) -> ChannelLayout:
        """The usual loudspeakers of so many channels."""
        return ChannelLayout.guessed(self.channels)


@dataclass(frozen=True)
class Finish:
    """What is done to what a chain renders.

    Args:
        loudness: What the integrated loudness is brought to: a number of LUFS, `keep` for the input's, `reference`, or
            None to leave it.
        ceiling_db: The highest true peak; None for any.
        floats_keep_peaks: Whether a file of floating-point samples, which loses nothing above full scale, is let be.
        tail_seconds: How much of what rings on after the end is kept.
        gain_db: A gain that is known already, that of an album; then there is no loudness to reach.
    """

    loudness: float | str | None = None
    ceiling_db: float | None = -1.0
    floats_keep_peaks: bool = False
    tail_seconds: float = 0.0
    gain_db: float = 0.0

    @staticmethod
    def of(config: ApplyConfig) -> "Finish":
        """Read it from what a command was given.

        Raises:
            SettingsError: An option is neither a number in its range nor a word that it knows.
        """
        loudness, ceiling, tail = config.loudness, config.ceiling, config.tail
        return Finish(
            loudness=(
                loudness
                if loudness in (None, KEEP, REFERENCE)
                else _number("--loudness", str(loudness), f"{REFERENCE}, {KEEP}", "LUFS", _LUFS)
            ),
            ceiling_db=None if ceiling == "none" else _number("--ceiling", ceiling, "none", "dBTP", _DBTP),
            floats_keep_peaks=config.clip == "float",
            tail_seconds=UNTIL_SILENT if tail == "auto" else _number("--tail", tail, "auto", "seconds", _TAIL_SECONDS),
        )

    def longest_tail_frames(self, sample_rate: int) -> int:
        """Tell how many frames an output may be longer than its input."""
        seconds = LONGEST_HEARD_TAIL_SECONDS if self.tail_seconds == UNTIL_SILENT else self.tail_seconds
        return round(seconds * sample_rate)


def rendered(
    blocks: Iterable[Samples], table: Table, info: AudioShape, finish: Finish, *, gain_db: float = 0.0
) -> Iterator[Samples]:
    """Render a recording block by block, and what of its end is kept.

    Args:
        blocks: The recording.
        table: The settings.
        info: The recording's rate and channels.
        finish: How much of its end is kept.
        gain_db: By how much it is turned up afterwards, and what is heard of its end with it.

    Shape:
        Each block: `(channels, time)`.
    """
    process = table.chain.exact(table, sample_rate=info.sample_rate, channels=info.channels, layout=info.layout)
    for block in blocks:
        yield process(block)
    left = finish.longest_tail_frames(info.sample_rate)
    least = 10 ** ((HEARD_DBFS - gain_db) / 20)
    unheard = np.zeros((info.channels, 0), np.float32)  # what counts only where something is heard behind it
    while left > 0:
        silence = np.zeros((info.channels, min(left, BLOCK_FRAMES)), np.float32)
        left -= silence.shape[1]
        tail = np.concatenate([unheard, process(silence)], axis=1)
        if finish.tail_seconds == UNTIL_SILENT:
            heard = np.flatnonzero(np.abs(tail).max(axis=0) > least)
            tail, unheard = np.split(tail, [heard[-1] + 1 if len(heard) else 0], axis=1)
            if unheard.shape[1] >= LONGEST_PAUSE_SECONDS * info.sample_rate:
                left = 0
        if tail.shape[1]:
            yield tail


class Finisher:
    """Bring what a chain rendered to its loudness and under its ceiling, and say what that took.

    Args:
        finish: What is to be done.
        info: The recording's rate and channels.
        floats: Whether the output's samples are floating-point numbers.
    """

    def __init__(self, finish: Finish, info: AudioShape, *, floats: bool) -> None:
        self._finish = finish
        self._rate_and_channels = {"sample_rate": info.sample_rate, "channels": info.channels}
        self._shape: dict[str, Any] = {**self._rate_and_channels, "layout": info.layout}
        self._gain_db = finish.gain_db
        self._goal_lufs: float | None = None
        self._unmeasured = finish.loudness is not None
        self._unsettled = False
        self._most_gain_db, self._passes = 0.0, 1
        self._meter = LoudnessMeter(**self._shape)
        self._limiter: Limiter | None = None
        if finish.ceiling_db is not None and not (floats and finish.floats_keep_peaks):
            self._limiter = Limiter(ceiling_db=finish.ceiling_db, **self._shape)
        self._encodings, self._lower_db, self._over_db = 0, 0.0, 0.0
        self._silent = False
        self._peak = 0.0

    @property
    def unmeasured(self) -> bool:
        """Whether `measure` must get the whole recording before anything can be finished."""
        return self._unmeasured

    @property
    def gain_db(self) -> float:
        """The gain that the loudness takes; 0 until it is measured."""
        return self._gain_db

    @property
    def keeps(self) -> bool:
        """Whether the loudness is to be that of the recording as it was."""
        return self._finish.loudness == KEEP

    def measure(self, blocks: Iterable[Samples], before: LoudnessMeter) -> None:
        """Find the gain that the loudness takes without the ceiling.

        Args:
            blocks: The whole recording, rendered.
            before: A meter that hears the recording as it was, meanwhile, where that is to be kept.
        """
        self._unmeasured = False
        meter = LoudnessMeter(**self._shape)
        peak = 1e-9
        for block in blocks:
            peak = max(peak, float(block.max()), -float(block.min()))
            meter.process(block)
        reached = meter.integrated()
        goal = self._finish.loudness
        goal_lufs = before.integrated() if goal == KEEP else float(goal)  # type: ignore[arg-type]
        if min(goal_lufs, reached) < ABSOLUTE_GATE_LUFS:  # so short a recording that it is not gated may be softer
            self._silent = True
            return
        self._goal_lufs, self._gain_db = goal_lufs, goal_lufs - reached
        self._most_gain_db = self._gain_db + _MOST_MORE_DB
        highest_db = 20 * math.log10(peak) + self._gain_db + _BETWEEN_SAMPLES_DB
        self._unsettled = self._limiter is not None and highest_db > (self._finish.ceiling_db or 0.0)

    def finish(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Finish a rendered recording; ask `misses_loudness` afterwards.

        Args:
            blocks: The recording.

        Shape:
            Each block: `(channels, time)`, no block empty.
        """
        gain = np.float32(10 ** (self._gain_db / 20))
        for block in blocks:
            louder = block if gain == 1 else block * gain
            if self._limiter is not None:
                self._peak = max(self._peak, float(louder.max()), -float(louder.min()))
                louder = self._limiter.process(louder)
            yield from self._metered(louder)
        if self._limiter is not None:
            yield from self._metered(self._limiter.finish())

    def misses_loudness(self) -> bool:
        """Tell whether the limiter took so much of the loudness that all is to be finished once more, turned up."""
        if not self._unsettled:
            return False
        assert self._goal_lufs is not None, "only what was measured is unsettled"
        missing_db = self._goal_lufs - self._meter.integrated()
        self._passes += 1
        if missing_db < _NOTICED_LU / 2 or self._gain_db >= self._most_gain_db or self._passes == _MOST_PASSES:
            self._unsettled = False
            return False
        self._gain_db = min(self._gain_db + missing_db, self._most_gain_db)
        self._begin_again()
        return True

    @property
    def holds_peaks(self) -> bool:
        """Whether there is a ceiling."""
        return self._limiter is not None

    def passes_ceiling(self, encoded: Iterable[Samples]) -> bool:
        """Hear what an encoder made of the peaks; tell whether all is to be finished once more, under a lower ceiling.

        Args:
            encoded: The whole recording, finished, encoded and decoded.
        """
        assert self._finish.ceiling_db is not None, "asked only where there is a ceiling"
        meter = TruePeakMeter(**self._rate_and_channels)
        for block in encoded:
            meter.process(block)
        self._encodings += 1
        self._over_db = max(0.0, float(meter.peaks_dbtp().max()) - self._finish.ceiling_db)
        if not self._over_db or self._encodings == _MOST_ENCODINGS:
            return False
        self._lower_db += self._over_db + _SPARE_DB
        self._begin_again()
        return True

    def _begin_again(self) -> None:
        assert self._finish.ceiling_db is not None, "without a ceiling nothing is finished twice"
        self._limiter = Limiter(ceiling_db=self._finish.ceiling_db - self._lower_db, **self._shape)
        self._meter = LoudnessMeter(**self._shape)
        self._peak = 0.0

    def _metered(self, block: Samples) -> Iterator[Samples]:
        if block.size:
            if self._goal_lufs is not None:
                self._meter.process(block)
            yield block

    @property
    def note(self) -> str:
        """What a table should say of the gain after its chain; nothing where there is none."""
        if self._finish.gain_db:
            return f"{self._finish.gain_db:+.2f} dB, as all of the album"
        return "" if self._goal_lufs is None else f"{self._gain_db:+.2f} dB, to {self._goal_lufs:.2f} LUFS"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Tell what a person should know, a sentence each, once all is finished."""
        remarks: tuple[str, ...] = ()
        if self._silent:
            remarks += ("the output is silent or too soft to measure its loudness, so its level was not changed",)
        if self._over_db:
            over = f"{self._over_db:.2f} dB above the ceiling of {self._finish.ceiling_db:g} dBTP"
            remarks += (f"the encoded output peaks {over}: lower --ceiling, or choose a lossless format",)
        if self._limiter is None or not self._limiter.reduction_db:
            return remarks
        heavy = self._limiter.reduction_db >= HEAVY_DB
        held = "heavily limited: " if heavy else ""
        held += f"the limiter reduced its peaks by up to {max(0.1, self._limiter.reduction_db):.1f} dB"
        if self._peak > 1:
            held += f" from {20 * math.log10(self._peak):.1f} dB above full scale"
        held += f", to stay under the ceiling of {self._finish.ceiling_db:g} dBTP"
        if self._goal_lufs is not None and abs((reached := self._meter.integrated()) - self._goal_lufs) > _NOTICED_LU:
            held += f", so its loudness is {reached:.1f} LUFS instead of {self._goal_lufs:.1f}"
        if heavy:
            held += f"; that is {self._limiter.mean_reduction_db:.1f} dB on average, and audible: "
            held += "set a lower --loudness, or less make-up gain in the table"
        return (*remarks, held)


def _number(option: str, given: str, words: str, unit: str, span: tuple[float, float]) -> float:
    try:
        found = number(given)
    except ValueError:
        found = math.nan
    if not span[0] <= found <= span[1]:
        raise SettingsError(
            f"{option} {given!r:.60} is not valid: give {words}, or from {span[0]:g} to {span[1]:g} {unit}."
        )
    return found
