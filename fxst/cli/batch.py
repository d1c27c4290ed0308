"""`fxst batch status` and `fxst batch merge`."""

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from fxst.cli.app import app
from fxst.cli.commands import command_group
from fxst.cli.options import command
from fxst.cli.terminal import print_json, say
from fxst.configs import BatchMergeConfig, BatchStatusConfig

if TYPE_CHECKING:
    from fxst.coordination.parts import FailureRow, Status

__all__: list[str] = []

batch_app = command_group("Batches that several processes or machines share.")
app.add_typer(batch_app, name="batch")


@command(batch_app, BatchStatusConfig, "status", urls=True)
def _status(config: BatchStatusConfig) -> None:
    from fxst.batch.objects import local_batch
    from fxst.batch.parts import status_of

    with local_batch(config.folder) as folder:
        status, failures = status_of(folder)
    _show(config.format, status, failures)


@command(batch_app, BatchMergeConfig, "merge", urls=True)
def _merge(config: BatchMergeConfig) -> None:
    from fxst.batch.objects import local_batch
    from fxst.evaluation.merging import merge

    with local_batch(config.folder) as folder:
        status, failures = merge(replace(config, folder=folder))
    _show(config.format, status, failures)


def _show(form: str, status: "Status", failures: "list[FailureRow]") -> None:
    """Print how far a batch is; exit with 1 where something failed or is missing."""
    from fxst.coordination.shards import array_expression

    array = array_expression(list(status.missing_shards))
    if form == "jsonl":
        for failure in failures:
            say(failure.to_json())
    elif form == "json":
        from fxst import records

        print_json(
            records.plain(
                records.BatchReport,
                format_version=1,
                files=status.files,
                done=status.done,
                failed=status.failed,
                missing=status.missing,
                chunks=status.chunks,
                missing_chunks=status.missing_chunks,
                shards=status.shards,
                missing_shards=list(status.missing_shards),
                array=array,
            )
        )
    else:
        say(f"{status.done:,} done, {status.failed:,} failed, {status.missing:,} missing")
        if status.missing_chunks:
            say(f"{status.missing_chunks:,} of {status.chunks:,} chunks have no result")
        if array:
            say(f"missing shards of {status.shards:,}: --array={array}")
        if status.failed:
            say("what failed: --format jsonl")
    if status.failed or status.missing_chunks:
        raise typer.Exit(1)
