"""`fxst batch merge`: the results of all shards of a batch, of whichever command, as one."""

from dataclasses import replace

from fxst.batch import parts
from fxst.configs import BatchMergeConfig
from fxst.coordination.parts import Batch, FailureRow, Status
from fxst.data import sharing
from fxst.data.build import build
from fxst.errors import SettingsError
from fxst.evaluation.evaluate import evaluate
from fxst.evaluation.sharing import COMMAND, config_of

__all__ = ["merge"]


def merge(config: BatchMergeConfig) -> tuple[Status, list[FailureRow]]:
    """Merge the parts of a batch; return what it holds, and its failures.

    Args:
        config: The command.

    Raises:
        FxstError: Results are missing, or the folder cannot be read or written.
    """
    batch = Batch.of(parts.store_of(config.folder)) if config.folder.is_dir() else None
    if batch is None or batch.command not in (COMMAND, sharing.COMMAND):
        return parts.merge_finished(config)
    status = batch.status()
    parts.check_complete(config.folder, status)
    if batch.command == sharing.COMMAND:
        if config.report is not None:
            raise SettingsError("--report is for the results of fxst apply and fxst eval: leave it out.")
        build(replace(sharing.config_of(batch), shard=None))
        return status, []
    found = replace(config_of(batch), overwrite=config.overwrite, report=config.report)
    evaluate(replace(found, report_items=config.report_items) if config.report is not None else found)
    return status, []
