"""What a command does to each of its files, once what they share is ready: a table; or a model, and what it heard."""

import importlib
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any, Final, Protocol

from fxst import staging, styles, tables
from fxst.amounts import parse_amounts
from fxst.audio import probe
from fxst.batch.files import Progress, hear_file, hear_reference, render_file
from fxst.batch.finish import REFERENCE, Finish
from fxst.batch.goals import goals_of, told_of
from fxst.batch.plan import Job
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, FxstError, SettingsError
from fxst.styles import StyleProfile
from fxst.tables import Table
from fxst.transfer import caution_of, load

__all__ = ["FileResult", "Recipe", "Vouch", "attempt", "failure", "recipe_of", "table_of"]

Vouch = Callable[[Mapping[Path, Path]], None]
"""Is told, before files get their names, where each of them is hidden, by name."""

_TOO_MUCH: Final = (
    "takes more memory than any recording should: convert it to WAV first, or raise the limit where there is one "
    "(`ulimit -v`, a container's)."
)
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
        exit_code: What a program that only did this would end with; 0 when all went well.
        was_finished: Whether it was made by an earlier run, and left as it is.
        exports: The files beside it that other programs read.
    """

    input: Path
    output: Path
    table: Path | None
    settings: Table | None
    warnings: tuple[str, ...] = ()
    error: str = ""
    exit_code: int = 0
    was_finished: bool = False
    exports: tuple[Path, ...] = ()


class Recipe(Protocol):
    """What is done to each file.

    Before the first file it has to be told what was heard of the reference: it listens itself, or recalls what another
    process heard.
    """

    finish: Finish

    def listen(self, progress: Progress | None) -> bytes:
        """Listen to the reference; return what was heard, for `recall`.

        Raises:
            AudioError: It cannot be read, or is silent.
        """

    def recall(self, heard: bytes) -> None:
        """Take what another process of this program heard, and do not listen again."""

    def choose(self, job: Job, progress: Progress | None) -> tuple[Table, tuple[str, ...], float]:
        """Choose a file's settings: the table, what a person should know, and how much of the work is left, in parts.

        Raises:
            AudioError: The recording cannot be read.
        """


def recipe_of(config: ApplyConfig) -> Recipe:
    """Load what a command needs for its files.

    Args:
        config: The command.

    Raises:
        AudioError: The reference cannot be read.
        ModelError: There is no such model, or it is damaged.
        SettingsError: The table makes no sense.
    """
    if config.by_model:
        return _StyleRecipe(config)
    return _TableRecipe(table_of(config), Finish.of(config))


def table_of(config: ApplyConfig) -> Table:
    """Read the table that a command applies, its channels linked and its effects turned down as the command says.

    Args:
        config: The command.

    Raises:
        SettingsError: The table makes no sense, or cannot be turned down so.
    """
    assert config.params is not None, "plan() asks for one of the two"
    table = tables.read(config.params)
    if config.link is not None:
        table = table.linked(config.link)
    return table.at_amount(parse_amounts(config.amount)) if config.amount else table


def attempt(recipe: Recipe, job: Job, progress: Progress | None, vouch: Vouch | None = None) -> FileResult:
    """Do to a file what the recipe says; what goes wrong is told in the result.

    Args:
        recipe: What is done.
        job: The file.
        progress: Is told how far the work is.
        vouch: Is told of the whole files before they have their names.
    """
    written: set[Path] = set()

    def witness(hidden: Mapping[Path, Path]) -> None:
        written.update(hidden)
        if vouch is not None:
            vouch(hidden)

    try:
        with staging.together(witness):
            chosen, remarks, left = recipe.choose(job, progress)
            table, told = render_file(job, chosen, progress, share=left, finish=recipe.finish)
    except FxstError as error:
        return failure(job, str(error), error.exit_code)
    except MemoryError:
        return failure(job, f"{str(job.input)!r} {_TOO_MUCH}")
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # as torch says it
            raise
        return failure(job, f"{str(job.input)!r} {_TOO_MUCH}")
    note = (job.note,) if job.note else ()
    exports = tuple(file.path for file in job.exports if Path(os.path.realpath(file.path)) in written)
    warnings = note + tuple(dict.fromkeys(remarks + told))
    return FileResult(job.input, job.output, job.table, table, warnings, exports=exports)


def failure(job: Job, error: str, exit_code: int = 1) -> FileResult:
    """Tell that there is no output, and why."""
    return FileResult(job.input, job.output, None, None, error=error, exit_code=exit_code)


class _TableRecipe:
    """One table for all files."""

    def __init__(self, table: Table, finish: Finish) -> None:
        if finish.loudness == REFERENCE:
            raise SettingsError("--loudness reference needs a recording to be as loud as: name one with --ref.")
        self._table, self.finish = table, finish

    def listen(self, progress: Progress | None) -> bytes:
        return b""

    def recall(self, heard: bytes) -> None:
        pass

    def choose(self, job: Job, progress: Progress | None) -> tuple[Table, tuple[str, ...], float]:
        return self._table, (), 1.0


class _StyleRecipe:
    """A table for each file, which a model chooses by what it heard of the reference."""

    _goal: StyleProfile
    _remarks: tuple[str, ...]

    def __init__(self, config: ApplyConfig) -> None:
        self._goals = goals_of(config)
        self._amount, self._linked, self.finish = parse_amounts(config.amount), config.link, Finish.of(config)
        self._refine = config.refine_steps if config.refine else 0
        # Before torch is loaded, which takes seconds.
        self._profiles = {goal.path: styles.read(goal.path) for goal in self._goals if goal.is_profile}
        for goal in self._goals:
            if not goal.is_profile:
                probe(goal.path)
        self._style = load(config.model, device=config.device)
        self._style.chain.amounts(self._amount)  # before anything is heard
        if self._refine:
            self._style.check_refines()
        for path, profile in self._profiles.items():
            try:
                styles.check_model(profile, self._style.name, self._style.sha256)
            except SettingsError as error:
                raise SettingsError(f"{str(path)!r} was {error}") from error
        # The libraries of the effects take most of a second to load: let that happen while this thread listens. But
        # first SciPy, which both need: two threads that load it at once can each find half of it, and fail.
        if all(effect.any_thread for effect in self._style.chain.effects):
            importlib.import_module("scipy.signal")
            warming = Thread(
                target=self._style.chain.exact,
                args=(self._style.chain.defaults(),),
                kwargs={"sample_rate": 48_000, "channels": 1},
            )
            warming.start()

    def listen(self, progress: Progress | None) -> bytes:
        profiles: list[StyleProfile] = []
        remarks: list[str] = []
        for goal in self._goals:
            if goal.is_profile:
                profiles.append(self._profiles[goal.path])
                continue
            what = "reference" if len(self._goals) == 1 else f"reference {goal.path.name!r}"
            profile, told = hear_reference(self._style, goal.path, what, progress)
            profiles.append(profile)
            remarks += told
        self._take(styles.mean(profiles, [goal.weight for goal in self._goals]), tuple(remarks))
        return pickle.dumps((self._goal, self._remarks))

    def recall(self, heard: bytes) -> None:
        self._take(*pickle.loads(heard))

    def _take(self, goal: StyleProfile, remarks: tuple[str, ...]) -> None:
        self._goal, self._remarks = goal, remarks
        if self.finish.loudness == REFERENCE:
            if goal.loudness_lufs is None:
                raise AudioError("The reference is too soft to have a loudness: say a number of LUFS with --loudness.")
            self.finish = replace(self.finish, loudness=goal.loudness_lufs)

    def choose(self, job: Job, progress: Progress | None) -> tuple[Table, tuple[str, ...], float]:
        heard, remarks = hear_file(self._style, job.input, "input", progress, share=_LISTENING_SHARE)
        names = {"input": job.input.name, **told_of(self._goals)}
        how: dict[str, Any] = {"amount": self._amount, "linked": self._linked, "refine": self._refine}
        table = self._style.choose(heard, self._goal, names, **how)
        return table, remarks + self._remarks + caution_of(table), 1 - _LISTENING_SHARE
