"""Where the manifest parts of a batch are kept: named blobs in a folder, or in an object store.

This module is `fxst.coordination.store`. A name is a relative path with `/`, such as `parts/00a4.jsonl`.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from fxst import staging
from fxst.errors import OutputError

__all__ = ["LocalStore", "Store"]

_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK})
"""Errors of file systems that have no hard links."""


class Store(Protocol):
    """Named blobs. Each appears complete or not at all, whatever becomes of the process that writes it."""

    def read(self, name: str) -> bytes:
        """Return a blob.

        Raises:
            FileNotFoundError: There is none of this name.
            OutputError: It cannot be read.
        """
        ...

    def write_new(self, name: str, data: bytes) -> bool:
        """Write a blob unless one of this name exists; return whether it was written.

        Of several processes that write one name at once, exactly one succeeds.

        Raises:
            OutputError: It cannot be written.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a blob, or replace it.

        Raises:
            OutputError: It cannot be written.
        """
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that begin with a prefix, in any order, in memory that does not grow with their number.

        Raises:
            OutputError: They cannot be listed.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a blob, if it exists.

        Raises:
            OutputError: It cannot be removed.
        """
        ...


class LocalStore:
    """The store in a folder; the folder and those below appear with the first blob.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes:
        """Return a blob."""
        path = self.folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OutputError(f"{str(path)!r} cannot be read ({reason}): check its permissions.") from error

    def write_new(self, name: str, data: bytes) -> bool:
        """Write a blob unless one of this name exists; return whether it was written."""
        path = self.folder / name
        with staging.folder(path.parent), staging.writing(path):
            hidden, fd = staging.begin(path)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
                staging.sync(fd)
                # A link, unlike a rename, fails where the name exists, on network drives too.
                os.link(hidden, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if path.exists():  # two processes that write at once write the same here
                    return False
                hidden.replace(path)
            finally:
                staging.discard(hidden, fd)
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write a blob, or replace it."""
        staging.write(self.folder / name, data)

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that begin with a prefix, folder by folder."""
        folder, slash, _ = prefix.rpartition("/")
        with staging.writing(self.folder / folder):
            yield from self._below(f"{folder}{slash}", prefix)

    def _below(self, folder: str, prefix: str) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder / folder) as entries:
            for entry in entries:
                name = folder + entry.name
                if not name.startswith(prefix) or staging.is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._below(f"{name}/", prefix)
                else:
                    yield name

    def delete(self, name: str) -> None:
        """Remove a blob, if it exists, and the folders that it leaves empty."""
        path = self.folder / name
        with staging.writing(path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for folder in path.parents:
                folder.rmdir()
                if folder == self.folder:
                    break
