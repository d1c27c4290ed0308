"""The preflight of a command: its plan, its references, tables and profiles, and its unfinished jobs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fxst import authorship
from fxst.audio import probe
from fxst.batch.manifest import Origin, is_in_manifest, origin_of, unfinished
from fxst.batch.parts import is_begun
from fxst.batch.plan import Job, Plan, plan, plan_without_jobs, written_files
from fxst.batch.selection import is_batch
from fxst.chains import table_files
from fxst.chains.amounts import parse_amounts
from fxst.chains.table import Table
from fxst.configs import ApplyConfig, check_used
from fxst.coordination.shards import Shard, shard_of
from fxst.errors import SettingsError
from fxst.storage import copies
from fxst.transfer import profiles
from fxst.transfer.profiles import StyleProfile

__all__ = ["Preflight", "applied_table", "preflight"]


@dataclass(frozen=True)
class Preflight:
    """Everything that a command reads before it renders, read once.

    Args:
        config: The command.
        plan: Its jobs and references.
        left: The unfinished jobs.
        origin: What is done to every file of a batch; None for a single recording.
        table: The table that is applied; None where a model chooses, or each recording has its own.
        profiles: The style profiles, by path.
        damaged: Number of damaged lines in the manifest.
        chunked: Whether the recordings are planned chunk by chunk, each with a manifest part of its own.
        shard: The share of the chunks; None for all.
        copies: The folder for copies of objects; None where there are none.
        album: The jobs of an album, finished or not; none where each recording is on its own.
    """

    config: ApplyConfig
    plan: Plan
    left: tuple[Job, ...]
    origin: Origin | None
    table: Table | None = None
    profiles: Mapping[Path, StyleProfile] = field(default_factory=dict)
    damaged: int = 0
    chunked: bool = False
    shard: Shard | None = None
    copies: Path | None = field(default_factory=copies.root)
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
    shard = _shard(config)
    chunked = shard is not None or config.engine != "local" or (is_batch(config) and _is_shared(config))
    if chunked and config.dry_run:
        raise SettingsError("--dry-run lists a batch in one process: for several, see fxst batch status.")
    if chunked and config.is_album:
        option = "--album" if config.album else "--album-loudness"
        raise SettingsError(f"{option} is for a batch in one process: use another output folder, without --shard.")
    if chunked and config.params_dir is not None:
        raise SettingsError("--params-dir is for a batch in one process: use another output folder, without --shard.")
    planned = plan_without_jobs(config) if chunked else plan(config)
    _check_authorship(config, planned)
    # Quick checks come before a model is loaded, which takes seconds.
    read = {reference.path: profiles.read(reference.path) for reference in planned.references if reference.is_profile}
    for reference in planned.references:
        if not reference.is_profile:
            probe(reference.path)
    table = None if config.params is None or config.by_model else applied_table(config, config.params)
    album = planned.jobs if config.is_album else ()
    if planned.folder is None:
        return Preflight(config, planned, planned.jobs, None, table, read, album=album)
    origin = origin_of(config, planned.references, album)
    if chunked:
        return Preflight(config, planned, (), origin, table, read, chunked=True, shard=shard)
    left, damaged = unfinished(planned, config, origin)
    return Preflight(config, planned, left, origin, table, read, damaged, album=album)


def _is_shared(config: ApplyConfig) -> bool:
    """Return whether the chunks of a batch have parts of their own: other processes may work on it."""
    if copies.url_of(config.output) is None:
        return is_begun(config.output)
    if config.report is not None:
        raise SettingsError("--report plays recordings of this machine, and the outputs are objects: leave it out.")
    return not config.dry_run


def _shard(config: ApplyConfig) -> Shard | None:
    """Return the share of the batch that `--shard` names, and refuse what is not possible for a share."""
    ray = config.engine == "ray", "a cluster (--engine ray)"
    check_used(config, {"address": ray})
    if config.shard is None and config.engine == "local":
        return None
    option = "--shard" if config.shard is not None else "--engine ray"
    if not is_batch(config):
        raise SettingsError(f"{option} shares a batch among processes: name a folder, several recordings or a list.")
    if config.shard is None:
        return None
    if config.engine == "ray":
        raise SettingsError("--engine ray shares the batch itself: leave out --shard.")
    if config.report is not None:
        raise SettingsError("--report needs all results: leave it out, and write the page with fxst batch merge.")
    return shard_of(config.shard, os.environ)


def _check_authorship(config: ApplyConfig, planned: Plan) -> None:
    """Check that no file of the user's would be replaced; `unfinished` checks those of a batch's folder."""
    pages = [path for path in (config.plot, config.report) if path is not None]
    table = next((job.table for job in planned if job.table is not None and job.table == config.params), None)
    hint = "" if table is None else " (with --ref or --style, --params names the table to write)"
    if planned.folder is None:
        authorship.check(written_files(config, planned), overwrite=config.overwrite, known=is_in_manifest, hint=hint)
    authorship.check(pages, overwrite=config.overwrite)
    if not config.overwrite:
        copies.check(pages if planned.folder is not None else written_files(config, planned))


def applied_table(config: ApplyConfig, path: Path) -> Table:
    """Read a table that a command applies, linked and scaled by its options.

    Args:
        config: The command.
        path: The table.

    Raises:
        SettingsError: It is not there, or invalid.
    """
    table = table_files.read(path)
    if config.link is not None:
        table.chain.check_linkable()
        table = table.linked(config.link)
    return table.at_amount(parse_amounts(config.amount)) if config.amount else table
