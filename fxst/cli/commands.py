"""Typer's commands, light: plain help, and words of the command line read without pydantic.

Typer shows help and usage errors by rich, which takes 0.1 CPU seconds to load, and reads every value by pydantic, which
takes as much again: a fifth of what `fxst apply` may take.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from fxst.cli.terminal import warn
from fxst.configs import adopting, flags

__all__ = ["NO_CONFIG", "Command", "Declared", "Group", "Reader", "command_group", "reader"]

Reader = Callable[[str], Any]
"""Converts one word of the command line, or raises `ValueError` if Typer is to do it."""


NO_CONFIG: Final = "fxst.no_config"
"""Says in the context of the program that settings files are left out."""

_OF_PROJECT: Final = "fxst.of_project"
"""Holds in the context of a command the options that the file of the current folder sets."""

_NARROWEST: Final = 52
"""Typer takes a narrower terminal to have this many columns."""


class _Light:
    """What commands and groups of commands have in common."""

    readers: ClassVar[Mapping[str, Reader | None]] = {}
    """How the values of parameters are read, by name; Typer reads the others."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, and the option for help."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # Typer's classes have it
        for parameter in parameters:
            if "process_value" not in vars(parameter):
                _lighten(parameter, self.readers.get(parameter.name))
        return parameters

    def get_help(self, ctx: Any) -> str:
        """Return the help, no wider than the terminal."""
        columns = shutil.get_terminal_size().columns
        if columns < _NARROWEST:
            ctx.terminal_width = columns
        text: str = super().get_help(ctx)  # type: ignore[misc]
        return text

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group of options, and one for the commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            if record := parameter.get_help_record(ctx):
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for name, command in getattr(self, "commands", {}).items():
            sections.setdefault("Commands", []).append((name, command.get_short_help_str(1000)))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=min(30, formatter.width // 2))


class Declared(NamedTuple):
    """A field of a configuration, and its type."""

    item: "Field[Any]"
    hint: Any


class Command(_Light, TyperCommand):
    """A command. What the command line leaves out, settings files and presets may set."""

    declared: ClassVar[Mapping[str, Declared]] = {}
    """The fields of its configuration."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; refuse a second value for an option that takes one, which would replace the first."""
        if not ctx.resilient_parsing:
            given, _, order = self.make_parser(ctx).parse_args(args=list(args))
            options: list[Any] = list(order)
            for option in options:
                single = option.param_type_name == "option" and not option.multiple
                switch = option.is_flag and not option.secondary_opts if single else True
                if not switch and options.count(option) > 1:
                    raise typer.BadParameter("it is given twice: leave one of them out.", ctx=ctx, param=option)
            ctx.default_map = {} if given.get("help") else self._adopt(ctx, given)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; say first what a file of the current folder sets, which may be a stranger's."""
        if of_project := ctx.meta.get(_OF_PROJECT):
            warn(f"'fxst.toml' in this folder sets {', '.join(of_project)}: see `fxst config show`.")
        with adopting(ctx.default_map or ()):
            return super().invoke(ctx)

    def _adopt(self, ctx: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return what settings files and a preset set, by field, less what the command line gives."""
        from fxst.cli.settings import PROJECT, read_files, settings_of

        root = ctx.find_root()
        files = () if root.meta.get(NO_CONFIG) else read_files(root.command)
        name = ctx.command_path.removeprefix(f"{root.info_name} ")
        found = settings_of(name, files, {field: value for field, value in given.items() if value is not None})
        found = {field: setting for field, setting in found.items() if setting.origin or setting.preset}
        ctx.meta[_OF_PROJECT] = [
            flags(self.declared[field].item)[0].split("/")[0] for field, one in found.items() if one.origin == PROJECT
        ]
        return {field: setting.value for field, setting in found.items()}


class Group(_Light, TyperGroup):
    """A group of commands, which shows its help where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before the command."""
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx))
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


def command_group(help: str, *, cls: type[Group] = Group, **more: Any) -> typer.Typer:  # noqa: A002  (Typer's word)
    """Return a Typer program of such commands."""
    return typer.Typer(cls=cls, help=help, rich_markup_mode=None, **more)


def reader(annotation: Any) -> Reader | None:
    """Return how the values of a parameter are read; None if only Typer can.

    Args:
        annotation: The parameter's, as Typer takes it.
    """
    if get_origin(annotation) is not Annotated:
        return None
    hint, info = get_args(annotation)
    if info.parser is not None:
        read: Reader = info.parser
        return read
    if get_origin(hint) is Literal:
        return _choice(get_args(hint))
    kinds = {kind for kind in get_args(hint) or (hint,) if kind is not type(None)}
    if kinds == {Path}:
        return _path
    return str if kinds == {str} else None


def _path(word: str) -> Path:
    """Return the path that a word names; most words have no colon, and need no more than this."""
    if "://" not in word:
        return Path(word)
    from fxst.storage.urls import located

    return located(word)


def _choice(choices: Iterable[Any]) -> Reader:
    def read(word: str) -> str:
        if word not in choices:
            raise ValueError(word)
        return word

    return read


def _lighten(parameter: Any, read: Reader | None) -> None:
    """Let a parameter take values that need no conversion, or that `read` converts, without asking pydantic."""
    by_typer = parameter.process_value

    def process_value(ctx: Any, value: Any) -> Any:
        many = parameter.multiple or parameter.nargs == -1
        words = [word for word in (value if many and value else (value,)) if isinstance(word, str)]
        known = value is None or isinstance(value, str | int | float | Path | list | tuple)
        if not known or (words and read is None) or (parameter.required and not value):
            return by_typer(ctx, value)
        if words and read is not None:
            try:
                value = [read(word) for word in words] if many else read(words[0])
            except ValueError:
                return by_typer(ctx, value)
        elif many:  # the default, which is a value already, or nothing
            value = value or ()
        return value if parameter.callback is None else parameter.callback(ctx, parameter, value)

    parameter.process_value = process_value
