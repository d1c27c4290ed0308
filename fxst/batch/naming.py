"""The names of outputs and their tables."""

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

__all__ = ["FIELDS", "check_template", "companion_names", "one_name", "one_spelling", "output_name", "table_names"]

FIELDS: Final = ("stem", "ref", "model", "relpath", "ext")
"""The fields of a naming template."""


def check_template(template: str, known: Mapping[str, str]) -> None:
    """Check a naming template.

    Args:
        template: A name with fields in braces.
        known: The values of the fields that are the same for every recording: `ref` and `model`, if there are any.

    Raises:
        SettingsError: A field is unknown or has no value here, or the braces do not pair.
    """
    for field in _fields(template):
        if field not in FIELDS:
            fields = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise SettingsError(f"The name {template!r} has an unknown field {{{field}}}: use {fields}.")
        if field in ("ref", "model") and field not in known:
            what = "reference" if field == "ref" else "model"
            raise SettingsError(f"The name {template!r} asks for a {what}, and there is none: leave {{{field}}} out.")


def output_name(
    template: str, recording: InputRecording, known: Mapping[str, str], *, ending: str | None = None
) -> PurePosixPath:
    """Return the path of a recording's output below the output folder.

    A name without an audio file extension gets that of the recording, or `.wav` where that cannot be written.

    Args:
        template: A name with fields in braces: `{stem}` is the recording's name without its extension, `{ext}` the
            extension without its dot, `{relpath}` the path below the folder that was named, without the extension.
        recording: The recording.
        known: The values of `{ref}` and `{model}`.
        ending: The extension of all outputs; None for that of the recording.

    Raises:
        SettingsError: The name has another extension, or would be empty, too long, or outside the folder.
    """
    own = recording.path.suffix
    given, ending = ending, ending or (own if own.lower() in audio.SUFFIXES else ".wav")
    fields = {
        **known,
        "stem": _without_ending(PurePosixPath(recording.path.name)),
        "relpath": _without_ending(recording.given),
        "ext": ending.removeprefix("."),
    }
    try:
        text = template.format_map(fields)
    except (KeyError, ValueError, IndexError, AttributeError) as error:  # check_template finds most of these first
        raise SettingsError(f"The name {template!r} cannot be filled in: check its braces.") from error
    name = PurePosixPath(text)
    where = f"The name {template!r} makes {text!r} of {str(recording.path)!r}"
    if name.is_absolute() or ".." in name.parts:
        raise SettingsError(f"{where}, which is outside the output folder: leave out '..' and the first '/'.")
    if not name.name or text.endswith("/") or name.name.lower() in audio.SUFFIXES:
        raise SettingsError(f"{where}, which is not a file name: put {{stem}} in it.")
    if name.suffix.lower() not in audio.SUFFIXES:
        name = name.with_name(name.name + ending)
    if given is not None and name.suffix.lower() != given:
        raise SettingsError(f"{where}, which is no {given} file: end it in {{ext}}, or leave out --to.")
    try:
        longest = max(len(os.fsencode(part)) for part in name.parts)
    except UnicodeEncodeError:
        longest = 0
    if not longest or "\0" in text:
        raise SettingsError(f"{where}, which is not a valid file name: use letters and digits.")
    if longest > LONGEST_NAME_BYTES:
        raise SettingsError(f"{where}, which is too long for a file name: shorten it.")
    return name


def table_names(outputs: Sequence[Path], ending: str) -> Iterator[Path]:
    """Return the paths of tables written next to their outputs.

    Args:
        outputs: The rendered files.
        ending: The tables' extension: `.json` or `.csv`.
    """
    return (name.with_name(f"{name.name}.params{ending}") for name in companion_names(outputs))


def companion_names(outputs: Sequence[Path]) -> Iterator[Path]:
    """Yield a path for the files written next to each output: that of the output without its extension.

    Args:
        outputs: The rendered files.
    """
    # voice.wav and voice.flac would share voice.params.json, so these keep their extensions.
    keys = [one_spelling(output.with_suffix("")) for output in outputs]
    sharing = Counter(keys)
    for output, key in zip(outputs, keys, strict=True):
        yield output.with_name(output.stem if sharing[key] == 1 else output.name)


def one_spelling(path: Path) -> str:
    """Return one string for all spellings that some file system takes for the same path, links followed.

    Args:
        path: A file; it need not exist.
    """
    return one_name(os.path.realpath(path))


def one_name(name: str) -> str:
    """Return one string for all spellings that some file system takes for the same name."""
    return unicodedata.normalize("NFC", name).casefold()


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
    known = path.suffix.lower() in audio.READABLE_SUFFIXES
    return str(path.with_suffix("")) if known else str(path)
