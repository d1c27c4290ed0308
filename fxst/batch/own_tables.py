"""A table for each recording: which file of a folder of tables is whose."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fxst import audio
from fxst.batch.naming import companion_names, one_spelling
from fxst.batch.selection import InputRecording, is_batch
from fxst.chains import table_files
from fxst.configs import ApplyConfig
from fxst.errors import SettingsError
from fxst.untrusted import quoted

__all__ = ["tables_of"]

_ENDINGS = tuple(f".params{suffix}" for suffix in table_files.SUFFIXES)
_SHOWN = 3


def tables_of(
    config: ApplyConfig, recordings: Sequence[InputRecording], outputs: Sequence[Path]
) -> tuple[list[Path | None], tuple[str, ...]]:
    """Return the table of each recording in `--params-dir`, whether it exists or not, and remarks on the others there.

    A table has the name that a batch gives it beside its output: of this command's output or, with another naming
    template, of the recording.

    Args:
        config: The command.
        recordings: Its recordings.
        outputs: The file that each is rendered to.

    Raises:
        SettingsError: There is no such folder.
    """
    folder = config.params_dir
    if folder is None:
        return [None] * len(recordings), ()
    if not folder.is_dir():
        raise SettingsError(f"{quoted(folder)} is not a folder: name one with a table for each recording.")
    root = config.output if config.output.is_dir() or len(outputs) > 1 else outputs[0].parent
    placed = [folder / os.path.relpath(output, root) for output in outputs]
    mirrored = [folder / _readable(recording.place) for recording in recordings]
    tables: list[Path | None] = []
    for names in zip(companion_names(mirrored), mirrored, companion_names(placed), placed, strict=True):
        found = [name.with_name(f"{name.name}{ending}") for name in names for ending in _ENDINGS]
        tables.append(next((path for path in found if path.exists()), found[0]))
    # A single recording leaves the other tables alone; what is missing fails when its turn comes.
    strays = _strays(folder, tables) if is_batch(config) else ()
    missing = _missing(recordings, tables) if config.dry_run else ()
    return tables, (*strays, *missing)


def _readable(place: PurePosixPath) -> PurePosixPath:
    """Return the name of a recording's output in a batch."""
    return place if place.suffix.lower() in audio.SUFFIXES else place.with_name(f"{place.name}.wav")


def _missing(recordings: Sequence[InputRecording], tables: Sequence[Path | None]) -> Iterator[str]:
    """Yield a remark on each recording without a table."""
    for recording, path in zip(recordings, tables, strict=True):
        if path is not None and not path.exists():
            yield f"{quoted(recording.path)} has no table: {quoted(path)} is not there"


def _strays(folder: Path, tables: Sequence[Path | None]) -> Iterator[str]:
    """Yield a remark on tables that no recording has."""
    known = {one_spelling(path) for path in tables if path is not None}
    found = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(_ENDINGS))
    strays = [path for path in found if one_spelling(path) not in known]
    if strays:
        named = ", ".join(map(quoted, strays[:_SHOWN]))
        more = f", and {len(strays) - _SHOWN:,} more" if len(strays) > _SHOWN else ""
        yield f"no recording has the table {named}{more}: it is not applied"
