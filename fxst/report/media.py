"""Audio of a page: compressed excerpts, at levels that can be compared."""

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
# MP3 adds a header frame, and the encoder's delay and padding.
_PADDING_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Quality:
    """Length and bit rate of the audio on a page.

    Args:
        seconds: The longest excerpt.
        mono_kilobits: Bit rate of mono in kbit/s.
        stereo_kilobits: Bit rate of stereo in kbit/s.
    """

    seconds: float
    mono_kilobits: int
    stereo_kilobits: int

    def kilobits(self, track: Track) -> int:
        """Return the bit rate of a track in kbit/s."""
        return self.stereo_kilobits if track.recording.channels == 2 else self.mono_kilobits


# Bit rates that MP3 has at every sample rate from 16 kHz on.
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
"""Qualities to try, best first, until the page is small enough."""


@dataclass(frozen=True)
class LoudExcerpt:
    """An excerpt of a track.

    Args:
        start: Its start, in seconds.
        seconds: Its length.
    """

    start: float
    seconds: float


@dataclass(frozen=True)
class EncodedSound:
    """A track as encoded on a page.

    Args:
        base64: An MP3.
        seconds: Its length.
        matched_gain: Gain that matches its loudness to the quietest track of the entry.
    """

    base64: str
    seconds: float
    matched_gain: float


def main_track(entry: ReportEntry) -> Track:
    """Return the track whose time line the entry shows: the input, or its substitute."""
    ranks = {"input": 0, "output": 1, "target": 2, "reference": 3}
    return min(entry.tracks, key=lambda track: ranks[track.role])


def excerpts(entry: ReportEntry, *, seconds: float) -> tuple[LoudExcerpt, ...]:
    """Choose the excerpt of each track: the loudest of the input, and the same time in its outputs and target.

    Args:
        entry: The tracks.
        seconds: Length of the longest excerpt.

    Returns:
        An excerpt for each track.
    """
    shared = _loudest(main_track(entry).recording, seconds=seconds)
    result = []
    for track in entry.tracks:
        length = track.recording.outline.seconds
        if track.role == "reference":
            result.append(_loudest(track.recording, seconds=seconds))
        else:
            start = min(shared.start, length)
            result.append(LoudExcerpt(start, min(shared.seconds, length - start)))
    return tuple(result)


def encoded_bytes(entry: ReportEntry, quality: Quality) -> int:
    """Return the largest size of an entry's audio on the page, without encoding it."""
    total = 0
    for track in entry.tracks:
        seconds = min(track.recording.survey.seconds, quality.seconds) + _PADDING_SECONDS
        total += 4 * math.ceil(seconds * quality.kilobits(track) * 125 / 3) + 4
    return total


def sounds(entry: ReportEntry, quality: Quality) -> tuple[tuple[EncodedSound, ...], float]:
    """Encode the excerpts of an entry.

    All tracks get one sample rate and one encoder, so the encoder's delay, which browsers may or may not remove, is the
    same in all. Every browser decodes MP3; Safari lacked Ogg for long.

    Args:
        entry: The tracks.
        quality: Length and bit rate.

    Returns:
        The encoded tracks, and the common attenuation in dB that keeps all below full scale.
    """
    rate = played_rate(entry.tracks)
    played = [
        _playable(track.recording, excerpt, rate=rate)
        for track, excerpt in zip(entry.tracks, excerpts(entry, seconds=quality.seconds), strict=True)
    ]
    peak = max((float(np.abs(x).max()) for x in played if x.size), default=0.0)
    gain = 1 / max(peak, 1.0)
    levels = [audio.loudness(x, sample_rate=rate) if x.size else -math.inf for x in played]
    quietest = min((level for level in levels if level > -math.inf), default=0.0)
    result = tuple(
        EncodedSound(
            base64.b64encode(
                audio.compressed(np.float32(gain) * x, sample_rate=rate, kilobits=quality.kilobits(track))
            ).decode("ascii"),
            x.shape[1] / rate,
            10 ** ((quietest - level) / 20) if level > -math.inf else 1.0,
        )
        for track, x, level in zip(entry.tracks, played, levels, strict=True)
    )
    return result, -20 * math.log10(gain)


def played_rate(tracks: Sequence[Track]) -> int:
    """Return the sample rate for playing tracks: the highest among them, or the next that MP3 has."""
    highest = max(track.recording.sample_rate for track in tracks)
    return next((rate for rate in _PLAYED_RATES if rate >= highest), _PLAYED_RATES[-1])


def _playable(recording: Recording, excerpt: LoudExcerpt, *, rate: int) -> Samples:
    x = recording.read(start=excerpt.start, seconds=excerpt.seconds)
    if len(x) > 2:
        x = audio.mono(x)
    return audio.resample(x, source_rate=recording.sample_rate, target_rate=rate)


def _loudest(recording: Recording, *, seconds: float) -> LoudExcerpt:
    """Return the excerpt with the most power, to a tenth of a second."""
    outline = recording.outline
    if outline.seconds <= seconds:
        return LoudExcerpt(0.0, outline.seconds)
    total = np.concatenate([[0.0], np.cumsum(outline.step_powers)])
    window = min(len(outline.step_powers), round(seconds / outline.step_seconds))
    first = int(np.argmax(total[window:] - total[:-window]))
    return LoudExcerpt(min(first * outline.step_seconds, outline.seconds - seconds), seconds)
