"""`fxst dataset build`."""

import typer

from fxst.cli.app import dataset_app
from fxst.cli.options import command
from fxst.cli.terminal import above, complain, is_plain, say
from fxst.configs import DatasetConfig


@command(dataset_app, DatasetConfig, "build")
def build(config: DatasetConfig) -> None:
    """Build, print a summary, and fail if a recording was damaged."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fxst.cli.grids import Console, Grid
    from fxst.data.build import build as build_dataset
    from fxst.data.build import build_share
    from fxst.data.manifest import REPORT

    console = Console(err=True, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal or is_plain()) as bar,
        above(console),
    ):
        task = bar.add_task("clips" if config.shard is None else "recordings", total=None)
        if config.shard is not None:
            count = build_share(config, progress=lambda done, total: bar.update(task, completed=done, total=total))
            recordings = "recording" if count == 1 else "recordings"
            say(
                f"fxst: shard {config.shard} is done: {count:,} {recordings}; fxst batch merge makes the dataset of all"
            )
            return
        summary = build_dataset(config, progress=lambda done, total: bar.update(task, completed=done, total=total))
    table = Grid()
    for heading in ("split", "speakers", "clips"):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split, clips in summary.clips.items():
        table.add_row(split, f"{summary.speakers[split]:,}", f"{clips:,}")
    out = Console(soft_wrap=True)
    out.print(table)
    total = f"{sum(summary.clips.values()):,} clips of {config.seconds:g} s, {_length(summary.seconds)} in all"
    if summary.was_finished:
        out.print(f"{total}: already finished, nothing to do.")
    else:
        speed = summary.seconds / max(summary.elapsed_seconds, 1e-9)
        out.print(f"{total}, cut in {_length(summary.elapsed_seconds)} ({speed:,.0f} times real time).")
    out.print(f"Dataset: {summary.folder}")
    for note in summary.notes:
        console.print(note, style="yellow")
    if summary.damaged_files:
        files = "recording is" if summary.damaged_files == 1 else "recordings are"
        complain(
            f"{summary.damaged_files:,} {files} damaged: see {summary.folder / REPORT}; the dataset is made "
            "from the rest."
        )
        raise typer.Exit(1)


def _length(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
