"""Local copies of objects: each has a path of its own in a temporary folder, from which its URL can be told.

So all code below works on files. A copy exists only while it is needed: an input is fetched before it is read, an
output is uploaded when it is complete, and both are removed then. Other processes know the folder by `use`, and may run
on other machines, where it need not exist.

The process that made the folder locks a file in it, and the system releases the lock when the process dies. So a folder
without a lock was abandoned.
"""

import atexit
import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fxst import staging
from fxst.errors import AudioError, FxstError, OutputError, SettingsError
from fxst.storage.objects import CloudStore, StoredObject
from fxst.storage.urls import ObjectUrl
from fxst.untrusted import quoted

__all__ = [
    "check",
    "check_bucket",
    "fetch",
    "fetched",
    "find",
    "objects_below",
    "path_of",
    "publish",
    "published",
    "removed",
    "root",
    "shown",
    "state",
    "url_of",
    "use",
]

LARGEST_BYTES: Final = 64 << 30
"""Of an input; an hour of two channels in floating point has 1.4 GB."""

_SPARE_BYTES: Final = 256 << 20
"""What a disk keeps free."""

_PREFIX: Final = "fxst-objects-"
_LOCK: Final = ".lock"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./ +@,=-]+")

_root: Path | None = None
_lock: int = -1


def root() -> Path | None:
    """Return the folder of the copies; None where no URL is used."""
    return _root


def use(path: Path | None) -> None:
    """Use the folder of another process.

    Args:
        path: Its `root()`. On another machine it is made, and removed when this process ends.
    """
    global _root
    _root = path
    if path is not None and not path.exists():
        with contextlib.suppress(OSError):  # another process makes it
            path.mkdir(mode=0o700, parents=True)
            staging.lock(os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            atexit.register(shutil.rmtree, path, ignore_errors=True)


@contextlib.contextmanager
def removed() -> Iterator[None]:
    """Remove the folder of copies when the block ends; errors of the block name URLs instead of copies.

    Raises:
        FxstError: As the block does.
    """
    global _lock
    try:
        yield
    except FxstError as error:
        raise type(error)(shown(str(error))) from error
    finally:
        made, lock = _root, _lock
        if lock >= 0 and made is not None:
            use(None)
            _lock = -1
            shutil.rmtree(made, ignore_errors=True)
            os.close(lock)


def _made() -> Path:
    """Return the folder of copies; the first call makes it."""
    global _lock
    while _root is None:
        try:
            place = Path(os.path.realpath(tempfile.gettempdir()))
            if _PLAIN.fullmatch(str(place)) is None:
                raise OutputError(
                    f"The folder for temporary files, {quoted(place)}, has signs in its name: set TMPDIR."
                )
            _sweep(place)
            made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            lock = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(
                f"There is no folder for temporary files ({(error.strerror or str(error)).lower()}): set TMPDIR to one "
                "that you may write to."
            ) from error
        if staging.lock(lock) is not False and os.fstat(lock).st_nlink:
            _lock = lock
            use(made)
        else:  # another process took it for abandoned
            os.close(lock)
    return _root


def path_of(url: ObjectUrl, *, is_folder: bool = False) -> Path:
    """Return the path of a copy, which need not exist.

    Args:
        url: The object.
        is_folder: Whether it is a folder of objects; the path is then one too.
    """
    path = _made() / url.scheme / url.bucket / url.key
    if is_folder:
        path.mkdir(parents=True, exist_ok=True)
    return path


def url_of(path: Path) -> ObjectUrl | None:
    """Return the URL of a copy; None for any other path."""
    if _root is None:
        return None
    try:
        scheme, bucket, *key = path.relative_to(_root).parts
    except ValueError:
        return None
    return ObjectUrl(scheme, bucket, "/".join(key))


def shown(text: str) -> str:
    """Replace the paths of copies in a message by their URLs."""
    if _root is None or str(_root) not in text:
        return text
    return re.sub(re.escape(str(_root)) + r"/(s3|gs|az)(?=/)", r"\1:/", text)


def find(path: Path) -> StoredObject | None:
    """Return what the store says of the object of a copy; None where there is none."""
    url = url_of(path)
    assert url is not None, "only copies have an object"
    return CloudStore(url).find()


def state(path: Path) -> tuple[int, int] | None:
    """Return size and time of modification of a file, or of the object of a copy; None where it does not exist.

    Args:
        path: The file, or the path of the copy.

    Raises:
        FxstError: The store cannot be asked.
    """
    if url_of(path) is not None:
        found = find(path)
        return None if found is None else (found.size, found.mtime_ns)
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return about.st_size, about.st_mtime_ns


def objects_below(path: Path) -> Iterator[tuple[Path, StoredObject]]:
    """Yield the copies' paths of the objects below a folder, in memory that does not grow with their number.

    Args:
        path: The folder, which is a copy.

    Raises:
        AudioError: They cannot be listed.
    """
    url = url_of(path)
    assert url is not None, "only copies have an object"
    for found in CloudStore(url).objects(kind=AudioError):
        yield path / found.name, found


def fetch(path: Path) -> bool:
    """Copy an object to its path, where it appears when it is complete; return whether this call has done so.

    A path of no object is left alone, and so is a copy that is there.

    Args:
        path: The path of the copy.

    Raises:
        AudioError: The object cannot be read, or there is no room for it.
    """
    url = url_of(path)
    if url is None or path.is_file():
        return False
    hidden = path.with_name(f".fetch-{os.getpid()}")
    fd = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        room = shutil.disk_usage(path.parent).free - _SPARE_BYTES
        found = CloudStore(url).download("", fd, most_bytes=max(0, min(LARGEST_BYTES, room)))
        os.utime(fd, ns=(found.mtime_ns, found.mtime_ns))
        hidden.replace(path)
        return True
    except OSError as error:
        raise AudioError(
            f"{quoted(str(url))} cannot be stored in {quoted(_root)} ({(error.strerror or str(error)).lower()}): free "
            "space there, or set TMPDIR to another folder."
        ) from error
    finally:
        if fd >= 0:
            os.close(fd)
        hidden.unlink(missing_ok=True)


@contextlib.contextmanager
def fetched(path: Path, *, keep: bool = False) -> Iterator[None]:
    """Fetch an object for the block, unless its copy is there.

    Args:
        path: The path of its copy, or any other path, which is left alone.
        keep: Whether the copy stays as long as the folder.

    Raises:
        AudioError: The object cannot be read, or there is no room for it.
    """
    here = fetch(path)
    try:
        yield
    finally:
        if here and not keep:
            _remove(path)


def publish(path: Path) -> None:
    """Upload the copy of an object, if it exists; a path of no object is left alone.

    Raises:
        OutputError: It cannot be written.
    """
    url = url_of(path)
    if url is not None and path.is_file():
        CloudStore(ObjectUrl(url.scheme, url.bucket)).upload(path, url.key)


@contextlib.contextmanager
def published(paths: Iterable[Path], *, overwrite: bool, keep: bool = False) -> Iterator[None]:
    """Upload the files that the block has written when it succeeds; the first comes last.

    Args:
        paths: The files; those that are no copies are left alone.
        overwrite: Whether objects that fxst did not make may be replaced.
        keep: Whether the copies stay as long as the folder.

    Raises:
        OutputError: One cannot be written.
        SettingsError: There is an object that fxst did not make.
    """
    copies = [path for path in paths if url_of(path) is not None]
    try:
        if not overwrite:
            check(copies)
        yield
        for path in reversed(copies):
            publish(path)
    finally:
        if not keep:
            for path in copies:
                _remove(path)


def check(paths: Iterable[Path]) -> None:
    """Check that fxst made those objects that will be replaced.

    Args:
        paths: The paths of the copies; others are left alone.

    Raises:
        SettingsError: One exists that fxst has not made.
    """
    for path in paths:
        url = url_of(path)
        if url is not None and not CloudStore(ObjectUrl(url.scheme, url.bucket)).is_replaceable(url.key):
            raise SettingsError(
                f"{quoted(str(url))} exists and is not as fxst wrote it: --overwrite replaces what is there, or choose "
                "another name."
            )


def check_bucket(url: ObjectUrl) -> None:
    """Check that a bucket exists, before hours are spent on what it is to hold.

    Raises:
        SettingsError: It does not, or the environment lacks what its store needs.
    """
    with contextlib.suppress(AudioError):  # some may be written to, and not listed
        next(CloudStore(url).objects(), None)


def _remove(path: Path) -> None:
    """Remove a copy; its folder stays, where another process may be about to write."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _sweep(place: Path) -> None:
    """Remove the folders of this user's dead processes."""
    for found in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process may do the same
            about = found.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
                continue
            fd = os.open(found / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if staging.lock(fd):
                    shutil.rmtree(found, ignore_errors=True)
            finally:
                os.close(fd)
