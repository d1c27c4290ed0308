"""Descriptions of models by their cards, without loading them: the shipped ones, and those of any folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from fxst import extras
from fxst.chains.chain import Chain
from fxst.checkpoints.card import (
    PROXY_FORMAT,
    STUDIO_FORMAT,
    STYLE_FORMATS,
    find,
    pretrained_folder,
    read_card,
    read_files,
    weights_file,
)
from fxst.configs import ApplyConfig
from fxst.errors import FxstError, ModelError
from fxst.records import FigureReport

__all__ = ["CatalogueEntry", "describe", "locate", "shipped", "verify"]


FIGURES: Final = (
    (("losses", "val_published_ratio"), "MR-STFT {:.2f} of input"),
    (("losses", "val_stft_ratio"), "MR-STFT {:.2f} of input"),
    (("fidelity", "error_db"), "error {:.1f} dB"),
)
"""Keys of the headline figure in a card, and its text; the first one present is used.

For a style model it is the remaining share of the input's spectral distance, for a proxy the power of its error
relative to that of the effect's change.
"""


@dataclass(frozen=True)
class CatalogueEntry:
    """A model as its card describes it.

    Args:
        folder: Its folder.
        card: Its card.
        chain: The chain whose knobs it sets; of a proxy, the one effect that it imitates.
        weights_bytes: Size of its weights' file.
    """

    folder: Path
    card: Mapping[str, Any]
    chain: Chain
    weights_bytes: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    @property
    def kind(self) -> Literal["style", "proxy"]:
        """Whether it sets a chain, or imitates an effect."""
        return "proxy" if self.card["format"] == PROXY_FORMAT else "style"

    @property
    def is_default(self) -> bool:
        """Whether `fxst apply` uses it by default."""
        return self.kind == "style" and self.name == ApplyConfig.model and self.folder in shipped()

    @property
    def figure(self) -> FigureReport | None:
        """Its headline figure; None where the card has none."""
        for path, words in FIGURES:
            value = self.get(*path)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return FigureReport(path[-1], value, words.format(value))
        return None

    @property
    def figures(self) -> Mapping[str, Any]:
        """Every figure of the card by its name."""
        parts = (self.get("losses"), self.get("fidelity"))
        return {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}

    def data(self, *, most_sources: int | None = None) -> tuple[str, ...]:
        """Return its training data, a sentence for each dataset; nothing where the card has none.

        Args:
            most_sources: How many sources of a dataset to name; the others are counted. None for all.
        """
        first = self.get("training", "data")
        also = first.get("also") if isinstance(first, dict) else None
        return tuple(
            _dataset(data, most_sources)
            for data in (first, *(also if isinstance(also, list) else ()))
            if _is_complete(data)
        )

    @property
    def recordings(self) -> str:
        """The trainer's note on the recordings and their licences; empty where there is none."""
        return str(self.get("training", "data", "note") or "")

    @property
    def limits(self) -> tuple[str, ...]:
        """Its limits as its card shows them, a sentence each."""
        rate, knobs = self.card["sample_rate"], len(self.chain.knobs)
        if self.kind == "proxy":
            limits = [f"It imitates the {self.chain.labels[0]} at {rate} Hz, within the ranges of its {knobs} knobs."]
        else:
            limits = [
                f"It sets the {knobs} knobs of the chain {self.chain.name} within their ranges, and nothing else."
            ]
            limits.append(
                "It analyses a recording at its own sample rate, from 8000 to 48000 Hz."
                if self.card["format"] == STUDIO_FORMAT
                else f"It analyses every recording at {rate} Hz, so nothing above {rate // 2} Hz counts."
            )
        voices = self.get("training", "data", "speakers", "val")
        if isinstance(voices, int):
            limits.append(f"It was selected on {voices} speakers that it was not trained on.")
        if self.get("training", "interrupted") is True:
            limits.append("Its training was interrupted before its last step.")
        return tuple(limits)

    def get(self, *path: str) -> Any:
        """Return a value of the card; None where it has none.

        Args:
            path: Keys from the outside in.
        """
        value: Any = self.card
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a list of models as plain data."""
        figure = self.figure
        return {
            "name": self.name,
            "kind": self.kind,
            "default": self.is_default,
            "chain": self.chain.name,
            "effects": list(self.chain.labels),
            "knobs": len(self.chain.knobs),
            "sample_rate": self.card["sample_rate"],
            "weights_bytes": self.weights_bytes,
            "figure": None if figure is None else msgspec.to_builtins(figure),
            "folder": str(self.folder),
        }


def _is_complete(data: Any) -> bool:
    return isinstance(data, dict) and all(
        isinstance(data.get(part), dict) for part in ("built_with", "speakers", "clips")
    )


def _dataset(data: Mapping[str, Any], most_sources: int | None) -> str:
    built, speakers, clips = data["built_with"], data["speakers"], data["clips"]
    sources = built.get("sources")
    sources = sources if isinstance(sources, list) else ["?"]
    names = ", ".join(map(str, sources[:most_sources]))
    if more := len(sources) - len(sources[:most_sources]):
        names += f" and {more:,} more"
    return (
        f"{names}: {clips.get('train')} clips of {built.get('seconds')} s at {built.get('sample_rate')} Hz of "
        f"{speakers.get('train')} speakers for training, {clips.get('val')} of {speakers.get('val')} for validation, "
        f"{clips.get('test')} of {speakers.get('test')} for testing"
    )


def shipped() -> tuple[Path, ...]:
    """Return the folders of all shipped models: style models, then proxies, each by name."""
    folders = (sorted((pretrained_folder() / kind).glob("*/card.json")) for kind in ("style", "proxy"))
    return tuple(card.parent for kind in folders for card in kind)


def locate(name_or_path: str | Path) -> Path:
    """Find a model's folder: a shipped style model's or proxy's by its name, or any that exists.

    Raises:
        ModelError: There is no such model.
    """
    return find(name_or_path, "style", "proxy")


def describe(folder: Path) -> CatalogueEntry:
    """Read a model's card; only `verify` checks that the model is intact.

    Raises:
        ModelError: There is no card that this version can read.
    """
    card = read_card(folder, (*STYLE_FORMATS, PROXY_FORMAT))
    try:
        chain = Chain.from_spec(card.get("chain", {}))
        if not chain.predicted.knobs:
            raise ModelError("it has no knobs; restore its files.")
        size = weights_file(folder).stat().st_size
    except FxstError as error:
        raise ModelError(f"The model {str(folder)!r} cannot be used: {error}") from error
    except OSError as error:
        raise ModelError(
            f"The model {str(folder)!r} cannot be read ({weights_file(folder).name}: {error.strerror}); restore its "
            "files."
        ) from error
    return CatalogueEntry(folder, card, chain, size)


def verify(folder: Path) -> CatalogueEntry:
    """Load a model as for use, which checks its hash, its parts, and that all its numbers are finite.

    A proxy is a network of torch. Where that is not installed, its parts are not put together.

    Raises:
        ModelError: It is damaged, changed, or made for another version.
    """
    from fxst.checkpoints import checkpoint

    if read_card(folder, (*STYLE_FORMATS, PROXY_FORMAT))["format"] != PROXY_FORMAT:
        checkpoint.load(folder)
    elif extras.installed("torch"):
        from fxst.checkpoints import proxy_file

        proxy_file.load(folder)
    else:
        card, weights = read_files(folder, (PROXY_FORMAT,))
        with checkpoint.refusing_damage(folder):
            _, state = checkpoint.read_weights(card, weights)
        checkpoint.finite(folder, state)
    return describe(folder)
