"""How true a proxy is: in what comes out, and in which way its gradient points."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fxst.configs import ClipsConfig
from fxst.data.examples import PEAK_DB
from fxst.data.manifest import Dataset
from fxst.data.renders import draw_renders
from fxst.data.sources import SPLITS
from fxst.gradients import AutodiffRenderer, Renderer
from fxst.training.losses import StyleLoss

__all__ = ["Fidelity", "measure_fidelity"]

BATCH = 16

AGREEING = 0.8
"""Cosine above which two gradients count as agreeing."""


@dataclass(frozen=True)
class Fidelity:
    """How true a renderer is to its chain on clips of held-out speakers, at settings uniform in the knobs.

    Args:
        error_db: Power of (rendered - exact) over the power of what the exact chain changed, (exact - input), both over
            all clips together.
        gradient_cosine: Median cosine between the gradients that the renderer and autodiff give the knobs; NaN for a
            chain that has no autodiff form.
        gradient_agreement: Share of them that is above 0.8, for a median hides what points another way; NaN likewise.
        gradient_examples: Examples whose autodiff gradient is not nought, which are those that have a cosine.
        examples: Clips that were rendered.
    """

    error_db: float
    gradient_cosine: float
    gradient_agreement: float
    gradient_examples: int
    examples: int


def measure_fidelity(renderer: Renderer, data: Dataset, *, examples: int) -> Fidelity:
    """Measure how true a renderer is to its chain, at the levels at which `style train` plays.

    The gradients are of `style train`'s loss with its own defaults: from settings drawn at random to a target that the
    exact chain made with other ones.

    Args:
        renderer: What to measure.
        data: The clips; those of its test split are taken.
        examples: How many of them.
    """
    chain, sample_rate = renderer.chain, data.sample_rate
    weight = ClipsConfig.mae_weight
    loss = StyleLoss(windows=ClipsConfig.stft_windows, hop=ClipsConfig.stft_hop, mae_weight=weight)
    error = change = 0.0
    cosines: list[Tensor] = []
    for step in range(math.ceil(examples / BATCH)):
        count = min(BATCH, examples - step * BATCH)
        drawn = draw_renders(data, "test", chain, batch=count, peak_db=PEAK_DB, seed=0, step=step)
        x, knobs, target = (torch.from_numpy(array) for array in (drawn.input, drawn.knobs, drawn.output))
        with torch.no_grad():
            error += (renderer(x, knobs, sample_rate=sample_rate) - target).double().square().sum().item()
        change += (target - x).double().square().sum().item()
        if not chain.differentiable:
            continue
        # A stream that no split has, so that these settings are not the target's, nor those of another batch.
        rng = np.random.default_rng((0, step, len(SPLITS)))
        elsewhere = torch.from_numpy(rng.random(knobs.shape, dtype=np.float32))
        gradients = []
        for method in (renderer, AutodiffRenderer(chain)):
            turned = elsewhere.clone().requires_grad_()
            mae, stft = loss(method(x, turned, sample_rate=sample_rate), target)
            # The loss is a mean over the batch, so each row is, but for a factor, the gradient of its own example.
            gradients.append(torch.autograd.grad(weight * mae + stft, turned)[0].double())
        there = gradients[1].norm(dim=1) > 0
        cosines.append(functional.cosine_similarity(gradients[0][there], gradients[1][there], eps=1e-30))
    cosine = torch.cat(cosines) if cosines else torch.empty(0)
    return Fidelity(
        error_db=10 * math.log10(max(error, 1e-30) / max(change, 1e-30)),
        gradient_cosine=cosine.median().item() if len(cosine) else math.nan,
        gradient_agreement=(cosine > AGREEING).double().mean().item(),
        gradient_examples=len(cosine),
        examples=examples,
    )
