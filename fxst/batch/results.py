"""The result of a file."""

from dataclasses import dataclass
from pathlib import Path

from fxst.batch.manifest import ManifestRow
from fxst.batch.plan import Job
from fxst.chains.table import Table

__all__ = ["FileResult", "failure"]


@dataclass(frozen=True)
class FileResult:
    """The result of a file.

    Args:
        input: The recording.
        output: The rendered file.
        table_path: The file with its parameter table; None where there is none.
        table: The parameter table; None after an error.
        warnings: Remarks, a sentence each.
        error: Why there is no output; empty without an error.
        exit_code: The exit code of a command that renders only this file.
        was_finished: Whether an earlier run rendered it.
        exports: The files of its settings for other programs.
        row: Its row of the manifest; None where there is none.
        crashed: Whether it ended its process each time that it was tried.
    """

    input: Path
    output: Path
    table_path: Path | None
    table: Table | None
    warnings: tuple[str, ...] = ()
    error: str = ""
    exit_code: int = 0
    was_finished: bool = False
    exports: tuple[Path, ...] = ()
    row: ManifestRow | None = None
    crashed: bool = False


def failure(job: Job, error: str, exit_code: int = 1, *, crashed: bool = False) -> FileResult:
    """Return the result of a file that could not be rendered."""
    return FileResult(job.input, job.output, None, None, error=error, exit_code=exit_code, crashed=crashed)
