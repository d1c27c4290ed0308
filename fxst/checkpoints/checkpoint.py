"""A trained model on disk: conversion between a network and the files of `fxst.checkpoints.card`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from torch import Tensor

from fxst.chains.chain import Chain
from fxst.checkpoints.card import (
    STUDIO_FORMAT,
    STYLE_FORMAT,
    STYLE_FORMATS,
    find,
    pretrained_folder,
    read_files,
    write_files,
)
from fxst.errors import ModelError, SettingsError, UndeclaredError
from fxst.models.network import StyleNetwork
from fxst.models.proxy import ProxyModel
from fxst.models.studio import StudioModel
from fxst.models.style import StyleModel

__all__ = ["NETWORKS", "Checkpoint", "declare_network", "load", "pretrained_folder", "read", "save", "write"]


NETWORKS: Final[dict[str, type[StyleNetwork]]] = {STYLE_FORMAT: StyleModel, STUDIO_FORMAT: StudioModel}
"""The networks of style models, by the format of their files: those of fxst, and those that people declare."""


def declare_network(format: str) -> Callable[[type[StyleNetwork]], type[StyleNetwork]]:  # noqa: A002
    """Declare a network of your own, so that `fxst apply` and `fxst eval` can use its models.

    Args:
        format: The format of its files, such as `mine`; it is written into every model's card.

    Raises:
        SettingsError: There is a network of that format.
    """
    if format in NETWORKS:
        raise SettingsError(f"The format {format!r} is already that of a network: choose another name.")

    def declare(network: type[StyleNetwork]) -> type[StyleNetwork]:
        NETWORKS[format] = network
        STYLE_FORMATS.append(format)
        return network

    return declare


@dataclass(frozen=True)
class Checkpoint:
    """A trained style model with everything needed to use it."""

    model: StyleNetwork
    chain: Chain
    sample_rate: int
    card: dict[str, Any]
    folder: Path


def save(folder: Path, model: StyleNetwork, chain: Chain, *, sample_rate: int, card: dict[str, Any]) -> None:
    """Write a style model's two files.

    Args:
        folder: The folder; made where it does not exist.
        model: The model, of a network that is declared.
        chain: The chain whose knobs it sets.
        sample_rate: Its analysis rate, in Hz.
        card: The rest of its card.
    """
    kind = next(name for name, network in NETWORKS.items() if type(model) is network)
    write(folder, kind, model, chain, sample_rate=sample_rate, card=card)


def write(
    folder: Path,
    kind: str,
    model: StyleNetwork | ProxyModel,
    chain: Chain,
    *,
    sample_rate: int,
    card: dict[str, Any],
) -> None:
    """Write a model's two files, the card last, so that a folder with a card is complete.

    Args:
        folder: The model's folder; created if needed.
        kind: Its format.
        model: The model.
        chain: The chain whose knobs it sets or imitates.
        sample_rate: Its sample rate in Hz.
        card: Further fields of the card.
    """
    weights = save_weights({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})
    head = {"sample_rate": sample_rate, "chain": chain.to_spec(), "model": model.config.to_dict()}
    write_files(folder, kind, head, card, weights)


def load(name_or_path: str | Path, *, device: str = "cpu") -> Checkpoint:
    """Read a style model: a shipped one by its name, or any by its folder.

    Args:
        name_or_path: `eq-comp`, or the path of a folder with a `card.json`.
        device: The model's device.

    Raises:
        ModelError: There is no such model, or it is damaged or of an unknown version.
    """

    def build(card: dict[str, Any], state: dict[str, Tensor]) -> StyleNetwork:
        return NETWORKS[card["format"]].from_plain(card["model"], state)

    folder = find(name_or_path, "style")
    model, chain, card = read(folder, STYLE_FORMATS, build)
    sample_rate: int = card["sample_rate"]
    if not model.agrees(effects=len(chain.effects), sample_rate=sample_rate):
        raise ModelError(f"The model {str(folder)!r} is damaged (its parts do not agree); restore its files.")
    return Checkpoint(model.to(device), chain, sample_rate, card, folder)


Model = TypeVar("Model", StyleNetwork, ProxyModel)


def read(
    folder: Path, formats: Sequence[str], build: Callable[[dict[str, Any], dict[str, Tensor]], Model]
) -> tuple[Model, Chain, dict[str, Any]]:
    """Read a model's two files; return the model, its chain and its card.

    Args:
        folder: The model's folder.
        formats: The formats allowed.
        build: Makes a model of the right sizes from card and weights.

    Raises:
        ModelError: The model is damaged, or of another format or an unknown version.
    """
    card, weights = read_files(folder, formats)
    try:
        chain = Chain.from_spec(card["chain"])
        state = load_weights(weights)
        # First on the meta device: whatever sizes a card states, memory is bounded by the weights present. Tensors that
        # a model's modules cache globally must name their device, or they would be on the meta device too.
        with torch.device("meta"):
            expected = {name: (tensor.shape, tensor.dtype) for name, tensor in build(card, state).state_dict().items()}
        if expected != {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}:
            raise ValueError("its weights do not have the sizes that its card states")
        model = build(card, state)
        model.load_state_dict(state)
    except UndeclaredError as error:
        raise ModelError(f"The model {str(folder)!r} cannot be used: {error}") from error
    except (
        ArithmeticError,
        LookupError,
        RuntimeError,
        SafetensorError,
        SettingsError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"The model {str(folder)!r} is damaged ({reason}); restore its files.") from error
    if model.config.n_knobs != len(chain.knobs):
        raise ModelError(
            f"The model {str(folder)!r} has {model.config.n_knobs} knobs, but its chain has {len(chain.knobs)}."
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ModelError(f"The model {str(folder)!r} holds numbers that are not finite; restore its files.")
    model.eval().requires_grad_(False)
    return model, chain, card
