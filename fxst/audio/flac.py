"""The frame headers of a FLAC stream: length and sample rate as its last frames state them.

A FLAC file's header can be wrong, since it is written before the audio. libsndfile trusts it: it stops at the header's
length, and ignores changes of the sample rate. Every frame header repeats the true values.

Source: RFC 9639, sections 9.1.1 to 9.1.8.
"""

import re
from dataclasses import dataclass
from typing import Final

from fxst.audio.id3 import Read
from fxst.audio.views import Part

__all__ = ["TAIL_BYTES", "Ending", "ending", "header", "recount", "starts"]

TAIL_BYTES: Final = 1 << 16
"""Room for two frames of all but the widest recordings."""

_LONGEST_HEADER_BYTES: Final = 16
_SYNC: Final = re.compile(rb"\xff[\xf8\xf9]")
_STREAM: Final = re.compile(rb"fLaC[\x00\x80]\0\0\x22")
"""Start of a stream: the marker and the header of the STREAMINFO block."""
_SMALLEST_BLOCK: Final = b"\x00\x10"
_LARGEST_BLOCK: Final = b"\xff\xff"
_STREAM_BYTES: Final = 8
_NUMBERS: Final = slice(18, 26)
"""Sample rate, channels, bit depth and length in the STREAMINFO block at the beginning of a stream."""
_LENGTH_BITS: Final = 36
_READ_BYTES: Final = 1 << 20
_SAMPLE_RATES: Final = (
    None, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
)  # fmt: skip
_BITS: Final = (None, 8, 12, None, 16, 20, 24, 32)


@dataclass(frozen=True)
class Ending:
    """How a FLAC stream ends.

    Args:
        frames: Samples per channel, up to and including the last frame.
        sample_rate: The last frame's; None where it refers to the file's header.
        channels: The last frame's.
        bits: Bit depth of the last frame; None where it refers to the file's header.
    """

    frames: int
    sample_rate: int | None
    channels: int
    bits: int | None


def starts(read: Read, start: int, end: int) -> list[int]:
    """Find the offsets of all streams in a file that may contain several in a row.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset of the first stream.
        end: Offset at which the last one ends.
    """
    found = [start]
    at = start + 4
    while at < end and (piece := read(min(_READ_BYTES, end - at), at)):
        found += [at + match.start() for match in _STREAM.finditer(piece)]
        if at + len(piece) >= end:
            break
        at += max(1, len(piece) - _STREAM_BYTES + 1)
    return found


@dataclass(frozen=True)
class _Frame:
    variable: bool
    number: int
    block: int
    sample_rate: int | None
    channels: int
    bits: int | None


def ending(tail: bytes) -> Ending | None:
    """Find the last two consecutive frames; return None where there are no two.

    One header proves little: its checksum has eight bits, and audio data can look like a header. Two with consecutive
    numbers do not occur by chance.

    Args:
        tail: The end of a FLAC file.
    """
    starts = (match.start() for match in _SYNC.finditer(tail))
    frames = [frame for at in starts if (frame := _frame(tail[at : at + _LONGEST_HEADER_BYTES]))]
    for later in range(len(frames) - 1, 0, -1):
        last = frames[later]
        for before in reversed(frames[:later]):
            step = before.block if before.variable else 1
            if before.variable == last.variable and before.number + step == last.number:
                # With a fixed block size frames are numbered, and only the last may be shorter.
                first_sample = last.number * (1 if last.variable else before.block)
                return Ending(first_sample + last.block, last.sample_rate, last.channels, last.bits)
    return None


def recount(read: Read, start: int, end: int) -> list[Part] | None:
    """Correct the header of a stream that states a shorter length than its last frame; return None for any other.

    Args:
        read: Reads the file: `read(size, offset)`.
        start: Offset of the stream.
        end: Offset at which it ends.

    Returns:
        The parts of the corrected stream.
    """
    if not _STREAM.match(read(_STREAM_BYTES, start)):
        return None
    numbers = int.from_bytes(read(_NUMBERS.stop, start)[_NUMBERS], "big")
    stated = numbers & (1 << _LENGTH_BITS) - 1
    tail = max(start, end - TAIL_BYTES)
    last = ending(read(end - tail, tail))
    if last is None or not 0 < stated < last.frames < 1 << _LENGTH_BITS:
        return None
    corrected = (numbers - stated + last.frames).to_bytes(8, "big")
    return [(start, start + _NUMBERS.start), corrected, (start + _NUMBERS.stop, end)]


def header(head: bytes) -> tuple[bytes, int] | None:
    """Make the header of a stream that starts at a frame, such as a recorded broadcast; None where there is no frame.

    Args:
        head: The stream's first bytes.

    Returns:
        The header, which leaves the length open, and the number of the first sample.
    """
    frame = _frame(head) if _SYNC.match(head) else None
    if frame is None or not frame.sample_rate or not frame.bits:
        return None
    numbers = frame.sample_rate << 44 | (frame.channels - 1) << 41 | (frame.bits - 1) << 36
    description = _SMALLEST_BLOCK + _LARGEST_BLOCK + bytes(6) + numbers.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\0\0\x22" + description, frame.number * (1 if frame.variable else frame.block)


def _frame(head: bytes) -> _Frame | None:
    # A frame of silence can be shorter than the longest header.
    head = head.ljust(_LONGEST_HEADER_BYTES, b"\0")
    block_code, rate_code = head[2] >> 4, head[2] & 15
    if block_code == 0 or rate_code == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    number, at = _coded_number(head)
    if number is None:
        return None
    if block_code == 1:
        block = 192
    elif block_code <= 5:
        block = 144 << block_code
    elif block_code <= 7:
        size = block_code - 5
        block = int.from_bytes(head[at : at + size], "big") + 1
        at += size
    else:
        block = 1 << block_code
    sample_rate: int | None
    if rate_code < 12:
        sample_rate = _SAMPLE_RATES[rate_code]
    else:
        size = 1 if rate_code == 12 else 2
        sample_rate = int.from_bytes(head[at : at + size], "big") * {12: 1000, 13: 1, 14: 10}[rate_code]
        at += size
    channel_code = head[3] >> 4
    channels = channel_code + 1 if channel_code < 8 else 2
    frame = _Frame(bool(head[1] & 1), number, block, sample_rate, channels, _BITS[head[3] >> 1 & 7])
    return frame if _crc8(head[:at]) == head[at] else None


def _coded_number(head: bytes) -> tuple[int | None, int]:
    """Return the frame's number, which is coded as in UTF-8 but with up to 36 bits, and the offset after it."""
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    if ones == 0:
        return head[4], 5
    if ones == 1 or ones == 8:
        return None, 5
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + ones]:
        if byte >> 6 != 2:
            return None, 5
        number = number << 6 | byte & 0x3F
    return number, 4 + ones


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 0xFF
    return crc
