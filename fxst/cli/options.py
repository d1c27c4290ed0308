"""Typer commands from configuration dataclasses, so that each option is defined once."""

import ast
import dataclasses
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from fxst import staging
from fxst.cli.commands import Command, Declared, reader
from fxst.cli.completion import completion
from fxst.cli.interrupts import terminable
from fxst.cli.terminal import say
from fxst.configs import flags
from fxst.errors import SettingsError
from fxst.interrupts import exit_code
from fxst.untrusted import brief, number, quoted, whole_number

__all__ = ["command", "documentation", "expose", "parameter"]


def command(
    app: typer.Typer, config_type: type[Any], name: str, *, urls: bool = False
) -> Callable[[Callable[[Any], None]], None]:
    """Register `run(config)` as command `name` of `app`, with the fields of `config_type` as its parameters.

    The dataclass' docstring is the command's help. A `tuple[X, ...]` field takes any number of values, or none for an
    argument that is not required. With `urls`, a path may be the URL of an object, which is refused otherwise.
    """

    def register(run: Callable[[Any], None]) -> None:
        def call(**given: Any) -> None:
            if "preset" in given:  # its values are among the others
                given["preset"] = "none"
            config = config_type(**{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()})
            if not urls:
                _refuse_urls(config)
            run(config)

        hints = get_type_hints(config_type)
        declared = {item.name: Declared(item, hints[item.name]) for item in dataclasses.fields(config_type)}
        parameters = [parameter(*each) for each in declared.values()]
        expose(app, name, call, parameters, documentation(config_type), declared)

    return register


def _refuse_urls(config: Any) -> None:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path) and type(one) is not type(Path()):
                raise SettingsError(
                    f"{quoted(str(one))} is an object, and this command takes files: copy it here first."
                )


def documentation(of: Any) -> str | None:
    """Return the docstring of a class or function, even where `python -OO` left it out.

    A dataclass would then be documented by its signature.
    """
    if sys.flags.optimize < 2:
        return inspect.getdoc(of)
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    except (OSError, SyntaxError, ValueError):  # without a source there is no help
        return None
    return ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef) else None


def expose(
    app: typer.Typer,
    name: str,
    run: Callable[..., None],
    parameters: Sequence[inspect.Parameter],
    doc: str | None,
    declared: Mapping[str, Declared],
) -> None:
    """Register `run` as command `name` of `app`, with these parameters, this help and these fields."""

    def call(**given: Any) -> None:
        try:
            with terminable():
                run(**given)
        except KeyboardInterrupt as interrupt:
            # Caught here, for Typer would end the program without a word.
            staging.abandon()
            say(f"fxst: {str(interrupt) or 'interrupted'}", err=True)
            raise typer.Exit(exit_code(interrupt)) from interrupt

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = doc
    readers = {parameter.name: reader(parameter.annotation) for parameter in parameters}
    app.command(name, cls=type("Command", (Command,), {"readers": readers, "declared": declared}))(call)


def parameter(item: "dataclasses.Field[Any]", hint: Any, *, panel: str | None = None) -> inspect.Parameter:
    """Make the argument or option of a configuration's field; `panel` is where the help lists it, else its own."""
    meta = item.metadata
    completes = completion(meta.get("completes"), hint)
    info: Any
    if meta.get("argument"):
        # An unreadable file is an error of its own, and no reason to leave out others.
        info = typer.Argument(
            help=meta["help"],
            metavar=meta["metavar"],
            show_default=False,
            readable=False,
            autocompletion=completes,
        )
    else:
        info = typer.Option(
            *flags(item),
            help=meta["help"] + (" Repeat the option for more." if get_origin(hint) is tuple else ""),
            min=meta["min"],
            max=meta["max"],
            metavar=meta["metavar"],
            parser=_number_parser(hint, flags(item)[0], meta["min"], meta["max"]),
            rich_help_panel=panel or meta["panel"],
            readable=False,
            autocompletion=completes,
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


def _number_parser(
    hint: Any, flag: str, minimum: float | None, maximum: float | None
) -> Callable[[Any], int | float] | None:
    """Return a parser for a numeric option, or None: Typer would accept `1_0` as 10, and `nan`."""
    kinds = {hint, *get_args(hint)} & {int, float}
    if not kinds:
        return None
    read = whole_number if int in kinds else number

    def parse(given: Any) -> int | float:
        try:
            found: int | float = read(given) if isinstance(given, str) else given
        except ValueError as error:
            raise typer.BadParameter(f"{error}.", param_hint=flag) from error
        if (minimum is not None and found < minimum) or (maximum is not None and found > maximum):
            least = "" if minimum is None else f" from {minimum:g}"
            most = "" if maximum is None else f" to {maximum:g}"
            raise typer.BadParameter(f"{brief(given)} is not in the range{least}{most}.", param_hint=flag)
        return found

    return parse


def _plain(hint: Any) -> Any:
    """Convert `tuple[X, ...]` to `list[X]`, Typer's type of a repeatable value."""
    if get_origin(hint) is tuple:
        kind = get_args(hint)[0]
        # Typer has no list of choices; the function that takes the values checks them.
        return list[str] if get_origin(kind) is Literal else list[kind]  # type: ignore[valid-type]
    if get_origin(hint) in (Union, types.UnionType):
        return hint
    return hint
