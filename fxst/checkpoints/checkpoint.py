"""A trained style model on disk, ready to use: conversion between a network and the files of `fxst.checkpoints.card`.

A model of fxst's own runs on NumPy. One that is to train, lies on a GPU, or is of a network of your own runs on torch;
`fxst.checkpoints.torch_models` reads it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_weights
from safetensors.numpy import save as save_weights

from fxst import extras
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
from fxst.models import layers
from fxst.models.layers import Part, made_of
from fxst.models.network import Sizes, StyleNetwork
from fxst.models.studio import StudioNetwork
from fxst.models.style import ClipsNetwork

__all__ = [
    "NETWORKS",
    "Checkpoint",
    "Weights",
    "agreeing",
    "check_knobs",
    "declare_network",
    "finite",
    "has_two_forms",
    "load",
    "pretrained_folder",
    "read_weights",
    "refusing_damage",
    "save",
    "write",
]

Weights = Mapping[str, npt.NDArray[Any]]
"""The weights of a network by name."""

NETWORKS: Final[dict[str, type[StyleNetwork]]] = {STYLE_FORMAT: ClipsNetwork, STUDIO_FORMAT: StudioNetwork}
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
    """A trained style model with everything needed to use it.

    Args:
        model: The network. It takes and returns NumPy arrays, or torch tensors where it was loaded for training.
        chain: The chain whose knobs it sets.
        sample_rate: Its analysis rate in Hz.
        card: Its card.
        folder: Its folder.
    """

    model: Any
    chain: Chain
    sample_rate: int
    card: dict[str, Any]
    folder: Path


class _Saved(Protocol):
    """A network in torch, or one in NumPy."""

    @property
    def config(self) -> Sizes: ...
    def state_dict(self) -> Mapping[str, Any]: ...


def save(folder: Path, model: Any, chain: Chain, *, sample_rate: int, card: dict[str, Any]) -> None:
    """Write a style model's two files.

    Args:
        folder: The folder; made where it does not exist.
        model: The model, of a network that is declared.
        chain: The chain whose knobs it sets.
        sample_rate: Its analysis rate, in Hz.
        card: The rest of its card.
    """
    kind = next(name for name, network in reversed(NETWORKS.items()) if isinstance(model, network))
    write(folder, kind, model, chain, sample_rate=sample_rate, card=card)


def write(folder: Path, kind: str, model: _Saved, chain: Chain, *, sample_rate: int, card: dict[str, Any]) -> None:
    """Write a model's two files, the card last, so that a folder with a card is complete.

    Args:
        folder: The model's folder; created if needed.
        kind: Its format.
        model: The model.
        chain: The chain whose knobs it sets or imitates.
        sample_rate: Its sample rate in Hz.
        card: Further fields of the card.
    """
    weights = {
        name: np.array(values if isinstance(values, np.ndarray) else values.numpy(force=True), order="C")
        for name, values in model.state_dict().items()
    }
    head = {"sample_rate": sample_rate, "chain": chain.to_spec(), "model": model.config.to_dict()}
    write_files(folder, kind, head, card, save_weights(weights))


def load(name_or_path: str | Path, *, device: str = "cpu") -> Checkpoint:
    """Read a style model for use: a shipped one by its name, or any by its folder.

    Args:
        name_or_path: `eq-comp`, or the path of a folder with a `card.json`.
        device: `cpu`, or the torch device of the model.

    Raises:
        ModelError: There is no such model, or it is damaged or of an unknown version.
    """
    folder = find(name_or_path, "style")
    card, weights = read_files(folder, STYLE_FORMATS)
    kind = NETWORKS[card["format"]]
    if device != "cpu" or not has_two_forms(kind):
        extras.need(f"The model {str(folder)!r}" if device == "cpu" else f"The device {device}", *extras.MODELS)
        from fxst.checkpoints import torch_models

        return torch_models.load_for_use(folder, device=device)
    with refusing_damage(folder):
        chain, state = read_weights(card, weights)
        model = made_of(kind, layers).from_plain(card["model"], state)
        model.load_state_dict(state)
    finite(folder, state)
    return agreeing(Checkpoint(model, chain, card["sample_rate"], card, folder))


def has_two_forms(kind: type[StyleNetwork]) -> bool:
    """Return whether a network can be made of NumPy's layers and of torch's; one of your own is in torch."""
    return issubclass(kind, Part) and not hasattr(kind, "nn")


def read_weights(card: Mapping[str, Any], weights: bytes) -> tuple[Chain, Weights]:
    """Return the chain and the weights of a model's two files."""
    return Chain.from_spec(card["chain"]), load_weights(weights)


@contextmanager
def refusing_damage(folder: Path) -> Iterator[None]:
    """Turn what damaged files raise into a model error.

    Raises:
        ModelError: The model in this folder is damaged, or of an effect that is not declared.
    """
    try:
        yield
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


def finite(folder: Path, state: Weights) -> None:
    """Check that all weights are finite.

    Raises:
        ModelError: One is not.
    """
    if not all(np.isfinite(array).all() for array in state.values()):
        raise ModelError(f"The model {str(folder)!r} holds numbers that are not finite; restore its files.")


def check_knobs(folder: Path, sizes: Sizes, chain: Chain) -> None:
    """Check that a model has the knobs that its chain has for one.

    Raises:
        ModelError: It has not.
    """
    expected = len(chain.predicted.knobs)
    if sizes.n_knobs != expected:
        raise ModelError(f"The model {str(folder)!r} has {sizes.n_knobs} knobs, but its chain has {expected}.")


def agreeing(found: Checkpoint) -> Checkpoint:
    """Return a style model whose parts agree.

    Raises:
        ModelError: Its network, its chain and its card do not agree.
    """
    model, chain, folder = found.model, found.chain, found.folder
    check_knobs(folder, model.config, chain)
    if not model.agrees(effects=len(chain.predicted.effects), sample_rate=found.sample_rate):
        raise ModelError(f"The model {str(folder)!r} is damaged (its parts do not agree); restore its files.")
    return found
