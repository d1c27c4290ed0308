"""The networks in torch, for training: what they compute is in the modules beside this one."""

from typing import TypeVar

from fxst.models import torch_layers
from fxst.models.layers import made_of
from fxst.models.studio import StudioNetwork
from fxst.models.style import ClipsNetwork

__all__ = ["StudioModel", "StyleModel", "trainable"]

T = TypeVar("T")


def trainable(kind: type[T]) -> type[T]:
    """Return a part of a network as a class of torch modules."""
    made: type[T] = made_of(kind, torch_layers)
    return made


class StudioModel(StudioNetwork, torch_layers.TorchModule):
    """The studio model in torch."""

    nn = torch_layers


class StyleModel(ClipsNetwork, torch_layers.TorchModule):
    """The style model of the recipe `clips` in torch."""

    nn = torch_layers
