"""Writing: a file appears under its name only when it is whole."""

import contextlib
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import soundfile

from fxst import staging
from fxst.audio.formats import SAMPLE_BYTES, Samples, quoted, reason
from fxst.audio.stamps import unstamp
from fxst.errors import AudioError, OutputError

__all__ = ["Writer", "compressed"]

# Formats whose header counts bytes in 32 bits, and room for every other chunk of the file.
_FORMATS_OF_4_GIB: Final = frozenset({"WAV", "WAVEX", "AIFF", "AU"})
_LARGEST_DATA_BYTES: Final = 2**32 - 2**16

_ASCII_TAGS: Final = frozenset({"AIFF", "MP3"})
"""Containers in which libsndfile makes dots, or other letters, of those that ASCII lacks."""

_LONGEST_TAG_BYTES: Final = {"AIFF": 8_000, "OPUS": 4_000}
"""A container, and an encoding, of which libsndfile writes files that nobody can read, itself included, where one tag,
or all ten that it knows together, are much longer."""

_WRITE_FRAMES: Final = 1 << 14


class Writer:
    """A new sound file, which appears under its name only when it is whole.

    Use it in a `with` block. An exception inside, Ctrl-C included, leaves no file, and an older file of that
    name as it was. `clipped` counts the samples that lay beyond full scale and had to be cut to fit. The same audio
    makes the same bytes, whenever it is written.

    Args:
        path: Where the file goes.
        sample_rate: Samples a second.
        channels: How many channels.
        subtype: soundfile's name of the sample encoding.
        format: soundfile's name of the container; a WAV that would pass 4 GiB becomes an RF64.
        frames: How long the file will be, where that is known.
        tags: What it tells of itself in words, by soundfile's names, as far as the container can hold it.

    Raises:
        OutputError: the file cannot be made there, or not in that format.
    """

    clipped: int

    def __init__(
        self,
        path: Path,
        *,
        sample_rate: int,
        channels: int,
        subtype: str,
        format: str,  # noqa: A002  (the field's word, and soundfile's)
        frames: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.clipped = 0
        self._channels = channels
        self._integer = subtype.startswith("PCM_")
        frame_bytes = channels * SAMPLE_BYTES.get(subtype, 0)
        container = format
        if format in ("WAV", "WAVEX") and frames is not None and frames * frame_bytes > _LARGEST_DATA_BYTES:
            container = "RF64"
        self._container = container
        limited = frame_bytes > 0 and container in _FORMATS_OF_4_GIB
        self._frames_left = _LARGEST_DATA_BYTES // frame_bytes if limited else None
        self._target, self._temporary, self._fd = _create_beside(path)
        try:
            self._file = soundfile.SoundFile(
                self._fd, "w", sample_rate, channels, subtype, format=container, closefd=False
            )
        except BaseException as error:
            self._discard()
            if isinstance(error, soundfile.SoundFileError | ValueError | TypeError):
                raise OutputError(
                    f"{quoted(path)} cannot hold {channels} channels at {sample_rate} Hz as {container} "
                    f"{subtype}: choose another file format, such as .wav."
                ) from error
            raise
        longest = _LONGEST_TAG_BYTES.get(subtype, _LONGEST_TAG_BYTES.get(container, math.inf))
        for name, told in (tags or {}).items():
            if len(told.encode()) <= longest and (told.isascii() or container not in _ASCII_TAGS):
                # Some containers have no room for tags, and some not for each of them.
                with contextlib.suppress(soundfile.SoundFileError):
                    setattr(self._file, name, told)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._file.close()
            unstamp(self._fd, self._container)
            os.fsync(self._fd)
            staging.finish(self._temporary, self._fd, self._target)
            self._fd = -1
        except BaseException as problem:
            self._discard()
            if isinstance(problem, OSError | soundfile.SoundFileError):
                raise self._unwritable(problem) from problem
            raise

    def write(self, block: Samples) -> None:
        """Append a block.

        Args:
            block: The next stretch of audio.

        Shape:
            `(channels, time)`.

        Raises:
            AudioError: a sample is not finite.
            OutputError: the disk is full, or the format can hold no more.
        """
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"expected ({self._channels}, time), got {block.shape}")
        if not block.shape[1]:
            return
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise AudioError(f"{quoted(self.path)} would hold samples that are not finite: check the effects.")
        if self._integer and (low < -1 or high > 1):
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
            block = block.clip(-1, 1)
        if self._frames_left is not None:
            self._frames_left -= block.shape[1]
            if self._frames_left < 0:
                raise OutputError(f"{quoted(self.path)} would pass its format's 4 GiB: name it .w64 or .flac.")
        try:
            # In small pieces: libsndfile's Vorbis encoder keeps a whole piece on the stack.
            for first in range(0, block.shape[1], _WRITE_FRAMES):
                self._file.write(np.ascontiguousarray(block[:, first : first + _WRITE_FRAMES].T, np.float32))
        except (soundfile.SoundFileError, OSError) as problem:
            raise self._unwritable(problem) from problem

    def _unwritable(self, problem: BaseException) -> OutputError:
        return OutputError(
            f"{quoted(self.path)} cannot be written ({reason(problem)}): free space or choose another folder."
        )

    def _discard(self) -> None:
        if hasattr(self, "_file"):
            with contextlib.suppress(soundfile.SoundFileError):
                self._file.close()
        staging.discard(self._temporary, self._fd)
        self._fd = -1


def compressed(x: Samples, *, sample_rate: int, kilobits: int) -> bytes:
    """Make an MP3 of a short recording, in memory, at a constant rate, so that its size is known before.

    The encoder leaves itself 0.4 dB of room: whatever goes in comes out at 0.95 times its level.

    Args:
        x: Audio of one or two channels.
        sample_rate: Its sample rate, one that MP3 has.
        kilobits: Kilobits a second, of the rates that MP3 has.

    Shape:
        x: `(channels, time)`.

    Raises:
        AudioError: MP3 cannot hold it.
    """
    # libsndfile counts from the lowest rate, at 1, to the highest, at 0.
    lowest, highest = (32, 320) if sample_rate >= 32_000 else (8, 160)
    level = (highest - kilobits) / (highest - lowest)
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(
            file, "w", sample_rate, x.shape[0], "MPEG_LAYER_III", format="MP3",
            compression_level=level, bitrate_mode="CONSTANT",
        ) as encoder:  # fmt: skip
            encoder.write(np.ascontiguousarray(x.T, np.float32))
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        raise AudioError(f"The sound cannot be compressed as MP3 ({reason(error)}): leave it out.") from error
    return file.getvalue()


def _create_beside(path: Path) -> tuple[Path, Path, int]:
    """Create a hidden file beside `path`; give the final name (links followed), its own, and a descriptor."""
    name = quoted(path)
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"{name} is a folder: name a file in it.")
        if target.exists() and not target.is_file():
            raise OutputError(f"{name} is a pipe or a device: name a file.")
        if not target.parent.is_dir():
            raise OutputError(f"{name} is in a folder that does not exist: create the folder first.")
        return target, *staging.begin(target)
    except (OSError, ValueError) as error:
        raise OutputError(f"{name} cannot be written ({reason(error)}): choose another folder.") from error
