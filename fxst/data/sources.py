"""Source recordings, their speakers, and the split of the speakers."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fxst import audio
from fxst.errors import AudioError

__all__ = [
    "SPLITS",
    "Problem",
    "SourceRecording",
    "assign_splits",
    "find_recordings",
    "located",
    "root_folder",
    "speaker_of",
]

SPLITS = ("train", "val", "test")
HELD_OUT_SHARE = 0.1
"""Share of the speakers in `val`, and in `test`."""


@dataclass(frozen=True, slots=True)
class SourceRecording:
    """A sound file to cut clips from.

    Args:
        root: Number of its source, from 0.
        name: Its path below that source, with forward slashes.
        speaker: Its speaker; all recordings of a speaker stay in one split.
    """

    root: int
    name: str
    speaker: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A file's fault.

    Args:
        file: Its absolute path.
        problem: The fault, in a sentence.
    """

    file: str
    problem: str


def find_recordings(sources: Sequence[Path], *, leave_out: Path) -> tuple[list[SourceRecording], list[Problem]]:
    """List the sound files in folders, by speaker and name; each file once, whatever links lead to it.

    Hidden files and folders are skipped. A source that is a file counts whatever its extension.

    Args:
        sources: Folders and files.
        leave_out: A folder to skip.

    Returns:
        The recordings, and the folders that cannot be listed.

    Raises:
        AudioError: a source does not exist.
    """
    found: list[SourceRecording] = []
    problems: list[Problem] = []
    seen = {_identity(leave_out)}
    alone = len({source.resolve() for source in sources if source.is_dir()}) < 2
    for root, source in enumerate(sources):
        if source.is_dir():
            paths: Iterable[Path] = _walk(located(source), seen, problems)
        elif os.path.lexists(source):
            paths = [located(source)] if _first_time(source, seen) else []
        else:
            raise AudioError(f"{str(source)!r} does not exist: check the name.")
        base = root_folder(source)
        for path in paths:
            name = path.relative_to(base)
            found.append(
                SourceRecording(root, name.as_posix(), speaker_of(path, base=base, alone=alone or not source.is_dir()))
            )
    return sorted(found, key=lambda item: (item.speaker, item.root, item.name)), problems


def located(source: Path) -> Path:
    """Return a source's absolute path; a file keeps its name, even if it is a link.

    Args:
        source: A folder or file.
    """
    return source.resolve() if source.is_dir() else source.parent.resolve() / source.name


def root_folder(source: Path) -> Path:
    """Return the folder that the names of a source's recordings are relative to: the source, or a file's folder.

    Args:
        source: A folder or file.
    """
    return located(source) if source.is_dir() else located(source).parent


def speaker_of(path: Path, *, base: Path, alone: bool) -> str:
    """Return the speaker of a recording, from its path.

    - In LibriTTS and LibriSpeech (`<subset>/<speaker>/<chapter>/<speaker>_<chapter>_….wav`, all numbers): the
      speaker's number, so that all chapters and subsets are one speaker.
    - Otherwise the folder of the file, as in VCTK (`wav48/p225/p225_001.wav`) and most corpora.
    - A file directly in the only source folder is a speaker of its own. Of several sources (`speakers/*`), each is a
      speaker, with the files directly in it.

    The same name below two sources is the same speaker: two merged speakers do less harm than one speaker in both
    training and test.

    Args:
        path: The recording, an absolute path.
        base: The source folder.
        alone: Whether it is the only source folder, so that its name identifies no speaker.
    """
    speaker, chapter = path.parent.parent.name, path.parent.name
    if speaker.isdecimal() and chapter.isdecimal() and re.match(f"{speaker}[_-]{chapter}[_-]", path.name):
        return speaker
    folder = PurePosixPath(path.parent.relative_to(base).as_posix())
    if folder == PurePosixPath("."):
        return path.name if alone else base.name
    return str(folder)


def assign_splits(groups: Iterable[str], *, seed: int) -> dict[str, str]:
    """Split groups (speakers) into `train`, `val` and `test`, about 80, 10 and 10 %.

    The split depends on the names and the seed only: clips of any length and number have the same held-out speakers.
    With fewer than three groups, none is held out.

    Args:
        groups: Names of the groups.
        seed: Random seed.
    """

    def draw(group: str) -> bytes:
        return hashlib.sha256(f"{seed}/{group}".encode("utf-8", "surrogateescape")).digest()

    order = sorted(set(groups), key=draw)
    held_out = max(1, round(HELD_OUT_SHARE * len(order))) if len(order) >= len(SPLITS) else 0
    names = ["test"] * held_out + ["val"] * held_out + ["train"] * (len(order) - 2 * held_out)
    return dict(zip(order, names, strict=True))


def _walk(folder: Path, seen: set[tuple[int, int] | None], problems: list[Problem]) -> Iterator[Path]:
    if not _first_time(folder, seen):
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(Problem(str(folder), f"the folder cannot be listed ({error.strerror})"))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if _is_folder(path):
            yield from _walk(path, seen, problems)
        elif path.suffix.lower() in audio.READABLE_SUFFIXES and _first_time(path, seen):
            yield path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _first_time(path: Path, seen: set[tuple[int, int] | None]) -> bool:
    """Return whether this file or folder is new, by any name; a broken link always is."""
    identity = _identity(path)
    if identity is None:
        return True
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
