"""The chunks of WAV, RF64, W64, AIFF and CAF files: where the sound is, and what no header counts.

libsndfile and other decoders stop where the chunk's size says, whatever comes behind it.

Source: Multimedia Programming Interface 1.0 (RIFF); EBU Tech 3306 (RF64); Apple's Audio Interchange File Format 1.3 and
Core Audio Format specifications; RFC 2361 (codecs of WAV).
"""

from dataclasses import dataclass
from typing import Final, Literal

from fxst.audio.id3 import Read

__all__ = ["Layout", "layout"]

_SOUND: Final = frozenset({b"data", b"SSND"})
_FORMAT: Final = frozenset({b"fmt ", b"COMM", b"desc"})
_OTHERS: Final = frozenset({
    b"LIST", b"INFO", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"cue ", b"fact", b"smpl", b"inst", b"JUNK", b"PAD ",
    b"FLLR", b"PEAK", b"afsp", b"DISP", b"_PMX", b"cart", b"plst", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"MARK", b"COMT",
    b"INST", b"APPL", b"info", b"free", b"strg", b"mark", b"regn", b"uuid",
})  # fmt: skip
"""Chunks without sound, known by name: one of them may lack its end."""
_LEADS: Final = {b"SSND": 8, b"caff": 4}
"""How many bytes of such a chunk stand before its sound."""
_MOST_CHUNKS: Final = 10_000
_SHORTEST_CHUNK_BYTES: Final = 8
_PRINTABLE: Final = range(0x20, 0x7F)
_EXTENSIBLE: Final = 0xFFFE


@dataclass(frozen=True)
class _Container:
    byte_order: Literal["little", "big"]
    first: int
    size_bytes: int
    multiple: int
    name_bytes: int = 4
    size_counts_head: bool = False


_CONTAINERS: Final = {
    b"RIFF": _Container("little", 12, 4, 2),
    b"RF64": _Container("little", 12, 4, 2),
    b"BW64": _Container("little", 12, 4, 2),
    b"RIFX": _Container("big", 12, 4, 2),
    b"FORM": _Container("big", 12, 4, 2),
    b"riff": _Container("little", 40, 8, 8, name_bytes=16, size_counts_head=True),
    b"caff": _Container("big", 8, 8, 1),
}
_FORMS: Final = frozenset({b"WAVE", b"AIFF", b"AIFC"})


@dataclass(frozen=True)
class Layout:
    """What a file of chunks holds.

    Args:
        magic: Its first four bytes.
        codec: How the sound is encoded: the number of it in WAV, four letters in AIFC and CAF.
        start: Where the first stretch of sound begins; None where there is none.
        size: How many bytes it has, by its header; None where the header leaves that open.
        more: How many other stretches of sound there are, and other files joined to this one.
        uncounted: How many bytes stand at the end that are no chunk.
    """

    magic: bytes
    codec: int | bytes
    start: int | None
    size: int | None
    more: int
    uncounted: int


def layout(read: Read, start: int, end: int) -> Layout | None:
    """Find the chunks; None where the file is of another kind.

    Args:
        read: Gives `size` bytes from a place on: `read(size, place)`.
        start: Where the file begins, behind a tag.
        end: Where it ends, before a tag.
    """
    head = read(12, start)
    container = _CONTAINERS.get(head[:4])
    if container is None or (container.first == 12 and head[8:12] not in _FORMS):
        return None
    at = start + container.first
    codec: int | bytes = b""
    sounds: list[tuple[int, int | None]] = []
    long_size = None
    others = passed = 0
    while passed < _MOST_CHUNKS and (found := _chunk(read, at, end, container)) is not None:
        name, first, size = found
        passed += 1
        if name in _CONTAINERS:
            others += 1
        if name == b"ds64":
            long_size = int.from_bytes(read(8, first + 8), "little")
        if name in _FORMAT:
            codec = _codec(read(26, first), head, container)
        known: int | None = size
        if name in _SOUND:
            if size == 256**container.size_bytes - 1:
                known = long_size
            lead = _LEADS.get(name if container.first == 12 else head[:4], 0)
            sounds.append((first + lead, None if known is None else max(0, known - lead)))
        if known is None or first + known >= end or (name == b"SSND" and not known):
            at = end
            break
        at = first + known
        padded = at + (start - at) % container.multiple
        if padded >= end or _chunk(read, padded, end, container):
            at = padded
    uncounted = end - at if end - at >= _SHORTEST_CHUNK_BYTES and _any(read, at, end) else 0
    heard = [sound for sound in sounds if sound[1] != 0]
    place, counted = (heard or sounds)[0] if sounds else (None, None)
    return Layout(head[:4], codec, place, counted, max(0, len(heard) - 1) + others, uncounted)


def _chunk(read: Read, at: int, end: int, container: _Container) -> tuple[bytes, int, int] | None:
    head_bytes = container.name_bytes + container.size_bytes
    head = read(head_bytes, at)
    if at + head_bytes > end or len(head) < head_bytes:
        return None
    name, size = head[:4], int.from_bytes(head[container.name_bytes :], container.byte_order)
    if container.size_counts_head and size < 256**container.size_bytes - 1:
        size = max(0, size - head_bytes)
    first = at + head_bytes
    whole = first + size <= end and all(byte in _PRINTABLE for byte in name)
    return (name, first, size) if whole or name in _SOUND | _OTHERS else None


def _codec(chunk: bytes, head: bytes, container: _Container) -> int | bytes:
    if head[:4] == b"caff":
        return chunk[8:12]
    if head[:4] == b"FORM":
        return chunk[18:22] if head[8:12] == b"AIFC" else b""
    number = int.from_bytes(chunk[:2], container.byte_order)
    return int.from_bytes(chunk[24:26], container.byte_order) if number == _EXTENSIBLE else number


def _any(read: Read, at: int, end: int) -> bool:
    """Whether anything but zeros is left."""
    while at < end and (piece := read(min(1 << 20, end - at), at)):
        if any(piece):
            return True
        at += len(piece)
    return False
