"""The recordings of a command: files, folders, patterns and lists, less the excluded ones.

A name that exists is taken literally. Brackets are read as signs of a pattern only where no name has them.
"""

import glob
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fxst import audio
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, NothingMatchedError, SettingsError
from fxst.storage import copies
from fxst.storage.urls import is_object, url_of
from fxst.untrusted import encoding_of, printable, quoted

__all__ = [
    "InputRecording",
    "Selection",
    "is_batch",
    "is_pattern",
    "is_sound",
    "read_list",
    "recordings_in",
    "select",
    "streamed",
]

_STANDARD_INPUT: Final = Path("-")
_LARGEST_LIST_BYTES: Final = 1 << 28
_MAGIC: Final = re.compile(r"[*?[]")
_PLAYLISTS: Final = (".m3u", ".m3u8")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class InputRecording:
    """One selected recording.

    Args:
        path: The file.
        place: Its path below the folder, or the pattern's folder, that it was found in; the name of a file that was
            named directly.
        given: Likewise, but the path of a file that was named directly and is below the working folder.
        state: Size and time of modification of an object that was listed; None where the file is to be asked.
    """

    path: Path
    place: PurePosixPath
    given: PurePosixPath
    state: tuple[int, int] | None = None


@dataclass(frozen=True)
class Selection:
    """The recordings of a command.

    Args:
        recordings: The recordings, in the order in which they were named.
        remarks: What the user should know of the patterns, a sentence each.
    """

    recordings: tuple[InputRecording, ...]
    remarks: tuple[str, ...] = ()


def is_batch(config: ApplyConfig) -> bool:
    """Return whether a command may have any number of recordings, rather than one that it names."""
    one = len(config.inputs) == 1 and config.list_file is None
    return not one or config.inputs[0].is_dir() or is_pattern(config.inputs[0])


def select(config: ApplyConfig) -> Selection:
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
    for pattern in (*config.include, *config.exclude):
        _compiled(pattern)  # before a folder is searched
    found, twice = _distinct(_found(config))
    places = [recording.place for recording in found]
    include, exclude = (
        [_compiled(pattern, places) for pattern in patterns] for patterns in (config.include, config.exclude)
    )
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
    remarks = tuple(
        _without_match(option, pattern, places)
        for option, patterns, compiled in (
            ("--include", config.include, include),
            ("--exclude", config.exclude, exclude),
        )
        for pattern, expression in zip(patterns, compiled, strict=True)
        if not any(_any([expression], place) for place in places)
    )
    repeated = (f"{quoted(path)} is named twice, and rendered once" for path in twice)
    return Selection(tuple(kept), (*repeated, *remarks))


def streamed(config: ApplyConfig) -> Iterator[InputRecording]:
    """Yield the recordings of a command as they are found, in memory that does not grow with their number.

    A recording that is named twice comes twice.

    Args:
        config: The command.

    Raises:
        As for `select`, but that a pattern which matches nothing is no matter.
    """
    patterns = (*config.include, *config.exclude)
    for pattern in patterns:
        _compiled(pattern)
    found: Iterable[InputRecording] = _found(config)
    places: list[PurePosixPath] = []
    if any("[" in pattern for pattern in patterns):  # which may stand for themselves
        found = list(found)
        places = [recording.place for recording in found]
    include, exclude = ([_compiled(pattern, places) for pattern in given] for given in (config.include, config.exclude))
    for recording in found:
        if (not include or _any(include, recording.place)) and not _any(exclude, recording.place):
            yield recording


def _distinct(found: Iterable[InputRecording]) -> tuple[list[InputRecording], list[Path]]:
    """Return the recordings, each place of a file once, and those that were found again."""
    distinct: dict[tuple[str, PurePosixPath], InputRecording] = {}
    twice = []
    for recording in found:
        key = os.path.realpath(recording.path), recording.place
        if key in distinct:
            twice.append(recording.path)
        distinct.setdefault(key, recording)
    return list(distinct.values()), twice


def _without_match(option: str, pattern: str, places: Sequence[PurePosixPath]) -> str:
    """Return the remark on a pattern that matches no recording."""
    folder = pattern.removeprefix("./").rstrip("/")
    if any(_any([_compiled(f"{folder}/**"), _compiled(f"**/{folder}/**")], place) for place in places):
        return f"{option} {quoted(pattern)} matches no file: for a folder, write {quoted(f'{folder}/**')}"
    return f"{option} {quoted(pattern)} matches none of the recordings: check the pattern"


def is_pattern(path: Path) -> bool:
    """Return whether a name is a pattern such as `*.wav`, and not the name of a file."""
    return copies.url_of(path) is None and _MAGIC.search(str(path)) is not None and not os.path.lexists(path)


def read_list(path: Path) -> tuple[Path, ...]:
    """Read a list of names: one per line, or separated by NUL bytes (`find -print0`).

    Names are relative to the list's folder, or to the working folder where there is no such file. Lines that begin with
    `#` are comments, as in M3U playlists, unless a file is called so.

    Args:
        path: The list; `-` is standard input.

    Raises:
        AudioError: It cannot be read, or is no list.
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
    encoding = encoding_of(data)
    if encoding == "utf-8" and b"\0" in data:
        names = [os.fsdecode(name) for name in data.split(b"\0")]
        found = [_named_in(path, name, spellings=(name,)) for name in names if name.strip()]
    else:
        try:
            # A name need not be UTF-8.
            text = os.fsdecode(data) if encoding == "utf-8" else data.decode(encoding)
        except UnicodeDecodeError as error:
            raise AudioError(f"{quoted(path)} is not valid {encoding.upper()} text: save the list as UTF-8.") from error
        names = [line for line in _LINE_END.split(text) if line.strip()]
        found = [
            _named_in(path, name, spellings=_spellings(name), comment=name.lstrip().startswith("#")) for name in names
        ]
    return tuple(filter(None, found))


def _spellings(name: str) -> tuple[str, ...]:
    """Return what a line of a list may mean: programs for Windows write backslashes, and players write URLs."""
    slashes = name.strip().replace("\\", "/")
    return name, name.strip(), slashes, urllib.parse.unquote(slashes.removeprefix("file://"))


def _named_in(path: Path, name: str, *, spellings: Iterable[str], comment: bool = False) -> Path | None:
    """Return the file that a list names, whether it exists or not; None for a comment.

    Raises:
        AudioError: The name is of no file, and has control characters as a binary file has.
    """
    if is_object(name.strip()) and (url := url_of(name.strip())) is not None:
        return copies.path_of(url)
    folders = (Path(),) if path == _STANDARD_INPUT else (path.parent, Path())
    for spelling in spellings:
        for folder in folders:
            if spelling and os.path.lexists(found := folder / spelling):
                return found
    if comment:
        return None
    if any(ord(letter) < 0x20 and letter not in "\t\n" for letter in name):
        raise AudioError(
            f"{quoted(path)} is no list of files, for it names {printable(repr(name[:30]))}: name a text file with one "
            "name per line."
        )
    return folders[0] / name


def _found(config: ApplyConfig) -> Iterator[InputRecording]:
    for given in config.inputs:
        if is_pattern(given):
            yield from _of_pattern(given, config)
        else:
            yield from _of_path(given, config)
    if config.list_file is not None:
        for given in read_list(config.list_file):
            yield from _of_path(given, config, root=config.list_file.parent)


def _of_path(given: Path, config: ApplyConfig, *, root: Path | None = None) -> Iterator[InputRecording]:
    if given.is_dir():
        yield from _of_folder(given, given, config)
        return
    if root is None and given.suffix.lower() in _PLAYLISTS:
        raise SettingsError(f"{quoted(given)} is a list of recordings: name it with --list.")
    place = given.relative_to(root) if root is not None and given.is_relative_to(root) else given
    below = not place.is_absolute() and ".." not in place.parts
    yield InputRecording(given, PurePosixPath(given.name), PurePosixPath(place if below else given.name))


def _of_folder(folder: Path, root: Path, config: ApplyConfig) -> Iterator[InputRecording]:
    if copies.url_of(folder) is not None:
        yield from _of_objects(folder, config)
        return
    found = False
    for path in recordings_in(folder, outside=config.output, recursive=config.recursive, exclude=config.exclude):
        found = True
        place = PurePosixPath(path.relative_to(root))
        yield InputRecording(path, place, place)
    if not found:
        below = "" if config.recursive else ", or leave out --no-recursive"
        raise NothingMatchedError(f"{quoted(folder)} holds no sound files: name another folder{below}.")


def _of_objects(folder: Path, config: ApplyConfig) -> Iterator[InputRecording]:
    """Yield the recordings below a folder of objects as they are listed."""
    empty = True
    for path, found in copies.objects_below(folder):
        place = PurePosixPath(found.name)
        inside = path.is_relative_to(config.output)
        if is_sound(place) and not inside and (config.recursive or len(place.parts) == 1):
            empty = False
            yield InputRecording(path, place, place, (found.size, found.mtime_ns))
    if empty:
        raise NothingMatchedError(f"{quoted(folder)} holds no sound files: name another folder.")


def is_sound(place: PurePosixPath) -> bool:
    """Return whether a path below a folder has the extension of a sound file, and no hidden part."""
    return place.suffix.lower() in audio.READABLE_SUFFIXES and not any(part.startswith(".") for part in place.parts)


def _of_pattern(pattern: Path, config: ApplyConfig) -> Iterator[InputRecording]:
    root, rest = _split(pattern)
    found = [Path(name) for name in sorted(_matches(os.fspath(root) if root.parts else "", rest))]
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


def _split(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """Split a pattern into the folder that it names literally and the parts of a pattern below it."""
    root, parts = Path(), pattern.parts
    for index, part in enumerate(parts):
        if _MAGIC.search(part) and not os.path.lexists(root / part):
            return root, parts[index:]
        root /= part
    return root, ()


def _matches(folder: str, parts: Sequence[str]) -> Iterable[str]:
    """Return what a pattern matches below a folder, each once."""
    found = {folder: None}
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        found = dict.fromkeys(name for base in found for name in _matches_of_part(base, part, last=last))
    return found


def _matches_of_part(folder: str, part: str, *, last: bool) -> Iterable[str]:
    """Return what one part of a pattern matches in a folder: the file called so, or the files with its brackets."""
    below = os.path.join(glob.escape(folder), "")  # noqa: PTH118
    if part == "**":
        deeper = glob.iglob(f"{below}**" if last else f"{below}**/", recursive=True)  # noqa: PTH207
        return deeper if last else (folder, *deeper)
    literal = os.path.join(folder, part)  # noqa: PTH118
    if os.path.lexists(literal):
        return (literal,)
    return glob.glob(below + part.replace("[", "[[]")) or glob.iglob(below + part)  # noqa: PTH207


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
    if copies.url_of(folder) is not None:
        yield from (path for path, found in copies.objects_below(folder) if is_sound(PurePosixPath(found.name)))
        return
    done = os.path.realpath(outside) if outside is not None else None

    def unsearchable(error: OSError) -> None:
        path = Path(error.filename)
        places = [place := PurePosixPath(path.relative_to(folder)), place / "file"]
        left_out = [_compiled(pattern, places) for pattern in exclude]
        if not any(_any(left_out, place) for place in places):
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


def _compiled(pattern: str, places: Iterable[PurePosixPath] = ()) -> re.Pattern[str]:
    """Convert a pattern of `--include` or `--exclude` to a regular expression for a path.

    Without a slash it matches the name only. With one it matches the path below the folder that was named; `*` stops at
    a slash and `**` does not. Case is ignored.

    Args:
        pattern: The pattern.
        places: The paths that it is for; brackets that a name of theirs has are no signs.
    """
    if not pattern:
        raise SettingsError("An empty pattern matches nothing: give --include and --exclude a pattern such as '*.wav'.")
    whole = pattern.removeprefix("./")
    if "[" in whole:
        names = {name for place in places for name in place.parts}
        whole = "/".join(_with_brackets_of(part, names) for part in whole.split("/"))
    text = "".join(_translated(whole if "/" in whole else f"**/{whole}"))
    try:
        return re.compile(text, re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise SettingsError(f"The pattern {pattern!r} is not valid ({error}): write it like '*.wav'.") from error


def _with_brackets_of(part: str, names: Iterable[str]) -> str:
    """Escape the brackets of one part of a pattern where a name has them."""
    escaped = part.replace("[", "[[]")
    literal = re.compile("".join(_translated(escaped)), re.IGNORECASE | re.DOTALL)
    return escaped if any(map(literal.fullmatch, names)) else part


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
