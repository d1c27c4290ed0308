"""A session: it analyses the references of a command once, and renders recordings one at a time in this process."""

import contextlib
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from fxst import authorship, staging
from fxst.audio import probe
from fxst.batch.album import Album, Member, finished_album
from fxst.batch.files import Progress, analyse_file, analyse_reference, render_file, unchanged
from fxst.batch.manifest import Manifest, ManifestRow, input_state, is_in_manifest, origin_for
from fxst.batch.plan import Job
from fxst.batch.preflight import Preflight, applied_table
from fxst.batch.references import names_of
from fxst.batch.results import FileResult, failure
from fxst.batch.spans import input_span, reference_span
from fxst.chains import table_files
from fxst.chains.amounts import parse_amounts
from fxst.chains.table import Table
from fxst.effects import Dynamics, Effect, ParametricEQ
from fxst.errors import AudioError, FxstError, SettingsError
from fxst.memory import keep_freed_memory
from fxst.storage import copies
from fxst.transfer import profiles
from fxst.transfer.analysis import Analysis
from fxst.transfer.curve_limits import CurveLimits
from fxst.transfer.finishing import REFERENCE, Finish
from fxst.transfer.levels import Levelled
from fxst.transfer.noise_guard import NoiseLimit
from fxst.transfer.profiles import StyleProfile
from fxst.transfer.style_transfer import limited, load, safety_remarks
from fxst.untrusted import quoted

__all__ = ["WAIT_SECONDS", "Session", "finished"]

WAIT_SECONDS: Final = 0.2
"""How long to wait before retrying a file that another process renders."""

_ANALYSIS_SHARE: Final = 0.4
"""The share of the analysis in the work on a file, for the progress."""

_ROLES: Final[Mapping[str, tuple[type[Effect], str]]] = {
    "eq": (ParametricEQ, "equaliser"),
    "dynamics": (Dynamics, "compressor"),
}
"""The effects whose settings are taken from the reference of a role."""

_LONGEST_NAMES: Final = 200
_ALBUM_WINDOWS: Final = 256
"""So many analysed windows of an album are kept in memory."""

OnCommit = Callable[[Mapping[Path, Path]], Callable[[], None] | None]
"""Called before files are renamed, with the hidden file of each name; its result is called if that fails."""


class Session:
    """Renders recordings, one at a time.

    Before the first one, its references are analysed here or in another process.

    Args:
        checked: The preflight of the command.

    Raises:
        ModelError: There is no such model, or it is damaged.
        SettingsError: An option is invalid.
    """

    def __init__(self, checked: Preflight) -> None:
        keep_freed_memory()
        copies.use(checked.copies)
        self._checked = checked
        self._manifest: Manifest | None = None
        self._album: Album | None = None
        self._chooser: _Chooser = _StyleChooser(checked) if checked.config.by_model else _TableChooser(checked)

    def close(self) -> None:
        """Close the manifest."""
        if self._manifest is not None:
            self._manifest.close()
            self._manifest = None

    def analyse_references(self, progress: Progress | None) -> bytes:
        """Analyse the references, and the recordings of an album; return the result for `recall`.

        Raises:
            AudioError: A reference cannot be read, or is silent.
        """
        references = self._chooser.analyse_references(progress)
        if jobs := self._checked.album:
            config = self._checked.config
            members = (
                self._chooser.members(jobs, progress)
                if config.album
                else dict.fromkeys((job.input for job in jobs), Member(None))
            )
            finish, relations = self._chooser.finish, config.album_loudness
            self._album = finished_album(jobs, members, finish, relations=relations)
        return pickle.dumps((references, self._album))

    def recall(self, analysed: bytes) -> None:
        """Use the result of `analyse_references` from another process."""
        references, self._album = pickle.loads(analysed)
        self._chooser.recall(references)

    def render(self, job: Job, progress: Progress | None) -> FileResult | None:
        """Render a recording; return None where another process renders it.

        Args:
            job: The recording.
            progress: Called with the progress of the work.
        """
        files = [job.output, *filter(None, [job.table]), *(export.path for export in job.exports)]
        keep = self._checked.plan.folder is None  # pictures and pages of a single recording read it again
        try:
            with (
                copies.published(files, overwrite=self._checked.config.overwrite, keep=keep),
                copies.fetched(job.input, keep=keep),
            ):
                result = self._render(job, progress)
        except FxstError as error:
            result = failure(job, str(error), error.exit_code)
        if result is None:
            return None
        warnings = tuple(map(copies.shown, result.warnings))
        return replace(result, error=copies.shown(result.error), warnings=warnings)

    def _render(self, job: Job, progress: Progress | None) -> FileResult | None:
        folder, origin = self._checked.plan.folder, self._checked.origin
        if folder is None or origin is None:
            with authorship.noted():  # there is no manifest
                return self._attempt(job, progress, self._check_again)
        try:
            if self._manifest is None or self._manifest.path != folder / job.part:
                self.close()
                self._manifest = Manifest(folder, write=True, part=job.part)
            manifest = self._manifest
            origin = origin_for(job, origin)
            with manifest.locked(job.output) as alone:
                if not alone:
                    return None
                manifest.refresh()
                if self._checked.config.resume and (row := manifest.finished_row(job, origin)):
                    return finished(job, self._checked.table, row)
                source = input_state(job)
                if source is None:
                    return self._attempt(job, progress, None)  # which returns why it cannot be read
                rows: list[ManifestRow] = []

                def commit(hidden: Mapping[Path, Path]) -> Callable[[], None] | None:
                    rows.append(manifest.row(job, source, origin, hidden))
                    # That of an object counts with its chunk's part: it is not uploaded yet.
                    return manifest.add(rows[-1]) if copies.url_of(job.output) is None else None

                result = self._attempt(job, progress, commit)
                return result if result.error else replace(result, row=rows[-1])
        except FxstError as error:
            return failure(job, str(error), error.exit_code)

    def _check_again(self, hidden: Mapping[Path, Path]) -> None:
        """Check that no file of the user's has come to be where one will be written."""
        authorship.check(hidden, overwrite=self._checked.config.overwrite, known=is_in_manifest)

    def _attempt(self, job: Job, progress: Progress | None, on_commit: OnCommit | None) -> FileResult:
        """Choose settings and render; an error becomes the result."""
        written: set[Path] = set()

        def commit(hidden: Mapping[Path, Path]) -> Callable[[], None] | None:
            written.update(hidden)
            return None if on_commit is None else on_commit(hidden)

        try:
            with staging.together(commit), unchanged(job.input):
                choice = self._choose(job, progress)
                table, remarks = render_file(
                    job,
                    choice.table,
                    progress,
                    share=choice.share_left,
                    finish=self._chooser.finish if self._album is None else self._album.finish_of(job.input),
                    gain_db=choice.gain_db,
                )
        except FxstError as error:
            return failure(job, str(error), error.exit_code)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # torch's message
                raise
            return failure(
                job,
                f"{str(job.input)!r} needs too much memory to read: convert it to WAV first, or raise the limit where "
                "there is one (`ulimit -v`, a container's).",
            )
        exports = tuple(file.path for file in job.exports if Path(os.path.realpath(file.path)) in written)
        warnings = tuple(dict.fromkeys((*filter(None, [job.note]), *choice.remarks, *remarks)))
        return FileResult(job.input, job.output, job.table, table, warnings, exports=exports)

    def _choose(self, job: Job, progress: Progress | None) -> "_Choice":
        """Choose the settings of a recording: those of its album, where that has some."""
        member = None if self._album is None else self._album.members.get(job.input)
        if member is None or member.table is None:
            choice = self._chooser.choose(job, progress)
            if self._checked.config.album:  # it could not be read when the others were
                raise AudioError(f"{str(job.input)!r} is not part of the album as analysed: run the command again.")
            return choice
        return _Choice(member.table, member.remarks, 1.0, member.gain_db)


def finished(job: Job, table: Table | None, row: ManifestRow | None = None) -> FileResult:
    """Return the result of a file that an earlier run rendered.

    Args:
        job: The file.
        table: The table that the command applies; None where each file has its own.
        row: Its row of the manifest, where it is needed.
    """
    own = job.table if job.table is not None else job.applied
    with contextlib.suppress(SettingsError):  # the table may have been edited since
        table = table_files.read(own) if own is not None else table
    exports = tuple(file.path for file in job.exports if file.path.exists())
    return FileResult(job.input, job.output, job.table, table, was_finished=True, exports=exports, row=row)


class _Choice(NamedTuple):
    """A table for one file, the remarks on it, the share of the work that is left, and the gain before the chain."""

    table: Table
    remarks: tuple[str, ...]
    share_left: float
    gain_db: float = 0.0


class _Chooser(Protocol):
    """Chooses the table of each file."""

    finish: Finish

    def analyse_references(self, progress: Progress | None) -> bytes: ...
    def recall(self, analysed: bytes) -> None: ...
    def choose(self, job: Job, progress: Progress | None) -> _Choice: ...
    def members(self, jobs: Sequence[Job], progress: Progress | None) -> dict[Path, Member]: ...


class _TableChooser:
    """One table for all files, or each its own."""

    def __init__(self, checked: Preflight) -> None:
        self._config, self._table, self.finish = checked.config, checked.table, Finish.of(checked.config)
        self._limits = CurveLimits.of(checked.config)
        if self.finish.loudness == REFERENCE:
            raise SettingsError("--loudness reference needs a reference: name one with --ref.")

    def analyse_references(self, progress: Progress | None) -> bytes:
        return b""

    def recall(self, analysed: bytes) -> None:
        pass

    def choose(self, job: Job, progress: Progress | None) -> _Choice:
        table = self._table
        if table is None:
            assert job.applied is not None, "plan() names one for each"
            if not job.applied.exists():
                raise SettingsError(
                    f"{quoted(job.input)} has no table: {quoted(job.applied)} is not there; copy one there, or leave "
                    "the recording out with --exclude."
                )
            table = applied_table(self._config, job.applied)
        if not self._limits.note:
            return _Choice(table, (), 1.0)
        within = limited(table, self._limits, sample_rate=probe(job.input).sample_rate, smooth=True)
        changed = f"the equaliser of its table was changed to stay within the limits ({self._limits.note})"
        return _Choice(within, () if within.rows == table.rows else (changed,), 1.0)

    def members(self, jobs: Sequence[Job], progress: Progress | None) -> dict[Path, Member]:
        found = {}
        for job in jobs:
            with contextlib.suppress(FxstError):  # it fails when it is rendered
                found[job.input] = Member(self.choose(job, progress).table)
        return found


class _StyleChooser:
    """A table for each file, chosen by a model."""

    _profile: StyleProfile
    _parts: dict[type[Effect], StyleProfile]
    _remarks: tuple[str, ...]

    def __init__(self, checked: Preflight) -> None:
        config = checked.config
        self._references, self._profiles = checked.plan.references, checked.profiles
        self._amount, self._linked, self.finish = parse_amounts(config.amount), config.link, Finish.of(config)
        self._limits, self._relations = CurveLimits.of(config), config.album_loudness
        self._noise = NoiseLimit.of(config)
        self._input_span, self._reference_span = input_span(config), reference_span(config)
        self._style = load(config.model, device=config.device)
        self._style.chain.amounts(self._amount)  # before anything is analysed
        if self._linked is not None:
            self._style.chain.check_linkable()
        for role, (kind, what) in _ROLES.items():
            named = any(reference.role == role for reference in self._references)
            if named and not any(isinstance(effect, kind) for effect in self._style.chain.predicted.effects):
                chain = self._style.chain.name
                raise SettingsError(f"The chain {chain!r} has no {what} to set: leave out --ref-{role}.")
        for path, profile in self._profiles.items():
            try:
                profiles.check_model(profile, self._style.name, self._style.sha256)
            except SettingsError as error:
                raise SettingsError(f"{str(path)!r} was {error}") from error

    def analyse_references(self, progress: Progress | None) -> bytes:
        found: dict[str, list[tuple[StyleProfile, float]]] = {}
        remarks: list[str] = []
        for reference in self._references:
            if reference.is_profile:
                found.setdefault(reference.role, []).append((self._profiles[reference.path], reference.weight))
                continue
            what = "reference" if len(self._references) == 1 else f"reference {reference.path.name!r}"
            profile, more = analyse_reference(self._style, reference.path, what, progress, span=self._reference_span)
            found.setdefault(reference.role, []).append((profile, reference.weight))
            remarks += more
        means = {role: profiles.mean(*zip(*pairs, strict=True)) for role, pairs in found.items()}
        self._take(means, tuple(remarks))
        return pickle.dumps((means, self._remarks))

    def recall(self, analysed: bytes) -> None:
        self._take(*pickle.loads(analysed))

    def _take(self, means: Mapping[str, StyleProfile], remarks: tuple[str, ...]) -> None:
        self._profile, self._remarks = means[""], remarks
        self._parts = {kind: means[role] for role, (kind, _) in _ROLES.items() if role in means}
        if self._relations and self.finish.loudness is None:
            self.finish = replace(self.finish, loudness=REFERENCE)
        if self.finish.loudness == REFERENCE:
            if self._profile.loudness_lufs is None:
                raise AudioError("The reference is too soft to have a loudness: give --loudness a number of LUFS.")
            self.finish = replace(self.finish, loudness=self._profile.loudness_lufs)

    def choose(self, job: Job, progress: Progress | None) -> _Choice:
        found, remarks = self._analyse(job, progress)
        table = self._choose(found.analysis, job.input.name)
        remarks = (*remarks, *self._remarks, *safety_remarks(table))
        return _Choice(table, remarks, 1 - _ANALYSIS_SHARE, found.gain_db)

    def members(self, jobs: Sequence[Job], progress: Progress | None) -> dict[Path, Member]:
        """Choose one table for all recordings of an album, with one gain before the chain."""
        found: dict[Job, tuple[Levelled, tuple[str, ...]]] = {}
        most = max(1, _ALBUM_WINDOWS // len(jobs))  # so that memory does not grow with their number

        def analyse(job: Job, like: Levelled | None) -> None:
            levelled, remarks = self._analyse(job, progress, like=like)
            found[job] = replace(levelled, analysis=self._style.thin(levelled.analysis, most)), remarks

        for job in jobs:
            with contextlib.suppress(FxstError):  # it fails when it is rendered
                analyse(job, None)
        sounding = [job for job, (levelled, _) in found.items() if levelled.analysis.statistics is not None]
        gain_db = min((found[job][0].gain_db for job in sounding), default=0.0)
        for job in sounding:
            if found[job][0].gain_db != gain_db:
                analyse(job, replace(found[job][0], gain_db=gain_db))
        album: Table | None = None
        if sounding:
            analysis = self._style.merge([found[job][0].analysis for job in sounding])
            names = ", ".join(job.input.name for job in sounding)
            album = self._choose(analysis, names if len(names) <= _LONGEST_NAMES else f"{len(sounding)} recordings")
            for sample_rate in {found[job][0].analysis.sample_rate for job in sounding}:
                album = limited(album, self._limits, sample_rate=sample_rate)
        members = {}
        for job, (levelled, remarks) in found.items():
            silent = levelled.analysis.statistics is None
            table = self._choose(levelled.analysis, job.input.name) if silent or album is None else album
            remarks = (*remarks, *self._remarks, *safety_remarks(table))
            members[job.input] = Member(table, remarks, 0.0 if silent else gain_db, silent)
        return members

    def _analyse(
        self, job: Job, progress: Progress | None, *, like: Levelled | None = None
    ) -> tuple[Levelled, tuple[str, ...]]:
        return analyse_file(
            self._style, job.input, "input", progress, share=_ANALYSIS_SHARE, span=self._input_span, like=like
        )

    def _choose(self, analysis: Analysis, name: str) -> Table:
        names = {"input": name, **names_of(self._references)}
        return self._style.choose(
            analysis,
            self._profile,
            names,
            amount=self._amount,
            linked=self._linked,
            limits=self._limits,
            parts=self._parts,
            noise=self._noise,
        )
