"""Effects and chains of the user's own: a Python file that declares them, run as the program that it is."""

import tokenize
import traceback
from pathlib import Path

from fxst.effects.base import EFFECTS
from fxst.errors import FxstError, SettingsError, unknown

__all__ = ["declared_in", "run_declarations", "undeclared"]

declared_in: list[Path] = []
"""The files that were run, for worker processes to run them too."""


def run_declarations(path: Path) -> None:
    """Run a Python file that declares effects, and adds chains of them to `fxst.chains.chain.CHAINS`.

    It may do whatever a program may. No model and no table ever names such a file: the user does.

    Args:
        path: The file.

    Raises:
        SettingsError: It cannot be read, or fails; the message tells in which line.
    """
    try:
        with tokenize.open(path) as file:
            source = file.read()
        exec(compile(source, str(path), "exec"), {"__name__": path.stem, "__file__": str(path)})
    except (Exception, SystemExit) as error:
        raise SettingsError(f"{str(path)!r}{_line(error, str(path))}: {_words(error)}") from error
    whole = path.resolve()
    if whole not in declared_in:
        declared_in.append(whole)


def undeclared(effect: str) -> str:
    """Say what to do about an effect that nobody has declared.

    Args:
        effect: Its name.
    """
    return (
        f"{unknown('effect', effect[:80], EFFECTS)}; one of your own needs the file that declares it "
        "(`fxst --effects FILE.py ...`)."
    )


def _line(error: BaseException, file: str) -> str:
    """Find the line of the file that an error came from: the deepest one, where the file calls itself."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.lineno else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _words(error: BaseException) -> str:
    said = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    if isinstance(error, FxstError):
        return said
    return f"{type(error).__name__}{': ' if said else ''}{said.rstrip('.')}."
