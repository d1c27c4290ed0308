"""Writing: a file appears under its name only when it is complete."""

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import soundfile

from fxst import staging
from fxst.audio import layouts
from fxst.audio.encoding import Encoding, settings
from fxst.audio.formats import SAMPLE_BYTES, Samples, check_room, quoted, reason
from fxst.audio.metadata import NO_METADATA, Addition, Metadata, chunk, fitted
from fxst.audio.playing import ForwardFile
from fxst.audio.reading import Reader
from fxst.audio.stamps import unstamp
from fxst.audio.tags import TagError, into_file
from fxst.dsp.channels import ChannelLayout
from fxst.errors import AudioError, OutputError

__all__ = ["Writer", "compressed"]

# Formats with 32-bit sizes in their headers, and the most audio, which leaves room for the other chunks.
_FORMATS_OF_4_GIB: Final = frozenset({"WAV", "WAVEX", "AIFF", "AU"})
_LARGEST_DATA_BYTES: Final = 2**32 - 2**16

_COPIED_BYTES: Final = 1 << 20
_RIFF_HEAD_BYTES, _RF64_HEAD_BYTES, _AIFF_HEAD_BYTES, _CAF_HEAD_BYTES = 12, 48, 12, 52
_EXTENSIBLE: Final = b"\xfe\xff"
_WITHOUT_LAYOUT: Final = frozenset({"W64", "AU"})

_WRITE_FRAMES: Final = 1 << 14

_HIGHEST_FLOAT: Final = np.float32(2**31 - 2**7)
"""The highest float32 number that is a 32-bit integer."""


class _UnreadableError(OutputError):
    """A finished file cannot be read back as it was written."""


class Writer:
    """A new sound file, which appears under its name only when it is complete.

    Use it in a `with` block. After an exception inside, Ctrl-C included, there is no new file, and an older one of that
    name is unchanged. `clipped` counts the samples that were clipped at full scale. Equal audio gives equal bytes,
    whenever it is written.

    Args:
        path: The file.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        subtype: soundfile's name of the sample encoding.
        format: soundfile's name of the container; a WAV above 4 GiB becomes an RF64.
        frames: Length of the file in samples, where it is known.
        layout: The loudspeakers of the channels, in the order of a WAV's mask; by default none are named.
        metadata: What it holds besides the sound; `remarks` names what is left out of it.
        same_rate: Whether the metadata is of a recording of this sample rate.
        quality: How much a lossy encoder keeps; None for its own choice.

    Raises:
        OutputError: The file cannot be written there, or not in that format.
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
        layout: ChannelLayout | None = None,
        metadata: Metadata = NO_METADATA,
        same_rate: bool = True,
        quality: Encoding | None = None,
    ) -> None:
        check_room(path, format, subtype, sample_rate=sample_rate, channels=channels)
        self.path = path
        self.clipped = 0
        self._channels = channels
        self._integer = subtype.startswith("PCM_")
        frame_bytes = channels * SAMPLE_BYTES.get(subtype, 0)
        container = format
        if format in ("WAV", "WAVEX") and frames is not None and frames * frame_bytes > _LARGEST_DATA_BYTES:
            container = "RF64"
        self._container = container
        self._settings = (sample_rate, channels, subtype)
        self._encoder_settings = settings(quality, subtype, sample_rate=sample_rate, channels=channels)
        self._place_channels(layout or ChannelLayout.guessed(channels))
        self._add(metadata, same_rate=same_rate)
        limited = frame_bytes > 0 and container in _FORMATS_OF_4_GIB
        self._frames_left = (_LARGEST_DATA_BYTES - len(self._added.chunks)) // frame_bytes if limited else None
        self._frames = 0
        self._target, self._temporary, self._fd = _create_beside(path)
        self._sink = _Sink(self._fd, self._added.chunks, self._container)
        self._file: soundfile.SoundFile | None = None
        # Encoding takes a third of the time of rendering, and runs in parallel. And signals are handled in the main
        # thread only: inside one of libsndfile's calls to write, the exception would be lost.
        self._encoder = ThreadPoolExecutor(1)
        self._encoding: Future[None] | None = None
        try:
            self._do(self._open)
        except BaseException:
            self._discard()
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
            self._close()
            self._encoder.shutdown()
            unstamp(self._fd, self._container)
            try:
                self._check(self._temporary)
            except _UnreadableError:
                if not self._added.chunks:
                    raise
                self._take_out_chunks()
            if self._added.tags:
                self._tag()
            staging.finish(self._temporary, self._fd, self._target)
            self._fd = -1
        except BaseException as problem:
            self._discard()
            if isinstance(problem, OSError):
                raise staging.unwritable(self.path, problem) from problem
            raise

    def write(self, block: Samples) -> None:
        """Append a block; it is encoded while the caller continues. It must not be changed afterwards.

        Shape:
            block: `(channels, time)`.

        Raises:
            AudioError: A sample is not finite, in this block or the one before.
            OutputError: The disk is full, or the format can hold no more, at this block or the one before.
        """
        if block.ndim != 2 or block.shape[0] != self._channels:
            raise ValueError(f"expected ({self._channels}, time), got {block.shape}")
        self._wait()
        if block.shape[1]:
            self._encoding = self._encoder.submit(self._encode, block)

    def encoded(self) -> Iterator[Samples]:
        """Finish the file, and decode it again; only `begin_again` allows more writing.

        Shape:
            Each block: `(channels, time)`.

        Raises:
            OutputError: It cannot be written or read.
        """
        self._close()
        with self._reading(self._temporary) as reader:
            yield from reader.blocks()

    def begin_again(self) -> None:
        """Empty the file, to write it again.

        Raises:
            OutputError: The file cannot be written.
        """
        self._close()
        try:
            os.ftruncate(self._fd, 0)
        except OSError as error:
            raise staging.unwritable(self.path, error) from error
        self._sink = _Sink(self._fd, self._added.chunks, self._container)
        self._frames = self.clipped = 0
        self._do(self._open)

    def _do(self, what: Callable[..., None], *given: Any) -> None:
        self._encoding = self._encoder.submit(what, *given)
        self._wait()

    def _wait(self) -> None:
        """Wait for the encoder, and raise its error."""
        encoding, self._encoding = self._encoding, None
        if encoding is not None:
            encoding.result()

    def _open(self) -> None:
        sample_rate, channels, subtype = self._settings
        with self._no_failed_write():
            try:
                self._file = ForwardFile(
                    self._sink, "w", sample_rate, channels, subtype, format=self._container, **self._encoder_settings
                )
            except (soundfile.SoundFileError, ValueError, TypeError) as error:
                raise OutputError(
                    f"{quoted(self.path)} cannot hold {channels} channels at {sample_rate} Hz as {self._container} "
                    f"{subtype}: choose another file format, such as .wav."
                ) from error

    def _encode(self, block: Samples) -> None:
        assert self._file is not None
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise AudioError(f"{quoted(self.path)} would hold samples that are not finite: check the effects.")
        if self._integer and (low < -1 or high > 1):
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
            block = block.clip(-1, 1)
        self._frames += block.shape[1]
        if self._frames_left is not None and self._frames > self._frames_left:
            raise OutputError(f"{quoted(self.path)} would exceed the 4 GiB of its format: name it .w64 or .flac.")
        if self._order is not None:
            block = block[self._order]
        samples = _in_frames(block, integers=self._integer and self._container != "FLAC")
        if samples.dtype == np.int32 and self._settings[2] == "PCM_16":
            samples = (samples >> 16).astype(np.int16)  # which libsndfile need not convert
        with self._no_failed_write():
            # In small pieces: libsndfile's Vorbis encoder keeps a whole piece on the stack.
            for first in range(0, len(samples), _WRITE_FRAMES):
                self._file.write(samples[first : first + _WRITE_FRAMES])

    def _close(self) -> None:
        """Finish encoding."""
        self._wait()
        if self._file is not None:
            self._do(self._end)

    def _end(self) -> None:
        file, self._file = self._file, None
        assert file is not None
        with self._no_failed_write():
            file.close()
        with staging.writing(self.path):
            _correct_header(self._fd, self._container, len(self._added.chunks), self._mask)

    def _place_channels(self, layout: ChannelLayout) -> None:
        """Choose the order of the channels, and what names their loudspeakers."""
        self.remarks: tuple[str, ...] = ()
        self._layout = layout
        self._order: list[int] | None = None
        self._mask: int | None = layout.mask if layout.stated or self._channels > 2 else None
        roles = layout.roles
        if self._container == "OGG":
            self._order, roles = layouts.vorbis_order(layout)
        elif self._container in _WITHOUT_LAYOUT:
            roles = ChannelLayout.guessed(self._channels).roles
        if layout.stated and self._channels > 2 and roles != layout.roles:
            called = f"taken for {' '.join(roles)}" if any(roles) else "nameless"
            self.remarks = (f"the loudspeakers {layout.name} are {called} in the output's format",)

    def _add(self, metadata: Metadata, *, same_rate: bool) -> None:
        """Choose what of the metadata is kept."""
        named = self._layout.stated and self._channels > 2
        if self._container != "FLAC":
            metadata = metadata.with_text(layouts.FLAC_MASK, None)
        elif named and metadata.names_layout:
            metadata = metadata.with_text(layouts.FLAC_MASK, f"0x{self._layout.mask:X}")
        if metadata.problem:
            self.remarks += (f"its tags cannot be read ({metadata.problem}), and were left out",)
        if metadata.unread:
            self.remarks += (f"its {metadata.unread} cannot be read, and were left out",)
        try:
            self._added = fitted(metadata, self._container, same_rate=same_rate)
        except TagError as error:
            self.remarks += (f"its tags cannot be written ({error}), and were left out",)
            self._added = Addition()
        if self._added.left:
            self.remarks += (f"the output's format does not hold {', '.join(dict.fromkeys(self._added.left))}",)
        if named and self._container in ("AIFF", "CAF"):
            family, name = ("AIFF", b"CHAN") if self._container == "AIFF" else ("CAF", b"chan")
            named_chunk = chunk(family, name, layouts.bitmap_chunk(self._layout))
            self._added = replace(self._added, chunks=named_chunk + self._added.chunks)

    def _take_out_chunks(self) -> None:
        """Take the inserted chunks out again, with which the file cannot be read."""
        size, place = len(self._added.chunks), self._sink.place
        with self._copied(((0, place), (place + size, os.fstat(self._fd).st_size))) as (path, fd):
            _correct_header(fd, self._container, -size, self._mask)
            self._check(path)
        self.remarks += ("its metadata would make it unreadable, and was left out",)

    def _tag(self) -> None:
        """Write the tags into the finished file."""
        try:
            with self._copied(((0, os.fstat(self._fd).st_size),)) as (path, fd):
                into_file(fd, self._added.tags)
                unstamp(fd, self._container)
                self._check(path)
        except (TagError, _UnreadableError) as error:
            why = str(error) if isinstance(error, TagError) else "they would make it unreadable"
            self.remarks += (f"its tags cannot be written ({why}), and were left out",)

    @contextlib.contextmanager
    def _copied(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[Path, int]]:
        """Yield a copy of the finished file; it takes the file's place unless the block fails."""
        hidden, fd = staging.begin(self._target)
        try:
            for start, end in spans:
                while start < end:
                    piece = os.pread(self._fd, min(_COPIED_BYTES, end - start), start)
                    start += len(piece)
                    while piece:
                        piece = piece[os.write(fd, piece) :]
            yield hidden, fd
        except BaseException:
            staging.discard(hidden, fd)
            raise
        staging.discard(self._temporary, self._fd)
        self._temporary, self._fd = hidden, fd

    @contextlib.contextmanager
    def _no_failed_write(self) -> Iterator[None]:
        """Raise any error of a write, even one that the encoder ignored."""
        problem: BaseException | None = None
        try:
            yield
        except (soundfile.SoundFileError, OutputError) as error:
            problem = error
        if self._sink.error is not None:
            raise staging.unwritable(self.path, self._sink.error) from self._sink.error
        if isinstance(problem, OutputError):
            raise problem
        if problem is not None:
            raise OutputError(
                f"{quoted(self.path)} cannot be written ({reason(problem)}): choose another file format, such as .wav."
            ) from problem

    def _check(self, path: Path) -> None:
        """Check that the finished file is as long as the audio written to it.

        Raises:
            OutputError: It is longer or shorter.
        """
        if not self._frames:
            return
        with self._reading(path) as reader:
            info = reader.info
            found = (info.sample_rate, info.channels, info.frames)
        if found != (*self._settings[:2], self._frames):
            raise _UnreadableError(
                f"{quoted(self.path)} came out with {found[2]} frames instead of {self._frames}: choose another file "
                "format, such as .wav."
            )

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[Reader]:
        try:
            with Reader(path) as reader:
                yield reader
        except OSError as error:
            raise staging.unwritable(self.path, error) from error
        except AudioError as error:
            if isinstance(error.__cause__, OSError):
                raise staging.unwritable(self.path, error.__cause__) from error
            raise _UnreadableError(
                f"{quoted(self.path)} was written but cannot be read back: choose another file format, such as .wav."
            ) from error

    def _discard(self) -> None:
        self._sink.shut = True
        self._encoder.shutdown()
        if self._file is not None:
            with contextlib.suppress(soundfile.SoundFileError):
                self._file.close()
        if self._fd >= 0:
            staging.discard(self._temporary, self._fd)
        self._fd = -1


class _Sink:
    """The file that libsndfile writes to.

    On closing, libsndfile writes the header and the remaining audio, and ignores every error. So this keeps the first
    error, reports success to libsndfile, and writes nothing more.

    Args:
        fd: The file, empty.
        added: Bytes to insert behind the beginning of the header; libsndfile does not see them.
        container: soundfile's name of the container.
    """

    def __init__(self, fd: int, added: bytes, container: str) -> None:
        self._fd = fd
        self._added = added
        self._container = container
        self.place = 0
        """Where they are inserted."""
        self._begun = False
        self._at = 0
        self.error: OSError | None = None
        self.shut = False
        """Whether to write nothing more, since the file will be removed."""

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            if self._added and not self._begun and self._at == 0 and self.error is None and not self.shut:
                self._begun, self.place = True, _place(data, self._container)
                self._write(memoryview(self._added), self.place)
            before = rest[: max(0, self.place - self._at)]
            self._write(before, self._at)
            self._write(rest[len(before) :], self._at + len(before) + len(self._added))
        except OSError as error:
            self.error = error
        self._at += len(data)
        return len(data)

    def _write(self, rest: memoryview, at: int) -> None:
        while rest and self.error is None and not self.shut:
            written = os.pwrite(self._fd, rest, at)
            rest, at = rest[written:], at + written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            size = max(0, os.fstat(self._fd).st_size - len(self._added))
            self._at = max(0, {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence] + offset)
        except OSError as error:
            self.error = self.error or error
        return self._at

    def tell(self) -> int:
        return self._at


def _place(head: bytes, container: str) -> int:
    """Return where chunks are inserted: behind the description of the samples, which some programs expect first."""
    if container == "MP3":
        return 0
    if container == "AIFF":
        return _AIFF_HEAD_BYTES
    if container == "CAF":
        return _CAF_HEAD_BYTES
    at = _RF64_HEAD_BYTES if container == "RF64" else _RIFF_HEAD_BYTES
    return at + 8 + int.from_bytes(head[at + 4 : at + 8], "little")


def _correct_header(fd: int, container: str, added: int, mask: int | None) -> None:
    """Add the length of inserted chunks to that of the file in its header, and set the channel mask of a WAV."""
    places: dict[str, tuple[int, int, Literal["little", "big"]]] = {
        "WAV": (4, 4, "little"), "WAVEX": (4, 4, "little"), "RF64": (20, 8, "little"), "AIFF": (4, 4, "big"),
    }  # fmt: skip
    if container not in places:
        return
    at, width, order = places[container]
    if added:
        size = int.from_bytes(os.pread(fd, width, at), order) + added
        os.pwrite(fd, size.to_bytes(width, order), at)
    form = (_RF64_HEAD_BYTES if container == "RF64" else _RIFF_HEAD_BYTES) + 8
    if container != "AIFF" and mask is not None and os.pread(fd, 2, form) == _EXTENSIBLE:
        os.pwrite(fd, mask.to_bytes(4, "little"), form + 20)


def compressed(x: Samples, *, sample_rate: int, kilobits: int) -> bytes:
    """Encode a short recording as an MP3 in memory, at a constant bit rate, so that its size is predictable.

    The encoder keeps 0.4 dB of headroom: the decoded level is 0.95 times the input's.

    Args:
        x: Audio of one or two channels.
        sample_rate: Its sample rate, one that MP3 supports.
        kilobits: Bit rate in kbit/s, one that MP3 supports.

    Shape:
        x: `(channels, time)`.

    Raises:
        AudioError: MP3 cannot hold it.
    """
    # libsndfile's scale goes from the lowest bit rate, at 1, to the highest, at 0.
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


def _in_frames(block: Samples, *, integers: bool) -> npt.NDArray[Any]:
    """Return a block with its channels interleaved, as libsndfile takes it.

    Args:
        block: The audio, on [-1, 1] where integers are asked for.
        integers: Whether to return 32-bit integers, of which libsndfile keeps the upper bits, as it does with its own
            of floats. It converts each sample by a call, and takes five times as long. In FLAC it rounds instead.

    Shape:
        `(channels, time)` to `(time, channels)`.
    """
    frames = np.empty(block.shape[::-1], np.int32 if integers else np.float32)
    for row, column in zip(block, frames.T, strict=True):  # NumPy's own transposition takes four times as long
        column[:] = np.minimum(np.rint(row * np.float32(2**31)), _HIGHEST_FLOAT) if integers else row
    if integers and block.max() >= 1:
        frames[block.T >= 1] = 2**31 - 1
    return frames


def _create_beside(path: Path) -> tuple[Path, Path, int]:
    """Create a hidden file next to `path`; return the final path (links followed), its own, and a descriptor."""
    name = quoted(path)
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(f"{name} is a folder: name a file in it.")
        if target.exists() and not target.is_file():
            raise OutputError(f"{name} is a pipe or a device: name a file.")
        return target, *staging.begin(target)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputError(f"{name} is in a folder that does not exist: create the folder first.") from error
    except (OSError, ValueError) as error:
        raise staging.unwritable(path, error) from error
