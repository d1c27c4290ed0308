"""Cutting clips out of a recording; this is what the worker processes do, so it imports little."""

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
"""A clip whose RMS level is below this, in dBFS, counts as silence: speech has pauses of -60, and is at -25."""

FULL_SCALE = 32_767
"""The integer that a clip's largest sample becomes."""

READ_THROUGH_SECONDS = 1.0
"""A gap between wanted clips that is shorter is decoded and dropped, a longer one is skipped with a seek.

A seek into a compressed file decodes a few blocks to find its place, and the resampler wants context again:
that costs about as much as a second of audio.
"""

# Samples, at the lower of the two rates, after which the resampler's filter has forgotten where it began:
# its error is then below -115 dB.
_CONTEXT_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class Length:
    """How long a recording is.

    Args:
        seconds: Its length; 0 where it cannot be read.
        problem: What is wrong with it, or None.
    """

    seconds: float
    problem: str | None


@dataclass(frozen=True, slots=True)
class CuttingJob:
    """Which clips to cut from a recording.

    Args:
        path: The recording.
        windows: The clips wanted, in order; window 3 is the fourth stretch of `clip_samples`.
        clip_samples: Length of a clip.
        sample_rate: Sample rate of the clips.
    """

    path: str
    windows: npt.NDArray[np.int64]
    clip_samples: int
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The clips of a job that are there and not silent.

    Args:
        windows: Which they are.
        samples: Their audio, each scaled to full scale.
        rms_db: Their level, in dBFS.
        scale: Their largest sample, which brings their own level back.
        problem: What is wrong with the recording, or None.
        usable: Whether other clips may still be had from the recording.

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
    """Tell how long recordings are, from their headers where these know.

    Args:
        paths: The recordings.
    """
    return [_length(Path(path)) for path in paths]


def cut(job: CuttingJob) -> Cut:
    """Cut clips: mixed to mono, resampled, silence left out. Damage is told, never raised.

    A clip equals the same stretch of the wholly resampled recording, whichever other clips are cut.

    Args:
        job: Which clips of which recording.
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
        # Half a damaged file may be the wrong half.
        return _scaled([], [], job, problem=str(error), usable=False)
    return _scaled(windows, pieces, job, problem=problem, usable=True)


def _length(path: Path) -> Length:
    try:
        with audio.Reader(path) as reader:
            frames = reader.info.frames
            if frames is None:
                frames = sum(block.shape[1] for block in reader.blocks())
            return Length(frames / reader.info.sample_rate, None)
    except AudioError as error:
        return Length(0.0, str(error))


def _runs(job: CuttingJob) -> Iterator[npt.NDArray[np.int64]]:
    """Split the windows where skipping is cheaper than reading on."""
    gaps = (np.diff(job.windows) - 1) * (job.clip_samples / job.sample_rate)
    return iter(np.split(job.windows, np.flatnonzero(gaps > READ_THROUGH_SECONDS) + 1))


def _cut_run(reader: audio.Reader, run: npt.NDArray[np.int64], job: CuttingJob) -> Iterator[tuple[int, Samples]]:
    source_rate, target_rate = reader.info.sample_rate, job.sample_rate
    # Samples of the two rates coincide only every so often; there the stretch has to begin.
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
    # In place: the clips are this function's own copy.
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
