"""Amounts: scale the settings of all effects, or of some."""

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
    "width": "stereo_width",
    "exp": "expander",
}
"""Short names of effects on the command line; a number may follow, as in `comp2`."""

_ALL: Final = ""


def parse_amounts(given: Sequence[str]) -> dict[str, float]:
    """Parse the values of `--amount`: `80`, or `eq=50`.

    >>> parse_amounts(["80", "eq=50"])
    {'': 0.8, 'parametric_eq': 0.5}

    Args:
        given: The values, in percent.

    Returns:
        Amounts by effect label; the empty label is for all others.

    Raises:
        SettingsError: A value is not a number from 0 to 150 percent, it looks like a fraction, or an effect has two.
    """
    amounts: dict[str, float] = {}
    for word in given:
        name, equals, percents = word.rpartition("=")
        try:
            percent = number(percents.removesuffix("%"))
        except ValueError:
            percent = math.nan
        if not 0 <= percent <= HIGHEST_PERCENT or (equals and not name):
            raise SettingsError(
                f"--amount {word!r:.60} is not an amount of the style: give percent from 0 to {HIGHEST_PERCENT:g}, "
                "such as "
                "80, or an effect's, such as eq=50."
            )
        if 0 < percent <= HIGHEST_PERCENT / 100 and not percents.endswith("%"):
            # In Python, 1 is all of the style.
            of_effect = name + equals
            raise SettingsError(
                f"--amount {word!r:.60} is in percent, so it would be {percent:g} % of the style: write "
                f"{of_effect}{100 * percent:g} for a share of {percent:g}, or {of_effect}{percents}% if you mean it."
            )
        if (label := _label(name)) in amounts:
            raise SettingsError(
                f"--amount {word!r:.60} gives {label or 'the whole style'} a second amount: leave one out."
            )
        amounts[label] = percent / 100
    return amounts


def amount_of_each(amount: float | Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Return the amount of each effect of a chain.

    Args:
        amount: An amount for all effects, 1 for no change; or amounts by effect label or short name, that of the empty
            name for all others, which are otherwise unchanged.
        labels: The chain's effects.

    Raises:
        SettingsError: An amount is out of range, or its effect is not in the chain.
    """
    shares = {_label(name): share for name, share in amount.items()} if isinstance(amount, Mapping) else {_ALL: amount}
    for share in shares.values():
        if not 0 <= share <= HIGHEST_PERCENT / 100:
            raise SettingsError(f"An amount is a number from 0 to {HIGHEST_PERCENT / 100:g}, not {share:g}.")
    if others := shares.keys() - {_ALL, *labels}:
        raise SettingsError(f"{unknown('effect', min(others), labels, where=' in the chain')}.")
    return {label: shares.get(label, shares.get(_ALL, 1.0)) for label in labels}


def written(amounts: Mapping[str, float]) -> str:
    """Format amounts for a table's provenance.

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
