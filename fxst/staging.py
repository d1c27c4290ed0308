"""New files: hidden beside their place until they are whole, so that a name is never a part of a file.

A hidden file is locked by who writes it, and the system takes the lock back when that process dies. So whoever finds
one that is not locked knows that nobody will finish it.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from fxst.errors import OutputError

try:
    import fcntl
except ImportError:  # not on Windows, where a left-over file stays until a person removes it
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "abandon", "begin", "discard", "finish", "folder", "staged", "sweep", "sync", "together", "told", "unwritable",
    "write",
]  # fmt: skip

_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What the driver of a network drive answers that cannot synchronise files, and not that it failed to."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_HIDDEN: Final = re.compile(r"\.fxst-[0-9a-f]{16}\.tmp")
_begun: set[Path] = set()
_swept: set[Path] = set()
_waiting: ContextVar[list[tuple[Path, int, Path]] | None] = ContextVar("_waiting", default=None)


@contextlib.contextmanager
def together(vouch: Callable[[Mapping[Path, Path]], Callable[[], None] | None] | None = None) -> Iterator[None]:
    """Let all files that are finished in the block appear under their names when it ends; none when it fails.

    Args:
        vouch: Is told, when all are whole and before the first has its name, where each of them is hidden, by name. It
            may give back what takes that back, which is called where one of them cannot get its name.

    Raises:
        OutputError: One cannot get its name.
    """
    waiting: list[tuple[Path, int, Path]] = []
    named: list[Path] = []
    take_back: Callable[[], None] | None = None
    token = _waiting.set(waiting)
    try:
        yield
        if vouch is not None:
            take_back = vouch({target: hidden for hidden, _, target in waiting})
        while waiting:
            hidden, fd, target = waiting[0]
            try:
                _rename(hidden, fd, target)
            except OSError as error:
                for path in named:
                    with contextlib.suppress(OSError):
                        path.unlink()
                if take_back is not None:
                    take_back()
                raise unwritable(target, error) from error
            finally:
                waiting.pop(0)
            named.append(target)
    finally:
        _waiting.reset(token)
        for hidden, fd, _ in waiting:
            discard(hidden, fd)


def begin(target: Path) -> tuple[Path, int]:
    """Create a hidden file beside a file's place; give its path, and its descriptor for reading and writing.

    What dead processes have left in that folder is removed, once.

    Args:
        target: Where the file is to be in the end; no link.

    Raises:
        OSError: It cannot be created, or what is there is protected against writing, which a rename would not mind.
    """
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(target))
    if target.parent not in _swept:  # wherever this program writes, for no other command may ever come there
        _swept.add(target.parent)
        sweep(target.parent, deep=False)
    while True:
        hidden = target.parent / f".fxst-{os.urandom(8).hex()}.tmp"
        _begun.add(hidden)
        # 0o666 less the umask, as for any new file; tempfile would make it private.
        try:
            fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except BaseException:  # an interrupt, too, which may come when the file is there already
            with contextlib.suppress(OSError):
                hidden.unlink(missing_ok=True)
            _begun.discard(hidden)
            raise
        if _locked(fd) is not False and os.fstat(fd).st_nlink:
            return hidden, fd
        # Somebody swept it away between the two calls.
        discard(hidden, fd)


def finish(hidden: Path, fd: int, target: Path) -> None:
    """Give a hidden file, which is whole by now, the name that it was begun for; or have `together` do so.

    Args:
        hidden: The file. Where it cannot get its name, it is gone.
        fd: Its descriptor, which is closed when it has its name: until then it keeps others from sweeping it away.
        target: The name.

    Raises:
        OSError: What was written cannot be kept, or not be renamed.
    """
    try:
        sync(fd)
        # Network drives tell of a failed write when a descriptor is closed, and this one has to stay open.
        os.close(os.dup(fd))
    except BaseException:
        discard(hidden, fd)
        raise
    waiting = _waiting.get()
    if waiting is None:
        _rename(hidden, fd, target)
    else:
        waiting.append((hidden, fd, target))


def sync(fd: int) -> None:
    """See that what was written to a file is on the disk.

    Raises:
        OSError: It is not.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def discard(hidden: Path, fd: int = -1) -> None:
    """Remove a hidden file, where it is still there.

    Args:
        hidden: The file.
        fd: Its descriptor, to be closed; -1 where it is closed already.
    """
    if fd >= 0:
        with contextlib.suppress(OSError):  # what could not be written is not wanted any more
            os.close(fd)
    hidden.unlink(missing_ok=True)
    _begun.discard(hidden)


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Have a folder; one that had to be made goes again when the block fails.

    Args:
        path: The folder.

    Raises:
        OutputError: It cannot be made.
    """
    missing = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"The folder {str(path)!r} cannot be made ({reason}): choose another.") from error
    try:
        yield
    except BaseException:
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def write(path: Path, data: bytes) -> None:
    """Write a file that is in memory; it appears under its name only when it is whole, in a folder made for it.

    Args:
        path: Where it goes; of a link, where that leads.
        data: What is in it.

    Raises:
        OutputError: It cannot be written.
    """
    with staged(path, data):
        pass


@contextlib.contextmanager
def staged(path: Path, data: bytes) -> Iterator[None]:
    """Write a file that is in memory; it appears under its name when the block ends, and not at all when it fails.

    Args:
        path: Where it goes; of a link, where that leads.
        data: What is in it.

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
def told(path: Path) -> Iterator[None]:
    """Tell what fails in the block as a file that cannot be written.

    Args:
        path: The file.

    Raises:
        OutputError: The system refuses something in the block.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> OutputError:
    """Say why a file cannot be written, and what helps.

    Args:
        path: The file.
        error: What the system said.
    """
    reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
    remedy = "choose another folder"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        remedy = "free space or choose another folder"
    elif isinstance(error, OSError) and error.errno == errno.EIO:
        remedy = "check the disk, or choose another folder"
    return OutputError(f"{str(path)!r} cannot be written ({reason}): {remedy}.")


def abandon() -> None:
    """Remove every hidden file that this process has begun, for it ends: an interrupt comes between any two steps."""
    for hidden in tuple(_begun):
        with contextlib.suppress(OSError):
            discard(hidden)


def sweep(folder: Path, *, deep: bool) -> None:
    """Remove the hidden files of processes that died, and none that is still written.

    Args:
        folder: Where to look; it need not be there.
        deep: Whether to look in the folders below as well.
    """
    for parent, folders, files in os.walk(folder):
        if not deep:
            folders.clear()
        for name in files:
            if _HIDDEN.fullmatch(name):
                with contextlib.suppress(OSError):  # another process may sweep here, too
                    _remove_if_nobodys(Path(parent, name))


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


def _remove_if_nobodys(hidden: Path) -> None:
    fd = os.open(hidden, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if _locked(fd):
            hidden.unlink()
    finally:
        os.close(fd)


def _locked(fd: int) -> bool | None:
    """Lock an open file; False where another process has, None where files cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
