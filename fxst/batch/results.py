"""What became of a file."""

from dataclasses import dataclass
from pathlib import Path

from fxst.batch.plan import Job
from fxst.chains.table import Table

__all__ = ["FileResult", "failure"]


@dataclass(frozen=True)
class FileResult:
    """What became of a file.

    Args:
        input: The recording.
        output: The rendered file.
        table_path: The file with its parameter table; None where none was written.
        table: The parameter table; None after an error.
        warnings: Remarks, a sentence each.
        error: Why there is no output; empty when all went well.
        exit_code: The exit code of a command that renders this file alone.
        was_finished: Whether an earlier run rendered it, and it was left as it is.
        exports: The files beside it that other programs read.
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
    """Return the result of a file that could not be rendered, and why."""
    return FileResult(job.input, job.output, None, None, error=error, exit_code=exit_code)
