"""The pages of an Ogg file: the streams chained in it, and their codecs.

Source: RFC 3533; the mapping of FLAC into Ogg, at xiph.org.
"""

import re
from dataclasses import dataclass
from typing import Final

from fxst.audio.id3 import Read

__all__ = ["Link", "first_audio", "flac_spans", "links", "nominal_bit_rate"]

_HEAD_BYTES: Final = 27
_MARK: Final = b"OggS\0"
_FIRST_PAGE: Final = re.compile(rb"OggS\0[\x02\x03\x06\x07]")
"""A page with the flag for the first of a stream."""
_SERIAL: Final = slice(14, 18)
_READ_BYTES: Final = 1 << 20
_FLAC_MAPPING_BYTES: Final = 9


@dataclass(frozen=True)
class Link:
    """One of the streams chained in a file.

    Args:
        start: Offset of its first byte.
        end: Offset after its last.
        codec: The first bytes of its first packet, which identify the codec.
    """

    start: int
    end: int
    codec: bytes


def links(read: Read, start: int, end: int) -> list[Link]:
    """Find the chained streams; multiplexed ones count as one.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset at which to start.
        end: Offset at which to end.
    """
    starts: list[tuple[int, bytes]] = []
    multiplexed = -1
    at = start
    while at < end:
        piece = read(min(_READ_BYTES, end - at), at)
        for match in _FIRST_PAGE.finditer(piece):
            place = at + match.start()
            page = read(_HEAD_BYTES + 255, place)
            if len(page) > _HEAD_BYTES:
                body = _HEAD_BYTES + page[26]
                if place != multiplexed:
                    starts.append((place, read(8, place + body)))
                multiplexed = place + body + sum(page[_HEAD_BYTES:body])
        if at + len(piece) >= end or not piece:
            break
        at += len(piece) - len(_MARK)
    return [
        Link(place, starts[number + 1][0] if number + 1 < len(starts) else end, codec)
        for number, (place, codec) in enumerate(starts)
    ]


def nominal_bit_rate(read: Read, start: int) -> float | None:
    """Return the bit rate that the encoder of a Vorbis stream states, in bits a second; None where it states none.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset of the stream.
    """
    stated = int.from_bytes(read(4, start + _HEAD_BYTES + read(_HEAD_BYTES, start)[26] + 20), "little", signed=True)
    return float(stated) if stated > 0 else None


def first_audio(read: Read, start: int, end: int) -> int:
    """Return the offset of the first page that ends a packet of audio; headers and tags are before it.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset of the stream.
        end: Offset at which it ends.
    """
    at = start
    while at < end and (head := read(_HEAD_BYTES + 255, at))[:5] == _MARK and len(head) > _HEAD_BYTES:
        if 0 < int.from_bytes(head[6:14], "little") < 1 << 63:
            return at
        at += _HEAD_BYTES + head[26] + sum(head[_HEAD_BYTES : _HEAD_BYTES + head[26]])
    return start


def flac_spans(read: Read, link: Link) -> list[tuple[int, int]] | None:
    """Find the byte ranges of a native FLAC stream in Ogg: the pages' contents without the mapping header.

    Return None where the pages break off before the end.

    Args:
        read: Reads the file: `read(size, offset)`.
        link: A stream whose codec is FLAC.
    """
    spans: list[tuple[int, int]] = []
    at, serial = link.start, read(_HEAD_BYTES, link.start)[_SERIAL]
    while at < link.end and (head := read(_HEAD_BYTES + 255, at))[:5] == _MARK and len(head) > _HEAD_BYTES:
        first = at + _HEAD_BYTES + head[26]
        stop = first + sum(head[_HEAD_BYTES : _HEAD_BYTES + head[26]])
        if head[_SERIAL] == serial:
            spans.append((first if spans else min(first + _FLAC_MAPPING_BYTES, stop), stop))
        at = stop
    return spans if at == link.end else None
