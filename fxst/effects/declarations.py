"""The user's own effects and chains: a Python file that declares them, run as a program."""

import tokenize
import traceback
from collections.abc import Iterable
from pathlib import Path

from fxst import extras
from fxst.errors import FxstError, SettingsError, unknown

__all__ = ["declared_in", "failure", "run_declarations", "undeclared"]

declared_in: list[Path] = []
"""The files that were run; worker processes run them too."""


def run_declarations(path: Path) -> None:
    """Run a Python file that declares effects and adds chains of them to `fxst.chains.named.CHAINS`.

    It may do anything. Only the user names such a file, never a model or a table.

    Args:
        path: The file.

    Raises:
        SettingsError: It cannot be read, or fails; the message names the line.
    """
    absolute = path.resolve()
    try:
        with tokenize.open(path) as file:
            source = file.read()
        exec(compile(source, str(absolute), "exec"), {"__name__": path.stem, "__file__": str(path)})
    except (Exception, SystemExit) as error:
        raise SettingsError(f"{str(path)!r}{_line(error, str(absolute))}: {_in_words(error)}") from error
    if absolute not in declared_in:
        declared_in.append(absolute)


def undeclared(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an effect or a loss, say, that is not declared.

    Args:
        what: What the name is of.
        name: The unknown name.
        known: All known names.
    """
    return (
        f"{unknown(what, name[:80], known)}; one of your own needs the file that declares it "
        "(`fxst --effects FILE.py ...`)."
    )


def failure(error: Exception) -> str:
    """Return the end of a sentence on an error in declared code: the file's line, where one raised it, and the reason.

    Args:
        error: The error.
    """
    where = next((f" ({path.name}{line})" for path in declared_in if (line := _line(error, str(path)))), "")
    return f"{where}: {_in_words(error)}"


def _line(error: BaseException, file: str) -> str:
    """Return the line of the file that raised an error: the deepest one in the traceback."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.lineno else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _in_words(error: BaseException) -> str:
    message = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    if isinstance(error, FxstError):
        return message
    missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    extra = extras.extra_of(missing.partition(".")[0])
    remedy = f"; install it with: {extras.install(extra)}" if extra else "."
    return f"{type(error).__name__}{': ' if message else ''}{message.rstrip('.')}{remedy}"
