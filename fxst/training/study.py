"""What a studio model learns before it renders: to set an equaliser for a curve, and what is known of examples."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fxst.data.productions import random_curve
from fxst.effects import ParametricEQ
from fxst.models.ear import BANDWIDTH, octave_centres
from fxst.models.studio import StudioModel, centred
from fxst.models.style import Decision
from fxst.training.lessons import Lesson

__all__ = ["CURVE_WEIGHT", "STUDY", "STUDY_RATE", "study", "teach_expectation", "teach_fitter", "told_loss"]

KNOB_WEIGHT: Final = 1.0
"""Of the error of the knobs that are known, in parts of their ranges."""

CURVE_WEIGHT: Final = 2.0
"""Of the error of the equaliser's curve, in units of 20 dB, beside that of the sound."""

LEVELS_WEIGHT: Final = 0.25
"""Of the error of the levels that are expected, beside that of the spectrum."""

STUDY: Final = "study"
STUDY_BATCH: Final = 256
STUDY_RATE: Final = 1e-3

FITTER_RATE: Final = 2e-3
FITTER_BATCH: Final = 128
CURVES_OF_A_STEP: Final = 6


def teach_fitter(model: StudioModel, eq: ParametricEQ, *, sample_rates: Sequence[int], steps: int, seed: int) -> float:
    """Teach a model's fitter to set an equaliser's bands for a curve, from curves alone.

    Args:
        model: Whose fitter.
        eq: The equaliser, with its ranges.
        sample_rates: Rates that curves are drawn for.
        steps: For how many steps.
        seed: Seed of the curves.

    Returns:
        How far the responses are from the curves at the end, in dB on average.
    """
    rng = np.random.default_rng((seed, 2))
    count = CURVES_OF_A_STEP * steps
    drawn = {rate: [random_curve(rng, sample_rate=rate) for _ in range(count)] for rate in sorted(set(sample_rates))}
    curves = {rate: torch.from_numpy(np.stack(of_rate)) for rate, of_rate in drawn.items()}
    hz = model.ear.octave_centres.float()
    optimizer = torch.optim.AdamW(model.controller.fitter.parameters(), lr=FITTER_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    error_db = 0.0
    for step in range(steps):
        rate = sample_rates[step % len(sample_rates)]
        there = hz <= BANDWIDTH * rate / 2
        # One of them, or two together: so no two curves are the same.
        pair = curves[rate][torch.from_numpy(rng.integers(count, size=(2, FITTER_BATCH)))]
        share = torch.from_numpy(rng.random((FITTER_BATCH, 1), dtype=np.float32))
        curve = torch.where(share < 0.5, pair[0], share * pair[0] + (1 - share) * pair[1])
        curve = centred(curve, there.to(curve).expand_as(curve))
        octaves = curve.new_full((FITTER_BATCH, 1), math.log2(rate / 24_000))
        knobs = torch.sigmoid(model.controller.fitter(curve, octaves))
        response = eq.response_db(_values(eq, knobs), hz[there], sample_rate=rate) / 20
        loss = F.l1_loss(response, curve[:, there])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        error_db += (20 * loss.item() - error_db) / min(step + 1, 100)
    return error_db


def study(model: StudioModel, lessons: Lesson, *, told: Tensor, epochs: int, learning_rate: float, seed: int) -> float:
    """Learn from what is known of examples, without rendering any: curves, knobs, and which effects are heard.

    What is heard is kept, and gone through again and again; rendering would take most of the time.

    Args:
        model: Whose controller learns; its ear stays as it is.
        lessons: What to learn.
        told: Which knobs are to be learned so, effect by effect.
        epochs: How often to go through them.
        learning_rate: At first; it falls along a cosine.
        seed: Seed of the order.

    Shape:
        told: (n, P) of 0 and 1, for n effects.

    Returns:
        The loss at the end.
    """
    controller = model.controller
    trained = [parameter for name, parameter in controller.named_parameters() if not name.startswith("fitter")]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.01)
    count = len(lessons.heard)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * max(1, count // STUDY_BATCH))
    generator = torch.Generator().manual_seed(seed)
    model.train()
    recent, steps = 0.0, 0
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(count, generator=generator), STUDY_BATCH):
            if len(rows) < STUDY_BATCH and count > STUDY_BATCH:
                continue
            lesson = Lesson(*(of_all[rows] for of_all in lessons))
            loss = told_loss(model, lesson, told)[0]
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            steps += 1
            recent += (loss.item() - recent) / min(steps, 20)
    return recent


def teach_expectation(model: StudioModel, lessons: Lesson, *, epochs: int, learning_rate: float, seed: int) -> float:
    """Teach a model what to expect: of each lesson its target, which is the reference of the passage's other half.

    Args:
        model: Whose expectation learns.
        lessons: What to learn from, in pairs of halves.
        epochs: How often to go through them.
        learning_rate: At first; it falls along a cosine.
        seed: Seed of the order.

    Returns:
        How far the expected spectra are off at the end, in dB on average.
    """
    ear, expectation = model.ear, model.expectation
    optimizer = torch.optim.AdamW(expectation.parameters(), lr=learning_rate, weight_decay=0.01)
    count = len(lessons.heard)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * max(1, math.ceil(count / STUDY_BATCH)))
    generator = torch.Generator().manual_seed(seed)
    recent, steps = 0.0, 0
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(count, generator=generator), STUDY_BATCH):
            expected = model.expect(lessons.heard[rows], lessons.reference[rows], lessons.matched[rows])
            with torch.no_grad():
                target = ear.features(lessons.reference[rows ^ 1])
            off = ((expected.spectrum - target[:, ear.spectrum_features]).abs() * expected.shared).sum()
            spectrum = off / expected.shared.sum().clamp_min(1)
            loss = spectrum + LEVELS_WEIGHT * F.l1_loss(expected.levels, target[:, ear.level_features])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            steps += 1
            recent += (20 * spectrum.item() - recent) / min(steps, 20)
    return recent


def told_loss(model: StudioModel, lesson: Lesson, told: Tensor) -> tuple[Tensor, Decision, dict[str, Tensor]]:
    """Measure how far decisions are from what is known: the loss, the decisions, and its parts."""
    decided = model.decide(lesson.heard, lesson.reference, lesson.matched)
    assert decided.wanted is not None, "a studio model says which effects it wants"
    assert decided.curve is not None, "and what its equaliser should do"
    known = lesson.wanted.isfinite()
    said = F.binary_cross_entropy_with_logits(decided.wanted[known], lesson.wanted[known])
    # Every effect counts alike: of a rare one much is told seldom.
    told, placed = told.to(known.device), lesson.knobs.isfinite().float()
    missed = (decided.knobs - lesson.knobs.nan_to_num()).abs() * placed
    counts = (placed @ told.T).sum(0)
    off = ((missed @ told.T).sum(0) / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1)
    shared = model.ear.compare(lesson.heard, lesson.reference)[2][:, model.ear.spectrum_features]
    curve = ((decided.curve - centred(lesson.curves, shared)).abs() * _counting(shared)).sum(1).mean()
    loss = CURVE_WEIGHT * curve + 0.1 * said + KNOB_WEIGHT * off
    return loss, decided, {"wanted": said, "knobs": off, "curve_db": 20 * curve}


def _counting(shared: Tensor) -> Tensor:
    """Tell how much each band of a curve counts: half by octaves, as ears do, and half by Hz, as spectral distances do.

    Shape:
        shared: (B, bands); result: (B, bands), which add up to 1.
    """
    hz = octave_centres(shared.shape[1]).to(shared) * shared
    by_octave, by_hz = (x / x.sum(1, keepdim=True).clamp_min(1) for x in (shared, hz))
    return (by_octave + by_hz) / 2


def _values(effect: ParametricEQ, knobs: Tensor) -> dict[str, Tensor]:
    return {p.name: p.to_value(column) for p, column in zip(effect.parameters, knobs.unbind(1), strict=True)}
