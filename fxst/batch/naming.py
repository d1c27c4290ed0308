"""What outputs and their tables are called."""

import os
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from fxst import audio
from fxst.batch.selection import InputRecording
from fxst.errors import SettingsError
from fxst.places import LONGEST_NAME_BYTES

__all__ = ["FIELDS", "check_template", "names_beside", "one_spelling", "output_name", "table_names"]

FIELDS: Final = ("stem", "ref", "model", "relpath", "ext")
"""What may stand between braces in a template of names."""


def check_template(template: str, known: Mapping[str, str]) -> None:
    """See that a template can name outputs.

    Args:
        template: A name with fields in braces.
        known: What the fields stand for that are the same for every recording: `ref` and `model`, where there are any.

    Raises:
        SettingsError: A field is unknown or stands for nothing here, or the braces do not pair.
    """
    for field in _fields(template):
        if field not in FIELDS:
            fields = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise SettingsError(f"The name {template!r} has an unknown field {{{field}}}: use {fields}.")
        if field in ("ref", "model") and field not in known:
            what = "reference" if field == "ref" else "model"
            raise SettingsError(f"The name {template!r} asks for a {what}, and there is none: leave {{{field}}} out.")


def output_name(template: str, recording: InputRecording, known: Mapping[str, str]) -> PurePosixPath:
    """Name a recording's output, as a path below the folder for outputs.

    A name without a sound file's ending gets the recording's, or `.wav` where that has none that can be written.

    Args:
        template: A name with fields in braces: `{stem}` is the recording's name without its ending, `{ext}` the ending
            without its dot, `{relpath}` the path below the folder that was given, without the ending.
        recording: The recording.
        known: What `{ref}` and `{model}` stand for.

    Raises:
        SettingsError: The name would be empty, too long, or lie outside the folder.
    """
    ending = recording.path.suffix
    ending = ending if ending.lower() in audio.SUFFIXES else ".wav"
    stands_for = {
        **known,
        "stem": _without_ending(PurePosixPath(recording.path.name)),
        "relpath": _without_ending(recording.given),
        "ext": ending.removeprefix("."),
    }
    try:
        text = template.format_map(stands_for)
    except (KeyError, ValueError, IndexError, AttributeError) as error:  # which check_template has told before
        raise SettingsError(f"The name {template!r} cannot be filled in: check its braces.") from error
    made = PurePosixPath(text)
    where = f"The name {template!r} makes {text!r} of {str(recording.path)!r}"
    if made.is_absolute() or ".." in made.parts:
        raise SettingsError(f"{where}, which is outside the output folder: leave out '..' and the first '/'.")
    if not made.name or text.endswith("/") or made.name.lower() in audio.SUFFIXES:
        raise SettingsError(f"{where}, which is not a file name: put {{stem}} in it.")
    if made.suffix.lower() not in audio.SUFFIXES:
        made = made.with_name(made.name + ending)
    try:
        longest = max(len(os.fsencode(part)) for part in made.parts)
    except UnicodeEncodeError:
        longest = 0
    if not longest or "\0" in text:
        raise SettingsError(f"{where}, which is not a valid file name: use letters and digits.")
    if longest > LONGEST_NAME_BYTES:
        raise SettingsError(f"{where}, which is too long for a file name: shorten it.")
    return made


def table_names(outputs: Sequence[Path], ending: str) -> Iterator[Path]:
    """Name the tables that lie beside outputs.

    Args:
        outputs: The rendered files.
        ending: Of the tables: `.json` or `.csv`.
    """
    return (name.with_name(f"{name.name}.params{ending}") for name in names_beside(outputs))


def names_beside(outputs: Sequence[Path]) -> Iterator[Path]:
    """Give what lies beside outputs a name each, which wants an ending: the output's own without its ending.

    Args:
        outputs: The rendered files.
    """
    # voice.wav and voice.flac would share voice.params.json.
    keys = [one_spelling(output.with_suffix("")) for output in outputs]
    sharing = Counter(keys)
    for output, key in zip(outputs, keys, strict=True):
        yield output.with_name(output.stem if sharing[key] == 1 else output.name)


def one_spelling(path: Path) -> str:
    """Give one string for all the spellings that some file system holds for one name, links followed.

    Args:
        path: A file, whether it is there or not.
    """
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def _fields(template: str) -> Iterator[str]:
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise SettingsError(f"The name {template!r} has an unpaired brace: pair or double it.") from error
    for _, field, form, conversion in pieces:
        if field is None:
            continue
        if form or conversion:
            raise SettingsError(f"The name {template!r} has more than a field's name in braces: write {{stem}}.")
        yield field


def _without_ending(path: PurePosixPath) -> str:
    writable = path.suffix.lower() in audio.SUFFIXES
    return str(path.with_suffix("")) if writable else str(path)
