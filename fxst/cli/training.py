"""Training commands: one option for each field of a recipe's configuration, progress, and what a run came to."""

import contextlib
import dataclasses
import inspect
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import typer

from fxst import extras
from fxst.cli.commands import Declared
from fxst.cli.options import documentation, expose, parameter
from fxst.cli.terminal import above, complain, is_plain, say, warn
from fxst.configs import CHANGEABLE, TrainingConfig, flags, option
from fxst.errors import SettingsError
from fxst.untrusted import quoted, shell_word

if TYPE_CHECKING:
    from fxst.training.progress import Progress as Stage
    from fxst.training.progress import Report
    from fxst.training.runs import Run

__all__ = ["training_command"]

Train = Callable[[Any, bool, "Report"], tuple["Run[Any]", str]]
"""Trains with a configuration, in a new folder or resuming the run in it; returns the run, and what was found."""


def training_command(
    app: typer.Typer, recipes: Mapping[str, type[TrainingConfig]], help_of_recipes: str = ""
) -> Callable[[Train], None]:
    """Register `train` of `app`, which trains by one of several recipes.

    Options that belong to one recipe alone are listed under its name, and refused with another one.

    Args:
        app: Gets the command.
        recipes: The configuration of each recipe; the first one is the default.
        help_of_recipes: What they are, where there are several.
    """
    common = set.intersection(*({item.name for item in dataclasses.fields(kind)} for kind in recipes.values()))
    default = next(iter(recipes))
    shared = [
        _field("resume", False, _help_of_resume(recipes), flags=("--resume",)),
        *([_field("recipe", default, help_of_recipes)] if len(recipes) > 1 else []),
    ]
    declared = {item.name: Declared(item, Literal[tuple(recipes)] if item.default else bool) for item in shared}
    parameters = {name: parameter(*each) for name, each in declared.items()}
    del declared["resume"]
    for recipe, kind in recipes.items():
        hints = get_type_hints(kind)
        for item in dataclasses.fields(kind):
            panel = None if item.name in common else f"Recipe {recipe}"
            made = parameter(item, hints[item.name], panel=panel)
            if item.default is dataclasses.MISSING and item.name != "dataset":
                made = made.replace(default=None)  # a run that is resumed has it
            parameters.setdefault(item.name, made)
            declared.setdefault(item.name, Declared(item, hints[item.name]))
    parameters["context"] = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def register(train: Train) -> None:
        def call(*, context: Any, resume: bool, recipe: str = default, **values: Any) -> None:
            given = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in {"recipe": recipe, **values}.items()
                if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
            }
            adopted = context.default_map or {}
            extras.need(context.command_path, *extras.TRAINING)
            if resume:
                from fxst.training.run_folder import read_config

                named: Any = given.pop("recipe", None)
                # With -o it is the run's folder that -o names, and the argument is the dataset, where it is now.
                folder: Any = given.pop("output") if "output" in given else given.pop("dataset")
                config = read_config(folder, list(recipes.values()), given)
                if named is not None and type(config) is not recipes[named]:
                    raise SettingsError("A run is resumed with its own settings: leave out --recipe.")
            else:
                given.pop("recipe", None)
                mine = {item.name for item in dataclasses.fields(recipes[recipe])}
                given |= {
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in adopted.items()
                    if name in mine
                }
                config = _config(recipes, recipe, given)
            from fxst.training import launch

            rank, _ = launch.check(config)
            for note in _notes(config) if rank == 0 else ():
                warn(note)
            with _progress(shown=rank == 0) as report:
                run, findings = train(config, resume, report)
            _show(run, findings, context.command_path)

        expose(app, "train", call, list(parameters.values()), documentation(train), declared)

    return register


def _help_of_resume(recipes: Mapping[str, type[TrainingConfig]]) -> str:
    fields = {item.name: item for kind in recipes.values() for item in dataclasses.fields(kind)}
    *others, last = (flags(fields[name])[0] for name in CHANGEABLE if name != "steps" and name in fields)
    return (
        "Resume the run in the given folder with its own settings; with -o, the one in that folder, whose dataset is "
        f"now in DATASET. You may raise --steps and change {', '.join(others)} and {last}."
    )


def _field(name: str, default: Any, help: str, **more: Any) -> Any:  # noqa: A002
    item = option(default, help, **more)
    item.name = name
    return item


def _config(recipes: Mapping[str, type[TrainingConfig]], recipe: str, given: Mapping[str, Any]) -> TrainingConfig:
    """Make the configuration of a recipe.

    Raises:
        SettingsError: An option is missing, or is another recipe's.
    """
    mine = {item.name: item for item in dataclasses.fields(recipes[recipe])}
    for other, kind in recipes.items():
        for item in dataclasses.fields(kind):
            if item.name in given.keys() - mine.keys():
                raise SettingsError(
                    f"{flags(item)[0]} is an option of the recipe {other}: leave it out, or add --recipe {other}."
                )
    for name, item in mine.items():
        if item.default is dataclasses.MISSING and name not in given:
            raise SettingsError(f"Missing option {flags(item)[0]}: {item.metadata['help']}")
    return recipes[recipe](**given)


def _notes(config: TrainingConfig) -> Iterator[str]:
    """Yield what the build of the datasets has found; a dataset of the user's own type has no such notes."""
    from fxst.data.manifest import CARD, read_card

    for path in (config.dataset, *getattr(config, "also", ())):
        if (path / CARD).is_file():
            for note in read_card(path)["notes"]:
                yield f"of the dataset {quoted(path)}: {note}"


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator["Report"]:
    """Show how far each stage has come, with a bar where there is a terminal, else with a line."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fxst.cli.grids import Console

    console = Console(err=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
    tasks: dict[str, Any] = {}
    disable = not (shown and console.is_terminal) or is_plain()
    with (
        Progress(TextColumn("{task.description}"), *columns, console=console, disable=disable) as bars,
        above(console),
    ):

        def report(progress: "Stage") -> None:
            name = progress.stage
            if name not in tasks or progress.step == 1:
                if name not in tasks and name != "validation" and bars.disable:
                    console.print(f"{name}: steps to {progress.steps:,}")
                if name in tasks:
                    bars.remove_task(tasks[name])
                tasks[name] = bars.add_task(name, total=progress.steps, completed=progress.step, figures="")
            figures = ", ".join(f"{figure} {value:.3f}" for figure, value in progress.figures.items())
            bars.update(tasks[name], completed=progress.step)
            if figures:
                bars.update(tasks[name], figures=figures)

        yield report


def _show(run: "Run[Any]", findings: str, command: str) -> None:
    """Report what a run came to, and print its folder; exit as a program does that a signal ended."""
    from fxst.cli.grids import Console

    console = Console(err=True, soft_wrap=True)
    problem = run.problem
    state = "interrupted" if run.signal is not None else "ended" if problem else "finished"
    if run.best:
        best = f"Best at step {run.best['step']}: validation loss {run.best['val_loss']:.4f}{findings}"
    else:
        where = f" after step {run.last.step:,} of {run.last.steps:,} of the stage {run.last.stage}" if run.last else ""
        best = f"The model was never validated: it is exported as it was{where}."
    steps = f"{run.steps:,} step" if run.steps == 1 else f"{run.steps:,} steps"
    console.print(f"Training {state} after {steps}. {best}")
    if run.signal is not None:
        console.print(f"Continue it with `{command} {shell_word(run.folder)} --resume`.")
        if run.signal == signal.SIGUSR1:
            from fxst.training import launch

            console.print("Slurm runs the job again." if launch.requeue() else "Slurm would not requeue the job.")
    if problem:
        complain(problem)
    say(str(run.folder))
    if run.signal is not None:
        raise typer.Exit(128 + run.signal)
    if problem:
        raise typer.Exit(1)
