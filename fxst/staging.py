"""Atomic writes: a new file is hidden in its folder until it is complete, and then renamed.

The process that writes a hidden file locks it, and the system releases the lock when that process dies. So a hidden
file without a lock was abandoned.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from fxst import authorship
from fxst.errors import OutputError

try:
    import fcntl
except ImportError:  # not on Windows, where an abandoned file stays until the user removes it
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "abandon",
    "begin",
    "discard",
    "finish",
    "folder",
    "is_hidden",
    "staged",
    "sweep",
    "sync",
    "together",
    "unwritable",
    "write",
    "writing",
]  # fmt: skip

_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""Errors of network drives that do not support fsync, rather than fail in it."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_HIDDEN: Final = re.compile(r"\.fxst-[0-9a-f]{16}\.tmp")
_REMAKINGS: Final = 20
"""How often a folder is made again that other processes remove: each of them does that once."""
_begun: set[Path] = set()
_needed: list[Path] = []
"""Folders of the blocks of `folder` that have not ended."""
_swept: set[Path] = set()
_waiting: ContextVar[list[tuple[Path, int, Path]] | None] = ContextVar("_waiting", default=None)


@contextlib.contextmanager
def together(on_commit: Callable[[Mapping[Path, Path]], Callable[[], None] | None] | None = None) -> Iterator[None]:
    """Rename all files that are finished in the block when it ends; none when it fails.

    Args:
        on_commit: Called with the hidden file of each name when all are complete, before the first is renamed. It may
            return an undo function, which is called where one of them cannot be renamed.

    Raises:
        OutputError: A file cannot be renamed.
    """
    waiting: list[tuple[Path, int, Path]] = []
    named: list[Path] = []
    undo: Callable[[], None] | None = None
    token = _waiting.set(waiting)
    try:
        yield
        if on_commit is not None:
            undo = on_commit({target: hidden for hidden, _, target in waiting})
        while waiting:
            hidden, fd, target = waiting[0]
            try:
                _rename(hidden, fd, target)
            except OSError as error:
                for path in named:
                    with contextlib.suppress(OSError):
                        path.unlink()
                if undo is not None:
                    undo()
                raise unwritable(target, error) from error
            finally:
                waiting.pop(0)
            named.append(target)
    finally:
        _waiting.reset(token)
        for hidden, fd, _ in waiting:
            discard(hidden, fd)


def begin(target: Path) -> tuple[Path, int]:
    """Create a hidden file in the folder of a new file; return its path and a descriptor for reading and writing.

    The first call for a folder also removes files that dead processes left there. In a block of `folder`, the folder is
    created again if another process that created it has failed, and has removed it.

    Args:
        target: The new file; not a link.

    Raises:
        OSError: It cannot be created, or an existing file is write-protected, which a rename would ignore.
    """
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(target))
    if target.parent not in _swept:  # in every folder, since no other command may ever write there
        _swept.add(target.parent)
        sweep(target.parent, deep=False)
    remakings = _REMAKINGS if Path(os.path.realpath(target.parent)) in _needed else 0
    while True:
        hidden = target.parent / f".fxst-{os.urandom(8).hex()}.tmp"
        _begun.add(hidden)
        # 0o666 less the umask, as for any new file; tempfile would create a private one.
        try:
            fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except BaseException as error:  # even an interrupt, which may come after the file was created
            with contextlib.suppress(OSError):
                hidden.unlink(missing_ok=True)
            _begun.discard(hidden)
            if not isinstance(error, FileNotFoundError) or not remakings:
                raise
            remakings -= 1
            _make(target.parent)
            continue
        if lock(fd) is not False and os.fstat(fd).st_nlink:
            return hidden, fd
        # Another process removed it between the two calls.
        discard(hidden, fd)


def finish(hidden: Path, fd: int, target: Path) -> None:
    """Rename a complete hidden file, now or at the end of `together`.

    Args:
        hidden: The file; it is removed where it cannot be renamed.
        fd: Its descriptor, which is closed after the renaming: until then it keeps the lock.
        target: Its new path.

    Raises:
        OSError: It cannot be stored or renamed.
    """
    try:
        sync(fd)
        # Network drives report failed writes when a descriptor is closed, and this one has to stay open.
        os.close(os.dup(fd))
        authorship.note(fd)
    except BaseException:
        discard(hidden, fd)
        raise
    waiting = _waiting.get()
    if waiting is None:
        _rename(hidden, fd, target)
    else:
        waiting.append((hidden, fd, target))


def sync(fd: int) -> None:
    """Flush a file to the disk.

    Raises:
        OSError: That failed.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def discard(hidden: Path, fd: int = -1) -> None:
    """Remove a hidden file, if it still exists.

    Args:
        hidden: The file.
        fd: Its descriptor, to close; -1 where it is closed already.
    """
    if fd >= 0:
        with contextlib.suppress(OSError):  # a failed write no longer matters
            os.close(fd)
    hidden.unlink(missing_ok=True)
    _begun.discard(hidden)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Create a folder and its parents if needed; those created are removed when the block fails, if they are empty.

    Args:
        path: The folder.

    Raises:
        OutputError: It cannot be created.
    """
    missing = [place for place in (path, *path.parents) if not place.exists()]
    try:
        _make(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"The folder {str(path)!r} cannot be made ({reason}): choose another.") from error
    needed = Path(os.path.realpath(path))
    _needed.append(needed)
    try:
        yield
    except BaseException:
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise
    finally:
        _needed.remove(needed)


def _make(path: Path) -> None:
    for left in reversed(range(_REMAKINGS)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # a parent was removed once it had been made
            if not left:
                raise
        else:
            return


def write(path: Path, data: bytes) -> None:
    """Write a file atomically; its folder is created if needed.

    Args:
        path: The file; a link is followed.
        data: Its content.

    Raises:
        OutputError: It cannot be written.
    """
    with staged(path, data):
        pass


@contextlib.contextmanager
def staged(path: Path, data: bytes) -> Iterator[None]:
    """Write a file that appears under its name when the block ends, and not at all when it fails.

    Args:
        path: The file; a link is followed.
        data: Its content.

    Raises:
        OutputError: It cannot be written.
    """
    with folder(path.parent):
        try:
            target = Path(os.path.realpath(path))
            if target.exists() and not target.is_file():
                raise OutputError(f"{str(path)!r} is a folder or a device: name a file.")
            hidden, fd = begin(target)
        except (OSError, ValueError) as error:
            raise unwritable(path, error) from error
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        except BaseException as error:
            discard(hidden, fd)
            raise (unwritable(path, error) if isinstance(error, OSError) else error) from error
        try:
            yield
        except BaseException:
            discard(hidden, fd)
            raise
        try:
            finish(hidden, fd, target)
        except OSError as error:
            raise unwritable(path, error) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any OSError of the block into that of a file that cannot be written.

    Args:
        path: The file.

    Raises:
        OutputError: The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> OutputError:
    """Return the error of a file that cannot be written, with the reason and a remedy.

    Args:
        path: The file.
        error: The system's error.
    """
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    remedy = "choose another folder"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        remedy = "free space or choose another folder"
    elif isinstance(error, OSError) and error.errno == errno.EIO:
        remedy = "check the disk, or choose another folder"
    return OutputError(f"{str(path)!r} cannot be written ({reason}): {remedy}.")


def is_hidden(name: str) -> bool:
    """Return whether a name is that of a hidden file."""
    return _HIDDEN.fullmatch(name) is not None


def abandon() -> None:
    """Remove every hidden file of this process, which is about to end: interrupts come between any two steps."""
    for hidden in tuple(_begun):
        with contextlib.suppress(OSError):
            discard(hidden)


def sweep(folder: Path, *, deep: bool) -> None:
    """Remove the hidden files of dead processes, and none that is still being written.

    Args:
        folder: The folder to search; it need not exist.
        deep: Whether to search the folders below as well.
    """
    for parent, folders, files in os.walk(folder):
        if not deep:
            folders.clear()
        for name in files:
            if is_hidden(name):
                with contextlib.suppress(OSError):  # another process may do the same
                    _remove_if_abandoned(Path(parent, name))


def _rename(hidden: Path, fd: int, target: Path) -> None:
    try:
        hidden.replace(target)
    except BaseException:
        discard(hidden, fd)
        raise
    _begun.discard(hidden)
    try:
        os.close(fd)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def _remove_if_abandoned(hidden: Path) -> None:
    fd = os.open(hidden, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if lock(fd):
            hidden.unlink()
    finally:
        os.close(fd)


def lock(fd: int) -> bool | None:
    """Lock an open file until it is closed, or its process ends.

    Returns:
        False where another process has the lock, None where files cannot be locked.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
