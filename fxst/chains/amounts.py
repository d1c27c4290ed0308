"""How much of a style: a share of what was chosen, of all effects or of some."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from fxst.errors import SettingsError, unknown
from fxst.untrusted import number

__all__ = ["HIGHEST_PERCENT", "amount_of_each", "parse_amounts", "written"]

HIGHEST_PERCENT: Final = 150.0

SHORT_NAMES: Final = {
    "eq": "parametric_eq",
    "comp": "compressor",
    "dist": "distortion",
    "up": "upward_compressor",
}
"""What effects are called at the command line, beside their own names; a number may follow, as in `comp2`."""

_ALL: Final = ""


def parse_amounts(given: Sequence[str]) -> dict[str, float]:
    """Read what `--amount` was given: `80`, or `eq=50`.

    >>> parse_amounts(["80", "eq=50"])
    {'': 0.8, 'parametric_eq': 0.5}

    Args:
        given: The words, in percent; of two that are about the same effect the last one counts.

    Returns:
        Shares by the label of the effect; that of the empty label is for all others.

    Raises:
        SettingsError: One is no share from 0 to 150 percent.
    """
    amounts = {}
    for word in given:
        name, equals, percents = word.rpartition("=")
        try:
            percent = number(percents.removesuffix("%"))
        except ValueError:
            percent = math.nan
        if not 0 <= percent <= HIGHEST_PERCENT or (equals and not name):
            raise SettingsError(
                f"--amount {word!r:.60} is no share of a style: give percent from 0 to {HIGHEST_PERCENT:g}, such as "
                "80, or an effect's, such as eq=50."
            )
        amounts[_label(name)] = percent / 100
    return amounts


def amount_of_each(amount: float | Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Say of each effect of a chain how much of it is meant.

    Args:
        amount: A share for all, 1 for what is there; or shares by effect, short names too, that of the empty name for
            all others, which else are left as they are.
        labels: The chain's effects.

    Raises:
        SettingsError: A share is out of range, or its effect is not in the chain.
    """
    shares = {_label(name): share for name, share in amount.items()} if isinstance(amount, Mapping) else {_ALL: amount}
    for share in shares.values():
        if not 0 <= share <= HIGHEST_PERCENT / 100:
            raise SettingsError(f"An amount is a share from 0 to {HIGHEST_PERCENT / 100:g}, not {share:g}.")
    if others := shares.keys() - {_ALL, *labels}:
        raise SettingsError(f"{unknown('effect', min(others), labels)} in the chain.")
    return {label: shares.get(label, shares.get(_ALL, 1.0)) for label in labels}


def written(amounts: Mapping[str, float]) -> str:
    """Write amounts for a table to tell.

    >>> written({"parametric_eq": 0.5, "compressor": 0.8}), written({"parametric_eq": 0.8, "compressor": 0.8})
    ('parametric_eq 50 %, compressor 80 %', '80 %')
    """
    shares = set(amounts.values())
    if len(shares) == 1:
        return f"{100 * shares.pop():g} %"
    return ", ".join(f"{label} {100 * share:g} %" for label, share in amounts.items())


def _label(name: str) -> str:
    match = re.fullmatch(r"([a-z_]+?)(\d*)", name.strip().lower())
    return SHORT_NAMES.get(match[1], match[1]) + match[2] if match else name
