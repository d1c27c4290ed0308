"""A model on disk: safetensors weights and a JSON card, nothing that can execute.

Format version 1, a folder with two files:

- `model.safetensors`: every weight, and of a style model the encoder's mel filters;
- `card.json`: `format`, `format_version`, `sha256` of the weights, the chain's full specification (of a proxy, a chain
  of its one effect), the model's sizes, the sample rate, and what a person wants to know of it: data, command, steps,
  time, losses, licence.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from torch import Tensor

from fxst.chain import Chain
from fxst.errors import ModelError, SettingsError, UndeclaredError
from fxst.models.proxy import ProxyModel
from fxst.models.studio import StudioModel, StudioModelConfig
from fxst.models.style import StyleModel, StyleModelConfig

__all__ = ["Checkpoint", "find", "load", "pretrained_folder", "read", "save", "write"]

FORMAT = "fxst-style"
STUDIO_FORMAT = "fxst-studio"
FORMAT_VERSION = 1
CALLED = {FORMAT: "style model", STUDIO_FORMAT: "style model", "fxst-proxy": "proxy"}
"""What a person calls a model of each format."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that is needed to use it."""

    model: StyleModel | StudioModel
    chain: Chain
    sample_rate: int
    card: dict[str, Any]
    folder: Path


def pretrained_folder() -> Path:
    """Find the shipped models: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def save(
    folder: Path, model: StyleModel | StudioModel, chain: Chain, *, sample_rate: int, card: dict[str, Any]
) -> None:
    """Write a style model's two files.

    Args:
        folder: Where to; made where it does not exist.
        model: The model.
        chain: The chain whose knobs it sets.
        sample_rate: Rate that it listens at, in Hz.
        card: What else to tell of it.
    """
    kind = STUDIO_FORMAT if isinstance(model, StudioModel) else FORMAT
    write(folder, kind, model, chain, sample_rate=sample_rate, card=card)


def write(
    folder: Path,
    kind: str,
    model: StyleModel | StudioModel | ProxyModel,
    chain: Chain,
    *,
    sample_rate: int,
    card: dict[str, Any],
) -> None:
    """Write a model's two files, the card last, so that a folder with a card is whole.

    Args:
        folder: Where to; made where it does not exist.
        kind: Its format.
        model: The model.
        chain: The chain whose knobs it sets or imitates.
        sample_rate: Its sample rate, in Hz.
        card: What else to tell of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = save_weights({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})
    head = {
        "format": kind,
        "format_version": FORMAT_VERSION,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "sample_rate": sample_rate,
        "chain": chain.to_spec(),
        "model": model.config.to_dict(),
    }
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "card.json").write_text(json.dumps(head | card, indent=1) + "\n", encoding="utf-8")


def load(name_or_path: str | Path, *, device: str = "cpu") -> Checkpoint:
    """Read a style model: a shipped one by its name, or any by its folder.

    Args:
        name_or_path: `eq-comp`, or the path of a folder with a `card.json`.
        device: Where to put the model.

    Raises:
        ModelError: There is no such model, or it is damaged or of an unknown version.
    """

    def build(card: dict[str, Any], state: dict[str, Tensor]) -> StyleModel | StudioModel:
        if card["format"] == STUDIO_FORMAT:
            return StudioModel(StudioModelConfig.from_dict(card["model"]))
        return StyleModel(StyleModelConfig.from_dict(card["model"]), state["encoder.mel"])

    folder = find(name_or_path, "style")
    model, chain, sample_rate, card = read(folder, (FORMAT, STUDIO_FORMAT), build)
    return Checkpoint(model.to(device), chain, sample_rate, card, folder)


Model = TypeVar("Model", StyleModel | StudioModel, ProxyModel)


def read(
    folder: Path, kinds: tuple[str, ...], build: Callable[[dict[str, Any], dict[str, Tensor]], Model]
) -> tuple[Model, Chain, int, dict[str, Any]]:
    """Read a model's two files; return the model, its chain, its sample rate and its card.

    Args:
        folder: Where they are.
        kinds: The formats that it may have.
        build: Makes a model of the right sizes from card and weights.

    Raises:
        ModelError: The model is damaged, or of another format or an unknown version.
    """
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        weights = (folder / "model.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"The model {folder} cannot be read ({error}); restore its files.") from error
    found = card.get("format") if isinstance(card, dict) else None
    if found not in kinds:
        wanted, other = CALLED[kinds[0]], CALLED.get(str(found))
        is_none = f"{str(folder)!r} is a {other}, and no" if other else f"{str(folder / 'card.json')!r} is no card of a"
        raise ModelError(f"{is_none} {wanted}: name the folder of one.")
    if card.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"The model {folder} has format version {card.get('format_version')}, and this fxst reads version "
            f"{FORMAT_VERSION}; update fxst, or train the model again."
        )
    if hashlib.sha256(weights).hexdigest() != card.get("sha256"):
        raise ModelError(f"The weights of the model {folder} are not those that its card describes; restore its files.")
    try:
        chain = Chain.from_spec(card["chain"])
        state = load_weights(weights)
        model = build(card, state)
        model.load_state_dict(state)
        sample_rate = int(card["sample_rate"])
    except UndeclaredError as error:
        raise ModelError(f"The model {folder} cannot be used: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, SettingsError, SafetensorError) as error:
        raise ModelError(f"The model {folder} is damaged ({error}); restore its files.") from error
    if model.config.n_knobs != len(chain.knobs):
        raise ModelError(f"The model {folder} has {model.config.n_knobs} knobs, but its chain has {len(chain.knobs)}.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError(f"The model {folder} holds numbers that are not finite; restore its files.")
    model.eval().requires_grad_(False)
    return model, chain, sample_rate, card


def find(name_or_path: str | Path, kind: str) -> Path:
    """Find a model's folder: a shipped model's by its name, or any that exists.

    Args:
        name_or_path: The name, or the folder's path.
        kind: Which shipped models have names here: `style` or `proxy`.

    Raises:
        ModelError: There is no such model.
    """
    folder = Path(name_or_path)
    if (folder / "card.json").is_file():
        return folder
    shipped = pretrained_folder() / kind
    if len(folder.parts) == 1 and (shipped / folder / "card.json").is_file():
        return shipped / folder
    names = ", ".join(sorted(path.parent.name for path in shipped.glob("*/card.json"))) or "none"
    what = "proxy" if kind == "proxy" else "model"
    raise ModelError(
        f"There is no {what} {str(name_or_path)!r}: shipped are {names}; or name a folder with a card.json."
    )
