"""Standard input and output as temporary files, so that they are complete before they are read or passed on."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from fxst.configs import ApplyConfig
from fxst.errors import FxstError, OutputError
from fxst.untrusted import quoted

__all__ = ["Spooled", "spooled"]

_DASH: Final = Path("-")


@dataclass(frozen=True)
class Spooled:
    """A command in which files replace the dashes.

    Args:
        config: The command.
        sound_to_stdout: Whether the audio goes to standard output, and so nothing else may.
        names: Names in messages of the files for standard input and output.
    """

    config: ApplyConfig
    sound_to_stdout: bool
    names: dict[Path, str]

    def shown(self, path: Path) -> str:
        """Return a file's name for a message."""
        from fxst.storage import copies

        return self.names.get(path) or copies.shown(quoted(path))

    def spoken(self, message: str) -> str:
        """Replace the paths of temporary files in a message by their names."""
        for path, name in self.names.items():
            message = message.replace(quoted(path), name)
        return message


@contextlib.contextmanager
def spooled(config: ApplyConfig) -> Iterator[Spooled]:
    """Store standard input in a file, and copy the output to standard output when the block succeeds.

    Args:
        config: The command.

    Raises:
        typer.BadParameter: A dash is not possible here.
    """
    reads, writes = _DASH in config.inputs, config.output == _DASH
    _check(config, reads=reads, writes=writes)
    if not (reads or writes):
        yield Spooled(config, sound_to_stdout=False, names={})
        return
    with _temporary_folder() as folder:
        names: dict[Path, str] = {}
        if reads:
            source = Path(folder, "stdin")
            names[source] = "standard input"
            if not config.dry_run:
                _store(source)
            config = replace(config, inputs=(source,))
        output = Path(folder, f"stdout.{config.to or 'wav'}")
        if writes:
            names[output] = "standard output"
            config = replace(config, output=output)
        files = Spooled(config, writes, names)
        try:
            yield files
        except FxstError as error:
            raise type(error)(files.spoken(str(error))) from error
        if writes and output.exists():
            with open(output, "rb") as sound:
                shutil.copyfileobj(sound, sys.stdout.buffer, 1 << 20)
            sys.stdout.buffer.flush()


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(prefix="fxst-")
    except OSError as error:
        raise OutputError(
            f"There is no folder for temporary files ({(error.strerror or str(error)).lower()}): set TMPDIR to one "
            "that you may write to."
        ) from error


def _check(config: ApplyConfig, *, reads: bool, writes: bool) -> None:
    if reads:
        if len(config.inputs) > 1 or config.list_file is not None:
            raise typer.BadParameter("- reads one recording from standard input: name no other input with it.")
        if sys.stdin.isatty():
            raise typer.BadParameter("standard input is a terminal: pipe an audio file into it, or name one.")
    if writes:
        beside = config.export or str(config.params) in ("json", "csv")
        if beside:
            raise typer.BadParameter("other files are named after the output: name a file instead of -o -.")
        if config.format in ("json", "jsonl"):
            raise typer.BadParameter("sound and JSON cannot both go to standard output: leave out --format or -o -.")
        from fxst.batch.selection import is_batch

        if is_batch(config):
            raise typer.BadParameter("standard output takes one recording, but there may be several: name a folder.")
        if sys.stdout.isatty() and not config.dry_run:
            raise typer.BadParameter("standard output is a terminal: redirect the audio to a file or a program.")


def _store(path: Path) -> None:
    try:
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
    except OSError as error:
        raise OutputError(
            f"Standard input cannot be stored in {str(path.parent)!r} ({(error.strerror or str(error)).lower()}): free "
            "space there, or set TMPDIR to another folder."
        ) from error
