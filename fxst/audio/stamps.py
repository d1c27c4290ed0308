"""Time stamps and random numbers that encoders leave in files: removed, so that equal audio gives equal files."""

import os
import zlib
from collections.abc import Iterator
from typing import Final, Literal

__all__ = ["unstamp"]

_BYTE_ORDERS: Final[dict[str, Literal["little", "big"]]] = {"WAV": "little", "WAVEX": "little", "AIFF": "big"}
"""Containers in which libsndfile stores the time with the peaks of floating-point samples."""

_SAMPLES: Final = (b"data", b"SSND")

_PAGE_HEAD_BYTES: Final = 27
_SERIAL: Final = slice(14, 18)
_CHECKSUM: Final = slice(22, 26)
_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def unstamp(fd: int, container: str) -> None:
    """Make a finished file reproducible, without a change to its audio.

    The time in the `PEAK` chunk of a WAV or AIFF becomes 0. The random serial number of an Ogg stream becomes a
    checksum of everything else, so that different files keep different numbers, which chained streams need.

    Args:
        fd: The file, open for reading and writing.
        container: soundfile's name of the container.

    Raises:
        OSError: It cannot be read or written.

    Source:
        libsndfile's `PEAK` chunk: version, time, and the peaks; RFC 3533, section 6, on Ogg's pages.
    """
    if container in _BYTE_ORDERS:
        _clear_time(fd, _BYTE_ORDERS[container])
    elif container == "OGG":
        _renumber(fd)


def _clear_time(fd: int, order: Literal["little", "big"]) -> None:
    at = 12
    while len(head := os.pread(fd, 8, at)) == 8 and head[:4] not in _SAMPLES:
        if head[:4] == b"PEAK":
            os.pwrite(fd, bytes(4), at + 12)
            return
        size = int.from_bytes(head[4:], order)
        at += 8 + size + size % 2


def _renumber(fd: int) -> None:
    rest = 0
    for _, page in _pages(fd):
        rest = zlib.crc32(page, rest)
    for at, page in _pages(fd):
        page[_SERIAL] = rest.to_bytes(4, "little")
        page[_CHECKSUM] = _checksum(page)
        os.pwrite(fd, page[:_PAGE_HEAD_BYTES], at)


def _pages(fd: int) -> Iterator[tuple[int, bytearray]]:
    """Yield each page of an Ogg stream with its offset, its serial number and checksum set to 0."""
    at = 0
    while head := os.pread(fd, _PAGE_HEAD_BYTES + 255, at):
        lengths = head[_PAGE_HEAD_BYTES : _PAGE_HEAD_BYTES + head[_PAGE_HEAD_BYTES - 1]]
        page = bytearray(os.pread(fd, _PAGE_HEAD_BYTES + len(lengths) + sum(lengths), at))
        page[_SERIAL] = page[_CHECKSUM] = bytes(4)
        yield at, page
        at += len(page)


def _checksum(page: bytes | bytearray) -> bytes:
    # Ogg's CRC is zlib's with the bits of every byte and of the result reversed, and without the two inversions.
    crc = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_MIRRORED)
