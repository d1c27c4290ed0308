"""Models on disk as torch networks: to train further, to run on a GPU, and those of networks of one's own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fxst.chains.chain import Chain
from fxst.checkpoints.card import STYLE_FORMATS, find, read_files
from fxst.checkpoints.checkpoint import (
    NETWORKS,
    Checkpoint,
    agreeing,
    check_knobs,
    finite,
    has_two_forms,
    read_weights,
    refusing_damage,
)
from fxst.dsp import Array, Samples
from fxst.models import layers
from fxst.models.layers import made_of
from fxst.models.network import Decision, LongTerm, StyleNetwork
from fxst.models.studio import StudioNetwork
from fxst.models.style import ClipsNetwork
from fxst.models.trainable import StudioModel, StyleModel, trainable
from fxst.threads import one_thread

__all__ = ["OnTorch", "load_for_use", "load_trainable", "read"]

TRAINABLE: dict[type[StyleNetwork], type[StyleNetwork]] = {StudioNetwork: StudioModel, ClipsNetwork: StyleModel}

Network = TypeVar("Network", bound=nn.Module)


def load_trainable(name_or_path: str | Path, *, device: str = "cpu") -> Checkpoint:
    """Read a style model as a torch network, in evaluation mode and without gradients.

    Args:
        name_or_path: `eq-comp`, or the path of a folder with a `card.json`.
        device: The model's device.

    Raises:
        ModelError: There is no such model, or it is damaged or of an unknown version.
    """

    def build(card: dict[str, Any], state: dict[str, Tensor]) -> Any:
        kind = NETWORKS[card["format"]]
        if has_two_forms(kind):
            kind = TRAINABLE.get(kind) or trainable(kind)
        return kind.from_plain(card["model"], state)

    folder = find(name_or_path, "style")
    model, chain, card = read(folder, STYLE_FORMATS, build)
    return agreeing(Checkpoint(model.to(device), chain, card["sample_rate"], card, folder))


def load_for_use(folder: Path, *, device: str) -> Checkpoint:
    """Read a style model that runs on torch, and takes and returns NumPy arrays.

    Args:
        folder: The model's folder.
        device: The model's device.

    Raises:
        ModelError: It is damaged or of an unknown version.
    """
    loaded = load_trainable(folder, device=device)
    return replace(loaded, model=OnTorch(loaded.model, device))


def read(
    folder: Path, formats: Sequence[str], build: Callable[[dict[str, Any], dict[str, Tensor]], Network]
) -> tuple[Network, Chain, dict[str, Any]]:
    """Read a model's two files; return the network, its chain and its card.

    Args:
        folder: The model's folder.
        formats: The formats allowed.
        build: Makes a network of the right sizes from card and weights.

    Raises:
        ModelError: The model is damaged, or of another format or an unknown version.
    """
    card, weights = read_files(folder, formats)
    with refusing_damage(folder):
        chain, arrays = read_weights(card, weights)
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        kind = NETWORKS.get(card["format"])
        # Whatever sizes a card states, memory is bounded by the weights present: a network of fxst's own is made of
        # layers without weights first, and any other on torch's meta device. (Tensors that a module caches globally
        # must name their device, or they would be on the meta device too.)
        if kind is not None and has_two_forms(kind):
            made_of(kind, layers).from_plain(card["model"], arrays).load_state_dict(arrays)
        else:
            with torch.device("meta"):
                expected = {name: (item.shape, item.dtype) for name, item in build(card, state).state_dict().items()}
            if expected != {name: (item.shape, item.dtype) for name, item in state.items()}:
                raise ValueError("its weights do not have the sizes that its card states")
        model = build(card, state)
        model.load_state_dict(state)
    check_knobs(folder, model.config, chain)  # type: ignore[arg-type]  # every network has its sizes there
    finite(folder, arrays)
    model.eval().requires_grad_(False)
    return model, chain, card


class OnTorch(StyleNetwork):
    """A torch network behind the interface of a NumPy one, which `fxst.transfer` uses.

    Args:
        network: The network.
        device: Its device.
    """

    def __init__(self, network: Any, device: str) -> None:
        self.network, self._device = network, device
        self.config = network.config
        self.uses_frames = network.uses_frames

    @classmethod
    def from_plain(cls, sizes: Any, state: Any) -> "OnTorch":
        """Refuse: a torch network is read by `load_for_use`."""
        raise NotImplementedError

    @property
    def curve_knobs(self) -> slice:
        """The knobs of the equaliser that a decision's curve is for."""
        knobs: slice = self.network.curve_knobs
        return knobs

    def agrees(self, *, effects: int, sample_rate: int) -> bool:
        """Return whether the network fits a chain and a card."""
        return bool(self.network.agrees(effects=effects, sample_rate=sample_rate))

    def analysis_rate(self, sample_rate: int) -> int:
        """Return the sample rate at which a recording is analysed."""
        return int(self.network.analysis_rate(sample_rate))

    def window_at(self, sample_rate: int) -> int:
        """Return the length of an analysis window."""
        return int(self.network.window_at(sample_rate))

    def curve_frequencies(self, sample_rate: int) -> Array:
        """Return the frequency of each band of a curve, in Hz."""
        return np.asarray(self.network.curve_frequencies(sample_rate))

    def long_term(self, statistics: Samples) -> LongTerm | None:
        """Return the long-term spectrum of a recording."""
        found: LongTerm | None = self.network.long_term(statistics)
        return found

    def analyse(self, windows: Samples, *, sample_rate: int) -> Samples:
        """Measure windows: (N, window) to (N, D)."""
        return np.asarray(self._run(self.network.analyse, windows, sample_rate=sample_rate))

    def frames(self, windows: Samples, *, sample_rate: int) -> Samples:
        """Measure the levels of short-time frames: (N, window) to (n, bands)."""
        return np.asarray(self._run(self.network.frames, windows, sample_rate=sample_rate))

    def embed(self, statistics: Samples) -> Samples:
        """Return the features of statistics: (B, D) to (B, features)."""
        return np.asarray(self._run(self.network.embed, statistics))

    def match(self, *both: Samples) -> Samples:
        """Measure the difference of alike frames of two recordings."""
        return np.asarray(self._run(self.network.match, *both))

    def decide(self, *both: Samples) -> Decision:
        """Decide on the knobs that bring inputs to references."""
        return Decision(*self._run(self.network.decide, *both))

    def _run(self, work: Callable[..., Any], *arrays: npt.NDArray[Any], **named: Any) -> Any:
        with torch.inference_mode(), one_thread():
            result = work(*(torch.from_numpy(array).to(self._device) for array in arrays), **named)
        if isinstance(result, tuple):
            return tuple(None if item is None else item.cpu().numpy() for item in result)
        return result.cpu().numpy()
