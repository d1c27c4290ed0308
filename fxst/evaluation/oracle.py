"""The ceiling of a chain: its settings optimised on the target itself, which no model is shown."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from fxst.chains.chain import Chain
from fxst.chains.table import Table
from fxst.dsp import Samples
from fxst.dsp.stft import MR_STFT_WINDOWS, mr_stft
from fxst.effects import Compressor, ParametricEQ
from fxst.errors import SettingsError
from fxst.evaluation.closed_form import closed_form_in_chain

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Adam

__all__ = ["LEARNING_RATE", "STEPS", "check", "optimise"]

STEPS: Final = 150
LEARNING_RATE: Final = 0.1
HEAT: Final = 5
"""Steps until the learning rate is full; it falls from there as a cosine does."""

CONTEST: Final = 0.2
"""The part of all steps in which every start takes part; then the best goes on alone."""

INSIDE: Final = 0.01
"""How far from the ends of their ranges knobs begin: at the very ends a logit has no slope."""

MAE_WEIGHT: Final = 5.0
"""Magnitudes do not tell a signal from its negative, and hardly from a delayed one."""


def optimise(
    audio: Samples,
    target: Samples,
    *,
    chain: Chain,
    sample_rate: int,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    starts: Sequence[Table] = (),
) -> tuple[Table, Samples]:
    """Find settings that bring a recording as near to its target as a chain can, by gradient.

    Adam turns the knobs from several starts: the chain's defaults, and the closed form fitted on the target within the
    chain's equaliser. After a fifth of the steps only the best goes on. What is found and all starts are then
    rendered with the exact effects, and the nearest of them, by that rendering, is the result.

    Args:
        audio: The recording.
        target: What it should become.
        chain: The effects.
        sample_rate: Of both.
        steps: Steps of the optimisation.
        learning_rate: Adam's, on the logits of the knobs.
        starts: Settings of the chain to begin from besides, such as a model's.

    Returns:
        The settings, and the recording rendered with them.

    Shape:
        audio, target, and the rendered recording: `(channels, time)`, the same.

    Raises:
        SettingsError: The chain cannot be differentiated.

    Source:
        D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """
    import torch

    check(chain)
    tables = [
        Table(chain, chain.defaults()),
        *_closed_forms(audio, target, chain=chain, sample_rate=sample_rate),
        *(table for table in starts if table.chain.to_spec() == chain.to_spec()),
    ]
    x, y = (torch.from_numpy(np.ascontiguousarray(signal, np.float32))[None] for signal in (audio, target))
    distance = _Distance(y)
    if chain.knobs and steps > 0:
        knobs = _descend(
            x,
            distance,
            torch.stack([chain.knobs_of(table) for table in tables]),
            chain,
            sample_rate,
            steps,
            learning_rate,
        )
        tables.append(Table(chain, chain.settings(knobs)))

    def judged(table: Table) -> tuple[float, Samples]:
        rendered = chain.exact(table.rows, sample_rate=sample_rate, channels=len(audio))(audio)
        if not np.isfinite(rendered).all():
            return math.inf, rendered
        with torch.no_grad():
            return float(distance(torch.from_numpy(rendered)[None])), rendered

    # Of results that are equally near, the first: the simplest.
    (_, rendered), table = min(((judged(table), table) for table in tables), key=lambda candidate: candidate[0][0])
    return table, rendered


def check(chain: Chain) -> None:
    """Check that a chain can be optimised by gradient.

    Args:
        chain: The effects.

    Raises:
        SettingsError: It cannot be differentiated.
    """
    without = [label for label, effect in zip(chain.labels, chain.effects, strict=True) if not effect.differentiable]
    if without:
        raise SettingsError(
            f"The oracle of chain {chain.name} needs an autodiff form of {', '.join(without)}, and a plugin has none: "
            "leave that row out."
        )


def _descend(
    x: "Tensor",
    distance: "_Distance",
    knobs: "Tensor",
    chain: Chain,
    sample_rate: int,
    steps: int,
    learning_rate: float,
) -> "Tensor":
    """Turn the knobs of all starts, `(starts, knobs)`, downhill; give the nearest that was passed, `(knobs,)`."""
    import torch

    logits = torch.logit(knobs.clamp(INSIDE, 1 - INSIDE)).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    nearest = torch.full((len(logits),), math.inf)
    found = knobs.clone()
    for step in range(steps):
        if step == math.ceil(CONTEST * steps) and len(logits) > 1:
            winner = int(nearest.argmin())
            nearest, found = nearest[winner : winner + 1], found[winner : winner + 1]
            logits, optimiser = _alone(optimiser, winner)
        rate = learning_rate * min(1.0, (step + 1) / HEAT) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = rate
        turned = logits.sigmoid()
        output = chain.autodiff(x.expand(len(turned), -1, -1), turned, sample_rate=sample_rate)
        distances = distance(output)
        with torch.no_grad():
            nearer = distances < nearest
            nearest = torch.where(nearer, distances, nearest)
            found[nearer] = turned[nearer]
        optimiser.zero_grad()
        distances.sum().backward()  # type: ignore[no-untyped-call]
        # A start that has run into numbers that are none stays where it is, and the others go on.
        logits.grad = torch.nan_to_num(logits.grad, posinf=0.0, neginf=0.0) if logits.grad is not None else None
        optimiser.step()
    return found[nearest.argmin()]


def _alone(optimiser: "Adam", row: int) -> "tuple[Tensor, Adam]":
    """Let one start go on without the others, with the momentum that it has."""
    import torch

    (group,) = optimiser.param_groups
    (together,) = group["params"]
    state = optimiser.state[together]
    logits = together.detach()[row : row + 1].clone().requires_grad_()
    single = torch.optim.Adam([logits], lr=group["lr"])
    moments = {name: state[name][row : row + 1].clone() for name in ("exp_avg", "exp_avg_sq")}
    single.state[logits] = {"step": state["step"].clone(), **moments}
    return logits, single


class _Distance:
    """The metric MRSTFT, differentiable, and a little of the waveform's mean absolute error.

    Windows that are too long for the signal are left out.
    """

    def __init__(self, target: "Tensor") -> None:
        self._target = target
        windows = [window for window in MR_STFT_WINDOWS if window // 2 < target.shape[-1]]
        self._mr_stft = mr_stft(windows, hops=[window // 2 for window in windows]) if windows else None

    def __call__(self, output: "Tensor") -> "Tensor":
        """Measure outputs, `(starts, channels, time)` to `(starts,)`."""
        import torch

        total = MAE_WEIGHT * (output - self._target).abs().mean((1, 2))
        if self._mr_stft is None:
            return total
        return total + torch.stack([self._mr_stft(row[None], self._target) for row in output])


def _closed_forms(audio: Samples, target: Samples, *, chain: Chain, sample_rate: int) -> list[Table]:
    """Fit the chain's equaliser on the target, with its gain as make-up where there is one."""
    matched = closed_form_in_chain(
        audio, target, chain=chain, sample_rate=sample_rate, reference_sample_rate=sample_rate
    )
    if not matched.eq:
        return []
    kinds = [type(effect) for effect in chain.effects]
    changes = {chain.labels[kinds.index(ParametricEQ)]: dict(matched.eq)}
    if Compressor in kinds:
        place = kinds.index(Compressor)
        makeup = next(p for p in chain.effects[place].parameters if p.name == "makeup_db")
        changes[chain.labels[place]] = {"makeup_db": min(max(matched.gain_db, makeup.minimum), makeup.maximum)}
    return [Table(chain, chain.defaults()).with_values(changes)]
