"""What `apply` is going to read and write, known and checked before anything is touched."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fxst import audio, tables
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, SettingsError

__all__ = ["Job", "plan"]

_PICTURES: Final = (".png", ".svg", ".pdf")
_BARE_SUFFIXES: Final = {suffix[1:]: suffix for suffix in tables.SUFFIXES}


@dataclass(frozen=True)
class Job:
    """One recording to render.

    Args:
        input: The recording.
        output: Where the rendered one goes.
        table: Where its parameter table goes; None where a table is applied, not made.
        note: What a person should know of the names; most often nothing.
    """

    input: Path
    output: Path
    table: Path | None
    note: str = ""


def plan(config: ApplyConfig) -> tuple[Job, ...]:
    """Decide what goes where.

    One recording goes to a file, or into a folder that is there or whose name has no ending; several recordings,
    or a folder of them, go into a folder, as they lie in theirs. A name whose ending cannot be written gets
    `.wav` behind it there.

    Args:
        config: The command.

    Raises:
        AudioError: An input folder holds no sound files, or there is no place for an output.
        SettingsError: There is neither reference nor table; an output is also an input, the reference or the
            table; two outputs have one name; or one table or picture is asked for and there would be several.
    """
    if not config.inputs:
        raise SettingsError("There is no recording to apply a style to: name one.")
    if config.reference is None and config.params is None:
        raise SettingsError("Name a recording to sound like (--ref), or a parameter table to apply (--params).")
    if config.output == Path("-"):
        raise SettingsError("Sound is not written to standard output: name a file or folder with -o.")
    one_file = len(config.inputs) == 1 and not config.inputs[0].is_dir()
    if config.plot is not None:
        _check_plot(config.plot, possible=one_file and config.reference is not None)
    if one_file and config.output.suffix and not config.output.is_dir():
        pairs = [(config.inputs[0], config.output)]
        _check_suffix(config.output)
        _check_folder(config.output.parent)
    else:
        _check_folder(next(path for path in (config.output, *config.output.parents) if path.exists()))
        pairs = list(_mirrored(config.inputs, config.output))
    notes = []
    for index, (source, output) in enumerate(pairs):
        writable = output.suffix.lower() in audio.SUFFIXES
        notes.append("" if writable else f"its name has no sound file's ending, so the output is {output.name}.wav")
        pairs[index] = source, output if writable else output.with_name(output.name + ".wav")
    outputs = [output for _, output in pairs]
    made = _tables(config, outputs) if config.reference is not None else [None] * len(pairs)
    jobs = tuple(Job(*pair, table, note) for pair, table, note in zip(pairs, made, notes, strict=True))
    _check_identities(config, jobs)
    return jobs


def _mirrored(inputs: Iterable[Path], folder: Path) -> Iterator[tuple[Path, Path]]:
    for given in inputs:
        if not given.is_dir():
            yield given, folder / given.name
            continue
        found = False
        for path in _recordings(given, outside=folder):
            found = True
            yield path, folder / path.relative_to(given)
        if not found:
            raise AudioError(f"{_name(given)} holds no sound files: name another folder.")


def _recordings(folder: Path, *, outside: Path) -> Iterator[Path]:
    """Find the sound files below a folder, in a settled order; none of hidden names, none of an earlier output."""
    done = os.path.realpath(outside)
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(parent, name)) != done  # noqa: PTH118
        )
        for name in sorted(files):
            # macOS puts a `._voice.wav`, which is no sound, beside a `voice.wav`.
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in audio.SUFFIXES:
                yield path


def _tables(config: ApplyConfig, outputs: list[Path]) -> list[Path | None]:
    """Name the tables: one where it was asked for, or each beside its output."""
    params = config.params
    if params is not None and str(params) not in _BARE_SUFFIXES:
        if params.suffix.lower() not in tables.SUFFIXES:
            raise SettingsError(f"{_name(params)} has no table's ending: use .json or .csv.")
        if len(outputs) > 1:
            raise SettingsError(
                f"{_name(params)} is one table, and {len(outputs)} recordings have one each: "
                "say --params json or --params csv, and each goes beside its output."
            )
        _check_folder(params.parent)
        return [params]
    suffix = _BARE_SUFFIXES[str(params)] if params is not None else ".json"
    # voice.wav and voice.flac would share voice.params.json.
    stems = Counter(_key(output.with_suffix("")) for output in outputs)
    return [
        output.with_name(f"{output.stem if stems[_key(output.with_suffix(''))] == 1 else output.name}.params{suffix}")
        for output in outputs
    ]


def _check_plot(path: Path, *, possible: bool) -> None:
    if not possible:
        raise SettingsError("--plot draws one recording beside its reference: name one file, and --ref.")
    if path.suffix.lower() not in _PICTURES:
        raise SettingsError(f"{str(path)!r} is no name for a picture: let it end in {', '.join(_PICTURES)}.")
    _check_folder(path.parent)


def _check_suffix(output: Path) -> None:
    if output.suffix.lower() not in audio.SUFFIXES:
        endings = " ".join(sorted(audio.SUFFIXES))
        raise AudioError(f"{_name(output)} has no sound file's ending: use one of {endings}.")


def _check_folder(folder: Path) -> None:
    """See that files can be made there, before seconds are spent on what should go there."""
    if not folder.exists():
        raise AudioError(f"The folder {_name(folder)} does not exist: create it first.")
    if not folder.is_dir():
        raise AudioError(f"{_name(folder)} is a file, and a folder is needed there: choose another output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AudioError(f"The folder {_name(folder)} cannot be written to: choose another, or mend its permissions.")


def _check_identities(config: ApplyConfig, jobs: tuple[Job, ...]) -> None:
    """Refuse to write what is read, or the same file twice, by whatever path or spelling."""
    read = dict.fromkeys((job.input for job in jobs), "an input")
    if config.reference is not None:
        read[config.reference] = "the reference"
    elif config.params is not None:
        read[config.params] = "the table to apply"
    by_name = {_key(path): path for path in read}
    by_inode = {inode: path for path in read if (inode := _inode(path))}
    written: dict[str, Path] = {}
    for path in (path for job in jobs for path in (job.output, job.table) if path is not None):
        key, inode = _key(path), _inode(path)
        same = by_name.get(key) or (by_inode.get(inode) if inode else None)
        if same is not None:
            raise SettingsError(f"{_name(path)} would replace {read[same]}, {_name(same)}: choose another output.")
        if key in written:
            other = written[key]
            twice = "" if other == path else f", also spelt {_name(other)},"
            raise SettingsError(f"{_name(path)}{twice} would be written twice: rename one input, or go one by one.")
        written[key] = path


def _key(path: Path) -> str:
    """One string for all the spellings that some file system holds for one name."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _name(path: Path) -> str:
    # repr keeps the message to one line whatever the name holds.
    return repr(os.fspath(path))
