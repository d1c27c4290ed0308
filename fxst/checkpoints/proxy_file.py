"""A proxy on disk: the network, and the effect, ranges and sample rate that it imitates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fxst.chains.chain import Chain
from fxst.checkpoints import checkpoint, torch_models
from fxst.checkpoints.card import PROXY_FORMAT, find
from fxst.effects import Effect
from fxst.errors import ModelError
from fxst.models.proxy import ProxyModel, ProxyModelConfig

__all__ = ["Proxy", "load", "load_shipped", "save"]


@dataclass(frozen=True)
class Proxy:
    """A trained proxy with everything needed to use it.

    Args:
        model: The network.
        effect: The effect that it imitates, with the ranges of its parameters.
        sample_rate: Its sample rate in Hz.
        card: Its card.
        folder: Its folder; None for one that was not read from a file.
    """

    model: ProxyModel
    effect: Effect
    sample_rate: int
    card: dict[str, Any]
    folder: Path | None = None

    @property
    def called(self) -> str:
        """Its name in messages."""
        return f"the proxy of the {self.effect.name}" if self.folder is None else f"the proxy {str(self.folder)!r}"

    def misfits(self, effect: Effect, *, sample_rate: int) -> tuple[str, ...]:
        """Return how it differs from an effect of a chain: a knob has no meaning without its range.

        Args:
            effect: The effect to replace.
            sample_rate: The sample rate in Hz.

        Returns:
            Ends of the sentence "a proxy which ..."; empty where it fits.
        """
        if effect.name != self.effect.name:
            return (f"is for the {self.effect.name}",)
        if effect.options() != self.effect.options():
            return (f"knows {_options(self.effect)}, not {_options(effect)}",)
        misfits = []
        for target, known in zip(effect.parameters, self.effect.parameters, strict=True):
            if (target.minimum, target.maximum, target.scale) != (known.minimum, known.maximum, known.scale):
                scales = (f" on a {p.scale} scale" if target.scale != known.scale else "" for p in (known, target))
                ranges = (f"from {p.minimum:g} to {p.maximum:g}{next(scales)}" for p in (known, target))
                misfits.append(f"knows {known.name} {next(ranges)}, not {next(ranges)}")
        if sample_rate != self.sample_rate:
            misfits.append(f"is for {self.sample_rate} Hz, not {sample_rate} Hz")
        return tuple(misfits)

    def check(self, effect: Effect, *, sample_rate: int) -> None:
        """Check that it can replace an effect.

        Args:
            effect: The effect of a chain.
            sample_rate: The sample rate in Hz.

        Raises:
            ModelError: It is a proxy of something else.
        """
        misfits = self.misfits(effect, sample_rate=sample_rate)
        if misfits:
            raise ModelError(f"The {effect.name} cannot be imitated by {self.called}, which {misfits[0]}.")


def _options(effect: Effect) -> str:
    """Return what defines an effect besides its ranges: `the kinds peak, high_shelf`."""
    options = {name: value if isinstance(value, list) else [value] for name, value in effect.options().items()}
    return "; ".join(f"the {name} {', '.join(map(str, value))}" for name, value in options.items())


def save(folder: Path, model: ProxyModel, effect: Effect, *, card: dict[str, Any]) -> None:
    """Write a proxy's two files.

    Args:
        folder: The proxy's folder; created if needed.
        model: The network.
        effect: The effect that it imitates.
        card: Further fields of the card.
    """
    chain = Chain(effect.name, (effect,))
    checkpoint.write(folder, PROXY_FORMAT, model, chain, sample_rate=model.config.sample_rate, card=card)


def load(name_or_path: str | Path, *, device: str = "cpu") -> Proxy:
    """Read a proxy: a shipped one by its effect's name, or any by its folder.

    Args:
        name_or_path: `compressor`, or the path of a folder with a `card.json`.
        device: The network's device.

    Raises:
        ModelError: There is no such proxy, or it is damaged or of an unknown version.
    """

    def build(card: dict[str, Any], _: dict[str, Tensor]) -> ProxyModel:
        return ProxyModel(ProxyModelConfig.from_dict(card["model"]))

    folder = find(name_or_path, "proxy")
    model, chain, card = torch_models.read(folder, (PROXY_FORMAT,), build)
    sample_rate: int = card["sample_rate"]
    if len(chain.effects) != 1 or sample_rate != model.config.sample_rate:
        raise ModelError(f"The proxy {str(folder)!r} is damaged (its parts do not agree); restore its files.")
    return Proxy(model.to(device), chain.effects[0], sample_rate, card, folder)


def load_shipped(effect: str) -> Proxy | None:
    """Read the shipped proxy of an effect; None where there is none.

    Args:
        effect: The effect's name.

    Raises:
        ModelError: It is damaged.
    """
    folder = checkpoint.pretrained_folder() / "proxy" / effect
    return load(folder) if folder.is_dir() else None
