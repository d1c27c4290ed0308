"""The frames of MPEG audio (MP3 and the older layers): their offsets, number and parameters.

An MP3 need not state its length, and the length can be wrong: two files joined into one keep the count of the first.
libsndfile then stops at an estimate, or at that count. Every frame header gives the frame's own length, so frames can
be counted.

Source: ISO/IEC 11172-3, section 2.4.1.3; ISO/IEC 13818-3; the Xing and VBRI headers as their encoders write them.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from fxst.audio import id3

__all__ = ["Information", "Stream", "begins", "walk"]

_LONGEST_FRAME_BYTES: Final = 2881
_LONGEST_LEAD_BYTES: Final = 1 << 20
"""How far to search for the next frame after padding, half a frame or an unknown tag."""
_READ_BYTES: Final = 1 << 20

_HEADER: Final = struct.Struct(">I")
_SYNC: Final = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]")

_SAMPLE_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Sample rates by version code: MPEG 1, 2 and 2.5."""
_KILOBITS: Final = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s of each code, from 1, by (whether it is MPEG 1, layer)."""


@dataclass(frozen=True)
class Information:
    """A first frame without audio, whose Xing or VBRI header describes the others.

    Args:
        end: Offset of the frame after it.
        data: Its bytes.
        fields: Offset in it of a Xing header's flags; None in a VBRI header, which libsndfile does not know.
        frames: Its count of frames; None where it has none.
        size: Its count of bytes, itself included; None where it has none.
    """

    end: int
    data: bytes
    fields: int | None
    frames: int | None
    size: int | None

    def counting(self, frames: int, size: int) -> bytes:
        """Return the same Xing frame with other counts.

        Args:
            frames: Number of frames after it.
            size: Their bytes, with this frame's.
        """
        assert self.fields is not None
        data = bytearray(self.data)
        at = self.fields + 4
        for count, value in ((self.frames, frames), (self.size, size)):
            if count is not None:
                data[at : at + 4] = value.to_bytes(4, "big")
                at += 4
        return bytes(data)


@dataclass(frozen=True)
class Stream:
    """The frames of a stream.

    Args:
        spans: Their byte ranges: start and end of each.
        frames: Their number, without the information frame and an incomplete last one.
        frame_samples: Samples per channel of each.
        longest_bytes: Length of the longest.
        information: The information frame, where there is one.
        cut: Whether the last frame is incomplete.
        fault: Why not all of the file can be decoded; what follows the file's name in a sentence.
        change: Which parameter changes in the middle of the stream; what follows "MPEG audio that" in a sentence.
        following: Offset of another stream with other parameters, as in joined files; None where there is none.
    """

    spans: tuple[tuple[int, int], ...]
    frames: int
    frame_samples: int
    longest_bytes: int
    information: Information | None
    cut: bool
    fault: str | None
    change: str | None
    following: int | None

    @property
    def size(self) -> int:
        """Their total length in bytes."""
        return sum(end - start for start, end in self.spans)


class _Kind(NamedTuple):
    """The parameters that stay the same within a stream."""

    version: int
    layer: int
    sample_rate: int
    mono: bool

    @property
    def frame_samples(self) -> int:
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.version != 3 else 1152


class _Frame(NamedTuple):
    kind: _Kind
    length: int


def _frames() -> dict[int, _Frame]:
    """Return every possible header, by its second and third byte and the fourth's mono flag."""
    found = {}
    for version, rates in _SAMPLE_RATES.items():
        for layer in (1, 2, 3):
            for rate_code, rate in enumerate(rates):
                for mono in (False, True):
                    kind = _Kind(version, layer, rate, mono)
                    slot = 4 if layer == 1 else 1
                    slots = kind.frame_samples // 8 // slot
                    for code, kilobits in enumerate(_KILOBITS[version == 3, layer], 1):
                        for rest in range(8):
                            checked, private, padding = rest & 1, rest >> 1 & 1, rest >> 2
                            second = 0xE0 | version << 3 | (4 - layer) << 1 | checked
                            third = code << 4 | rate_code << 2 | padding << 1 | private
                            length = (slots * kilobits * 1000 // rate + padding) * slot
                            found[second << 9 | third << 1 | mono] = _Frame(kind, length)
    return found


_FRAMES: Final = _frames()


def _frame(head: int) -> _Frame | None:
    return _FRAMES.get((head >> 7 & 0x1FFFE) | (head & 0xC0 == 0xC0)) if head >> 24 == 0xFF else None


class _Pieces:
    """A file read in large pieces."""

    def __init__(self, read: id3.Read, end: int) -> None:
        self._read = read
        self.end = end
        self.base, self.data = 0, b""

    def load(self, size: int, at: int) -> None:
        """Read up to `size` bytes at an offset into `data`."""
        stop = min(at + size, self.end)
        if at < self.base or stop > self.base + len(self.data):
            self.base, self.data = at, self._read(max(0, min(max(size, _READ_BYTES), self.end - at)), at)

    def read(self, size: int, at: int) -> bytes:
        self.load(size, at)
        return self.data[at - self.base : at - self.base + size]

    def frame(self, at: int) -> _Frame | None:
        head = self.read(4, at)
        return _frame(int.from_bytes(head, "big")) if len(head) == 4 else None


def walk(read: Callable[[int, int], bytes], start: int, end: int) -> Stream | None:
    """Walk from frame to frame, as long as they have the same parameters; return None where there is no MPEG audio.

    Args:
        read: Reads up to `size` bytes at an offset: `read(size, offset)`.
        start: Offset at which to start.
        end: Offset at which to end.
    """
    file = _Pieces(read, end)
    at = _next(file, start, min(end, start + _LONGEST_LEAD_BYTES), None)
    first = None if at is None else file.frame(at)
    if at is None or first is None:
        return None
    kind = first.kind
    information = _information(file, at, first)
    frames, longest, cut, fault, change, other = 0, 0, False, None, None, None
    spans = []
    while True:
        run = _run(file, at, kind)
        cut = run.cut
        if run.stop > at:
            spans.append((at, run.stop))
        frames, longest = frames + run.frames, max(longest, run.longest)
        after_tags = min(id3.end(file.read, run.stop), end)
        found = None if cut else _next(file, after_tags, min(end, after_tags + _LONGEST_LEAD_BYTES), kind)
        if found is None:
            break
        seconds = f"{frames * kind.frame_samples / kind.sample_rate:.2f} s"
        following = file.frame(found)
        assert following is not None
        if found - after_tags > _LONGEST_FRAME_BYTES:
            fault = f"is damaged near {seconds}: {found - after_tags} bytes there are not audio"
        elif following.kind != kind and _is_a_beginning(file, found, following):
            other = found
        elif following.kind != kind:
            change = f"changes {_change(kind, following.kind)} after {seconds}"
        if fault or change or other is not None:
            break
        at = found
    frames -= information is not None
    counted = information is not None and information.frames is not None and information.frames <= frames
    if (
        found is None
        and not (cut or counted)
        and end - after_tags > _LONGEST_FRAME_BYTES
        and not _only_zeros(file, after_tags)
    ):
        fault = f"is damaged: its last {end - after_tags} bytes are not audio"
    return Stream(tuple(spans), frames, kind.frame_samples, longest, information, cut, fault, change, other)


def begins(head: bytes) -> bool:
    """Return whether four bytes are a frame's header, or may be one of free format."""
    number = int.from_bytes(head[:4], "big")
    return len(head) >= 4 and (_frame(number) is not None or _frame(number | 0x1000) is not None)


class _Run(NamedTuple):
    """Consecutive frames of one kind.

    Args:
        stop: The offset after them.
        frames: Their number.
        longest: The length of the longest, in bytes.
        cut: Whether an incomplete one follows.
    """

    stop: int
    frames: int
    longest: int
    cut: bool


def _run(file: _Pieces, at: int, kind: _Kind) -> _Run:
    """Skip consecutive frames of one kind."""
    frames = longest = 0
    while at + 4 <= file.end:
        file.load(4, at)
        offset, last = at - file.base, len(file.data) - 4
        if offset > last:  # the file was truncated meanwhile
            break
        while offset <= last:
            (head,) = _HEADER.unpack_from(file.data, offset)
            frame = _frame(head)
            if frame is None or frame.kind is not kind:
                return _Run(file.base + offset, frames, longest, cut=False)
            if file.base + offset + frame.length > file.end:
                return _Run(file.base + offset, frames, longest, cut=True)
            longest = max(longest, frame.length)
            offset += frame.length
            frames += 1
        at = file.base + offset
    return _Run(at, frames, longest, cut=False)


def _next(file: _Pieces, at: int, limit: int, kind: _Kind | None) -> int | None:
    """Find the offset of the next frame; None where there is none before the limit.

    One header proves little. A frame of the known kind must be followed by another, one of another kind by two more, or
    by the end of the file.
    """
    while at + 4 <= limit:
        file.load(_READ_BYTES, at)
        base, data = file.base, file.data
        for match in _SYNC.finditer(data, at - base):
            place = base + match.start()
            if place + 4 > limit:
                return None
            if _proven(file, place, kind):
                return place
        at = base + len(data) - 3
    return None


def _proven(file: _Pieces, at: int, kind: _Kind | None) -> bool:
    frame = file.frame(at)
    if frame is None:
        return False
    first = frame.kind
    for _ in range(1 if first is kind else 2):
        at += frame.length
        if at == file.end:
            return True
        frame = file.frame(at)
        if frame is None or frame.kind is not first:
            return False
    return True


def _change(before: _Kind, after: _Kind) -> str:
    if before.sample_rate != after.sample_rate:
        return f"its sample rate from {before.sample_rate} to {after.sample_rate} Hz"
    if before.mono != after.mono:
        return f"from {'mono to stereo' if before.mono else 'stereo to mono'}"
    return f"from layer {before.layer} to layer {after.layer} of MPEG audio"


def _is_a_beginning(file: _Pieces, at: int, frame: _Frame) -> bool:
    """Return whether a frame can be decoded without those before it, which in layer 3 may hold a part of its data."""
    if frame.kind.layer != 3:
        return True
    head = file.read(8, at)
    side = head[4:] if head[1] & 1 else head[6:]  # after a checksum
    return int.from_bytes(side[:2], "big") >> (7 if frame.kind.version == 3 else 8) == 0


def _only_zeros(file: _Pieces, at: int) -> bool:
    """Return whether nothing but zeros follows."""
    while piece := file.read(_READ_BYTES, at):
        if any(piece):
            return False
        at += len(piece)
    return True


def _information(file: _Pieces, at: int, frame: _Frame) -> Information | None:
    if frame.kind.layer != 3:
        return None
    data = file.read(frame.length, at)
    end = at + frame.length
    if data[36:40] == b"VBRI":
        return Information(end, data, None, int.from_bytes(data[50:54], "big"), int.from_bytes(data[46:50], "big"))
    side = (17 if frame.kind.mono else 32) if frame.kind.version == 3 else (9 if frame.kind.mono else 17)
    for place in (4 + side, 6 + side):  # a two-byte CRC may precede the side information
        if data[place : place + 4] in (b"Xing", b"Info"):
            fields = place + 4
            numbers = [int.from_bytes(data[at : at + 4], "big") for at in (fields + 4, fields + 8)]
            frames = numbers.pop(0) if data[fields + 3] & 1 else None
            return Information(end, data, fields, frames, numbers[0] if data[fields + 3] & 2 else None)
    return None
