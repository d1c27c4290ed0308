"""The user's own effects and chains: a Python file that declares them, run as a program."""

import tokenize
import traceback
from pathlib import Path

from fxst.effects.base import EFFECTS
from fxst.errors import FxstError, SettingsError, unknown

__all__ = ["declared_in", "run_declarations", "undeclared"]

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
    try:
        with tokenize.open(path) as file:
            source = file.read()
        exec(compile(source, str(path), "exec"), {"__name__": path.stem, "__file__": str(path)})
    except (Exception, SystemExit) as error:
        raise SettingsError(f"{str(path)!r}{_line(error, str(path))}: {_in_words(error)}") from error
    absolute = path.resolve()
    if absolute not in declared_in:
        declared_in.append(absolute)


def undeclared(effect: str) -> str:
    """Return the message for an effect that is not declared.

    Args:
        effect: Its name.
    """
    return (
        f"{unknown('effect', effect[:80], EFFECTS)}; one of your own needs the file that declares it "
        "(`fxst --effects FILE.py ...`)."
    )


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
    return f"{type(error).__name__}{': ' if message else ''}{message.rstrip('.')}."
