"""The gradient methods by name, as `fxst style train --gradient` takes them, and the options of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fxst.chains.chain import Chain
from fxst.errors import SettingsError, unknown
from fxst.gradients.autodiff import AutodiffRenderer
from fxst.gradients.base import Renderer
from fxst.gradients.hybrids import FullHybridRenderer, HalfHybridRenderer
from fxst.gradients.proxy import ProxyRenderer
from fxst.gradients.spsa import SPSARenderer

__all__ = ["METHODS", "MethodOptions", "make_renderer"]


@dataclass(frozen=True)
class MethodOptions:
    """Options of the gradient methods; each uses its own.

    Args:
        proxies: Folders of proxies, which take precedence over the shipped ones (proxy and hybrids).
        directions: Directions in a step (spsa).
        epsilon: Initial perturbation of the knobs (spsa).
        epsilon_decay: Exponent of its decay over the steps (spsa).
        seed: Random seed of the directions (spsa).
    """

    proxies: Sequence[Path] = ()
    directions: int = 1
    epsilon: float = 0.01
    epsilon_decay: float = 0.101
    seed: int = 0


@dataclass(frozen=True)
class Method:
    """A gradient method.

    Args:
        make: Makes its renderer from a chain and a sample rate.
        options: The options that it uses.
    """

    make: Callable[[Chain, int, MethodOptions], Renderer]
    options: tuple[str, ...] = ()


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


METHODS: Final[Mapping[str, Method]] = {
    "autodiff": Method(lambda chain, rate, options: AutodiffRenderer(chain)),
    "proxy": Method(_proxy, ("proxies",)),
    "half-hybrid": Method(lambda chain, rate, options: HalfHybridRenderer(_proxy(chain, rate, options)), ("proxies",)),
    "full-hybrid": Method(lambda chain, rate, options: FullHybridRenderer(_proxy(chain, rate, options)), ("proxies",)),
    "spsa": Method(_spsa, ("directions", "epsilon", "epsilon_decay")),
}

FLAGS: Final[Mapping[str, str]] = {
    "proxies": "--proxy",
    "directions": "--spsa-directions",
    "epsilon": "--spsa-epsilon",
    "epsilon_decay": "--spsa-epsilon-decay",
}
"""Command-line options that not every method has."""


def make_renderer(method: str, chain: Chain, *, sample_rate: int, options: MethodOptions) -> Renderer:
    """Make a method's renderer for a chain.

    Args:
        method: Name of the method.
        chain: The effects.
        sample_rate: Sample rate of the renders in Hz.
        options: Options of the methods.

    Raises:
        SettingsError: The method is unknown, an option is out of its range, or an option of another method is set.
        ModelError: An effect has no proxy.
    """
    if method not in METHODS:
        raise SettingsError(f"{unknown('gradient method', method, METHODS)}.")
    for option, flag in FLAGS.items():
        if option not in METHODS[method].options and getattr(options, option) != getattr(MethodOptions, option):
            theirs = ", ".join(name for name, other in METHODS.items() if option in other.options)
            raise SettingsError(f"--gradient {method} has no {flag}, which is for {theirs}: leave it out.")
    return METHODS[method].make(chain, sample_rate, options)
