"""The result of a file."""

from dataclasses import dataclass
from pathlib import Path

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


def failure(job: Job, error: str, exit_code: int = 1) -> FileResult:
    """Return the result of a file that could not be rendered."""
    return FileResult(job.input, job.output, None, None, error=error, exit_code=exit_code)
