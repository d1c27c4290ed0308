"""`fxst apply`."""

import contextlib
import dataclasses
import gc
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fxst import authorship, interrupts
from fxst.cli.app import app
from fxst.cli.options import command
from fxst.cli.results import Results
from fxst.cli.streams import Spooled, spooled
from fxst.cli.terminal import above, is_plain, say, warn
from fxst.configs import REFERENCE, ApplyConfig, is_adopted
from fxst.interrupts import exit_code
from fxst.untrusted import quoted

if TYPE_CHECKING:
    import rich.progress

    from fxst.batch.files import Progress
    from fxst.batch.plan import Job
    from fxst.batch.preflight import Preflight
    from fxst.batch.report import TransferReport
    from fxst.batch.results import FileResult


@command(app, ApplyConfig, "apply", urls=True)
def apply(config: ApplyConfig) -> None:
    """Apply, print the result of each file, and fail if one failed."""
    if not config.inputs and config.list_file is None:
        raise typer.BadParameter("name a recording, a folder or a pattern, or a list of them (--list).")
    if not config.by_model and config.params is None and config.params_dir is None:
        raise typer.BadParameter(
            "name a recording to sound like (--ref), a style profile (--style), or a table to apply (--params)."
        )
    if not config.by_model and config.loudness == REFERENCE and is_adopted("loudness"):
        config = replace(config, loudness=None)  # a settings file is for other commands, too
    with _local(config) as local, spooled(local) as files:
        code = _apply(files)
    if code:
        raise typer.Exit(code)


def _local(config: ApplyConfig) -> "contextlib.AbstractContextManager[ApplyConfig]":
    """Replace URLs of objects by the paths of their copies; a command without any loads nothing for it."""
    if "://" not in str(dataclasses.astuple(config)) and config.list_file is None:
        return contextlib.nullcontext(config)
    from fxst.batch.objects import local_apply

    return local_apply(config)


def _apply(files: Spooled) -> int:
    from fxst.batch.preflight import preflight
    from fxst.storage import copies

    config = files.config
    checked = preflight(config)
    if checked.damaged:
        lines = "1 line is damaged" if checked.damaged == 1 else f"{checked.damaged:,} lines are damaged"
        warn(f"{lines} in the manifest of {quoted(config.output)}, and skipped.")
    for remark in checked.plan.remarks:
        warn(remark)
    # An applied table is the same for all files, so it is shown; those of a batch are written next to their outputs.
    batch = checked.plan.folder is not None
    many = checked.chunked or len(checked.plan) > 1
    results = Results(files, show_table=checked.table is not None or not batch, many=many)
    if checked.shard is not None:
        say(f"fxst: shard {checked.shard.index} of the shards 0 to {checked.shard.count - 1}", err=True)
    if config.dry_run:
        left = set(checked.left)
        if left:
            from fxst.batch.session import Session

            Session(checked).close()  # which refuses what the run would: a model, a device, a profile
        for job in checked.plan:
            results.plan(job, finished=job not in left)
        return results.end()

    references = tuple(reference.path for reference in checked.plan.references if not reference.is_profile)
    page = _page(files, references)
    try:
        with (
            _progress_bar(checked.left) as progress,
            contextlib.closing(_begin(checked, _interruptible(progress, checked))) as done,
        ):
            for result in done:
                if progress is not None:
                    progress.done(result.input)
                results.add(result)
                interrupts.check()
                if page is not None:
                    page.add(result)
                if config.plot is not None and result.table is not None:
                    from fxst.report.plot import plot_transfer

                    with authorship.noted():
                        plot_transfer(
                            config.plot,
                            input=result.input,
                            output=result.output,
                            references=references,
                            settings=result.table,
                        )
                    copies.publish(config.plot)
                    results.wrote(files.shown(config.plot))
        if page is not None:
            page.write()
            copies.publish(page.path)
            results.wrote(files.shown(page.path))
    except KeyboardInterrupt as interrupt:
        _remove_unfinished()
        results.end(interrupted=exit_code(interrupt))
        remedy = f": {results.summary()} Run the same command again to continue" if batch else ""
        raise type(interrupt)(f"interrupted{remedy}") from interrupt
    return results.end()


def _interruptible(progress: "Progress | None", checked: "Preflight") -> "Progress | None":
    """Check for an interrupt with each block; several files are rendered by workers, which do so themselves."""
    if checked.chunked or len(checked.left) > 1:
        return progress

    def checking(path: Path, done: float) -> None:
        interrupts.check()
        if progress is not None:
            progress(path, done)

    return checking


def _remove_unfinished() -> None:
    from fxst import staging

    staging.abandon()


def _page(files: Spooled, references: "Sequence[Path]") -> "TransferReport | None":
    """Return the report page, if it is requested."""
    config = files.config
    if config.report is None:
        return None
    from fxst.batch.report import TransferReport

    return TransferReport(config.report, references=references, items=config.report_items, names=files.names)


def _begin(checked: "Preflight", progress: "Progress | None") -> "Generator[FileResult, None, None]":
    """Load the modules needed and start to apply.

    Torch creates half a million objects that stay. Garbage collection of them, during loading and at the end of the
    program, would take a third of the loading time.
    """
    gc.disable()
    try:
        from fxst.batch.run import apply_files

        return apply_files(checked.config, progress, checked=checked)
    finally:
        gc.freeze()
        gc.enable()


class _Bars:
    """A progress bar for every file being rendered, and for several files one for all."""

    def __init__(self, bars: "rich.progress.Progress", jobs: "Sequence[Job]") -> None:
        self._bars = bars
        self._all = bars.add_task("loading", total=None)
        self._total = len(jobs)
        self._inputs = {job.input for job in jobs}
        self._files: dict[Path, rich.progress.TaskID] = {}
        self._finished = 0

    def __call__(self, path: Path, done: float) -> None:
        if path not in self._files:
            self._files[path] = self._bars.add_task(quoted(path.name), total=1.0)
        # A reference has no result, so its bar is hidden at its end.
        self._bars.update(self._files[path], completed=done, visible=done < 1 or path in self._inputs)
        self._show_all()

    def done(self, path: Path) -> None:
        if path in self._files:
            self._bars.remove_task(self._files.pop(path))
            self._finished += 1
            self._show_all()

    def _show_all(self) -> None:
        description = f"{self._finished} of {self._total}"
        self._bars.update(
            self._all, description=description, completed=self._finished, total=self._total, visible=self._total > 1
        )


@contextlib.contextmanager
def _progress_bar(jobs: "Sequence[Job]") -> "Iterator[_Bars | None]":
    """Show the progress of each file and of all, if standard error is a terminal."""
    # Asked before rich is loaded. Bars need a cursor that moves.
    if not (sys.stderr.isatty() or os.environ.get("FORCE_COLOR")) or is_plain():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from fxst.cli.grids import Console

    console = Console(err=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    # Otherwise rich would send other output to its own console instead of to a pipe.
    with (
        Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bars,
        above(console),
    ):
        yield _Bars(bars, jobs)
