"""Which recordings are meant: files, folders, patterns and lists, less what was left out."""

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
    """One recording that was selected.

    Args:
        path: Where it is.
        place: Where it lies below the folder or the pattern's folder that it was found in; of a file that was named
            itself, its name.
        given: Its path as it was named, where it is a file that was named itself, and lies below the working folder.
    """

    path: Path
    place: PurePosixPath
    given: PurePosixPath


def is_batch(config: ApplyConfig) -> bool:
    """Whether a command is about as many recordings as there are, and not about the one that it names."""
    one = len(config.inputs) == 1 and config.list_file is None
    return not one or config.inputs[0].is_dir() or is_pattern(config.inputs[0])


def select(config: ApplyConfig) -> tuple[InputRecording, ...]:
    """Find the recordings that a command is about, in the order in which they were named.

    Folders are searched for names with a sound file's ending, hidden ones left out; a pattern takes what it matches.

    Args:
        config: The command.

    Raises:
        AudioError: The list cannot be read, or a folder cannot be searched.
        NothingMatchedError: A folder holds no sound files, a pattern matches nothing, or nothing at all is left.
        SettingsError: There is neither an input nor a list, or a pattern makes no sense.
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
        # Nothing was found only by a list without names; a folder or a pattern has complained already.
        if not found:
            raise NothingMatchedError(f"{quoted(config.list_file or Path())} lists no files: write one name a line.")
        raise NothingMatchedError(
            f"None of {len(found):,} {'recording' if len(found) == 1 else 'recordings'} is left: check --include and "
            "--exclude."
        )
    return tuple(kept)


def is_pattern(path: Path) -> bool:
    """Whether a name is a pattern such as `*.wav`: it has one's signs, and no file is called that."""
    return _MAGIC.search(str(path)) is not None and not os.path.lexists(path)


def read_list(path: Path) -> tuple[Path, ...]:
    """Read a list of names: a line each, or, where it holds NUL bytes (`find -print0`), divided by these.

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
        raise AudioError(f"{quoted(path)} is too large for a list of files: name a text file with one name a line.")
    # An editor on Windows begins a text with a mark, and ends its lines with two characters.
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
    taken = False
    for path in found:
        if path.is_dir():
            # `**` matches every folder beside the files in it, which it would find a second time.
            if "**" not in pattern.parts and os.path.realpath(path) != done:
                taken = True
                yield from _of_folder(path, root, config)
        elif done not in (os.path.realpath(parent) for parent in path.parents):
            taken = True
            place = PurePosixPath(path.relative_to(root))
            yield InputRecording(path, place, place)
    if not taken:
        raise NothingMatchedError(f"{quoted(pattern)} matches no file: check the pattern.")


def recordings_in(
    folder: Path, *, outside: Path | None, recursive: bool, exclude: Sequence[str] = ()
) -> Iterator[Path]:
    """Find the sound files below a folder, in a settled order; none of hidden names, none of an earlier output.

    Args:
        folder: Where to look.
        outside: A folder that none is taken from, where outputs go.
        recursive: Whether to look in all that is below it.
        exclude: Patterns of what is left out later; a folder that they take need not be searchable.

    Raises:
        AudioError: A folder cannot be searched: what is in it would be left out without a word.
        SettingsError: A pattern makes no sense.
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
            # macOS puts a `._voice.wav`, which is no sound, beside a `voice.wav`.
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in audio.SUFFIXES:
                yield path


def _any(patterns: Sequence[re.Pattern[str]], place: PurePosixPath) -> bool:
    """Whether one of some patterns takes a place.

    >>> [_any([_compiled(pattern)], PurePosixPath("book/2/Take.WAV")) for pattern in ("*.wav", "book/*", "book/**")]
    [True, False, True]
    """
    return any(pattern.fullmatch(str(place)) for pattern in patterns)


def _compiled(pattern: str) -> re.Pattern[str]:
    """Turn a pattern of `--include` or `--exclude` into a regular expression for a whole path.

    Without a slash it is about the name alone; with one, about the whole path below the folder that was given, where
    `*` ends at a slash and `**` does not. Upper and lower case are the same.
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
            inside = re.sub(r"[\\\[&|~]", r"\\\g<0>", sign[1:-1]).replace("--", r"-\-")  # no operators of sets
            yield f"(?!/)[{'^' + inside[1:] if inside.startswith('!') else inside}]"
        else:
            yield re.escape(sign)
