"""What can go wrong, in words for the person at the keyboard, and the exit code that a program ends with then."""

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
    """A problem that the user can mend; the message is one sentence naming the file and the remedy.

    Args:
        message: The sentence. What a library or a file has put into it cannot break its line.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class AudioError(FxstError):
    """A sound file is missing, unreadable, damaged, or cannot be written."""


class NothingMatchedError(AudioError):
    """No recording is where some were looked for."""

    exit_code = 3


class OutputError(AudioError):
    """A file, a sound file or another, cannot be written where it is to go."""

    exit_code = 5


class ModelError(FxstError):
    """A model or checkpoint is missing, damaged, or made for something else."""

    exit_code = 4


class SettingsError(FxstError):
    """A parameter table, option or specification does not make sense."""

    exit_code = 2


class UndeclaredError(SettingsError):
    """A chain has an effect that this program does not know, for it is the user's own."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Report that there is nothing of a name, and suggest the name that was perhaps meant.

    >>> unknown("chain", "stduio", ("eq", "eq-comp", "studio"))
    "There is no chain 'stduio' (did you mean 'studio'?); there are: eq, eq-comp, studio"

    Args:
        what: What was looked for.
        name: The name that was given.
        known: All names that there are.
    """
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(name.lower(), names, 1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return f"There is no {what} {name!r}{meant}; there are: {', '.join(names) or 'none'}"
