"""Text from others: read strictly, and escaped so that nothing in it acts on a terminal or in a shell."""

import codecs
import json
import math
import os
import re
import shlex
from typing import Any, Final

__all__ = [
    "brief",
    "encoding_of",
    "from_json",
    "number",
    "printable",
    "quoted",
    "shell_word",
    "to_json",
    "whole_number",
]

_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE_NUMBER: Final = re.compile(r"[-+]?[0-9]+")
_MARKS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by their byte order marks."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape control characters, line ends and marks that change the direction of text, as in Python.

    >>> print(printable("voice\n\x1b[31mfxst: all went well\u202e"))
    voice\n\x1b[31mfxst: all went well\u202e

    Args:
        text: The text.
        keep: Characters that are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


def encoding_of(data: bytes) -> str:
    r"""Return the encoding of a text: by its byte order mark, else UTF-16 where every other byte is 0, else UTF-8.

    >>> encoding_of("one.wav\n".encode("utf-16")), encoding_of("one.wav\n".encode("utf-16-be")), encoding_of(b"one.wav")
    ('utf-16', 'utf-16-be', 'utf-8')
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return encoding
    halves = {"utf-16-le": (data[1::2], data[::2]), "utf-16-be": (data[::2], data[1::2])}
    for encoding, (high, low) in halves.items():
        # Names of one letter, separated by NUL bytes, look alike; only a text has ends of lines or of names.
        if len(high) == len(low) and 2 * high.count(0) > len(high) and 0 not in low and (b"." in low or b"\n" in low):
            return encoding
    return "utf-8"


def quoted(given: object) -> str:
    r"""Quote a path, or a value from a file, in one line.

    >>> print(quoted("it's\n"), quoted(1.5))
    "it's\n" 1.5
    """
    return printable(repr(os.fspath(given) if isinstance(given, os.PathLike) else given))


def brief(given: object) -> str:
    """Quote any value from a file in one short line."""
    text = quoted(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shell_word(given: "str | os.PathLike[str]") -> str:
    r"""Quote a word for any POSIX shell, in one line, so that a command with it can be pasted.

    A word with line ends, other control characters or undecodable bytes becomes a call of `printf`. Line ends at the
    end of a word are lost.

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

    Python's `float` accepts more: `1_0` as 10, digits of other scripts, `nan`, `infinity`, and spaces.

    >>> number("-1.5e3"), number(".5")
    (-1500.0, 0.5)

    Raises:
        ValueError: It is not a decimal number, or too large.
    """
    if _NUMBER.fullmatch(text) is None or not math.isfinite(value := float(text)):
        raise ValueError(f"{brief(text)} is not a finite decimal number")
    return value


def whole_number(text: str) -> int:
    """Read a whole decimal number, as strictly as `number`.

    Raises:
        ValueError: It is not a whole decimal number.
    """
    if _WHOLE_NUMBER.fullmatch(text) is None:
        raise ValueError(f"{brief(text)} is not a whole number")
    return int(text)


def from_json(text: str | bytes) -> Any:
    """Read standard JSON, without duplicate keys in an object or numbers that are not finite.

    Raises:
        ValueError: It is not such JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return JSON in printable ASCII; numbers that are not finite become null.

    Args:
        value: Plain data.
        indent: Spaces a level; None for one line.
        sort_keys: Whether to sort keys.
    """
    text = json.dumps(_without_nan(value), indent=indent, sort_keys=sort_keys, allow_nan=False)
    return text.replace("\x7f", r"\u007f")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {brief(twice)} appears twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {brief(text)} is too large")
    return value


def _whole(text: str) -> int:
    _finite(text)  # other readers of the file would parse it as a float
    return int(text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
