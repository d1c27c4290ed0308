"""What others have written: read strictly, and shown so that nothing in it acts on a terminal or in a shell."""

import json
import math
import os
import re
import shlex
from typing import Any, Final

__all__ = ["brief", "from_json", "number", "printable", "quoted", "shell_word", "to_json", "whole_number"]

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE_NUMBER: Final = re.compile(r"[-+]?[0-9]+")


def printable(text: str, *, keep: str = "") -> str:
    r"""Write control characters, line ends, and what turns the direction of writing as Python escapes them.

    >>> print(printable("voice\n\x1b[31mfxst: all went well\u202e"))
    voice\n\x1b[31mfxst: all went well\u202e

    Args:
        text: What is to be shown.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def quoted(given: object) -> str:
    r"""Quote a path, or a value that a file holds, in one line.

    >>> print(quoted("it's\n"), quoted(1.5))
    "it's\n" 1.5
    """
    return printable(repr(os.fspath(given) if isinstance(given, os.PathLike) else given))


def brief(given: object) -> str:
    """Quote a value that a file holds in one short line, whatever it is."""
    text = quoted(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shell_word(given: "str | os.PathLike[str]") -> str:
    r"""Quote a word for any POSIX shell, in one line, so that a command with it can be pasted.

    A word with line ends, other control characters or undecodable bytes is made by `printf`, which all shells have; a
    shell drops line ends at its end.

    >>> print(shell_word("it's $(true).wav"), shell_word("two\nlines"))
    'it'"'"'s $(true).wav' "$(printf 'two\012lines')"
    """
    word = os.fspath(given)
    if word.isprintable():
        return shlex.quote(word)
    plain = re.compile(rb"[A-Za-z0-9_./ -]")
    octal = (chr(byte) if plain.match(bytes([byte])) else f"\\{byte:03o}" for byte in os.fsencode(word))
    return f"\"$(printf '{''.join(octal)}')\""


def number(text: str) -> float:
    """Read a decimal number.

    Python's `float` reads more: `1_0` as 10, digits of other scripts, `nan`, `infinity`, and spaces around them.

    >>> number("-1.5e3"), number(".5")
    (-1500.0, 0.5)

    Raises:
        ValueError: It is none, or too large for one.
    """
    if _NUMBER.fullmatch(text) is None or not math.isfinite(value := float(text)):
        raise ValueError(f"{brief(text)} is no finite decimal number")
    return value


def whole_number(text: str) -> int:
    """Read a whole decimal number, as strictly as `number` does.

    Raises:
        ValueError: It is none.
    """
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError(f"{brief(text)} is no whole number")
    return int(text)


def from_json(text: str | bytes) -> Any:
    """Read JSON as its standard has it: no key twice in one object, and no number that is not finite.

    Raises:
        ValueError: It is no such JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Write JSON in printable ASCII, in which what is no finite number is null.

    Args:
        value: Plain data.
        indent: Spaces of each level; None writes one line.
        sort_keys: Whether keys are sorted.
    """
    text = json.dumps(_without_nan(value), indent=indent, sort_keys=sort_keys, allow_nan=False)
    return text.replace("\x7f", r"\u007f")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {brief(twice)} is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {brief(text)} is too large")
    return value


def _whole(text: str) -> int:
    _finite(text)  # a program that reads it along would take it for a number like any other
    return int(text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
