"""Names that a shell completes: models, chains, exports, baselines and effects."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, get_args, get_origin

__all__ = ["completion"]


def _models(*kinds: str) -> Iterable[str]:
    from fxst.checkpoints.card import pretrained_folder

    return sorted(path.parent.name for kind in kinds for path in pretrained_folder().glob(f"{kind}/*/card.json"))


def _chains() -> Iterable[str]:
    from fxst.chains.named import CHAINS

    return CHAINS


def _effects() -> Iterable[str]:
    from fxst.chains.named import CHAINS

    return dict.fromkeys(label for chain in CHAINS.values() for label in chain.labels)


def _amounts() -> Iterable[str]:
    from fxst.chains.amounts import SHORT_NAMES

    return (f"{name}=" for name in (*SHORT_NAMES, "reverb"))


def _baselines() -> Iterable[str]:
    from fxst.evaluation.baselines import BASELINES, CLOSED_FORM_IN_CHAIN, ORACLE_CHAIN

    return (*BASELINES, CLOSED_FORM_IN_CHAIN, ORACLE_CHAIN, "all", "none")


_NAMES: Final[dict[str, Callable[[], Iterable[str]]]] = {
    "style models": lambda: _models("style"),
    "models": lambda: _models("style", "proxy"),
    "chains": _chains,
    "effects": _effects,
    "amounts": _amounts,
    "baselines": _baselines,
}
"""What the fields of configurations name, by the word for it there."""


def completion(kind: str | None, hint: Any) -> Callable[[str], list[str]] | None:
    """Return what completes the values of a parameter; None leaves it to the shell, which completes files.

    Args:
        kind: What the parameter names.
        hint: Its type; the choices of a list are completed, too.
    """
    inner = get_args(hint)[0] if get_origin(hint) is tuple else None
    if kind is None and get_origin(inner) is not Literal:
        return None

    def complete(incomplete: str) -> list[str]:
        names = get_args(inner) if kind is None else _NAMES[kind]()
        return [name for name in names if name.startswith(incomplete)]

    return complete
