"""Refinement: settings are moved by gradient until the features of an excerpt are those that the model expects.

The features of a reference depend on its content, and settings that follow them directly come out worse. So the target
is the model's expectation of the input's own content in the reference's style, which it learned from passages with a
known target. The settings are held near those that the model chose.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.effects.parameters import Setting
from fxst.models.trainable import StudioModel
from fxst.threads import one_thread
from fxst.transfer.descriptors import Excerpt

__all__ = ["STEPS", "Refined", "refined"]

STEPS: Final = 25
"""Steps of the descent by default."""

RATE: Final = 0.05
"""Adam's learning rate, in units of a knob's logit."""

HELD: Final = 0.12
"""The cost of moving a knob across its whole range, in units of 20 dB of spectral distance."""

LEVELS_WEIGHT: Final = 1.0
"""The weight of the distance of the level distributions beside that of the spectra."""

ANALYSIS_SECONDS: Final = 10.0
"""How much of an excerpt is rendered in each step."""

PATIENCE: Final = 5
LEAST_GAIN: Final = 0.005
"""The descent ends when `PATIENCE` steps have gained less than this share of the first distance."""

INSIDE: Final = 0.002
"""The distance of a knob from the ends of its range at the beginning, where the sigmoid still has a slope."""


@dataclass(frozen=True)
class Refined:
    """The result of refining.

    Args:
        settings: The table.
        before_db: The distance of the excerpt's spectrum from the expectation, with the settings that were chosen.
        after_db: The distance with these settings.
        steps: The number of steps.
    """

    settings: tuple[Setting, ...]
    before_db: float
    after_db: float
    steps: int

    @property
    def remark(self) -> str:
        """What was gained, for a table's provenance."""
        gained = f"{self.before_db:.2f} dB from the expected spectrum before, {self.after_db:.2f} dB after"
        return f"{self.steps} steps: {gained}"


def refined(
    model: StudioModel,
    chain: Chain,
    settings: Sequence[Setting],
    excerpt: Excerpt,
    reference: Samples,
    reference_frames: Samples,
    *,
    steps: int = STEPS,
) -> Refined:
    """Move settings by gradient towards the model's expectation of the result.

    Effects that are bypassed stay so.

    Args:
        model: The model.
        chain: The effects; all have a torch form.
        settings: The settings that were chosen.
        excerpt: An excerpt of the recording to change, at the model's analysis rate.
        reference: The statistics of the reference.
        reference_frames: The levels of its frames, in dB.
        steps: The largest number of steps.

    Shape:
        reference: (D,); reference_frames: (n, bands).
    """
    with one_thread():
        return _descended(
            model, chain, settings, excerpt, torch.from_numpy(reference), torch.from_numpy(reference_frames), steps
        )


def _descended(
    model: StudioModel,
    chain: Chain,
    settings: Sequence[Setting],
    excerpt: Excerpt,
    reference: torch.Tensor,
    reference_frames: torch.Tensor,
    steps: int,
) -> Refined:
    rate = excerpt.sample_rate
    window = model.window_at(rate)
    part = _loudest_channel(excerpt.samples, most=round(ANALYSIS_SECONDS * rate) // window * window)
    x = torch.from_numpy(part)[:, None]
    windows = _windows(x, window)
    statistics = model.analyse(windows, sample_rate=rate).mean(0)
    matched = model.match(statistics, model.frames(windows, sample_rate=rate), reference, reference_frames)
    expected = model.expect(statistics[None], reference[None], matched[None])
    present = expected.shared[0].bool()
    bypassed = [stage.label for stage in chain.stages(settings) if not stage.active]
    begun = torch.from_numpy(chain.knobs_of(settings))
    logits = torch.logit(begun.clamp(INSIDE, 1 - INSIDE)).requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=RATE)
    losses: list[float] = []
    spectra_db: list[float] = []
    best, best_knobs = 0, begun
    for step in range(steps + 1):
        knobs = torch.sigmoid(logits)
        y = _render(chain, x, knobs, bypassed, sample_rate=rate)
        spectrum, levels = model.extractor.meters(_windows(y, window), sample_rate=rate)
        spectrum_distance = (spectrum - expected.spectrum[0]).abs()[present].mean()
        distance = spectrum_distance + LEVELS_WEIGHT * (levels - expected.levels[0]).abs().mean()
        loss = distance + HELD * (knobs - begun).abs().sum()
        losses.append(loss.item())
        spectra_db.append(20 * spectrum_distance.item())
        if losses[-1] < losses[best]:
            best, best_knobs = step, knobs.detach()
        if step == steps or (step >= PATIENCE and losses[-1 - PATIENCE] - losses[-1] < LEAST_GAIN * losses[0]):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    table = chain.settings(best_knobs, bypassed=bypassed) if best else tuple(settings)
    return Refined(table, spectra_db[0], spectra_db[best], len(losses) - 1)


def _render(
    chain: Chain, x: torch.Tensor, knobs: torch.Tensor, bypassed: Collection[str], *, sample_rate: int
) -> torch.Tensor:
    """Render all channels alike, through the effects that are not bypassed."""
    values = chain.split(knobs.expand(len(x), -1))
    for label, effect, of_effect in zip(chain.labels, chain.effects, values, strict=True):
        if label not in bypassed:
            x = effect.autodiff(x, of_effect, sample_rate=sample_rate)
    return x


def _windows(x: torch.Tensor, window: int) -> torch.Tensor:
    """Cut audio into windows without an offset, as the analysis does: (C, 1, T) to (N, window)."""
    windows = x[:, 0].unfold(-1, window, window).flatten(0, 1)
    return windows - windows.mean(-1, keepdim=True)


def _loudest_channel(x: Samples, *, most: int) -> Samples:
    """Return the loudest channel, or the first `most` samples of it: (1, T)."""
    loudest = int((x.astype("float64") ** 2).mean(axis=1).argmax())
    return x[loudest : loudest + 1, :most].copy()
