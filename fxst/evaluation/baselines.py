"""Baselines and oracles: what is possible without learning, and what is possible at best."""

from collections.abc import Callable
from typing import Final

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.chains.table import Table
from fxst.errors import AudioError
from fxst.evaluation import matchering
from fxst.evaluation.closed_form import ORACLE_BANDS_AN_OCTAVE, closed_form, closed_form_in_chain
from fxst.evaluation.items import Item
from fxst.evaluation.oracle import STEPS, check, optimise
from fxst.evaluation.rule_based import rule_based
from fxst.evaluation.systems import Output, System

__all__ = [
    "BASELINES",
    "CLOSED_FORM",
    "CLOSED_FORM_IN_CHAIN",
    "MATCHERING",
    "ORACLE_CHAIN",
    "ORACLE_EQ",
    "RULE_BASED",
    "closed_form_in_chain_system",
    "matchering_available",
    "oracle_chain",
]

CLOSED_FORM: Final = "closed-form"
CLOSED_FORM_IN_CHAIN: Final = "closed-form-eq"
RULE_BASED: Final = "rule-based"
MATCHERING: Final = "matchering"
ORACLE_EQ: Final = "oracle-eq"
ORACLE_CHAIN: Final = "oracle-chain"

Match = Callable[..., Samples]


def oracle_chain(chain: Chain, *, steps: int = STEPS, start: Callable[[Item], Table | None] | None = None) -> System:
    """Return the system that optimises a chain's settings on the target: the upper bound of that chain.

    Args:
        chain: The effects.
        steps: Optimisation steps.
        start: Returns a model's settings for an item, as one more starting point.

    Raises:
        SettingsError: The chain cannot be differentiated.
    """
    check(chain)

    def match(item: Item) -> Output:
        given = start(item) if start is not None else None
        settings, audio = optimise(
            item.input,
            _target(item),
            chain=chain,
            sample_rate=item.sample_rate,
            steps=steps,
            starts=() if given is None else (given,),
        )
        return Output(audio, settings)

    return match


def closed_form_in_chain_system(chain: Chain) -> System:
    """Return the system that matches the spectrum with a chain's equaliser, and the level with a gain.

    Args:
        chain: The chain whose equaliser is used.
    """
    return _to_reference(
        lambda audio, reference, **rates: closed_form_in_chain(audio, reference, chain=chain, **rates).audio
    )


def matchering_available() -> bool:
    """Return whether the package `matchering` is installed."""
    return matchering.available()


def _oracle_eq() -> System:
    def match(item: Item) -> Output:
        rate = item.sample_rate
        audio = closed_form(
            item.input,
            _target(item),
            sample_rate=rate,
            reference_sample_rate=rate,
            bands_an_octave=ORACLE_BANDS_AN_OCTAVE,
        )
        return Output(audio)

    return match


def _to_reference(match: Match) -> System:
    """Wrap a function of two recordings and their sample rates as a system."""
    return lambda item: Output(
        match(
            item.input,
            item.reference,
            sample_rate=item.sample_rate,
            reference_sample_rate=item.reference_sample_rate,
        )
    )


def _target(item: Item) -> Samples:
    if item.target is None:
        raise AudioError(f"{item.name} has no target, and an oracle needs one.")
    return item.target


BASELINES: Final[dict[str, Callable[[], System]]] = {
    CLOSED_FORM: lambda: _to_reference(closed_form),
    RULE_BASED: lambda: _to_reference(rule_based),
    MATCHERING: lambda: _to_reference(matchering.match),
    ORACLE_EQ: _oracle_eq,
}
"""Factories of the systems that need no chain, by name, in the order of the tables."""
