"""Parts of a file, presented to a decoder as one file: it would fail at what lies between them."""

import bisect
import io
import itertools
import os
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Part", "View"]

Part: TypeAlias = tuple[int, int] | bytes | int
"""A byte range of a file, as start and end; or bytes to insert; or the length of a hole. A hole counts as length, but a
read in it returns the end of the file."""


class View(io.RawIOBase):
    """Parts of an open file in sequence.

    libsndfile takes a failed read for the end of the file, so `error` keeps its cause.

    Args:
        fd: The file, open for reading; it stays open.
        parts: The parts.
    """

    error: OSError | None

    def __init__(self, fd: int, parts: Sequence[Part]) -> None:
        self.error = None
        self._fd = fd
        self._parts = parts
        self._ends = list(itertools.accumulate(map(_length, parts)))
        self._at = 0

    @property
    def size(self) -> int:
        """Length in bytes, with holes."""
        return self._ends[-1]

    def tell(self) -> int:
        """Return the offset of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset and return it."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; fewer at the end and before a hole."""
        pieces = []
        left = self.size if size < 0 else size
        while left > 0 and self._at < self.size:
            number = bisect.bisect_right(self._ends, self._at)
            part = self._parts[number]
            remaining = self._ends[number] - self._at
            data = self._piece(part, _length(part) - remaining, min(left, remaining))
            if not data:
                break
            pieces.append(data)
            self._at += len(data)
            left -= len(data)
        return b"".join(pieces)

    def tail(self, size: int) -> bytes:
        """Read the last `size` bytes without moving."""
        at = self._at
        self.seek(-size, os.SEEK_END)
        data = self.read(size)
        self._at = at
        return data

    def _piece(self, part: Part, within: int, size: int) -> bytes:
        if isinstance(part, int):
            return b""
        if isinstance(part, bytes):
            return part[within : within + size]
        try:
            return os.pread(self._fd, size, part[0] + within)
        except OSError as error:
            self.error = error
            return b""

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _length(part: Part) -> int:
    if isinstance(part, int):
        return part
    return len(part) if isinstance(part, bytes) else part[1] - part[0]
