"""The boxes of an MP4 file: how long its first sound track is without the encoder's padding.

FFmpeg leaves out an encoder's delay at the beginning, but not the padding of its last block.

Source: ISO/IEC 14496-12, sections 8.4 to 8.6 (`mdhd`, `hdlr`, `stts`, `elst`); the tag `iTunSMPB` as iTunes writes it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from fxst.audio.id3 import Read

__all__ = ["Description", "describe"]

_LARGEST_INDEX_BYTES: Final = 1 << 26
_MOST_BOXES: Final = 100_000
_BOX_TO_END, _LONG_BOX = 0, 1
_GAPLESS: Final = re.compile(rb"iTunSMPB.{0,8}data.{8} ?[0-9A-F]{8} [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{16})", re.DOTALL)

_Box = tuple[bytes, int, int]


@dataclass(frozen=True)
class Description:
    """What an MP4 file states.

    Args:
        recordings: Number of its indices; more than one where files were joined.
        seconds: Length of its first sound track without padding; None where it is not stated in one piece.
    """

    recordings: int
    seconds: Fraction | None


def describe(read: Read, size: int) -> Description | None:
    """Describe a file; return None where it is of another kind.

    Args:
        read: Reads the file: `read(size, offset)`.
        size: Its size.
    """
    if read(4, 4) not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return None
    indices = [(first, end) for name, first, end in _boxes(read, 0, size) if name == b"moov"]
    if len(indices) != 1 or indices[0][1] - indices[0][0] > _LARGEST_INDEX_BYTES:
        return Description(len(indices), None)
    first, end = indices[0]
    index = read(end - first, first)
    return Description(1, _seconds(index))


def _boxes(read: Read, at: int, end: int) -> Iterator[_Box]:
    """Yield the name of each box, and the offsets of its content's start and end."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end or len(head := read(16, at)) < 8:
            return
        size, first = int.from_bytes(head[:4], "big"), at + 8
        if size == _LONG_BOX:
            size, first = int.from_bytes(head[8:16], "big"), at + 16
        stop = end if size == _BOX_TO_END else at + size
        if stop < first:
            return
        yield head[4:8], first, min(stop, end)
        at = stop


def _content(data: bytes, *names: bytes) -> list[bytes]:
    """Return the contents of all boxes at a path of names."""
    found = [data]
    for name in names:
        found = [
            outer[first:end]
            for outer in found
            for inner, first, end in _boxes(lambda size, at, outer=outer: outer[at : at + size], 0, len(outer))  # type: ignore[misc]
            if inner == name
        ]
    return found


def _seconds(index: bytes) -> Fraction | None:
    for track in _content(index, b"trak"):
        media = b"".join(_content(track, b"mdia")[:1])
        if b"".join(_content(media, b"hdlr"))[8:12] != b"soun":
            continue
        rate = _time_scale(b"".join(_content(media, b"mdhd")[:1]))
        movie_rate = _time_scale(b"".join(_content(index, b"mvhd")[:1]))
        table = b"".join(_content(media, b"minf", b"stbl", b"stts")[:1])[8:]
        total = sum(_number(table, at) * _number(table, at + 4) for at in range(0, len(table) - 7, 8))
        if not (rate and movie_rate and total):
            return None
        edits = [edit for edit in _edits(b"".join(_content(track, b"edts", b"elst")[:1])) if edit[1] >= 0]
        if len(edits) == 1:
            duration, start = Fraction(edits[0][0], movie_rate), edits[0][1]
            whole = Fraction(total - start, rate)
            # The edit's length is rounded to the movie's time scale, which is often in milliseconds.
            return whole if not duration or abs(whole - duration) * movie_rate < 2 else min(whole, duration)
        if edits:
            return None
        gapless = _GAPLESS.search(index)
        return Fraction(int(gapless[1], 16) if gapless else total, rate)
    return None


def _edits(content: bytes) -> list[tuple[int, int]]:
    """Return the length and the start of each edit; the start of an empty one is -1."""
    width = 8 if content[:1] == b"\1" else 4
    return [
        (_number(content, at, width), int.from_bytes(content[at + width : at + 2 * width], "big", signed=True))
        for at in range(8, len(content) - 2 * width - 3, 2 * width + 4)
    ]


def _time_scale(content: bytes) -> int:
    return _number(content, 20 if content[:1] == b"\1" else 12)


def _number(data: bytes, at: int, width: int = 4) -> int:
    return int.from_bytes(data[at : at + width], "big")
