"""Sound files and plain signals: the only file that opens sound files.

Audio is a float32 array `(channels, time)`, full scale at ±1; `(time, channels)`, which soundfile speaks,
never leaves this module. Headers are not believed: a file is measured by what can be read from it, and what
cannot be read in full and as finite numbers is an `AudioError`, or is marked as truncated.
"""

import contextlib
import io
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from fxst import flac
from fxst.errors import AudioError
from fxst.loudness import LoudnessMeter, loudness

__all__ = [
    "SUFFIXES",
    "AudioInfo",
    "LoudnessMeter",
    "Reader",
    "Resampler",
    "Samples",
    "Writer",
    "compressed",
    "loudness",
    "mono",
    "output_format",
    "probe",
    "read",
    "resample",
    "stream",
]

Samples: TypeAlias = npt.NDArray[np.float32]

HIGHEST_SAMPLE_RATE: Final = 768_000
RESAMPLING_QUALITY: Final = "VHQ"

_FORMATS: Final = {
    ".wav": "WAV", ".wave": "WAV", ".rf64": "RF64", ".w64": "W64", ".aif": "AIFF", ".aiff": "AIFF",
    ".aifc": "AIFF", ".au": "AU", ".snd": "AU", ".caf": "CAF", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG",
    ".opus": "OGG", ".mp3": "MP3",
}  # fmt: skip
SUFFIXES: Final = frozenset(_FORMATS)
"""The file-name endings that sound files have here, in lower case."""

_SAMPLE_BYTES: Final = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_LOSSY_FORMATS: Final = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}

# Formats whose header counts bytes in 32 bits, and room for every other chunk of the file.
_FORMATS_OF_4_GIB: Final = frozenset({"WAV", "WAVEX", "AIFF", "AU"})
_LARGEST_DATA_BYTES: Final = 2**32 - 2**16

_WRITE_FRAMES: Final = 1 << 14
_BLOCK_SAMPLES: Final = 1 << 23

# libsndfile's log, the only place where it tells what the header claimed before it was corrected.
_CLAIMED_BYTES: Final = re.compile(r"^\s*(?:data|SSND|Data [sS]ize)\s*:\s*(\d+)(?: \(should be (\d+)\))?", re.MULTILINE)
_CHUNK_HEADER_BYTES: Final = 32
# Room for an Ogg page, or for two FLAC frames of all but the widest recordings.
_TAIL_BYTES: Final = 1 << 16
_LAST_OGG_PAGE: Final = 4


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says.

    Args:
        path: The file.
        sample_rate: Samples a second.
        channels: How many channels.
        frames: Samples in each channel as claimed, which may be a lie; None where the header does not say.
        format: soundfile's name of the container, such as `WAV`, found by content and not by name.
        subtype: soundfile's name of the sample encoding, such as `PCM_24`.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    @property
    def seconds(self) -> float | None:
        """The claimed length; None where the header does not say."""
        return None if self.frames is None else self.frames / self.sample_rate


def probe(path: Path) -> AudioInfo:
    """Look at a sound file's header without reading its audio.

    Args:
        path: A sound file.

    Raises:
        AudioError: it is no readable sound file, or holds no audio.
    """
    with Reader(path) as reader:
        return reader.info


def stream(path: Path, *, block_frames: int = 1 << 16, start: int = 0, frames: int | None = None) -> Iterator[Samples]:
    """Play a sound file block by block, so that its length does not matter.

    Args:
        path: A sound file.
        block_frames: The longest block.
        start: The first frame wanted.
        frames: How many frames are wanted; None for all.

    Shape:
        Each block: `(channels, time)`.

    Raises:
        AudioError: the file cannot be read in full as finite audio.
    """
    with Reader(path) as reader:
        yield from reader.blocks(block_frames=block_frames, start=start, frames=frames)


def read(path: Path, *, start: int = 0, frames: int | None = None) -> tuple[Samples, int]:
    """Read a sound file, or a part of it, into memory; give the audio and its sample rate.

    Args:
        path: A sound file.
        start: The first frame wanted.
        frames: How many frames are wanted; None for all.

    Shape:
        The audio: `(channels, time)`.

    Raises:
        AudioError: the file cannot be read in full as finite audio.
    """
    with Reader(path) as reader:
        return reader.read(start=start, frames=frames), reader.info.sample_rate


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    def seekable(self) -> bool:
        # soundfile seeks after every read where it can: that fails at the end of a FLAC of unknown length.
        return False


class Reader:
    """An open sound file.

    `truncated` tells that less audio than the header promised is there. For some formats the header alone
    shows it; for the others it is known once the last block has been taken.

    Args:
        path: A sound file.

    Raises:
        AudioError: it is no readable sound file, or holds no audio.
    """

    info: AudioInfo
    truncated: bool

    def __init__(self, path: Path) -> None:
        self._fd = _open_regular(path)
        try:
            # By descriptor: no second look-up of the name, and libsndfile cannot be led by the name's ending.
            self._file = _ForwardFile(self._fd, closefd=False)
            self.info = self._checked(path)
            self.truncated = self._promises_more()
        except BaseException as error:
            self.close()
            if isinstance(error, soundfile.SoundFileError | TypeError):
                raise AudioError(
                    f"{_name(path)} cannot be read as sound ({_reason(error)}): "
                    "convert it to WAV or FLAC, or leave it out."
                ) from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if hasattr(self, "_file"):
            self._file.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def blocks(self, *, block_frames: int = 1 << 16, start: int = 0, frames: int | None = None) -> Iterator[Samples]:
        """Yield the audio from frame `start` on, `frames` of it or all.

        Args:
            block_frames: The longest block.
            start: The first frame wanted.
            frames: How many frames are wanted; None for all.

        Shape:
            Each block: `(channels, time)`.

        Raises:
            AudioError: the file is damaged, holds no audio at all, or samples that are not finite.
        """
        block_frames = max(1, min(block_frames, _BLOCK_SAMPLES // self.info.channels))
        position = start
        end = None if frames is None else start + frames
        try:
            if self.info.frames is not None and start >= self.info.frames:
                return
            self._go_to(start)
            while end is None or position < end:
                wanted = block_frames if end is None else min(block_frames, end - position)
                block = self._file.read(wanted, dtype="float32", always_2d=True)
                if not len(block):
                    break
                if not (math.isfinite(block.min()) and math.isfinite(block.max())):
                    raise AudioError(
                        f"{_name(self.info.path)} holds samples that are not finite numbers, near "
                        f"{position / self.info.sample_rate:.2f} s: export it again."
                    )
                position += len(block)
                yield np.ascontiguousarray(block.T)
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{_name(self.info.path)} is damaged near {position / self.info.sample_rate:.2f} s "
                f"({_reason(error)}): get a whole copy of it."
            ) from error
        if end is None or position < end:
            self._note_end(position, nothing=position == 0)

    def read(self, *, start: int = 0, frames: int | None = None) -> Samples:
        """Read the audio from frame `start` on, `frames` of it or all, in one piece.

        Args:
            start: The first frame wanted.
            frames: How many frames are wanted; None for all.

        Shape:
            `(channels, time)`.

        Raises:
            AudioError: the file is damaged, holds no audio at all, or samples that are not finite.
        """
        blocks = list(self.blocks(start=start, frames=frames))
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((self.info.channels, 0), np.float32)

    def _go_to(self, frame: int) -> None:
        if self._file.tell() == frame:
            return
        if self.info.format == "OGG":
            # libsndfile 1.2 lands beside the mark when a Vorbis file has been read before, and does not tell.
            self._file.close()
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._file = _ForwardFile(self._fd, closefd=False)
        self._file.seek(frame)

    def _checked(self, path: Path) -> AudioInfo:
        file = self._file
        if not 1 <= file.samplerate <= HIGHEST_SAMPLE_RATE:
            raise AudioError(
                f"{_name(path)} claims a sample rate of {file.samplerate} Hz, so its header is damaged: "
                "get a whole copy of it."
            )
        if file.frames == 0:
            raise AudioError(f"{_name(path)} holds no audio: export it again, or leave it out.")
        # In a 24-bit sample in a 32-bit container libsndfile guesses; where the guess fails it reads noise.
        if "detection failed" in file.extra_info:
            raise AudioError(f"{_name(path)} has a header that contradicts itself: export it again.")
        # libsndfile says "as many as fit 63 bits" for a stream whose encoder did not know.
        frames = file.frames if 0 < file.frames < 2**62 else None
        if file.format == "FLAC" and (ending := flac.ending(_tail(self._fd))):
            frames = frames or ending.frames
            if frames < ending.frames:
                raise AudioError(f"{_name(path)} holds more audio than its header counts: encode it again.")
            if ending.sample_rate not in (None, file.samplerate):
                raise AudioError(f"{_name(path)} changes its sample rate on the way: encode it again.")
        return AudioInfo(path, file.samplerate, file.channels, frames, file.format, file.subtype)

    def _promises_more(self) -> bool:
        info = self.info
        if info.format == "OGG":
            page = (tail := _tail(self._fd)).rfind(b"OggS")
            return page < 0 or page + 5 >= len(tail) or not tail[page + 5] & _LAST_OGG_PAGE
        claim = _CLAIMED_BYTES.search(self._file.extra_info)
        if claim is None or int(claim[1]) == 2**32 - 1:
            # The largest size means "not known": a program that wrote into a pipe.
            return False
        if claim[2] is not None:
            return int(claim[2]) < int(claim[1])
        if info.subtype not in _SAMPLE_BYTES or info.frames is None:
            return False
        present = info.frames * info.channels * _SAMPLE_BYTES[info.subtype]
        return int(claim[1]) > present + info.channels * _SAMPLE_BYTES[info.subtype] + _CHUNK_HEADER_BYTES

    def _note_end(self, position: int, *, nothing: bool) -> None:
        if nothing:
            raise AudioError(f"{_name(self.info.path)} holds no audio: export it again, or leave it out.")
        if self.info.frames is None:
            return
        if position < self.info.frames and (self.info.format != "MP3" or _mp3_counts_its_frames(self._fd)):
            self.truncated = True


class Writer:
    """A new sound file, which appears under its name only when it is whole.

    Use it in a `with` block. An exception inside, Ctrl-C included, leaves no file, and an older file of that
    name as it was. `clipped` counts the samples that lay beyond full scale and had to be cut to fit.

    Args:
        path: Where the file goes.
        sample_rate: Samples a second.
        channels: How many channels.
        subtype: soundfile's name of the sample encoding.
        format: soundfile's name of the container; a WAV that would pass 4 GiB becomes an RF64.
        frames: How long the file will be, where that is known.

    Raises:
        AudioError: the file cannot be made there, or not in that format.
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
    ) -> None:
        self.path = path
        self.clipped = 0
        self._channels = channels
        self._integer = subtype.startswith("PCM_")
        frame_bytes = channels * _SAMPLE_BYTES.get(subtype, 0)
        container = format
        if format in ("WAV", "WAVEX") and frames is not None and frames * frame_bytes > _LARGEST_DATA_BYTES:
            container = "RF64"
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
                raise AudioError(
                    f"{_name(path)} cannot hold {channels} channels at {sample_rate} Hz as {container} "
                    f"{subtype}: choose another file format, such as .wav."
                ) from error
            raise

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
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._temporary.replace(self._target)
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
            AudioError: a sample is not finite, the disk is full, or the format can hold no more.
        """
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"expected ({self._channels}, time), got {block.shape}")
        if not block.shape[1]:
            return
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise AudioError(f"{_name(self.path)} would hold samples that are not finite: check the effects.")
        if self._integer and (low < -1 or high > 1):
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
            block = block.clip(-1, 1)
        if self._frames_left is not None:
            self._frames_left -= block.shape[1]
            if self._frames_left < 0:
                raise AudioError(f"{_name(self.path)} would pass its format's 4 GiB: name it .w64 or .flac.")
        try:
            # In small pieces: libsndfile's Vorbis encoder keeps a whole piece on the stack.
            for first in range(0, block.shape[1], _WRITE_FRAMES):
                self._file.write(np.ascontiguousarray(block[:, first : first + _WRITE_FRAMES].T, np.float32))
        except (soundfile.SoundFileError, OSError) as problem:
            raise self._unwritable(problem) from problem

    def _unwritable(self, problem: BaseException) -> AudioError:
        return AudioError(
            f"{_name(self.path)} cannot be written ({_reason(problem)}): free space or choose another folder."
        )

    def _discard(self) -> None:
        if hasattr(self, "_file"):
            with contextlib.suppress(soundfile.SoundFileError):
                self._file.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._temporary.unlink(missing_ok=True)


def output_format(path: Path, info: AudioInfo) -> tuple[str, str]:
    """Choose the container by the new file's name, and the sample encoding by the old file's.

    Args:
        path: The file to be written.
        info: The recording it is made from.

    Returns:
        soundfile's names of format and subtype. An encoding that the format lacks gives way to the nearest:
        8 bits stay 8 bits where they can, everything finer or lossy becomes 24 bits.

    Raises:
        AudioError: the name's ending is not one of a format that can be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        endings = " ".join(sorted(SUFFIXES))
        raise AudioError(f"{_name(path)} has no sound file's ending: use one of {endings}.")
    container = _FORMATS[suffix]
    if container == "WAV" and info.format == "WAVEX":
        container = "WAVEX"
    if suffix == ".opus":
        return container, "OPUS"
    if container in _LOSSY_FORMATS and info.format != container:
        return container, _LOSSY_FORMATS[container]
    # WAV can wrap MP3, but whoever asks for a WAV of an MP3 wants samples.
    kept = () if info.format in _LOSSY_FORMATS and info.format != container else (info.subtype,)
    nearest = ("PCM_S8", "PCM_U8") if info.subtype in ("PCM_S8", "PCM_U8") else ()
    for subtype in (*kept, *nearest, "PCM_24"):
        if soundfile.check_format(container, subtype):
            return container, subtype
    return container, str(soundfile.default_subtype(container))


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
        raise AudioError(f"The sound cannot be compressed as MP3 ({_reason(error)}): leave it out.") from error
    return file.getvalue()


def mono(x: Samples) -> Samples:
    """Mix to one channel: the mean of all.

    Args:
        x: Audio.

    Shape:
        `(channels, time)` to `(1, time)`.
    """
    return x if x.shape[0] == 1 else x.mean(axis=0, keepdims=True, dtype=np.float32)


def resample(x: Samples, *, source_rate: int, target_rate: int) -> Samples:
    """Change the sample rate and keep the pitch.

    Args:
        x: Audio at `source_rate`.
        source_rate: Its sample rate.
        target_rate: The sample rate wanted.

    Shape:
        `(channels, time)` to `(channels, round(time * target_rate / source_rate))`.

    Source:
        The SoX resampler library, https://sourceforge.net/p/soxr.
    """
    resampler = Resampler(source_rate=source_rate, target_rate=target_rate, channels=x.shape[0])
    return resampler.process(x, last=True)


class Resampler:
    """Change the sample rate of a stream, block after block, exactly as `resample` does it in one piece.

    Args:
        source_rate: The sample rate that comes in.
        target_rate: The sample rate that goes out.
        channels: How many channels.
    """

    def __init__(self, *, source_rate: int, target_rate: int, channels: int) -> None:
        self._stream: Any = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality=RESAMPLING_QUALITY
            )

    def process(self, block: Samples, *, last: bool = False) -> Samples:
        """Take a block in, and give what is ready: less than its share at first, the rest with the last.

        Args:
            block: The next stretch of audio.
            last: Whether the stream ends here.

        Shape:
            `(channels, time)` to `(channels, any)`.
        """
        if self._stream is None:
            return block
        ready = self._stream.resample_chunk(np.ascontiguousarray(block.T, np.float32), last=last)
        return np.ascontiguousarray(ready.T)


def _open_regular(path: Path) -> int:
    # The look before opening: opening a pipe waits for a writer, and opening a device may do anything.
    name = _name(path)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise AudioError(f"{name} is a folder: name a sound file in it.")
        if not stat.S_ISREG(found.st_mode):
            raise AudioError(f"{name} is a pipe or a device: save the sound to a file first.")
        if found.st_size == 0:
            raise AudioError(f"{name} is empty (0 bytes): get a whole copy of it.")
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise AudioError(f"{name} is a link to a file that does not exist: mend the link.") from error
        raise AudioError(f"{name} does not exist: check the name.") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be opened ({_reason(error)}): check its permissions.") from error


def _create_beside(path: Path) -> tuple[Path, Path, int]:
    """Create a hidden file beside `path`; give the final name (links followed), its own, and a descriptor."""
    name = _name(path)
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise AudioError(f"{name} is a folder: name a file in it.")
        if target.exists() and not target.is_file():
            raise AudioError(f"{name} is a pipe or a device: name a file.")
        if not target.parent.is_dir():
            raise AudioError(f"{name} is in a folder that does not exist: create the folder first.")
        temporary = target.parent / f".fxst-{secrets.token_hex(8)}.tmp"
        # 0o666 less the umask, as for any new file; tempfile would make it private.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return target, temporary, os.open(temporary, flags, 0o666)
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be written ({_reason(error)}): choose another folder.") from error


def _tail(fd: int) -> bytes:
    return os.pread(fd, _TAIL_BYTES, max(0, os.fstat(fd).st_size - _TAIL_BYTES))


def _mp3_counts_its_frames(fd: int) -> bool:
    """Whether an MP3 begins with a table that says how long it is; without it the length is an estimate."""
    head = os.pread(fd, 10, 0)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(head[6:])))
    first_frame = os.pread(fd, 4096, start)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _name(path: Path) -> str:
    # repr keeps the message to one line whatever the name holds.
    return repr(os.fspath(path))


def _reason(error: BaseException) -> str:
    """The part of a library's message that a person can use."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return " ".join(text.split()) or "no reason given"
