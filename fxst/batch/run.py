"""Many files: each is heard and rendered, and what goes wrong with one is told, while the others go on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final

from fxst import tables
from fxst.audio import probe
from fxst.batch.files import Progress, hear_file, render_file
from fxst.batch.plan import Job, plan
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, FxstError
from fxst.tables import Table
from fxst.transfer import caution_of, load

__all__ = ["FileResult", "apply_files"]

_LISTENING_SHARE: Final = 0.4
"""Of the work on a file."""


@dataclass(frozen=True)
class FileResult:
    """What became of a file.

    Args:
        input: The recording.
        output: The rendered file.
        table: The file with its parameter table; None where none was made.
        settings: The parameter table; None after an error.
        warnings: What a person should know, a sentence each.
        error: Why there is no output; nothing when all went well.
    """

    input: Path
    output: Path
    table: Path | None
    settings: Table | None
    warnings: tuple[str, ...] = ()
    error: str = ""


def apply_files(config: ApplyConfig, progress: Progress | None = None) -> Iterator[FileResult]:
    """Apply a style, or a parameter table, to files.

    What would go wrong for all files is raised at once and nothing is touched; what goes wrong with one file is
    told in its result, and the others go on. The reference is listened to once.

    Args:
        config: The command.
        progress: Is told how far the work is.

    Returns:
        A result for each file, as it is done: the work goes on while the results are taken.

    Raises:
        AudioError: The reference cannot be read or is silent, or there is no place for an output.
        ModelError: There is no such model, or it is damaged.
        SettingsError: The table or the plan makes no sense.
    """
    jobs = plan(config)
    if config.reference is not None:
        return _with_reference(jobs, config, config.reference, progress)
    assert config.params is not None, "plan() asks for one of the two"
    table = tables.read(config.params)
    return (_attempt(job, lambda _: (table, ()), progress, share=1.0) for job in jobs)


def _with_reference(
    jobs: tuple[Job, ...], config: ApplyConfig, reference: Path, progress: Progress | None
) -> Iterator[FileResult]:
    probe(reference)  # before torch is loaded, which takes seconds
    style = load(config.model, device=config.device)
    # The libraries of the effects take most of a second to load: let that happen while this thread listens.
    if all(effect.any_thread for effect in style.chain.effects):
        warming = Thread(
            target=style.chain.exact, args=(style.chain.defaults(),), kwargs={"sample_rate": 48_000, "channels": 1}
        )
        warming.start()
    goal, reference_remarks = hear_file(style, reference, "reference", progress, share=1.0)
    if goal.statistics is None:
        raise AudioError(f"{str(reference)!r} is silent, or too short to hear: choose a reference with sound in it.")

    def choose(job: Job) -> tuple[Table, tuple[str, ...]]:
        heard, remarks = hear_file(style, job.input, "input", progress, share=_LISTENING_SHARE)
        names = {"input": job.input.name, "reference": reference.name}
        table = style.choose(heard, goal, names)
        return table, remarks + reference_remarks + caution_of(table)

    return (_attempt(job, choose, progress, share=1 - _LISTENING_SHARE) for job in jobs)


def _attempt(
    job: Job,
    choose: Callable[[Job], tuple[Table, tuple[str, ...]]],
    progress: Progress | None,
    *,
    share: float,
) -> FileResult:
    try:
        table, remarks = choose(job)
        remarks += render_file(job, table, progress, share=share)
    except FxstError as error:
        return FileResult(job.input, job.output, None, None, error=str(error))
    note = (job.note,) if job.note else ()
    return FileResult(job.input, job.output, job.table, table, note + tuple(dict.fromkeys(remarks)))
