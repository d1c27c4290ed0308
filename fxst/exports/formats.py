"""The export formats, the names of their files, and writing them."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fxst import staging
from fxst.audio import Writer
from fxst.chains.table import Table
from fxst.errors import SettingsError, unknown
from fxst.exports import apo, camilladsp, easyeffects, ffmpeg, impulse_response, jsfx, pedalboard, sox
from fxst.exports.base import Export, Format

__all__ = ["ALL", "FORMATS", "ExportFile", "export_files", "staged"]

ALL: Final = "all"
"""Stands for every format."""

IMPULSE_RESPONSE: Final = "ir"

FORMATS: Final = {
    "ffmpeg": Format(".ffmpeg.txt", ffmpeg.write, needs_impulse_response=True),
    "apo": Format(".ParametricEQ.txt", apo.write),
    "pedalboard": Format(".pedalboard.py", pedalboard.write),
    "camilladsp": Format(".camilladsp.yml", camilladsp.write, needs_impulse_response=True),
    "easyeffects": Format(".easyeffects.json", easyeffects.write),
    "sox": Format(".sox.txt", sox.write),
    "jsfx": Format(".jsfx", jsfx.write, needs_impulse_response=True),
    IMPULSE_RESPONSE: Format(".reverb.wav", None),
}
"""Every format by its name."""


@dataclass(frozen=True)
class ExportFile:
    """A file to write.

    Args:
        format: Its format.
        path: Its path.
        implied: Whether it was not requested, but another format needs it.
    """

    format: str
    path: Path
    implied: bool = False


def export_files(names: Sequence[str], stem: Path) -> tuple[ExportFile, ...]:
    """Return the files of some formats, and of the impulse response that some of them need.

    Args:
        names: The formats, or `all`.
        stem: Their path without the suffix.

    Raises:
        SettingsError: There is no such format.
    """
    for name in names:
        if name not in (*FORMATS, ALL):
            raise SettingsError(f"{unknown('export', name, (*FORMATS, ALL))}.")
    requested = set(FORMATS if ALL in names else names)
    needed = {IMPULSE_RESPONSE} if any(FORMATS[name].needs_impulse_response for name in requested) else set()
    return tuple(
        ExportFile(name, stem.with_name(stem.name + format_.suffix), implied=name not in requested)
        for name, format_ in FORMATS.items()
        if name in requested | needed
    )


@contextlib.contextmanager
def staged(files: Sequence[ExportFile], table: Table, *, sample_rate: int, channels: int) -> Iterator[tuple[str, ...]]:
    """Write a table in some formats; the files appear when the block ends, and not at all when it fails.

    A table without a reverb has no impulse response.

    Args:
        files: The files.
        table: The settings.
        sample_rate: Sample rate of the recording that they are for.
        channels: Its channels.

    Returns:
        Remarks, a sentence each.

    Raises:
        OutputError: A file cannot be written.
        SettingsError: One impulse response would have to hold several reverbs.
    """
    response = next((file.path.name for file in files if file.format == IMPULSE_RESPONSE), "")
    export = Export(table, sample_rate, channels, response)
    remarks: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        for file in files:
            text = FORMATS[file.format].text
            if text is not None:
                stack.enter_context(staging.staged(file.path, text(export).encode()))
            elif (reverb := impulse_response.reverb(export)) is not None:
                frames = impulse_response.frames(reverb, sample_rate=sample_rate)
                writer = stack.enter_context(
                    Writer(
                        file.path,
                        sample_rate=sample_rate,
                        channels=4 if channels == 2 else 1,
                        subtype="FLOAT",
                        format="WAV",
                        frames=frames,
                    )
                )
                for block in impulse_response.blocks(reverb, sample_rate=sample_rate, channels=channels):
                    writer.write(block)
            elif not file.implied:
                remarks = ("no reverb is in use, so there is no impulse response",)
        yield remarks
