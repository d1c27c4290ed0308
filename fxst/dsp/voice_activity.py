"""Voice activity: the moments of a recording that hold speech, by how far they stand out of a steady background."""

import functools
import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array, Samples

__all__ = ["FRAME_SECONDS", "pause_frames", "speech_frames"]

FRAME_SECONDS: Final = 0.05

LOWEST_HZ: Final = 100.0
HIGHEST_HZ: Final = 7000.0
BANDS: Final = 18

SILENCE: Final = 1e-10
"""Frames of less power are digital silence: no speech, and no background."""

RANGE_DB: Final = 60.0
"""Bands further than this below the loudest one are equally silent: what leaks into them tells nothing."""

BACKGROUND_PERCENTILE: Final = 10
"""The background of each band is the level that so many per cent of all frames stay under."""

STANDS_OUT_DB: Final = 3.5
"""Speech raises the bands by so much on average, above the softest fifth of all frames."""

BAND_STANDS_OUT_DB: Final = 6.0
FEWEST_BANDS: Final = 0.2
"""Speech raises this share of the bands by so much; a beep raises one or two."""

LEAST_GAP_DB: Final = 10.0
"""In pauses a recording is softer by so much; where it is not, what seems to be one may be soft music."""

LONGEST_GAP: Final = 4
HANGOVER: Final = 1
"""Shorter gaps, in frames, are part of a word, and its onset and its end reach so many frames further."""


def speech_frames(x: Samples, *, sample_rate: int) -> npt.NDArray[np.bool_]:
    """Mark the frames that hold speech.

    Speech comes and goes in many bands at once. So each band's level is compared with its background, the level that a
    tenth of all frames stay under; what is steady, such as noise, hum or a tone, does not stand out of it. Music, which
    comes and goes as well, is marked where it does.

    Args:
        x: Audio; a few seconds at least, for a background to show.
        sample_rate: Its sample rate.

    Returns:
        A mark for each whole frame of `FRAME_SECONDS`.

    Shape:
        x: `(channels, time)`; result: `(frames,)`.

    Source:
        The comparison of short-time band levels with their running minimum: R. Martin, "Noise power spectral density
        estimation based on optimal smoothing and minimum statistics", IEEE Transactions on Speech and Audio Processing
        9 (2001); here the recording is known whole, so a percentile takes the place of the running minimum.
    """
    length = round(FRAME_SECONDS * sample_rate)
    count = x.shape[1] // length if length else 0
    marks = np.zeros(count, np.bool_)
    if not count:
        return marks
    frames = x[:, : count * length].reshape(len(x), count, length).astype(np.float64)
    frames -= frames.mean(axis=2, keepdims=True)
    heard = np.square(frames).mean(axis=(0, 2)) > SILENCE
    if not heard.any():
        return marks
    spectra = np.square(np.abs(np.fft.rfft(frames[:, heard] * np.hanning(length), axis=2))).sum(axis=0)
    levels_db = 10 * np.log10(spectra @ _bands(length, sample_rate) + 1e-20)
    levels_db = np.maximum(levels_db, levels_db.max() - RANGE_DB)
    levels_db -= np.percentile(levels_db, BACKGROUND_PERCENTILE, axis=0)
    rise_db = levels_db.mean(axis=1)
    rise_db -= np.percentile(rise_db, 2 * BACKGROUND_PERCENTILE)
    many = (levels_db > BAND_STANDS_OUT_DB).mean(axis=1) >= FEWEST_BANDS
    marks[heard] = (rise_db > STANDS_OUT_DB) & many
    return _joined(marks)


def pause_frames(x: Samples, *, sample_rate: int) -> npt.NDArray[np.bool_]:
    """Mark the frames of a recording that are pauses between speech, or between sounds: steady, and soft.

    What does not stand out of the background is a pause only where what does is `LEAST_GAP_DB` louder. So noise, a
    drone and dense music have none. Digital silence is none, for it tells of no noise.

    Args:
        x: Audio; a few seconds at least.
        sample_rate: Its sample rate.

    Returns:
        A mark for each whole frame of `FRAME_SECONDS`.

    Shape:
        x: `(channels, time)`; result: `(frames,)`.
    """
    speech = speech_frames(x, sample_rate=sample_rate)
    if not speech.any():
        return speech
    length = round(FRAME_SECONDS * sample_rate)
    frames = x[:, : len(speech) * length].reshape(len(x), -1, length)
    powers = np.square(frames, dtype=np.float64).mean(axis=(0, 2))
    pauses: npt.NDArray[np.bool_] = ~speech & (powers > SILENCE)
    if not pauses.any() or powers[pauses].mean() * 10 ** (LEAST_GAP_DB / 10) > powers[speech].mean():
        pauses[:] = False
    return pauses


@functools.cache
def _bands(length: int, sample_rate: int) -> Array:
    """Return which bins of a frame belong to which band; the bands are evenly spaced over log frequency.

    Shape:
        (bins, bands); a band that a sample rate does not hold is left out.
    """
    hz = np.arange(length // 2 + 1) * sample_rate / length
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    inside = (hz[:, None] >= edges[:-1]) & (hz[:, None] < edges[1:])
    return np.asarray(inside[:, inside.any(axis=0)], np.float64)


def _joined(marks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill the gaps within words, and let words begin earlier and end later."""
    places = np.flatnonzero(marks)
    joined = marks.copy()
    for before, after in itertools.pairwise(places.tolist()):
        if after - before <= LONGEST_GAP:
            joined[before:after] = True
    for step in range(1, HANGOVER + 1):
        joined[step:] |= marks[:-step]
        joined[:-step] |= marks[step:]
    return joined
