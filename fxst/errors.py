"""Errors with a message for the user and the program's exit code."""

from collections.abc import Iterable
from typing import ClassVar

from fxst.untrusted import printable

__all__ = [
    "AudioError",
    "FxstError",
    "ModelError",
    "NothingMatchedError",
    "OutputError",
    "SettingsError",
    "UndeclaredError",
    "unknown",
]


class FxstError(Exception):
    """A problem that the user can solve; the message is one sentence that names the file and the remedy.

    Args:
        message: The sentence. Control characters in it, from a library or a file, are escaped.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class AudioError(FxstError):
    """A sound file is missing, unreadable, damaged, or cannot be written."""


class NothingMatchedError(AudioError):
    """No recordings were found."""

    exit_code = 3


class OutputError(AudioError):
    """A file cannot be written."""

    exit_code = 5


class ModelError(FxstError):
    """A model or checkpoint is missing, damaged, or for another purpose."""

    exit_code = 4


class SettingsError(FxstError):
    """A parameter table, option or specification is invalid."""

    exit_code = 2


class UndeclaredError(SettingsError):
    """A chain has an effect of the user's own that is not declared."""


def unknown(what: str, name: str, known: Iterable[str], *, where: str = "") -> str:
    """Return the message for an unknown name, with the closest known name.

    >>> unknown("chain", "stduio", ("eq", "eq-comp", "studio"))
    "There is no chain 'stduio' (did you mean 'studio'?); choose from: eq, eq-comp, studio"

    Args:
        what: What the name is of.
        name: The unknown name.
        known: All known names.
        where: What does not have it, such as ` in the chain eq`.
    """
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(name.lower(), names, 1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return f"There is no {what} {name!r}{where}{meant}; choose from: {', '.join(names) or 'none'}"
