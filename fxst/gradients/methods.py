"""The methods by their names, as `fxst style train --gradient` takes them, and the options that each has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fxst.chain import Chain
from fxst.errors import SettingsError
from fxst.gradients.autodiff import AutodiffRenderer
from fxst.gradients.base import Renderer
from fxst.gradients.hybrids import FullHybridRenderer, HalfHybridRenderer
from fxst.gradients.proxy import ProxyRenderer
from fxst.gradients.spsa import SPSARenderer

__all__ = ["METHODS", "MethodOptions", "make_renderer"]


@dataclass(frozen=True)
class MethodOptions:
    """What the methods can be told; each looks at its own.

    Args:
        proxies: Folders of proxies, for an effect that has no shipped one or a better one (proxy and hybrids).
        directions: Directions a step (spsa).
        epsilon: First perturbation of the knobs (spsa).
        epsilon_decay: With which power of the step it falls (spsa).
        seed: Seed of the directions (spsa).
    """

    proxies: Sequence[Path] = ()
    directions: int = 1
    epsilon: float = 0.01
    epsilon_decay: float = 0.101
    seed: int = 0


Make = Callable[[Chain, int, MethodOptions], Renderer]


def _proxy(chain: Chain, rate: int, options: MethodOptions) -> ProxyRenderer:
    return ProxyRenderer.load(chain, options.proxies, sample_rate=rate)


def _spsa(chain: Chain, _: int, options: MethodOptions) -> Renderer:
    return SPSARenderer(
        chain,
        directions=options.directions,
        epsilon=options.epsilon,
        epsilon_decay=options.epsilon_decay,
        seed=options.seed,
    )


METHODS: Final[Mapping[str, Make]] = {
    "autodiff": lambda chain, rate, options: AutodiffRenderer(chain),
    "proxy": _proxy,
    "half-hybrid": lambda chain, rate, options: HalfHybridRenderer(_proxy(chain, rate, options)),
    "full-hybrid": lambda chain, rate, options: FullHybridRenderer(_proxy(chain, rate, options)),
    "spsa": _spsa,
}


def make_renderer(method: str, chain: Chain, *, sample_rate: int, options: MethodOptions) -> Renderer:
    """Make a method's renderer for a chain.

    Args:
        method: Its name.
        chain: The effects.
        sample_rate: The rate at which it renders, in Hz.
        options: What the methods can be told.

    Raises:
        SettingsError: There is no such method, or an option is out of its range.
        ModelError: There is no proxy for an effect.
    """
    if method not in METHODS:
        raise SettingsError(f"There is no gradient method {method!r}; there are: {', '.join(METHODS)}.")
    return METHODS[method](chain, sample_rate, options)
