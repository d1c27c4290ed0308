"""`fxst batch merge`: the results of all shards of a batch, of whichever command, as one."""

from fxst.batch import parts
from fxst.configs import BatchMergeConfig
from fxst.coordination.parts import FailureRow, Status

__all__ = ["merge"]


def merge(config: BatchMergeConfig) -> tuple[Status, list[FailureRow]]:
    """Merge the parts of a batch; return what it holds, and its failures.

    Args:
        config: The command.

    Raises:
        FxstError: Results are missing, or the folder cannot be read or written.
    """
    return parts.merge_finished(config)
