"""Chunks of a batch: which file belongs to which one is decided by its name, never by its position.

The files are sorted by a hash of their keys, on disk where they are many. A chunk is an equal share of the range of the
hash. So a file that is added later changes its own chunk and no other.
"""

import bisect
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fxst.errors import OutputError

__all__ = ["CHUNK_FILES", "Chunk", "Sorted", "chunk_count", "hashed", "numbers_of_shard"]

CHUNK_FILES: Final = 64
"""Files of a chunk, on average."""

_HASH_BITS: Final = 64
_HASH_DIGITS: Final = _HASH_BITS // 4
_PARTITIONS: Final = 256
_BYTES_IN_MEMORY: Final = 1 << 17
"""Of a partition; a larger one is a temporary file."""


@dataclass(frozen=True)
class Chunk:
    """A chunk.

    Args:
        number: Its number.
        lines: What is known of its files, a line each, in the order of their hashes.
        digest: A fingerprint of its files and of what is done to them.
    """

    number: int
    lines: tuple[str, ...]
    digest: str


def hashed(key: str) -> str:
    """Return the hash of a key, in hexadecimal digits."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_HASH_BITS // 8).hexdigest()


def chunk_count(files: int, *, at_least: int) -> int:
    """Return the number of chunks for a number of files.

    Args:
        files: Number of files.
        at_least: Number of chunks that the workers need to share the work evenly; no more than there are files.
    """
    return max(1, math.ceil(files / CHUNK_FILES), min(files, at_least))


def numbers_of_shard(index: int, shards: int, chunks: int) -> range:
    """Return the numbers of the chunks of a shard.

    >>> [list(numbers_of_shard(index, 3, 8)) for index in range(3)]
    [[0, 1, 2], [3, 4, 5], [6, 7]]
    """
    return range(-(-index * chunks // shards), -(-(index + 1) * chunks // shards))


class Sorted:
    """Lines, sorted by the hash of their keys; memory does not grow with their number.

    Args:
        items: Keys and lines; a line has no line feed.

    Raises:
        OutputError: There is no room for temporary files.
    """

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._files: dict[int, tempfile.SpooledTemporaryFile[bytes]] = {}
        self._loaded: dict[int, list[str]] = {}
        self._count = 0
        for key, line in items:
            self.add(key, line)

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "Sorted":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files."""
        for file in self._files.values():
            file.close()

    def add(self, key: str, line: str) -> None:
        """Add a line."""
        digits = hashed(key)
        partition = int(digits[:2], 16)
        try:
            if partition not in self._files:
                file = tempfile.SpooledTemporaryFile(_BYTES_IN_MEMORY)  # noqa: SIM115  (closed by `close`)
                self._files[partition] = file
            self._files[partition].write(f"{digits}{line}\n".encode())
        except OSError as error:
            raise OutputError(
                f"The list of files cannot be kept in {tempfile.gettempdir()!r} "
                f"({(error.strerror or str(error)).lower()}): set TMPDIR to a folder with more space."
            ) from error
        self._count += 1
        self._loaded.pop(partition, None)

    def lines(self, number: int, chunks: int) -> tuple[str, ...]:
        """Return the lines of a chunk, each once, in the order of their hashes.

        Args:
            number: The number of the chunk.
            chunks: The number of all chunks.
        """
        # The first hash h of chunk c is the least with h * chunks >> 64 == c.
        first, end = (-(-(place << _HASH_BITS) // chunks) for place in (number, number + 1))
        low, high = (f"{place:0{_HASH_DIGITS}x}" for place in (first, end - 1))
        found: list[str] = []
        for partition in range(int(low[:2], 16), int(high[:2], 16) + 1):
            rows = self._partition(partition)
            begin = bisect.bisect_left(rows, low)
            stop = bisect.bisect_left(rows, high + "\x7f")
            found += (row[_HASH_DIGITS:] for row in rows[begin:stop])
        return tuple(found)

    def _partition(self, number: int) -> list[str]:
        if number not in self._loaded:
            while len(self._loaded) > 1:  # chunks are asked for in order, and lie in one partition or two
                del self._loaded[next(iter(self._loaded))]
            rows: list[str] = []
            if (file := self._files.get(number)) is not None:
                file.seek(0)
                rows = sorted(set(file.read().decode().splitlines()))
                file.seek(0, os.SEEK_END)
            self._loaded[number] = rows
        return self._loaded[number]

    def in_order(self) -> Iterator[str]:
        """Yield all lines, each once, in the order of their hashes."""
        for partition in range(_PARTITIONS):
            yield from (row[_HASH_DIGITS:] for row in self._partition(partition))
