"""The sizes of a model, from the plain data that a card holds: each checked to be what its field says."""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

__all__ = ["from_plain"]

MOST_LAYERS: Final = 32
"""How many layers a card may ask for; a model of fxst's has four."""

LARGEST: Final = 1 << 24
"""The largest number among a model's sizes."""

T = TypeVar("T")


def from_plain(kind: type[T], data: Any) -> T:
    """Read sizes back from plain data.

    Args:
        kind: The dataclass of the sizes; its fields are whole numbers, numbers, tuples of whole numbers, or dataclasses
            of such.
        data: What a card says.

    Raises:
        ValueError: A size is missing or unknown, or is no such number.
    """
    if not isinstance(data, dict):
        raise ValueError("its sizes are missing")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]  # `type[T]` is a dataclass' here
    missing = [name for name, item in known.items() if item.default is MISSING and name not in data]
    if missing or data.keys() - known.keys():
        raise ValueError(f"its sizes lack {', '.join(missing)}" if missing else "it has unknown sizes")
    hints = get_type_hints(kind)
    return kind(**{name: _checked(name, hints[name], value) for name, value in data.items()})


def _checked(name: str, hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return from_plain(hint, value)  # type: ignore[arg-type]  # likewise
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not len(value) <= MOST_LAYERS:
            raise ValueError(f"{name} is not a list of at most {MOST_LAYERS} sizes")
        return tuple(_checked(name, get_args(hint)[0], item) for item in value)
    number = isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= LARGEST:
        raise ValueError(f"{name} is not a size")
    return hint(value)
