"""Typer commands made from configuration dataclasses, so that an option is written down once."""

import dataclasses
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from fxst.cli.interrupts import exit_code
from fxst.configs import flags

__all__ = ["command", "expose", "parameter"]


def command(app: typer.Typer, config_type: type[Any], name: str) -> Callable[[Callable[[Any], None]], None]:
    """Register `run(config)` as command `name` of `app`, its parameters those of `config_type`.

    The dataclass' docstring is the command's help. A `tuple[X, ...]` field takes any number of values; an argument that
    is not required may be none.
    """

    def register(run: Callable[[Any], None]) -> None:
        def call(**given: Any) -> None:
            run(config_type(**{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}))

        hints = get_type_hints(config_type)
        parameters = [parameter(item, hints[item.name]) for item in dataclasses.fields(config_type)]
        expose(app, name, call, parameters, inspect.getdoc(config_type))

    return register


def expose(
    app: typer.Typer, name: str, run: Callable[..., None], parameters: Sequence[inspect.Parameter], doc: str | None
) -> None:
    """Register `run` as command `name` of `app`, with these parameters and this help."""

    def call(**given: Any) -> None:
        try:
            run(**given)
        except KeyboardInterrupt as interrupt:
            # Caught here, for Typer would end the program without a word.
            typer.secho(f"fxst: {str(interrupt) or 'interrupted'}", err=True)
            raise typer.Exit(exit_code(interrupt)) from interrupt

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = doc
    app.command(name)(call)


def parameter(item: "dataclasses.Field[Any]", hint: Any, *, panel: str | None = None) -> inspect.Parameter:
    """Make the argument or option of a configuration's field, listed in a panel of the help."""
    meta = item.metadata
    info: Any
    if meta.get("argument"):
        # Whether a file can be read is for what reads it to say, and of several no reason to leave out the others.
        info = typer.Argument(help=meta["help"], metavar=meta["metavar"], show_default=False, readable=False)
    else:
        info = typer.Option(
            *flags(item),
            help=meta["help"],
            min=meta["min"],
            max=meta["max"],
            metavar=meta["metavar"],
            readable=False,
            rich_help_panel=panel,
            show_default=item.default not in (None, (), ""),
        )
    default: Any = inspect.Parameter.empty
    if item.default is not dataclasses.MISSING:
        default = list(item.default) if isinstance(item.default, tuple) else item.default
    elif not meta.get("required", True):
        default = []
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[_plain(hint), info]
    )


def _plain(hint: Any) -> Any:
    """Turn `tuple[X, ...]` into `list[X]`, which is what Typer calls a repeatable value."""
    if get_origin(hint) is tuple:
        kind = get_args(hint)[0]
        # Typer knows no list of choices; what takes the values says what it knows.
        return list[str] if get_origin(kind) is Literal else list[kind]  # type: ignore[valid-type]
    if get_origin(hint) in (Union, types.UnionType):
        return hint
    return hint
