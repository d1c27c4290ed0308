"""Which files fxst made, so that it never replaces a user's own file unasked.

A record in the user's folder for state (`$XDG_STATE_HOME/fxst/made`, by default below `~/.local/state`) has a line for
each file that was written outside a batch: its size and its hash, and no name. A file that was edited since has another
hash, and so counts as the user's own. Files of a batch are in the manifest of its folder instead. Where the record
cannot be written, fxst takes every file for the user's own.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from fxst.errors import SettingsError
from fxst.untrusted import quoted

__all__ = ["check", "note", "noted"]

_MOST_BYTES: Final = 4 << 20
_READ_BYTES: Final = 1 << 20
_noting: ContextVar[bool] = ContextVar("_noting", default=False)


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Note every file that is written in the block as made by fxst."""
    token = _noting.set(True)
    try:
        yield
    finally:
        _noting.reset(token)


def note(fd: int) -> None:
    """Note a complete file as made by fxst, within a block of `noted`.

    Args:
        fd: The file, before it gets its name: a killed process must not leave one that is not noted.
    """
    record = _record()
    if not _noting.get() or record is None:
        return
    with contextlib.suppress(OSError):  # later runs then ask for --overwrite
        line = _line(fd)
        if record.exists() and record.stat().st_size > _MOST_BYTES:
            record.write_bytes(record.read_bytes()[_MOST_BYTES // 2 :])  # of lines, of which a torn one is ignored
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(made, line)
        finally:
            os.close(made)


def check(
    paths: Iterable[Path], *, overwrite: bool, known: Callable[[Path], bool] = lambda path: False, hint: str = ""
) -> None:
    """Check that fxst made those files that will be replaced.

    Args:
        paths: The files to write.
        overwrite: Whether any file may be replaced.
        known: Tells of a file whether it is in a manifest.
        hint: What else the user may want to know.

    Raises:
        SettingsError: One exists that fxst has not made, or that was changed since.
    """
    if overwrite:
        return
    foreign = [path for path in paths if path.is_file() and not known(path) and not _is_recorded(path)]
    if foreign:
        more = f", and so are {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
        raise SettingsError(
            f"{quoted(foreign[0])} exists and is not as fxst wrote it{more}{hint}: --overwrite replaces what is there, "
            "or choose another name."
        )


def _is_recorded(path: Path) -> bool:
    record = _record()
    try:
        if record is None:
            return False
        lines = record.read_bytes().split(b"\n")
        size = b"%d " % path.stat().st_size
        # The file is read only where one of its size was made.
        if not any(line.startswith(size) for line in lines):
            return False
        with open(path, "rb") as file:
            return _line(file.fileno()).rstrip() in lines
    except OSError:
        return False


def _record() -> Path | None:
    """Return the file of the record; None without a folder for it."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(state) if Path(state).is_absolute() else Path.home() / ".local/state"
    except RuntimeError:  # a user without a home
        return None
    return folder / "fxst/made"


def _line(fd: int) -> bytes:
    digest, size = hashlib.sha256(), 0
    while data := os.pread(fd, _READ_BYTES, size):
        digest.update(data)
        size += len(data)
    return f"{size} {digest.hexdigest()}\n".encode()
