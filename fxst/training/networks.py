"""Networks of the user's own, by the name that `fxst style train --network` takes."""

import json

import torch
from torch import nn

from fxst.checkpoints.card import STUDIO_FORMAT, STYLE_FORMAT
from fxst.checkpoints.checkpoint import NETWORKS
from fxst.errors import SettingsError
from fxst.models.network import StyleNetwork
from fxst.training.declarations import find, reported

__all__ = ["make"]


def make(name: str, n_knobs: int, *, sample_rate: int, window_samples: int) -> StyleNetwork:
    """Make an untrained network that was declared, and try what training, saving and loading need of it.

    Args:
        name: Its name.
        n_knobs: The knobs that it sets.
        sample_rate: The rate of the dataset in Hz.
        window_samples: The length of its clips.

    Raises:
        SettingsError: It is not declared, fails, or does something else than a `StyleNetwork`.
    """
    own = {known: network for known, network in NETWORKS.items() if known not in (STYLE_FORMAT, STUDIO_FORMAT)}
    declared = find("network", name, own)
    with reported("network", name):
        made: StyleNetwork = declared.untrained(n_knobs, sample_rate=sample_rate, window_samples=window_samples)
        if not isinstance(made, nn.Module):
            raise SettingsError(f"The network {name!r} must be a torch.nn.Module.")
        if (made.analysis_rate(sample_rate), made.window_at(sample_rate)) != (sample_rate, window_samples):
            raise SettingsError(
                f"The network {name!r} must analyse windows of {window_samples} samples at {sample_rate} Hz, as the "
                "clips of the dataset are."
            )
        # As a model's files hold it, so that hours of training do not end in one that cannot be loaded.
        again = declared.from_plain(json.loads(json.dumps(made.config.to_dict())), made.state_dict())
        again.load_state_dict(made.state_dict())
        noise = 0.1 * torch.randn((2, 2, 3, window_samples), generator=torch.Generator().manual_seed(0))
        knobs = again.knobs_of_windows(*noise, sample_rate=sample_rate)
        if not _are_knobs(knobs, (2, n_knobs)):
            raise SettingsError(f"The network {name!r} must set {n_knobs} knobs, each from 0 to 1.")
        if not knobs.requires_grad:
            raise SettingsError(f"The network {name!r} must be differentiable with respect to its weights.")
    return made


def _are_knobs(knobs: torch.Tensor, shape: tuple[int, int]) -> bool:
    return knobs.shape == shape and bool(((knobs >= 0) & (knobs <= 1)).all())
