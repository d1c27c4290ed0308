"""The recordings of a command: files, folders, patterns and lists, less the excluded ones."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fxst import audio
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, NothingMatchedError, SettingsError
from fxst.untrusted import quoted

__all__ = ["InputRecording", "is_batch", "is_pattern", "read_list", "recordings_in", "select"]

_STANDARD_INPUT: Final = Path("-")
_LARGEST_LIST_BYTES: Final = 1 << 28
_MAGIC: Final = re.compile(r"[*?[]")


@dataclass(frozen=True)
class InputRecording:
    """One selected recording.

    Args:
        path: The file.
        place: Its path below the folder, or the pattern's folder, that it was found in; the name of a file that was
            named directly.
        given: Likewise, but the path of a file that was named directly and is below the working folder.
    """

    path: Path
    place: PurePosixPath
    given: PurePosixPath


def is_batch(config: ApplyConfig) -> bool:
    """Return whether a command may have any number of recordings, rather than one that it names."""
    one = len(config.inputs) == 1 and config.list_file is None
    return not one or config.inputs[0].is_dir() or is_pattern(config.inputs[0])


def select(config: ApplyConfig) -> tuple[InputRecording, ...]:
    """Find the recordings of a command, in the order in which they were named.

    Folders are searched for files with an audio file extension, without hidden ones; a pattern takes all its matches.

    Args:
        config: The command.

    Raises:
        AudioError: The list cannot be read, or a folder cannot be searched.
        NothingMatchedError: A folder holds no sound files, a pattern matches nothing, or all recordings are excluded.
        SettingsError: There is neither an input nor a list, or a pattern is invalid.
    """
    if not config.inputs and config.list_file is None:
        raise SettingsError("There is no input: name a recording or a folder.")
    include, exclude = (tuple(map(_compiled, patterns)) for patterns in (config.include, config.exclude))
    found = list(_found(config))
    kept = [
        recording
        for recording in found
        if (not include or _any(include, recording.place)) and not _any(exclude, recording.place)
    ]
    if not kept:
        # Only an empty list gets here with nothing found; folders and patterns raise their own errors.
        if not found:
            raise NothingMatchedError(f"{quoted(config.list_file or Path())} lists no files: write one name per line.")
        raise NothingMatchedError(
            f"None of {len(found):,} {'recording' if len(found) == 1 else 'recordings'} is left: check --include and "
            "--exclude."
        )
    return tuple(kept)


def is_pattern(path: Path) -> bool:
    """Return whether a name is a pattern such as `*.wav`, and not the name of a file."""
    return _MAGIC.search(str(path)) is not None and not os.path.lexists(path)


def read_list(path: Path) -> tuple[Path, ...]:
    """Read a list of names: one per line, or separated by NUL bytes (`find -print0`).

    Args:
        path: The list; `-` is standard input.

    Raises:
        AudioError: It cannot be read.
    """
    try:
        if path == _STANDARD_INPUT:
            data = sys.stdin.buffer.read(_LARGEST_LIST_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(_LARGEST_LIST_BYTES + 1)
    except FileNotFoundError as error:
        raise AudioError(f"{quoted(path)} does not exist: check the name of the list.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise AudioError(f"{quoted(path)} cannot be read ({reason}): name a list of files.") from error
    if len(data) > _LARGEST_LIST_BYTES:
        raise AudioError(f"{quoted(path)} is too large for a list of files: name a text file with one name per line.")
    # Editors on Windows write a byte order mark, and two characters at line ends.
    names = data.split(b"\0") if b"\0" in data else data.removeprefix(b"\xef\xbb\xbf").splitlines()
    return tuple(Path(os.fsdecode(name)) for name in names if name.strip())


def _found(config: ApplyConfig) -> Iterator[InputRecording]:
    for given in config.inputs:
        if is_pattern(given):
            yield from _of_pattern(given, config)
        else:
            yield from _of_path(given, config)
    for given in read_list(config.list_file) if config.list_file is not None else ():
        yield from _of_path(given, config)


def _of_path(given: Path, config: ApplyConfig) -> Iterator[InputRecording]:
    if not given.is_dir():
        below = not given.is_absolute() and ".." not in given.parts
        yield InputRecording(given, PurePosixPath(given.name), PurePosixPath(given if below else given.name))
        return
    yield from _of_folder(given, given, config)


def _of_folder(folder: Path, root: Path, config: ApplyConfig) -> Iterator[InputRecording]:
    found = False
    for path in recordings_in(folder, outside=config.output, recursive=config.recursive, exclude=config.exclude):
        found = True
        place = PurePosixPath(path.relative_to(root))
        yield InputRecording(path, place, place)
    if not found:
        below = "" if config.recursive else ", or leave out --no-recursive"
        raise NothingMatchedError(f"{quoted(folder)} holds no sound files: name another folder{below}.")


def _of_pattern(pattern: Path, config: ApplyConfig) -> Iterator[InputRecording]:
    fixed = []
    for part in pattern.parts:
        if _MAGIC.search(part):
            break
        fixed.append(part)
    root = Path(*fixed)
    found = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]  # noqa: PTH207
    done = os.path.realpath(config.output)
    matched = False
    for path in found:
        if path.is_dir():
            # `**` matches folders as well as the files in them, which would then be found twice.
            if "**" not in pattern.parts and os.path.realpath(path) != done:
                matched = True
                yield from _of_folder(path, root, config)
        elif done not in (os.path.realpath(parent) for parent in path.parents):
            matched = True
            place = PurePosixPath(path.relative_to(root))
            yield InputRecording(path, place, place)
    if not matched:
        raise NothingMatchedError(f"{quoted(pattern)} matches no file: check the pattern.")


def recordings_in(
    folder: Path, *, outside: Path | None, recursive: bool, exclude: Sequence[str] = ()
) -> Iterator[Path]:
    """Find the sound files below a folder, in sorted order, without hidden ones and outputs.

    Args:
        folder: The folder.
        outside: A folder to leave out: that of the outputs.
        recursive: Whether to search the folders below as well.
        exclude: Patterns that are applied later; a folder that they match need not be searchable.

    Raises:
        AudioError: A folder cannot be searched, so that its files would be missing without notice.
        SettingsError: A pattern is invalid.
    """
    done = os.path.realpath(outside) if outside is not None else None
    left_out = tuple(map(_compiled, exclude))

    def unsearchable(error: OSError) -> None:
        path = Path(error.filename)
        place = PurePosixPath(path.relative_to(folder))
        if not (_any(left_out, place) or _any(left_out, place / "file")):
            reason = (error.strerror or str(error)).lower()
            raise AudioError(
                f"The folder {quoted(path)} cannot be searched ({reason}): check its permissions, or exclude it."
            ) from error

    for parent, folders, files in os.walk(folder, onerror=unsearchable):
        folders[:] = sorted(
            name
            for name in folders
            if recursive and not name.startswith(".") and os.path.realpath(os.path.join(parent, name)) != done  # noqa: PTH118
        )
        for name in sorted(files):
            # macOS puts a `._voice.wav`, which is not audio, next to a `voice.wav`.
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in audio.READABLE_SUFFIXES:
                yield path


def _any(patterns: Sequence[re.Pattern[str]], place: PurePosixPath) -> bool:
    """Return whether any pattern matches a path.

    >>> [_any([_compiled(pattern)], PurePosixPath("book/2/Take.WAV")) for pattern in ("*.wav", "book/*", "book/**")]
    [True, False, True]
    """
    return any(pattern.fullmatch(str(place)) for pattern in patterns)


def _compiled(pattern: str) -> re.Pattern[str]:
    """Convert a pattern of `--include` or `--exclude` to a regular expression for a path.

    Without a slash it matches the name only. With one it matches the path below the folder that was named; `*` stops at
    a slash and `**` does not. Case is ignored.
    """
    if not pattern:
        raise SettingsError("An empty pattern matches nothing: give --include and --exclude a pattern such as '*.wav'.")
    whole = pattern.removeprefix("./")
    text = "".join(_translated(whole if "/" in whole else f"**/{whole}"))
    try:
        return re.compile(text, re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise SettingsError(f"The pattern {pattern!r} is not valid ({error}): write it like '*.wav'.") from error


def _translated(pattern: str) -> Iterable[str]:
    for sign in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]]*\]|.", pattern, re.DOTALL):
        if sign == "**/":
            yield "(?:.*/)?"
        elif sign == "**":
            yield ".*"
        elif sign == "*":
            yield "[^/]*"
        elif sign == "?":
            yield "[^/]"
        elif len(sign) > 1:
            inside = re.sub(r"[\\\[&|~]", r"\\\g<0>", sign[1:-1]).replace("--", r"-\-")  # no set operators
            yield f"(?!/)[{'^' + inside[1:] if inside.startswith('!') else inside}]"
        else:
            yield re.escape(sign)
