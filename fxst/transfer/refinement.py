"""Refining what a model chose: its settings are moved until an excerpt is heard as the model expects it to be.

What a reference is heard as depends on what it contains, and settings that follow it blindly come out worse than those
that were chosen. So the goal is what a model expects of the input's own content in the reference's style: it has
learned that from passages whose other half was known. The settings are held near those that were chosen.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.effects.parameters import Setting
from fxst.models.studio import StudioModel
from fxst.transfer.descriptors import Excerpt

__all__ = ["STEPS", "Refined", "refined"]

STEPS: Final = 25
"""Steps of the descent unless a person says otherwise."""

RATE: Final = 0.05
"""Of Adam, in units of a knob's logit."""

HELD: Final = 0.12
"""What it costs to move a knob by the whole of its range, in units of 20 dB of the spectrum's distance."""

LEVELS_WEIGHT: Final = 1.0
"""Of the distance of the levels' distribution, beside that of the spectrum."""

ANALYSIS_SECONDS: Final = 10.0
"""How much of an excerpt is rendered in each step."""

PATIENCE: Final = 5
LEAST_GAIN: Final = 0.005
"""The descent ends when so many steps have not brought so much of the distance at their beginning."""

INSIDE: Final = 0.002
"""How far from the ends of its range a knob begins, where a sigmoid's slope is not yet nothing."""


@dataclass(frozen=True)
class Refined:
    """What came of refining.

    Args:
        settings: The table.
        before_db: How far the excerpt's spectrum is from what is expected with the settings that were chosen.
        after_db: And with these.
        steps: How many steps were made.
    """

    settings: tuple[Setting, ...]
    before_db: float
    after_db: float
    steps: int

    @property
    def remark(self) -> str:
        """Say what was gained, for a table."""
        gained = f"{self.before_db:.2f} dB from the expected spectrum before, {self.after_db:.2f} dB after"
        return f"{self.steps} steps: {gained}"


def refined(
    model: StudioModel,
    chain: Chain,
    settings: Sequence[Setting],
    heard: Excerpt,
    reference: torch.Tensor,
    reference_frames: torch.Tensor,
    *,
    steps: int = STEPS,
) -> Refined:
    """Move settings by gradient until an excerpt is heard as it is expected to be.

    Effects that are bypassed stay so.

    Args:
        model: Expects, and listens.
        chain: The effects; all have a torch form.
        settings: What was chosen.
        heard: Of the recording to be changed, at a rate that the model hears at.
        reference: The statistics of the one to sound like.
        reference_frames: The levels of its moments, in dB.
        steps: For how many steps at most.

    Shape:
        reference: (D,); reference_frames: (n, bands).
    """
    rate = heard.sample_rate
    window = model.window_at(rate)
    part = _sounding(heard.samples, most=round(ANALYSIS_SECONDS * rate) // window * window)
    x = torch.from_numpy(part)[:, None].to(reference.device)
    windows = _windows(x, window)
    begins = model.analyse(windows, sample_rate=rate).mean(0)
    matched = model.match(begins, model.frames(windows, sample_rate=rate), reference, reference_frames)
    expected = model.expect(begins[None], reference[None], matched[None])
    present = expected.shared[0].bool()
    bypassed = [stage.label for stage in chain.stages(settings) if not stage.active]
    begun = chain.knobs_of(settings).to(reference.device)
    logits = torch.logit(begun.clamp(INSIDE, 1 - INSIDE)).requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=RATE)
    losses: list[float] = []
    colours_db: list[float] = []
    best, best_knobs = 0, begun
    for step in range(steps + 1):
        knobs = torch.sigmoid(logits)
        y = _render(chain, x, knobs, bypassed, sample_rate=rate)
        spectrum, levels = model.extractor.meters(_windows(y, window), sample_rate=rate)
        colour = (spectrum - expected.spectrum[0]).abs()[present].mean()
        distance = colour + LEVELS_WEIGHT * (levels - expected.levels[0]).abs().mean()
        loss = distance + HELD * (knobs - begun).abs().sum()
        losses.append(loss.item())
        colours_db.append(20 * colour.item())
        if losses[-1] < losses[best]:
            best, best_knobs = step, knobs.detach()
        if step == steps or (step >= PATIENCE and losses[-1 - PATIENCE] - losses[-1] < LEAST_GAIN * losses[0]):
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    table = chain.settings(best_knobs.cpu(), bypassed=bypassed) if best else tuple(settings)
    return Refined(table, colours_db[0], colours_db[best], len(losses) - 1)


def _render(
    chain: Chain, x: torch.Tensor, knobs: torch.Tensor, bypassed: Collection[str], *, sample_rate: int
) -> torch.Tensor:
    """Render all channels alike, past the effects that are bypassed."""
    values = chain.split(knobs.expand(len(x), -1))
    for label, effect, of_effect in zip(chain.labels, chain.effects, values, strict=True):
        if label not in bypassed:
            x = effect.autodiff(x, of_effect, sample_rate=sample_rate)
    return x


def _windows(x: torch.Tensor, window: int) -> torch.Tensor:
    """Cut sound into windows without an offset, as a model hears it: (C, 1, T) to (N, window)."""
    windows = x[:, 0].unfold(-1, window, window).flatten(0, 1)
    return windows - windows.mean(-1, keepdim=True)


def _sounding(x: Samples, *, most: int) -> Samples:
    """Take the loudest channel, or so much of it: (1, T)."""
    loudest = int((x.astype("float64") ** 2).mean(axis=1).argmax())
    return x[loudest : loudest + 1, :most].copy()
