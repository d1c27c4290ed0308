"""Output of `fxst apply`: results on standard output in the requested format, and messages on standard error."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fxst.cli.streams import Spooled
from fxst.cli.terminal import bar_console, complain, print_json, say, say_rows, warn
from fxst.errors import OutputError
from fxst.version import __version__

if TYPE_CHECKING:
    from fxst.batch.plan import Job
    from fxst.batch.results import FileResult
    from fxst.chains.table import Table

__all__ = ["Results"]


class Results:
    """Prints the result of each file as it is done, and a summary at the end.

    Args:
        files: The command, and the names of its files.
        show_table: Whether to show the first parameter table.
        many: Whether the command has more than one recording.
    """

    def __init__(self, files: Spooled, *, show_table: bool, many: bool) -> None:
        self._files = files
        self._format = files.config.format
        self._show_table = show_table
        self._many = many
        self._rows: list[dict[str, Any]] = []
        self._codes: list[int] = []
        self.counts = {"written": 0, "finished": 0, "failed": 0, "planned": 0}

    def plan(self, job: "Job", *, finished: bool) -> None:
        """Print the plan of a file."""
        state = "finished" if finished else "planned"
        self._count(state, 0)
        self._row(state, job.input, job.output, job.table, [file.path for file in job.exports])
        if self._format == "table":
            done = "already finished: " if finished else ""
            self._say(f"{done}{self._shown(job.input)} -> {self._shown(job.output)}{self._settings(job.table)}")
        self._warn(job.input, (job.note,) if job.note else ())

    def add(self, result: "FileResult") -> None:
        """Print the result of a file."""
        state = "failed" if result.error else "finished" if result.was_finished else "written"
        self._count(state, result.exit_code)
        error, warnings = self._files.spoken(result.error), tuple(map(self._files.spoken, result.warnings))
        output = None if result.error else result.output
        self._row(state, result.input, output, result.table_path, result.exports, result.table, warnings, error)
        if error:
            complain(error)
        elif self._format == "table" and state == "written":
            if self._show_table and result.table is not None:
                show = show_table if self._files.config.verbose else show_summary
                show(result.table, err=self._files.sound_to_stdout)
                self._show_table = False
            self.wrote(f"{self._shown(result.output)}{self._settings(result.table_path)}")
            for path in result.exports:
                self.wrote(self._shown(path))
        self._warn(result.input, warnings)

    def wrote(self, what: str) -> None:
        """Print that a file was written; only for tables, since JSON has it in its rows or not at all."""
        if self._format == "table":
            self._say(f"wrote {what}")

    def end(self, interrupted: int = 0) -> int:
        """Print the summary of all files, and return the program's exit code.

        Args:
            interrupted: The exit code of an interrupt; 0 without one.
        """
        # A full disk or a read-only folder is not a fault of the files.
        failed = [code for code in self._codes if code]
        writing = bool(failed) and set(failed) == {OutputError.exit_code}
        code = interrupted or (OutputError.exit_code if writing else 1 if failed else 0)
        if self._format == "json":
            from fxst import records

            report = {"fxst": __version__, "exit_code": code, "counts": self.counts, "files": self._rows}
            print_json(records.plain(records.ApplyReport, format_version=1, **report))
        if self._many and not interrupted and (self.counts["failed"] or self.counts["finished"]):
            say(f"fxst: {self.summary()}", err=True)
        return code

    def summary(self) -> str:
        """Return the number of files in each state, as one sentence."""
        words = {
            "planned": "to write",
            "written": "written",
            "finished": "already finished",
            "failed": "failed",
        }
        parts = [f"{self.counts[state]:,} {word}" for state, word in words.items() if self.counts[state]]
        return f"{', '.join(parts)}." if parts else "nothing done."

    def _count(self, state: str, code: int) -> None:
        self.counts[state] += 1
        self._codes.append(code)

    def _row(
        self,
        status: str,
        input: Path,  # noqa: A002  (the field's word)
        output: Path | None,
        table: Path | None,
        exports: Sequence[Path],
        settings: "Table | None" = None,
        warnings: tuple[str, ...] = (),
        error: str = "",
    ) -> None:
        if self._format not in ("json", "jsonl"):
            return
        from fxst import records
        from fxst.storage import copies

        row = records.plain(
            records.FileReport,
            input=self._files.names.get(input) or copies.shown(str(input)),
            status=status,
            output=None if output is None else copies.shown(str(output)),
            table=None if table is None else copies.shown(str(table)),
            exports=[copies.shown(str(path)) for path in exports],
            settings=None if settings is None else settings.to_dict(),
            warnings=list(warnings),
            error=error or None,
        )
        if self._format == "jsonl":
            print_json(row, indent=None)
            sys.stdout.flush()  # for programs that read the rows as they come
        else:
            self._rows.append(row)

    def _warn(self, path: Path, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            warn(f"{self._shown(path)}: {warning}")

    def _say(self, text: str) -> None:
        say(text, err=self._files.sound_to_stdout)

    def _shown(self, path: Path) -> str:
        return self._files.shown(path)

    def _settings(self, table: Path | None) -> str:
        # The table next to the file for standard output is temporary, and was not requested.
        lost = table is not None and self._files.sound_to_stdout and table.parent == self._files.config.output.parent
        return "" if table is None or lost else f", settings in {self._shown(table)}"


def show_summary(table: "Table", *, err: bool) -> None:
    """Print each active effect of a table in one line.

    Args:
        table: The table.
        err: Whether to print to standard error.
    """
    from fxst.chains.table import AMOUNT, LOUDNESS
    from fxst.transfer.style_transfer import safety_remarks

    rows = [(stage.label, stage.effect.summary(stage.values)) for stage in table.chain.stages(table) if stage.active]
    if table.bypassed:
        rows.append(("bypassed", ", ".join(table.bypassed)))
    # The reason why less was applied is also a warning, so it is left out here.
    amounts = [remark.partition(":")[0] for remark in safety_remarks(table)] + [table.provenance.get(AMOUNT, "")]
    if any(amounts) or "model" in table.provenance:
        rows.append(("style", ", ".join(filter(None, amounts)) or "100 %"))
    if LOUDNESS in table.provenance:
        rows.append(("loudness", table.provenance[LOUDNESS]))
    say_rows(rows, err=err)


def show_table(table: "Table", *, err: bool) -> None:
    """Print a parameter table.

    Args:
        table: The table.
        err: Whether to print to standard error.
    """
    from fxst.chains.table import short
    from fxst.cli.grids import Console, Grid

    grid = Grid("effect", "parameter")
    grid.add_column("value", justify="right")
    grid.add_column("unit")
    grid.add_column("range", justify="right")
    shown = ""
    bypassed = table.bypassed
    for row in table:
        span = "fixed" if row.minimum == row.maximum else f"{short(row.minimum)} to {short(row.maximum)}"
        if row.effect != shown and row.effect in bypassed:
            grid.add_row(row.effect, "bypassed")
        elif row.effect not in bypassed:
            grid.add_row(row.effect if row.effect != shown else "", row.parameter, short(row.value), row.unit, span)
        shown = row.effect
    console = bar_console(err=err) or Console(err=err)
    console.print(grid)
    if table.probabilities:
        shares = ", ".join(f"{label} {share:.0%}" for label, share in table.probabilities.items())
        console.print(f"effect probabilities: {shares}")
