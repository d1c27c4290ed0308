"""What of a file is sound: the parts of it that a decoder is shown, so that it plays them all."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fxst import id3, mpeg
from fxst.audio.formats import quoted
from fxst.audio.views import Part, View
from fxst.errors import AudioError

__all__ = ["Source", "find", "mpeg_source"]

_ID3V1_BYTES: Final = 128
_REMEDY: Final = "convert it to WAV with ffmpeg, or leave it out"


@dataclass(frozen=True)
class Source:
    """How a file is played.

    Args:
        views: What is played, one after the other; None is the file as it is.
        frames: How much that is, where that was counted.
        truncated: Whether the end is known to be missing.
    """

    views: tuple[View | None, ...] = (None,)
    frames: int | None = None
    truncated: bool = False


def reading(fd: int) -> Callable[[int, int], bytes]:
    """Give `read(size, place)` of an open file."""

    def read(size: int, at: int) -> bytes:
        return os.pread(fd, size, at)

    return read


def mpeg_source(path: Path, fd: int, start: int, end: int) -> Source | None:
    """Find the MPEG audio in a stretch of a file; None where there is none.

    Args:
        path: The file, for messages.
        fd: The file, open for reading.
        start: Where the stretch begins.
        end: The byte behind it.

    Raises:
        AudioError: There is some, and it cannot be played as one stream.
    """
    read = reading(fd)
    tags_end, tags_begin = id3.end(read, start), id3.begin(read, end)
    stream = mpeg.walk(read, tags_end, tags_begin)
    if stream is None:
        return None
    if stream.fault is not None:
        raise AudioError(f"{quoted(path)} {stream.fault}: {_REMEDY}.")
    if stream.frames < 1:
        raise AudioError(f"{quoted(path)} holds no audio: export it again, or leave it out.")
    information = stream.information
    counted = information.frames if information is not None and information.fields is not None else None
    frames = None if counted is not None else stream.frames * stream.frame_samples
    truncated = stream.cut or (counted or 0) > stream.frames
    first_tag = id3.first_end(read, start)
    parts: list[Part] = list(stream.spans)
    if information is None or information.fields is None or counted is None:
        if information is not None:
            parts[0] = (information.end, stream.spans[0][1])  # libsndfile would play it
        # Without a count libsndfile divides the length by the first frames': it must not come out short.
        parts.append(max(0, (stream.frames + 2) * (stream.longest_bytes + 4) - stream.size))
        parts.append(bytes(_ID3V1_BYTES))  # it looks there
    elif (start, stream.spans[0][0], len(stream.spans)) == (0, first_tag, 1) and _right(information, stream, end):
        return Source(truncated=truncated)
    else:
        parts[0] = (information.end, stream.spans[0][1])
        parts.insert(0, information.counting(max(counted, stream.frames), stream.size))
    return Source((View(fd, [(start, first_tag), *parts, (tags_begin, end)]),), frames, truncated)


def _right(information: mpeg.Information, stream: mpeg.Stream, size: int) -> bool:
    """Whether an information frame counts what is there; where its bytes are not, libsndfile writes a warning."""
    frames_right = information.frames is not None and information.frames >= stream.frames
    return frames_right and (information.size is None or abs(information.size - size) * 100 < size)


def find(path: Path, fd: int) -> Source | None:
    """Tell how an open file is to be played; None where its first bytes say nothing of it.

    Args:
        path: The file, for messages.
        fd: The file, open for reading.

    Raises:
        AudioError: Not all that it holds can be played.
    """
    read = reading(fd)
    start, size = id3.end(read, 0), os.fstat(fd).st_size
    if mpeg.begins(read(4, start)):
        return mpeg_source(path, fd, 0, size)
    return None
