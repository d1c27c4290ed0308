"""Where one file after the other is worked on, in this process: the recipe, and the manifest of the folder."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fxst.batch.files import Progress
from fxst.batch.manifest import Manifest, Origin, input_state
from fxst.batch.plan import Job
from fxst.batch.recipe import FileResult, Recipe, attempt, failure, recipe_of, table_of
from fxst.chains import table_files
from fxst.chains.table import Table
from fxst.configs import ApplyConfig
from fxst.errors import FxstError, SettingsError

__all__ = ["WAIT_SECONDS", "Bench", "Order", "finished"]

WAIT_SECONDS: Final = 0.2
"""How long a file that another process works on is left alone."""


@dataclass(frozen=True)
class Order:
    """What a process has to know before it can work on files.

    Args:
        config: The command.
        folder: Of a batch, the folder for its outputs, which keeps a manifest; None for one recording by itself.
        origin: What is done to every file of a batch.
    """

    config: ApplyConfig
    folder: Path | None = None
    origin: Origin | None = None


class Bench:
    """Works on files, one at a time.

    Args:
        order: What to do.

    Raises:
        AudioError: The reference cannot be read.
        ModelError: There is no such model, or it is damaged.
        SettingsError: The table makes no sense.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._manifest: Manifest | None = None
        self.recipe: Recipe = recipe_of(order.config)

    def close(self) -> None:
        """Let go of the manifest."""
        if self._manifest is not None:
            self._manifest.close()
            self._manifest = None

    def work_on(self, job: Job, progress: Progress | None) -> FileResult | None:
        """Make a file; None where another process is at it.

        Args:
            job: The file.
            progress: Is told how far the work is.
        """
        folder, origin = self._order.folder, self._order.origin
        if folder is None or origin is None:
            return attempt(self.recipe, job, progress)
        try:
            if self._manifest is None:
                self._manifest = Manifest(folder, write=True)
            manifest = self._manifest
            with manifest.locked(job.output) as alone:
                if not alone:
                    return None
                manifest.refresh()
                if self._order.config.resume and manifest.is_finished(job, origin):
                    return finished(job, self._order.config)
                source = input_state(job)
                if source is None:
                    return attempt(self.recipe, job, progress)  # which tells why it cannot be read
                return attempt(
                    self.recipe, job, progress, lambda hidden: manifest.add(manifest.row(job, source, origin, hidden))
                )
        except FxstError as error:
            return failure(job, str(error), error.exit_code)


def finished(job: Job, config: ApplyConfig) -> FileResult:
    """Tell of a file that an earlier run has made."""
    settings: Table | None = None
    with contextlib.suppress(SettingsError):  # somebody has edited it since, which is not this run's business
        settings = table_files.read(job.table) if job.table is not None else table_of(config)
    exports = tuple(file.path for file in job.exports if file.path.exists())
    return FileResult(job.input, job.output, job.table, settings, was_finished=True, exports=exports)
