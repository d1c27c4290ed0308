"""The plan of `fxst apply`: the files that it will read and write, checked before anything is written."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, overload

from fxst import audio, extras
from fxst.batch.naming import check_template, companion_names, one_spelling, output_name, table_names
from fxst.batch.own_tables import tables_of
from fxst.batch.references import Reference, references_of
from fxst.batch.selection import InputRecording, is_batch, select
from fxst.batch.spans import input_span, reference_span
from fxst.chains import table_files
from fxst.configs import CHOOSING, ApplyConfig, check_used, is_adopted
from fxst.errors import OutputError, SettingsError
from fxst.exports import ExportFile, export_files
from fxst.places import check_inside, check_names
from fxst.untrusted import quoted

__all__ = ["MANIFEST", "Job", "Plan", "output_places", "plan", "plan_chunk", "plan_without_jobs", "written_files"]

MANIFEST: Final = "fxst-manifest.jsonl"
"""The file in a batch's folder that lists what is finished."""

_PICTURES: Final = (".png", ".svg", ".pdf")
_PAGES: Final = (".html", ".htm")
_BARE_SUFFIXES: Final = {suffix[1:]: suffix for suffix in table_files.SUFFIXES}


@dataclass(frozen=True)
class Job:
    """One recording to render.

    Args:
        input: The recording.
        output: The rendered file.
        table: The file for its parameter table; None where a table is applied.
        note: A remark on the names, or nothing.
        place: The recording's path below the folder that it was found in, its name in the manifest.
        exports: The files of its settings for other programs.
        part: The file of its row in the manifest, below the output folder.
        state: Size and time of modification of an object that was listed; None where the file is to be asked.
        applied: The table to apply, if each recording has its own.
        output_sample_rate: The output's sample rate in Hz; None for the input's.
        quality: How much a lossy encoder keeps; None for about the bit rate of the input.
    """

    input: Path
    output: Path
    table: Path | None
    note: str = ""
    place: str = ""
    exports: tuple[ExportFile, ...] = ()
    part: str = MANIFEST
    state: tuple[int, int] | None = None
    applied: Path | None = None
    output_sample_rate: int | None = None
    quality: audio.Encoding | None = None


@dataclass(frozen=True)
class Plan(Sequence[Job]):
    """Everything that a command will do; a sequence of its jobs.

    Args:
        jobs: The recordings to render.
        folder: The output folder of a batch, which has a manifest; None for a single recording.
        references: The references.
        remarks: What the user should know of the names, a sentence each.
    """

    jobs: tuple[Job, ...]
    folder: Path | None
    references: tuple[Reference, ...] = ()
    remarks: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Job, ...]: ...
    def __getitem__(self, index: int | slice) -> Job | tuple[Job, ...]:
        return self.jobs[index]

    def __len__(self) -> int:
        return len(self.jobs)


def plan(config: ApplyConfig) -> Plan:
    """Plan the outputs of a command.

    One recording goes to a file, or into a folder that exists or whose name has no extension. Several recordings, or
    those of a folder, a pattern or a list, go into a folder, which mirrors the input tree or follows a naming template.
    There, `.wav` is appended to a name whose extension cannot be written.

    Args:
        config: The command.

    Raises:
        AudioError: A list of recordings cannot be read.
        NothingMatchedError: No recordings were found.
        OutputError: An output cannot be written.
        SettingsError: There is neither reference nor table; an output is also an input, the reference or the table; two
            outputs have the same name; one table or picture is requested for several recordings; a pattern, a naming
            template or an output's extension is invalid; a name is too long; or a link leads out of the output folder.
    """
    _check_names(config)
    batch = is_batch(config)
    selection = select(config)
    recordings = selection.recordings
    _check_options(config, batch=batch)
    references = references_of(config)
    notes = [""] * len(recordings)
    if not batch and config.output.suffix and not config.output.is_dir():
        if config.name is not None and not is_adopted("name"):
            raise SettingsError(f"--name needs an output folder, and {quoted(config.output)} is a file: name a folder.")
        outputs = [config.output]
        _check_suffix(config.output)
        if config.to is not None and config.output.suffix.lower() != f".{config.to}":
            raise SettingsError(f"{quoted(config.output)} is no .{config.to} file: rename it, or leave out --to.")
        _check_folder(config.output.parent)
    else:
        _check_output_folder(config)
        outputs, notes = _in_folder(config, recordings, references)
    return _planned(
        config, recordings, outputs, notes, Plan((), config.output if batch else None, references, selection.remarks)
    )


def plan_without_jobs(config: ApplyConfig) -> Plan:
    """Plan a batch whose recordings are planned chunk by chunk.

    Args:
        config: The command.

    Raises:
        As for `plan`, where one recording is named too.
    """
    _check_names(config)
    _check_options(config, batch=True)
    _check_output_folder(config)
    return Plan((), config.output, references_of(config))


def plan_chunk(config: ApplyConfig, planned: Plan, recordings: Sequence[InputRecording]) -> Plan:
    """Plan the recordings of a chunk.

    Args:
        config: The command.
        planned: The plan of the batch.
        recordings: The recordings.

    Raises:
        As for `plan`.
    """
    outputs, notes = _in_folder(config, recordings, planned.references)
    return _planned(config, recordings, outputs, notes, planned)


def output_places(
    config: ApplyConfig, references: Sequence[Reference]
) -> Callable[[InputRecording], tuple[PurePosixPath, str]]:
    """Return a function for the path of a recording's output below the output folder, and a remark on it, if any.

    Args:
        config: The command.
        references: The references.

    Raises:
        SettingsError: The naming template is invalid.
    """
    template, ending = config.name, None if config.to is None else f".{config.to}"
    if template is None:
        return partial(_mirrored, ending=ending)
    known = _known_fields(config, references)
    check_template(template, known)
    return lambda recording: (output_name(template, recording, known, ending=ending), "")


def _planned(
    config: ApplyConfig, recordings: Sequence[InputRecording], outputs: list[Path], notes: Sequence[str], planned: Plan
) -> Plan:
    """Return a plan with the jobs of recordings, checked."""
    quality = _quality(config, outputs)
    tables = _tables(config, outputs) if config.by_model else [None] * len(outputs)
    applied, strays = tables_of(config, recordings, outputs)
    jobs = tuple(
        Job(
            recording.path,
            output,
            table,
            note,
            str(recording.given),
            export_files(config.export, name),
            state=recording.state,
            applied=own,
            output_sample_rate=config.rate,
            quality=quality,
        )
        for recording, output, table, note, name, own in zip(
            recordings, outputs, tables, notes, companion_names(outputs), applied, strict=True
        )
    )
    planned = replace(planned, jobs=jobs, remarks=(*planned.remarks, *strays))
    check_names(written_files(config, planned))
    check_inside(outputs[0].parent if outputs == [config.output] else config.output, _named_here(config, planned))
    _check_identities(config, planned)
    return planned


def _check_names(config: ApplyConfig) -> None:
    check_names(path for path in (config.output, config.params, config.plot, config.report) if path is not None)
    if config.output == Path("-"):
        raise SettingsError("Sound is not written to standard output: name a file or folder with -o.")


def _check_output_folder(config: ApplyConfig) -> None:
    if config.output.suffix.lower() in audio.SUFFIXES and not config.output.exists():
        raise SettingsError(
            f"{quoted(config.output)} would be a folder, since there may be several recordings: name one without "
            "an audio file extension."
        )
    _check_folder(config.output)


def _check_options(config: ApplyConfig, *, batch: bool) -> None:
    """Refuse options that change nothing beside the others, or that are not possible."""
    if not config.by_model and config.params is None and config.params_dir is None:
        raise SettingsError(
            "Name a recording to sound like (--ref), a style profile (--style), or a table to apply (--params)."
        )
    if config.params_dir is not None:
        for other, used in (("--params", config.params is not None), ("--ref and --style", config.by_model)):
            if used:
                raise SettingsError(
                    f"--params-dir names a table for each recording: leave out {other}, or --params-dir."
                )
    chosen = config.by_model, "settings that a model chooses, and --params applies a table"
    check_used(config, dict.fromkeys(CHOOSING, chosen))
    recordings = bool(config.references or config.ref_eq or config.ref_dynamics)
    check_used(config, {"ref_range": (recordings, "a recording to sound like (--ref)")})
    if config.album_loudness and not config.by_model and config.loudness is None:
        raise SettingsError("--album-loudness needs the loudness of the whole album: add --loudness with LUFS or keep.")
    for span in (input_span, reference_span):  # they refuse what is no range
        span(config)
    check_used(config, {"report_items": (config.report is not None, "a page (--report)")})
    if config.plot is not None:
        _check_plot(config.plot, possible=not batch)
    if config.report is not None:
        _check_report(config.report)


def _in_folder(
    config: ApplyConfig, recordings: Sequence[InputRecording], references: Sequence[Reference]
) -> tuple[list[Path], list[str]]:
    """Return the outputs in a folder, and a remark on each name that the user would not expect."""
    place = output_places(config, references)
    found = [place(recording) for recording in recordings]
    return [config.output / name for name, _ in found], [note for _, note in found]


def _mirrored(recording: InputRecording, *, ending: str | None) -> tuple[PurePosixPath, str]:
    place = recording.place
    foreign = place.suffix.lower() in audio.READABLE_SUFFIXES
    if ending is not None:
        return place.with_name((place.stem if foreign else place.name) + ending), ""
    if place.suffix.lower() in audio.SUFFIXES:
        return place, ""
    why = f"a {place.suffix.lower()} file cannot be written" if foreign else "its name has no audio file extension"
    return place.with_name(place.name + ".wav"), f"{why}, so the output is {place.name}.wav"


def _quality(config: ApplyConfig, outputs: Sequence[Path]) -> audio.Encoding | None:
    """Return how much lossy encoders keep, where that is chosen."""
    if config.quality is None:
        return None
    if not any(output.suffix.lower() in audio.LOSSY_SUFFIXES for output in outputs):
        raise SettingsError(f"--quality is for {', '.join(audio.LOSSY_SUFFIXES)} outputs: leave it out.")
    return audio.encoding_of(config.quality)


def _known_fields(config: ApplyConfig, references: Sequence[Reference]) -> dict[str, str]:
    """Return the values of a template's `{ref}` and `{model}`."""
    if config.by_model:
        stems = dict.fromkeys(reference.given.stem for reference in references if not reference.role)
        return {"ref": "+".join(stems), "model": Path(config.model).name or Path(config.model).resolve().name}
    return {"ref": config.params.stem} if config.params is not None else {}


def _tables(config: ApplyConfig, outputs: list[Path]) -> list[Path | None]:
    """Return the files of the tables: the one requested, or one next to each output."""
    params = config.params
    if params is not None and str(params) not in _BARE_SUFFIXES:
        if params.suffix.lower() not in table_files.SUFFIXES:
            raise SettingsError(f"The table {quoted(params)} must be .json or .csv.")
        if len(outputs) > 1:
            raise SettingsError(
                f"{quoted(params)} is one table, and each of {len(outputs)} recordings has its own: "
                "use --params json or --params csv to write each next to its output."
            )
        _check_folder(params.parent)
        return [params]
    return list(table_names(outputs, _BARE_SUFFIXES[str(params)] if params is not None else ".json"))


def _check_plot(path: Path, *, possible: bool) -> None:
    if not possible:
        raise SettingsError("--plot draws one recording: name one file, or use --report for several.")
    if path.suffix.lower() not in _PICTURES:
        raise SettingsError(f"The picture {quoted(path)} must be {_PICTURES[0]}, {_PICTURES[1]} or {_PICTURES[2]}.")
    if path.suffix.lower() != ".svg":
        extras.need(f"--plot as {path.suffix}", "matplotlib.figure", extra="plots")
    _check_folder(path.parent)


def _check_report(path: Path) -> None:
    if path.suffix.lower() not in _PAGES:
        raise SettingsError(f"The web page {quoted(path)} must be {' or '.join(_PAGES)}.")
    _check_folder(path.parent)


def _check_suffix(output: Path) -> None:
    if output.suffix.lower() not in audio.SUFFIXES:
        raise SettingsError(audio.unwritable_suffix(output))


def _check_folder(folder: Path) -> None:
    """Check that a folder can be written to or created, before seconds are spent on rendering."""
    folder = next(path for path in (folder, *folder.parents) if path.exists())
    if not folder.is_dir():
        raise OutputError(f"{quoted(folder)} is a file where a folder is needed: choose another output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"The folder {quoted(folder)} cannot be written to: choose another, or check its permissions."
        )


def _check_identities(config: ApplyConfig, planned: Plan) -> None:
    """Refuse to overwrite what is read, or to write a file twice, by whatever path or spelling."""
    read = dict.fromkeys((job.input for job in planned), "an input")
    for reference in planned.references:
        read[reference.path] = "the style" if reference.is_profile else "the reference"
    if not config.by_model and config.params is not None:
        read[config.params] = "the table to apply"
    read |= {job.applied: "a table to apply" for job in planned if job.applied is not None}
    if config.list_file is not None:
        read[config.list_file] = "the list of inputs"
    by_name = {one_spelling(path): path for path in read}
    by_inode = {inode: path for path in read if (inode := _inode(path))}
    written: dict[str, Path] = {}
    for path in written_files(config, planned):
        key, inode = one_spelling(path), _inode(path)
        same = by_name.get(key) or (by_inode.get(inode) if inode else None)
        if same is not None:
            raise SettingsError(f"{quoted(path)} would replace {read[same]}, {quoted(same)}: choose another output.")
        if key in written:
            other = written[key]
            twice = "" if other == path else f", also spelt {quoted(other)},"
            raise SettingsError(
                f"{quoted(path)}{twice} would be written twice: rename one input, or render them one at a time."
            )
        written[key] = path


def _named_here(config: ApplyConfig, planned: Plan) -> Iterator[Path]:
    """Yield the files that fxst names; the user may name a link."""
    named = (config.output, config.params, config.plot, config.report)
    return (path for path in written_files(config, planned) if path not in named)


def written_files(config: ApplyConfig, planned: Plan) -> list[Path]:
    """Return the files that a command writes."""
    files = [path for job in planned for path in (job.output, job.table) if path is not None]
    files += [file.path for job in planned for file in job.exports]
    if planned.folder is not None:
        files.append(planned.folder / MANIFEST)
    files += [path for path in (config.plot, config.report) if path is not None]
    return files


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
