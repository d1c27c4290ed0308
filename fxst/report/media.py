"""What a page plays: excerpts, compressed, at levels that can be compared."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fxst import audio
from fxst.audio import Samples
from fxst.report.content import ReportEntry, Track
from fxst.report.recordings import Recording

__all__ = ["QUALITIES", "EncodedSound", "LoudExcerpt", "Quality", "encoded_bytes", "excerpts", "main_track", "sounds"]

_PLAYED_RATES: Final = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# What MP3 adds to a track's own length: a frame that tells the length, and the encoder's delay and padding.
_PADDING_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Quality:
    """How much of each track a page carries, and how well.

    Args:
        seconds: The longest excerpt.
        mono_kilobits: Kilobits a second of one channel.
        stereo_kilobits: Kilobits a second of two.
    """

    seconds: float
    mono_kilobits: int
    stereo_kilobits: int

    def kilobits(self, track: Track) -> int:
        """Kilobits a second of a track."""
        return self.stereo_kilobits if track.recording.channels == 2 else self.mono_kilobits


# Rates that MP3 has at every sample rate from 16 kHz on.
QUALITIES: Final = (
    Quality(10, 128, 160),
    Quality(10, 96, 160),
    Quality(10, 80, 128),
    Quality(8, 80, 128),
    Quality(8, 64, 112),
    Quality(6, 64, 112),
    Quality(5, 64, 96),
    Quality(4, 64, 96),
    Quality(3, 64, 96),
)
"""What is tried, best first, until a page is small enough."""


@dataclass(frozen=True)
class LoudExcerpt:
    """A stretch of a track.

    Args:
        start: Where it begins, in seconds.
        seconds: How long it is.
    """

    start: float
    seconds: float


@dataclass(frozen=True)
class EncodedSound:
    """A track as a page carries it.

    Args:
        base64: An MP3.
        seconds: How long it is.
        matched_gain: The factor that makes it as loud as the quietest track of its entry.
    """

    base64: str
    seconds: float
    matched_gain: float


def main_track(entry: ReportEntry) -> Track:
    """Choose the track whose time line the entry shows: the input, or what stands in for it."""
    ranks = {"input": 0, "output": 1, "target": 2, "reference": 3}
    return min(entry.tracks, key=lambda track: ranks[track.role])


def excerpts(entry: ReportEntry, *, seconds: float) -> tuple[LoudExcerpt, ...]:
    """Choose what of each track is heard: the loudest stretch of the input, the same of all that follow its time.

    Args:
        entry: The tracks.
        seconds: The longest stretch.

    Returns:
        A stretch for each track.
    """
    shared = _loudest(main_track(entry).recording, seconds=seconds)
    result = []
    for track in entry.tracks:
        length = track.recording.survey.seconds
        if track.role == "reference":
            result.append(_loudest(track.recording, seconds=seconds))
        else:
            start = min(shared.start, length)
            result.append(LoudExcerpt(start, min(shared.seconds, length - start)))
    return tuple(result)


def encoded_bytes(entry: ReportEntry, quality: Quality) -> int:
    """Tell how much room an entry's sound takes on the page at most, without encoding it."""
    total = 0
    for track in entry.tracks:
        seconds = min(track.recording.survey.seconds, quality.seconds) + _PADDING_SECONDS
        total += 4 * math.ceil(seconds * quality.kilobits(track) * 125 / 3) + 4
    return total


def sounds(entry: ReportEntry, quality: Quality) -> tuple[tuple[EncodedSound, ...], float]:
    """Encode what of an entry is heard.

    All tracks are brought to one sample rate and encoded alike. So the encoder's delay, which a browser may or may
    not cut off, is the same in all, and none is ahead of another. MP3, because every browser decodes it; Safari
    did not learn Ogg for long.

    Args:
        entry: The tracks.
        quality: How much of them, and how well.

    Returns:
        A sound for each track, and the decibels by which all are played lower, so that none is over full scale.
    """
    rate = played_rate(entry.tracks)
    heard = [
        _playable(track.recording, excerpt, rate=rate)
        for track, excerpt in zip(entry.tracks, excerpts(entry, seconds=quality.seconds), strict=True)
    ]
    peak = max((float(np.abs(x).max()) for x in heard if x.size), default=0.0)
    gain = 1 / max(peak, 1.0)
    levels = [audio.loudness(x, sample_rate=rate) if x.size else -math.inf for x in heard]
    quietest = min((level for level in levels if level > -math.inf), default=0.0)
    result = tuple(
        EncodedSound(
            base64.b64encode(
                audio.compressed(np.float32(gain) * x, sample_rate=rate, kilobits=quality.kilobits(track))
            ).decode("ascii"),
            x.shape[1] / rate,
            10 ** ((quietest - level) / 20) if level > -math.inf else 1.0,
        )
        for track, x, level in zip(entry.tracks, heard, levels, strict=True)
    )
    return result, -20 * math.log10(gain)


def played_rate(tracks: Sequence[Track]) -> int:
    """Choose the sample rate at which tracks are played: the highest among them, or the next that MP3 has."""
    highest = max(track.recording.sample_rate for track in tracks)
    return next((rate for rate in _PLAYED_RATES if rate >= highest), _PLAYED_RATES[-1])


def _playable(recording: Recording, excerpt: LoudExcerpt, *, rate: int) -> Samples:
    x = recording.read(start=excerpt.start, seconds=excerpt.seconds)
    if len(x) > 2:
        x = audio.mono(x)
    return audio.resample(x, source_rate=recording.sample_rate, target_rate=rate)


def _loudest(recording: Recording, *, seconds: float) -> LoudExcerpt:
    """Find the stretch with the most power, to a tenth of a second."""
    survey = recording.survey
    if survey.seconds <= seconds:
        return LoudExcerpt(0.0, survey.seconds)
    total = np.concatenate([[0.0], np.cumsum(survey.step_powers)])
    window = min(len(survey.step_powers), round(seconds / survey.step_seconds))
    first = int(np.argmax(total[window:] - total[:-window]))
    return LoudExcerpt(min(first * survey.step_seconds, survey.seconds - seconds), seconds)
