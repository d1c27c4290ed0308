"""A proxy on disk, and what it is a proxy of: one effect with its ranges, at one sample rate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fxst.chain import Chain
from fxst.effects import Effect
from fxst.errors import ModelError
from fxst.models import checkpoint
from fxst.models.proxy import ProxyModel, ProxyModelConfig

__all__ = ["Proxy", "load", "save"]

FORMAT = "fxst-proxy"


@dataclass(frozen=True)
class Proxy:
    """A trained proxy with all that is needed to use it.

    Args:
        model: The network.
        effect: The effect that it imitates, with the ranges of its parameters.
        sample_rate: The rate at which it does, in Hz.
        card: What is known of it.
    """

    model: ProxyModel
    effect: Effect
    sample_rate: int
    card: dict[str, Any]

    def check(self, effect: Effect, *, sample_rate: int) -> None:
        """Check that this is a proxy of an effect as it stands in a chain: a knob means nothing without its range.

        Args:
            effect: The effect to stand in for.
            sample_rate: The rate at which to, in Hz.

        Raises:
            ModelError: It is a proxy of something else.
        """
        if effect.name != self.effect.name:
            raise ModelError(f"This is a proxy of the {self.effect.name}; it cannot stand in for the {effect.name}.")
        if effect.options() != self.effect.options():
            raise ModelError(f"This proxy is of a {effect.name} with {self.effect.options()}, not {effect.options()}.")
        for wanted, known in zip(effect.parameters, self.effect.parameters, strict=True):
            if (wanted.minimum, wanted.maximum, wanted.scale) != (known.minimum, known.maximum, known.scale):
                raise ModelError(
                    f"This proxy knows {effect.name} {known.name} from {known.minimum:g} to {known.maximum:g}, and the "
                    f"chain has it from {wanted.minimum:g} to {wanted.maximum:g}; train one with `fxst proxy train`."
                )
        if sample_rate != self.sample_rate:
            raise ModelError(
                f"This proxy of the {effect.name} is of {self.sample_rate} Hz, not {sample_rate} Hz; train one with "
                "`fxst proxy train`."
            )


def save(folder: Path, model: ProxyModel, effect: Effect, *, card: dict[str, Any]) -> None:
    """Write a proxy's two files.

    Args:
        folder: Where to; made where it does not exist.
        model: The network.
        effect: The effect that it imitates.
        card: What else to tell of it.
    """
    chain = Chain(effect.name, (effect,))
    checkpoint.write(folder, FORMAT, model, chain, sample_rate=model.config.sample_rate, card=card)


def load(name_or_path: str | Path, *, device: str = "cpu") -> Proxy:
    """Read a proxy: a shipped one by its effect's name, or any by its folder.

    Args:
        name_or_path: `compressor`, or the path of a folder with a `card.json`.
        device: Where to put the network.

    Raises:
        ModelError: There is no such proxy, or it is damaged or of an unknown version.
    """

    def build(card: dict[str, Any], _: dict[str, Tensor]) -> ProxyModel:
        return ProxyModel(ProxyModelConfig(**card["model"]))

    folder = checkpoint.find(name_or_path, "proxy")
    model, chain, sample_rate, card = checkpoint.read(folder, (FORMAT,), build)
    if len(chain.effects) != 1 or sample_rate != model.config.sample_rate:
        raise ModelError(f"The proxy {folder} is damaged (its parts do not agree); restore its files.")
    return Proxy(model.to(device), chain.effects[0], sample_rate, card)
