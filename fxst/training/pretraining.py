"""What a studio model learns before it renders: to set an equaliser for a curve, and the labels of examples."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.data.training_pairs import random_curve
from fxst.data_parallel import all_rows_mean
from fxst.effects import ParametricEQ
from fxst.models.feature_extractor import BANDWIDTH, octave_centres
from fxst.models.network import Decision
from fxst.models.studio import centred
from fxst.models.trainable import StudioModel
from fxst.training.cached_examples import AnalysisStage, LabelledStatistics
from fxst.training.curriculum import GradientStage

__all__ = ["CURVE_WEIGHT", "EQFitterStage", "PretrainingStage", "supervised_loss"]

KNOB_WEIGHT: Final = 1.0
"""Of the error of the knobs that have labels, in parts of their ranges."""

CURVE_WEIGHT: Final = 2.0
"""Of the error of the equaliser's curve, in units of 20 dB, beside that of the sound."""

BATCH: Final = 256
FITTER_BATCH: Final = 128
CURVES_OF_A_STEP: Final = 6


class EQFitterStage(GradientStage):
    """Trains a model's fitter to set an equaliser's bands for a curve, from curves alone.

    Args:
        model: Whose fitter.
        eq: The equaliser, with its ranges.
        sample_rates: Rates that curves are drawn for.
        steps: For how many steps.
        seed: Seed of the curves.
    """

    name, figure = "EQ fitter", "error_db"
    learning_rate, weight_decay, memory = 2e-3, 0.0, 100

    def __init__(
        self, model: StudioModel, eq: ParametricEQ, *, sample_rates: Sequence[int], steps: int, seed: int
    ) -> None:
        self._fitter, self._eq, self._rates = model.controller.fitter, eq, sample_rates
        self._hz = torch.tensor(model.extractor.octave_centres).float()
        self._steps, self._seed = steps, seed

    @property
    def steps(self) -> int:
        return self._steps

    def parameters(self) -> Iterable[nn.Parameter]:
        parameters: Iterable[nn.Parameter] = self._fitter.parameters()
        return parameters

    def batches(self) -> Iterator[tuple[int, Tensor]]:
        """Draw curves for a sample rate."""
        rng = np.random.default_rng((self._seed, 2))
        count = CURVES_OF_A_STEP * self.steps
        drawn = {rate: [random_curve(rng, sample_rate=rate) for _ in range(count)] for rate in sorted(set(self._rates))}
        curves = {rate: torch.from_numpy(np.stack(of_rate)) for rate, of_rate in drawn.items()}
        for step in range(self.steps):
            rate = self._rates[step % len(self._rates)]
            # One of them, or two together: so no two curves are the same.
            pair = curves[rate][torch.from_numpy(rng.integers(count, size=(2, FITTER_BATCH)))]
            share = torch.from_numpy(rng.random((FITTER_BATCH, 1), dtype=np.float32))
            yield rate, torch.where(share < 0.5, pair[0], share * pair[0] + (1 - share) * pair[1])

    def measure(self, batch: tuple[int, Tensor]) -> tuple[Tensor, float]:
        rate, curve = batch
        there = self._hz <= BANDWIDTH * rate / 2
        curve = centred(curve, there.to(curve).expand_as(curve))
        octaves = curve.new_full((FITTER_BATCH, 1), math.log2(rate / 24_000))
        knobs = torch.sigmoid(self._fitter(curve, octaves)).unbind(1)
        values = {p.name: p.to_value(column) for p, column in zip(self._eq.parameters, knobs, strict=True)}
        response = self._eq.response_db(values, self._hz[there], sample_rate=rate) / 20
        loss = F.l1_loss(response, curve[:, there])
        return loss, 20 * loss.item()


class PretrainingStage(GradientStage):
    """Trains a controller on labels: curves, knobs, and which effects are active. The feature extractor stays.

    It goes through analysed examples again and again, in random order, and renders none.

    Args:
        model: What is trained.
        analysis: The stage that analysed the examples.
        labelled_knobs: Which knobs are trained so, effect by effect.
        epochs: How often it goes through them.
        seed: Seed of the order.

    Shape:
        labelled_knobs: (n, P) of 0 and 1, for n effects.
    """

    name, figure = "pretraining", "loss"
    learning_rate, weight_decay, memory = 1e-3, 0.01, 20

    def __init__(
        self, model: StudioModel, analysis: AnalysisStage, labelled_knobs: Tensor, *, epochs: int, seed: int
    ) -> None:
        self._model, self._analysis, self._labelled_knobs = model, analysis, labelled_knobs
        self._epochs, self._seed = epochs, seed

    @property
    def steps(self) -> int:
        return self._epochs * self._steps_of_an_epoch

    @property
    def _steps_of_an_epoch(self) -> int:
        return max(1, len(self._analysis.labelled.input) // BATCH)  # without the rest

    def parameters(self) -> Iterable[nn.Parameter]:
        named = self._model.controller.named_parameters()
        return [parameter for name, parameter in named if not name.startswith("fitter")]

    def batches(self) -> Iterator[Tensor]:
        """Draw the rows of a batch."""
        count = len(self._analysis.labelled.input)
        generator = torch.Generator().manual_seed(self._seed)
        for _ in range(self._epochs):
            yield from torch.split(torch.randperm(count, generator=generator), BATCH)[: self._steps_of_an_epoch]

    def measure(self, rows: Tensor) -> tuple[Tensor, float]:
        self._model.train()
        examples = LabelledStatistics(*(of_all[rows] for of_all in self._analysis.labelled))
        loss = supervised_loss(self._model, examples, self._labelled_knobs)[0]
        return loss, loss.item()


def supervised_loss(
    model: StudioModel, examples: LabelledStatistics, labelled_knobs: Tensor
) -> tuple[Tensor, Decision, dict[str, Tensor]]:
    """Measure how far decisions are from their labels: the loss, the decisions, and the loss's parts."""
    decided = model.decide(examples.input, examples.reference, examples.matched)
    assert decided.activation is not None, "a studio model says which effects it wants"
    assert decided.curve is not None, "and what its equaliser should do"
    labelled = examples.active.isfinite()
    unlike = F.binary_cross_entropy_with_logits(
        decided.activation[labelled], examples.active[labelled], reduction="sum"
    )
    # Labels are counted over all rows of a batch, of which other processes may have some.
    activation = unlike / all_rows_mean(labelled.sum().float())
    # Every effect counts alike: a rare one has few labels.
    of_effects, placed = labelled_knobs.to(examples.knobs), examples.knobs.isfinite().to(examples.knobs)
    missed = (decided.knobs - examples.knobs.nan_to_num()).abs() * placed
    counts = all_rows_mean((placed @ of_effects.T).sum(0))
    of_each = (missed @ of_effects.T).sum(0) / torch.where(counts > 0, counts, 1)
    knobs = of_each.sum() / (counts > 0).sum().clamp_min(1)
    shared = model.extractor.compare(examples.input, examples.reference).shared[:, model.extractor.spectrum_features]
    curve = ((decided.curve - centred(examples.curves, shared)).abs() * _band_weights(shared)).sum(1).mean()
    loss = CURVE_WEIGHT * curve + 0.1 * activation + KNOB_WEIGHT * knobs
    return loss, decided, {"activation": activation, "knobs": knobs, "curve_db": 20 * curve}


def _band_weights(shared: Tensor) -> Tensor:
    """Weigh the bands of a curve: half by octaves, as ears do, and half by Hz, as spectral distances do.

    Shape:
        shared: (B, bands); result: (B, bands), which add up to 1.
    """
    hz = torch.tensor(octave_centres(shared.shape[1])).to(shared) * shared
    by_octave, by_hz = (x / x.sum(1, keepdim=True).clamp_min(1) for x in (shared, hz))
    return (by_octave + by_hz) / 2
