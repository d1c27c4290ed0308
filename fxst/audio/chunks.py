"""The chunks of WAV, RF64, W64, AIFF and CAF files: where the audio is, and what no header counts.

libsndfile and other decoders stop at the size of the audio chunk, whatever follows it.

Source: Multimedia Programming Interface 1.0 (RIFF); EBU Tech 3306 (RF64); Apple's Audio Interchange File Format 1.3 and
Core Audio Format specifications; RFC 2361 (codecs of WAV).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from fxst.audio.id3 import Read

__all__ = ["METADATA", "FileChunk", "Layout", "chunks", "layout"]

_AUDIO: Final = frozenset({b"data", b"SSND"})
_FORMAT: Final = frozenset({b"fmt ", b"COMM", b"desc"})
METADATA: Final = frozenset({
    b"LIST", b"INFO", b"id3 ", b"ID3 ", b"bext", b"iXML", b"axml", b"cue ", b"fact", b"smpl", b"inst", b"JUNK", b"PAD ",
    b"FLLR", b"PEAK", b"afsp", b"DISP", b"_PMX", b"cart", b"plst", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"MARK", b"COMT",
    b"INST", b"APPL", b"info", b"free", b"strg", b"mark", b"regn", b"uuid",
})  # fmt: skip
"""Known chunks without audio: one of them may lack its end."""
_LEADS: Final = {b"SSND": 8, b"caff": 4}
"""Bytes of an audio chunk before its samples."""
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
    """What a file of chunks contains.

    Args:
        magic: Its first four bytes.
        codec: The codec: a number in WAV, four letters in AIFC and CAF.
        start: Offset of the first audio chunk's samples; None where there is none.
        size: Their size in bytes by the header; None where the header leaves it open.
        more: Number of further audio chunks and of files appended to this one.
        uncounted: Bytes at the end that belong to no chunk.
        described: Offset of the description of the samples.
    """

    magic: bytes
    codec: int | bytes
    start: int | None
    size: int | None
    more: int
    uncounted: int
    described: int


def layout(read: Read, start: int, end: int) -> Layout | None:
    """Find the chunks; return None where the file is of another kind.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset at which the file begins, after tags.
        end: Offset at which it ends, before tags.
    """
    head = read(12, start)
    container = _CONTAINERS.get(head[:4])
    if container is None or (container.first == 12 and head[8:12] not in _FORMS):
        return None
    at = start + container.first
    codec: int | bytes = b""
    spans: list[tuple[int, int | None]] = []
    long_size = None
    others = passed = described = 0
    while passed < _MOST_CHUNKS and (found := _chunk(read, at, end, container)) is not None:
        name, first, size = found
        passed += 1
        if name in _CONTAINERS:
            others += 1
        if name == b"ds64":
            long_size = int.from_bytes(read(8, first + 8), "little")
        if name in _FORMAT:
            codec, described = _codec(read(26, first), head, container), first
        known: int | None = size
        if name in _AUDIO:
            if size == 256**container.size_bytes - 1:
                known = long_size
            lead = _LEADS.get(name if container.first == 12 else head[:4], 0)
            spans.append((first + lead, None if known is None else max(0, known - lead)))
        if known is None or first + known >= end or (name == b"SSND" and not known):
            at = end
            break
        at = first + known
        padded = at + (start - at) % container.multiple
        if padded >= end or _chunk(read, padded, end, container):
            at = padded
    uncounted = end - at if end - at >= _SHORTEST_CHUNK_BYTES and _has_data(read, at, end) else 0
    filled = [span for span in spans if span[1] != 0]
    offset, counted = (filled or spans)[0] if spans else (None, None)
    return Layout(head[:4], codec, offset, counted, max(0, len(filled) - 1) + others, uncounted, described)


@dataclass(frozen=True)
class FileChunk:
    """One chunk of a file.

    Args:
        name: Its name.
        start: Offset of its content.
        size: Length of the content in bytes.
    """

    name: bytes
    start: int
    size: int


def chunks(read: Read, start: int, end: int) -> Iterator[FileChunk]:
    """Yield the complete chunks of a file but for the audio, up to the first one that is damaged.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset at which the file begins, after tags.
        end: Offset at which it ends, before tags.
    """
    head = read(12, start)
    container = _CONTAINERS.get(head[:4])
    if container is None:
        return
    at, long_size = start + container.first, None
    for _ in range(_MOST_CHUNKS):
        if (found := _chunk(read, at, end, container)) is None:
            return
        name, first, size = found
        if name == b"ds64":
            long_size = int.from_bytes(read(8, first + 8), "little")
        if name in _AUDIO and size == 256**container.size_bytes - 1:
            if long_size is None:
                return
            size = long_size
        if name not in _AUDIO and first + size <= end:
            yield FileChunk(name, first, size)
        at = first + size
        padded = at + (start - at) % container.multiple
        if _chunk(read, padded, end, container):
            at = padded


def _chunk(read: Read, at: int, end: int, container: _Container) -> tuple[bytes, int, int] | None:
    head_bytes = container.name_bytes + container.size_bytes
    head = read(head_bytes, at)
    if at + head_bytes > end or len(head) < head_bytes:
        return None
    name, size = head[:4], int.from_bytes(head[container.name_bytes :], container.byte_order)
    if container.size_counts_head and size < 256**container.size_bytes - 1:
        size = max(0, size - head_bytes)
    first = at + head_bytes
    complete = first + size <= end and all(byte in _PRINTABLE for byte in name)
    return (name, first, size) if complete or name in _AUDIO | METADATA else None


def _codec(chunk: bytes, head: bytes, container: _Container) -> int | bytes:
    if head[:4] == b"caff":
        return chunk[8:12]
    if head[:4] == b"FORM":
        return chunk[18:22] if head[8:12] == b"AIFC" else b""
    number = int.from_bytes(chunk[:2], container.byte_order)
    return int.from_bytes(chunk[24:26], container.byte_order) if number == _EXTENSIBLE else number


def _has_data(read: Read, at: int, end: int) -> bool:
    """Whether anything but zeros follows."""
    while at < end and (piece := read(min(1 << 20, end - at), at)):
        if any(piece):
            return True
        at += len(piece)
    return False
