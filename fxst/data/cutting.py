"""Cutting clips from recordings; worker processes import this module, so it imports little."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fxst import audio
from fxst.dsp import Array, Samples
from fxst.errors import AudioError

__all__ = ["FULL_SCALE", "SILENCE_DB", "Cut", "CuttingJob", "Length", "cut", "measure"]

SILENCE_DB = -50.0
"""A clip with an RMS level below this, in dBFS, is silent: speech has pauses at -60, and is at -25."""

FULL_SCALE = 32_767
"""Integer value of a clip's peak sample."""

READ_THROUGH_SECONDS = 1.0
"""A shorter gap between clips is decoded and dropped, a longer one is skipped with a seek.

A seek into a compressed file decodes a few blocks to find its position, and the resampler needs context again:
that costs about as much as a second of audio.
"""

# Samples, at the lower of the two rates, after which the resampler's error from its start is below -115 dB.
_CONTEXT_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Length:
    """Length of a recording.

    Args:
        seconds: The length; 0 if it cannot be read.
        problem: The recording's fault, or None.
        sample_rate: Its sample rate in Hz; 0 if it cannot be read.
    """

    seconds: float
    problem: str | None
    sample_rate: int


@dataclass(frozen=True, slots=True)
class CuttingJob:
    """The clips to cut from a recording.

    Args:
        path: The recording.
        windows: The clips' numbers, sorted; clip 3 is the fourth segment of `clip_samples`.
        clip_samples: Length of a clip.
        sample_rate: Sample rate of the clips.
    """

    path: str
    windows: npt.NDArray[np.int64]
    clip_samples: int
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The clips of a job that exist and are not silent.

    Args:
        windows: Their numbers.
        samples: Their audio, each scaled to full scale.
        rms_db: Their level in dBFS.
        scale: Their peak sample, which restores their level.
        problem: The recording's fault, or None.
        usable: Whether the recording may yield other clips.

    Shape:
        samples: `(clips, clip_samples)`; the others `(clips,)`.
    """

    windows: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int16]
    rms_db: Array
    scale: Samples
    problem: str | None = None
    usable: bool = True


def measure(paths: list[str]) -> list[Length]:
    """Return the lengths of recordings, from their headers if these state one.

    Args:
        paths: The recordings.
    """
    return [_length(Path(path)) for path in paths]


def cut(job: CuttingJob) -> Cut:
    """Cut clips as mono at the job's sample rate, without silent ones. Faults are returned, never raised.

    A clip equals the same segment of the completely resampled recording, whichever other clips are cut.

    Args:
        job: The clips to cut.
    """
    pieces: list[Samples] = []
    windows: list[int] = []
    problem = None
    try:
        with audio.Reader(Path(job.path)) as reader:
            for run in _runs(job):
                for window, piece in _cut_run(reader, run, job):
                    windows.append(window)
                    pieces.append(piece)
            if reader.truncated:
                problem = "it ends early: its header states more audio"
    except AudioError as error:
        # Clips decoded before the error may be wrong too.
        return _scaled([], [], job, problem=str(error), usable=False)
    return _scaled(windows, pieces, job, problem=problem, usable=True)


def _length(path: Path) -> Length:
    try:
        with audio.Reader(path) as reader:
            frames = reader.info.frames
            if frames is None:
                frames = sum(block.shape[1] for block in reader.blocks())
            return Length(frames / reader.info.sample_rate, None, reader.info.sample_rate)
    except AudioError as error:
        return Length(0.0, str(error), 0)


def _runs(job: CuttingJob) -> Iterator[npt.NDArray[np.int64]]:
    """Split the windows at gaps where a seek is cheaper than decoding."""
    gaps = (np.diff(job.windows) - 1) * (job.clip_samples / job.sample_rate)
    return iter(np.split(job.windows, np.flatnonzero(gaps > READ_THROUGH_SECONDS) + 1))


def _cut_run(reader: audio.Reader, run: npt.NDArray[np.int64], job: CuttingJob) -> Iterator[tuple[int, Samples]]:
    source_rate, target_rate = reader.info.sample_rate, job.sample_rate
    # The segment must begin where samples of both rates coincide.
    common = math.gcd(source_rate, target_rate)
    source_step, target_step = source_rate // common, target_rate // common
    context = 0
    if source_rate != target_rate:
        context = math.ceil(_CONTEXT_SAMPLES * max(1.0, target_rate / source_rate))
    steps = max(0, int(run[0]) * job.clip_samples - context) // target_step
    begin = steps * target_step
    end = (int(run[-1]) + 1) * job.clip_samples + context
    source_begin = steps * source_step
    source_frames = math.ceil(end * source_rate / target_rate) - source_begin
    blocks = [audio.mono(block) for block in reader.blocks(start=source_begin, frames=source_frames)]
    if not blocks:
        return
    stretch = audio.resample(np.concatenate(blocks, axis=1), source_rate=source_rate, target_rate=target_rate)[0]
    for window in run.tolist():
        first = window * job.clip_samples - begin
        if first + job.clip_samples <= len(stretch):
            yield window, stretch[first : first + job.clip_samples]


def _scaled(windows: list[int], pieces: list[Samples], job: CuttingJob, *, problem: str | None, usable: bool) -> Cut:
    clips = np.stack(pieces) if pieces else np.zeros((0, job.clip_samples), np.float32)
    mean_square = np.square(clips, dtype=np.float64).mean(axis=1)
    kept = mean_square > 10 ** (SILENCE_DB / 10)
    clips = clips[kept]
    scale = np.abs(clips).max(axis=1)
    # In place: the clips are a copy.
    clips *= (FULL_SCALE / scale)[:, None]
    np.rint(clips, out=clips)
    return Cut(
        np.array(windows, np.int64)[kept],
        clips.astype(np.int16),
        10 * np.log10(mean_square[kept]),
        scale,
        problem,
        usable,
    )
