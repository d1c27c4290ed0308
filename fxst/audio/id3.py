"""Tags that programs put before and after a sound file, whatever its format: where they begin and end.

Source: id3.org's ID3v1 and ID3v2.4.0 (section 3), Lyrics3 v2, and the APEv2 specification.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["Read", "begin", "end", "first_end"]

_ID3V1_BYTES: Final = 128
_ID3V2_HEADER_BYTES: Final = 10
_ID3V2_FOOTER: Final = 0x10
_APE_HEADER_BYTES: Final = 32
_APE_WITH_HEADER: Final = 1 << 31
_MOST_TAGS: Final = 8
_LONGEST_LYRICS_BYTES: Final = 1 << 20

Read = Callable[[int, int], bytes]
"""Reads up to `size` bytes of a file at an offset: `read(size, offset)`."""


def end(read: Read, at: int) -> int:
    """Return the offset after all tags that begin at an offset; the same offset where none does.

    Args:
        read: Reads the file: `read(size, offset)`.
        at: The offset.
    """
    for _ in range(_MOST_TAGS):
        at = first_end(read, at)
    return at


def begin(read: Read, stop: int) -> int:
    """Return the offset before all tags that end at an offset; the same offset where none does.

    Args:
        read: Reads the file: `read(size, offset)`.
        stop: The offset.
    """
    for _ in range(_MOST_TAGS):
        stop -= _length_before(read, stop)
    return stop


def first_end(read: Read, at: int) -> int:
    """Return the offset after the tag that begins at an offset; the same offset where none does.

    Args:
        read: Reads the file: `read(size, offset)`.
        at: The offset.
    """
    return at + _length(read, at)


def _length(read: Read, at: int) -> int:
    head = read(_APE_HEADER_BYTES, at)
    if head[:3] == b"ID3" and len(head) >= _ID3V2_HEADER_BYTES and max(head[6:10]) < 0x80:
        return _id3v2_bytes(head)
    if head[:3] == b"TAG" and len(read(_ID3V1_BYTES, at)) == _ID3V1_BYTES:
        return _ID3V1_BYTES
    if head[:8] == b"APETAGEX" and len(head) == _APE_HEADER_BYTES:
        return _APE_HEADER_BYTES + int.from_bytes(head[12:16], "little")
    if head[:11] == b"LYRICSBEGIN":
        text = read(_LONGEST_LYRICS_BYTES, at)
        return max(text.find(b"LYRICS200"), text.find(b"LYRICSEND")) + 9
    return 0


def _id3v2_bytes(head: bytes) -> int:
    size = sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:10])))
    return _ID3V2_HEADER_BYTES * (2 if head[5] & _ID3V2_FOOTER else 1) + size


def _length_before(read: Read, stop: int) -> int:
    if stop >= _ID3V1_BYTES and read(3, stop - _ID3V1_BYTES) == b"TAG":
        return _ID3V1_BYTES
    if stop < _APE_HEADER_BYTES:
        return 0
    foot = read(_APE_HEADER_BYTES, stop - _APE_HEADER_BYTES)
    length, mark = 0, b""
    if foot[:8] == b"APETAGEX":
        with_header = int.from_bytes(foot[20:24], "little") & _APE_WITH_HEADER
        length = int.from_bytes(foot[12:16], "little") + (_APE_HEADER_BYTES if with_header else 0)
        mark = b"APETAGEX" if with_header else b""
    elif foot[-9:] == b"LYRICS200" and foot[-15:-9].isdigit():
        length, mark = int(foot[-15:-9]) + 15, b"LYRICSBEGIN"
    elif foot[-10:-7] == b"3DI" and max(foot[-4:]) < 0x80:
        length, mark = _id3v2_bytes(foot[-10:]), b"ID3"
    # A wrong length would cut off audio.
    return length if length <= stop and read(len(mark), stop - length) == mark else 0
