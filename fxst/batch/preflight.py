"""The preflight of a command: its plan, its references, tables and profiles, and its unfinished jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fxst import authorship
from fxst.audio import probe
from fxst.batch.manifest import Origin, is_in_manifest, origin_of, unfinished
from fxst.batch.plan import Job, Plan, plan, written_files
from fxst.chains import table_files
from fxst.chains.amounts import parse_amounts
from fxst.chains.table import Table
from fxst.configs import ApplyConfig
from fxst.transfer import profiles
from fxst.transfer.profiles import StyleProfile

__all__ = ["Preflight", "preflight"]


@dataclass(frozen=True)
class Preflight:
    """Everything that a command reads before it renders, read once.

    Args:
        config: The command.
        plan: Its jobs and references.
        left: The unfinished jobs.
        origin: What is done to every file of a batch; None for a single recording.
        table: The table that is applied; None where a model chooses.
        profiles: The style profiles, by path.
        damaged: Number of damaged lines in the manifest.
        album: The jobs of an album, finished or not; none where each recording is on its own.
    """

    config: ApplyConfig
    plan: Plan
    left: tuple[Job, ...]
    origin: Origin | None
    table: Table | None = None
    profiles: Mapping[Path, StyleProfile] = field(default_factory=dict)
    damaged: int = 0
    album: tuple[Job, ...] = ()

    def without_jobs(self) -> "Preflight":
        """Return it without its jobs but those of an album, for worker processes, which get theirs one at a time."""
        return replace(self, plan=replace(self.plan, jobs=()), left=())


def preflight(config: ApplyConfig) -> Preflight:
    """Check everything that a command reads and writes, without changing any file.

    Args:
        config: The command.

    Raises:
        AudioError: A reference cannot be read.
        ModelError: There is no such model, or it is damaged.
        NothingMatchedError: No recordings were found.
        OutputError: An output cannot be written.
        SettingsError: The table, a profile or the plan is invalid, or the command would replace files that fxst has not
            written.
    """
    planned = plan(config)
    _check_authorship(config, planned)
    # Quick checks come before a model is loaded, which takes seconds.
    read = {reference.path: profiles.read(reference.path) for reference in planned.references if reference.is_profile}
    for reference in planned.references:
        if not reference.is_profile:
            probe(reference.path)
    table = None if config.by_model else _table(config)
    album = planned.jobs if config.is_album else ()
    if planned.folder is None:
        return Preflight(config, planned, planned.jobs, None, table, read, album=album)
    origin = origin_of(config, planned.references, album)
    left, damaged = unfinished(planned, config, origin)
    return Preflight(config, planned, left, origin, table, read, damaged, album)


def _check_authorship(config: ApplyConfig, planned: Plan) -> None:
    """Check that no file of the user's would be replaced; `unfinished` checks those of a batch's folder."""
    pages = [path for path in (config.plot, config.report) if path is not None]
    table = next((job.table for job in planned if job.table is not None and job.table == config.params), None)
    hint = "" if table is None else " (with --ref or --style, --params names the table to write)"
    if planned.folder is None:
        authorship.check(written_files(config, planned), overwrite=config.overwrite, known=is_in_manifest, hint=hint)
    authorship.check(pages, overwrite=config.overwrite)


def _table(config: ApplyConfig) -> Table:
    """Read the table that a command applies, linked and scaled by its options."""
    assert config.params is not None, "plan() asks for one of the two"
    table = table_files.read(config.params)
    if config.link is not None:
        table.chain.check_linkable()
        table = table.linked(config.link)
    return table.at_amount(parse_amounts(config.amount)) if config.amount else table
