"""A proxy on disk, and what it is a proxy of: one effect with its ranges, at one sample rate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fxst.chains.chain import Chain
from fxst.checkpoints import checkpoint
from fxst.checkpoints.card import PROXY_FORMAT, find
from fxst.effects import Effect
from fxst.errors import ModelError
from fxst.models.proxy import ProxyModel, ProxyModelConfig

__all__ = ["Proxy", "load", "load_shipped", "save"]


@dataclass(frozen=True)
class Proxy:
    """A trained proxy with all that is needed to use it.

    Args:
        model: The network.
        effect: The effect that it imitates, with the ranges of its parameters.
        sample_rate: The rate at which it does, in Hz.
        card: What is known of it.
        folder: Where it was read from; None for one that was made just now.
    """

    model: ProxyModel
    effect: Effect
    sample_rate: int
    card: dict[str, Any]
    folder: Path | None = None

    @property
    def called(self) -> str:
        """Name it for a person."""
        return f"the proxy of the {self.effect.name}" if self.folder is None else f"the proxy {str(self.folder)!r}"

    def misfits(self, effect: Effect, *, sample_rate: int) -> tuple[str, ...]:
        """Tell in what it is no proxy of an effect as it stands in a chain: a knob means nothing without its range.

        Args:
            effect: The effect to stand in for.
            sample_rate: The rate at which to, in Hz.

        Returns:
            Ends of the sentence "a proxy which ..."; none where it can stand in.
        """
        if effect.name != self.effect.name:
            return (f"is of the {self.effect.name}",)
        if effect.options() != self.effect.options():
            return (f"knows {_options(self.effect)}, not {_options(effect)}",)
        misfits = []
        for wanted, known in zip(effect.parameters, self.effect.parameters, strict=True):
            if (wanted.minimum, wanted.maximum, wanted.scale) != (known.minimum, known.maximum, known.scale):
                scales = (f" on a {p.scale} scale" if wanted.scale != known.scale else "" for p in (known, wanted))
                ranges = (f"from {p.minimum:g} to {p.maximum:g}{next(scales)}" for p in (known, wanted))
                misfits.append(f"knows {known.name} {next(ranges)}, not {next(ranges)}")
        if sample_rate != self.sample_rate:
            misfits.append(f"is of {self.sample_rate} Hz, not {sample_rate} Hz")
        return tuple(misfits)

    def check(self, effect: Effect, *, sample_rate: int) -> None:
        """Check that it can stand in for an effect.

        Args:
            effect: The effect, as it stands in a chain.
            sample_rate: The rate at which to stand in, in Hz.

        Raises:
            ModelError: It is a proxy of something else.
        """
        misfits = self.misfits(effect, sample_rate=sample_rate)
        if misfits:
            raise ModelError(f"The {effect.name} cannot be imitated by {self.called}, which {misfits[0]}.")


def _options(effect: Effect) -> str:
    """Write what else than its ranges defines an effect: `the kinds peak, high_shelf`."""
    options = {name: value if isinstance(value, list) else [value] for name, value in effect.options().items()}
    return "; ".join(f"the {name} {', '.join(map(str, value))}" for name, value in options.items())


def save(folder: Path, model: ProxyModel, effect: Effect, *, card: dict[str, Any]) -> None:
    """Write a proxy's two files.

    Args:
        folder: Where to; made where it does not exist.
        model: The network.
        effect: The effect that it imitates.
        card: What else to tell of it.
    """
    chain = Chain(effect.name, (effect,))
    checkpoint.write(folder, PROXY_FORMAT, model, chain, sample_rate=model.config.sample_rate, card=card)


def load(name_or_path: str | Path, *, device: str = "cpu") -> Proxy:
    """Read a proxy: a shipped one by its effect's name, or any by its folder.

    Args:
        name_or_path: `compressor`, or the path of a folder with a `card.json`.
        device: Where to put the network.

    Raises:
        ModelError: There is no such proxy, or it is damaged or of an unknown version.
    """

    def build(card: dict[str, Any], _: dict[str, Tensor]) -> ProxyModel:
        return ProxyModel(ProxyModelConfig.from_dict(card["model"]))

    folder = find(name_or_path, "proxy")
    model, chain, card = checkpoint.read(folder, (PROXY_FORMAT,), build)
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
