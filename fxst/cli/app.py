"""The command tree of the `fxst` program: its Typer objects and its exit codes."""

import copy
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fxst import interrupts
from fxst.cli.commands import NO_CONFIG, Group, command_group
from fxst.cli.interrupts import terminable
from fxst.cli.terminal import say
from fxst.errors import SettingsError
from fxst.untrusted import printable, quoted

__all__ = ["EXIT_CODES", "app", "dataset_app"]

EXIT_CODES: Final = {
    0: "all went well",
    1: "a file failed, or a bound was not met",
    2: "wrong usage, or an invalid setting",
    3: "no recordings were found",
    4: "the model cannot be used",
    5: "an output cannot be written",
    130: "interrupted by Ctrl-C",
    143: "interrupted by SIGTERM",
}
"""The program's exit codes and their meanings."""


class _Program(Group):
    """The command tree, with a hint on where `--effects` goes."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        try:
            return super().make_context(*arguments, **more)
        except Exception as error:
            _escape(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            _escape(error)
            usage: Any = error
            if getattr(usage, "option_name", None) == "--effects":
                usage.message = "--effects FILE goes before the command: fxst --effects FILE.py COMMAND ..."
            raise


def _escape(error: Any) -> None:
    """Escape a usage error: a shell pattern may put any file name among the options. Drop pydantic's prefix."""
    if isinstance(getattr(error, "message", None), str):
        error.message = printable(error.message.removeprefix("Value error, "))


app = command_group(
    "Audio-effects style transfer: make a recording sound as if it had been produced like another one.",
    cls=_Program,
    name="fxst",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
)
dataset_app = command_group("Datasets of clips to train on.")
app.add_typer(dataset_app, name="dataset")


def _version(show: bool) -> None:
    if show:
        from fxst.version import __version__

        typer.echo(f"fxst {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
    effects: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Before the command: Python file that declares your own effects, chains, networks, losses or dataset "
            "types. It is run as a program, so name only files that you trust; repeat the option for more.",
        ),
    ] = None,
    no_config: bool = typer.Option(False, "--no-config", help="Before the command: read no settings file (fxst.toml)."),
) -> None:
    context.meta[NO_CONFIG] = no_config
    if effects:
        _declare(effects)


def _declare(files: list[Path]) -> None:
    """Run the files of `--effects`.

    Raises:
        SettingsError: One fails, declares nothing, or changes a chain of fxst.
    """
    from fxst.chains.named import CHAINS
    from fxst.checkpoints.card import STYLE_FORMATS
    from fxst.effects import EFFECTS
    from fxst.effects.declarations import run_declarations
    from fxst.training.declarations import DATASETS, LOSSES

    shipped = dict(CHAINS)
    registries = (EFFECTS, CHAINS, STYLE_FORMATS, LOSSES, DATASETS)
    for path in files:
        before = list(map(copy.copy, registries))
        try:
            with terminable():
                run_declarations(path)
        except KeyboardInterrupt as interrupt:
            # Caught here, since Typer would end the program without a message.
            say(f"fxst: interrupted while {quoted(path)} ran", err=True)
            raise typer.Exit(interrupts.exit_code(interrupt)) from interrupt
        for name, chain in shipped.items():
            if CHAINS.get(name) is not chain:
                raise SettingsError(f"{str(path)!r} changes {name}, a chain of fxst's own: choose another name.")
        if before == list(registries):
            raise SettingsError(
                f"{str(path)!r} declares no effect, chain, network, loss or dataset type: see docs/own-effects.md."
            )
