"""What a command does to each of its files, once what they share is ready: a table; or a model, and what it heard."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final, Protocol

from fxst import staging, tables
from fxst.amounts import amount_of_each, parse_amounts
from fxst.audio import probe
from fxst.batch.files import Progress, hear_file, render_file
from fxst.batch.plan import Job
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, FxstError
from fxst.tables import Table
from fxst.transfer import caution_of, load

if TYPE_CHECKING:
    from fxst.listening import Heard

__all__ = ["FileResult", "Recipe", "Vouch", "attempt", "failure", "recipe_of"]

Vouch = Callable[[Mapping[Path, Path]], None]
"""Is told, before files get their names, where each of them is hidden, by name."""

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
    if config.reference is not None:
        return _StyleRecipe(config, config.reference)
    assert config.params is not None, "plan() asks for one of the two"
    table = tables.read(config.params)
    if config.link is not None:
        table = table.linked(config.link)
    if config.amount:
        table = table.at_amount(parse_amounts(config.amount))
    return _TableRecipe(table)


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
            table, remarks, left = recipe.choose(job, progress)
            remarks += render_file(job, table, progress, share=left)
    except FxstError as error:
        return failure(job, str(error), error.exit_code)
    except MemoryError:
        return failure(job, f"{str(job.input)!r} takes more memory than any recording should: convert it to WAV first.")
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # as torch says it
            raise
        return failure(job, f"{str(job.input)!r} takes more memory than any recording should: convert it to WAV first.")
    note = (job.note,) if job.note else ()
    exports = tuple(file.path for file in job.exports if Path(os.path.realpath(file.path)) in written)
    return FileResult(job.input, job.output, job.table, table, note + tuple(dict.fromkeys(remarks)), exports=exports)


def failure(job: Job, error: str, exit_code: int = 1) -> FileResult:
    """Tell that there is no output, and why."""
    return FileResult(job.input, job.output, None, None, error=error, exit_code=exit_code)


class _TableRecipe:
    """One table for all files."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def listen(self, progress: Progress | None) -> bytes:
        return b""

    def recall(self, heard: bytes) -> None:
        pass

    def choose(self, job: Job, progress: Progress | None) -> tuple[Table, tuple[str, ...], float]:
        return self._table, (), 1.0


class _StyleRecipe:
    """A table for each file, which a model chooses by what it heard of the reference."""

    _goal: "Heard"
    _remarks: tuple[str, ...]

    def __init__(self, config: ApplyConfig, reference: Path) -> None:
        self._reference = reference
        self._amount, self._linked = parse_amounts(config.amount), config.link
        probe(reference)  # before torch is loaded, which takes seconds
        self._style = load(config.model, device=config.device)
        amount_of_each(self._amount, self._style.chain.labels)  # before anything is heard
        # The libraries of the effects take most of a second to load: let that happen while this thread listens.
        if all(effect.any_thread for effect in self._style.chain.effects):
            warming = Thread(
                target=self._style.chain.exact,
                args=(self._style.chain.defaults(),),
                kwargs={"sample_rate": 48_000, "channels": 1},
            )
            warming.start()

    def listen(self, progress: Progress | None) -> bytes:
        goal, self._remarks = hear_file(self._style, self._reference, "reference", progress, share=1.0)
        if goal.statistics is None:
            raise AudioError(
                f"{str(self._reference)!r} is silent, or too short to hear: choose a reference with sound in it."
            )
        self._goal = goal
        return pickle.dumps((self._goal, self._remarks))

    def recall(self, heard: bytes) -> None:
        self._goal, self._remarks = pickle.loads(heard)

    def choose(self, job: Job, progress: Progress | None) -> tuple[Table, tuple[str, ...], float]:
        heard, remarks = hear_file(self._style, job.input, "input", progress, share=_LISTENING_SHARE)
        names = {"input": job.input.name, "reference": self._reference.name}
        table = self._style.choose(heard, self._goal, names, amount=self._amount, linked=self._linked)
        return table, remarks + self._remarks + caution_of(table), 1 - _LISTENING_SHARE
