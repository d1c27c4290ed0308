"""The upper bound of a chain: settings optimised on the target itself, which no model sees."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from fxst import extras
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
WARMUP_STEPS: Final = 5
"""Warm-up steps of the learning rate; then it falls along a cosine."""

SHARED_STEPS: Final = 0.2
"""Share of the steps in which every start takes part; then only the best continues."""

KNOB_MARGIN: Final = 0.01
"""Distance of the initial knobs from the ends of their ranges, where a logit has no slope."""

MAE_WEIGHT: Final = 5.0
"""Weight of the mean absolute error: magnitudes ignore polarity, and hardly show a delay."""


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
    """Optimise a chain's settings by gradient, so that a recording comes as close to its target as possible.

    Adam optimises the knobs from several starts: the chain's defaults, and the closed form fitted to the target within
    the chain's equaliser. After a fifth of the steps only the best continues. The result and all starts are then
    rendered with the exact effects, and the closest of these renders wins.

    Args:
        audio: The recording.
        target: The target.
        chain: The effects.
        sample_rate: Sample rate of both in Hz.
        steps: Optimisation steps.
        learning_rate: Adam's, on the logits of the knobs.
        starts: More settings of the chain to start from, such as a model's.

    Returns:
        The settings, and the recording rendered with them.

    Shape:
        audio, target and the rendered recording: `(channels, time)`, equal.

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
            torch.from_numpy(np.stack([chain.knobs_of(table) for table in tables])),
            chain,
            sample_rate,
            steps,
            learning_rate,
        )
        tables.append(Table(chain, chain.settings(knobs)))

    def distance_of(table: Table) -> tuple[float, Samples]:
        rendered = chain.exact(table.rows, sample_rate=sample_rate, channels=len(audio))(audio)
        if not np.isfinite(rendered).all():
            return math.inf, rendered
        with torch.no_grad():
            return float(distance(torch.from_numpy(rendered)[None])), rendered

    # Of equally close results, the first is the simplest.
    (_, rendered), table = min(((distance_of(table), table) for table in tables), key=lambda candidate: candidate[0][0])
    return table, rendered


def check(chain: Chain) -> None:
    """Check that a chain can be optimised by gradient.

    Args:
        chain: The effects.

    Raises:
        SettingsError: An effect has no autodiff form, or a package of the extra `train` is missing.
    """
    extras.need("oracle-chain", *extras.ORACLE)
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
    """Optimise the knobs of all starts, `(starts, knobs)`, and return the best knobs that occurred, `(knobs,)`."""
    import torch

    logits = torch.logit(knobs.clamp(KNOB_MARGIN, 1 - KNOB_MARGIN)).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=learning_rate)
    closest = torch.full((len(logits),), math.inf)
    found = knobs.clone()
    for step in range(steps):
        if step == math.ceil(SHARED_STEPS * steps) and len(logits) > 1:
            winner = int(closest.argmin())
            closest, found = closest[winner : winner + 1], found[winner : winner + 1]
            logits, optimiser = _alone(optimiser, winner)
        rate = learning_rate * min(1.0, (step + 1) / WARMUP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimiser.param_groups[0]["lr"] = rate
        values = logits.sigmoid()
        output = chain.autodiff(x.expand(len(values), -1, -1), values, sample_rate=sample_rate)
        distances = distance(output)
        with torch.no_grad():
            improved = distances < closest
            closest = torch.where(improved, distances, closest)
            found[improved] = values[improved]
        optimiser.zero_grad()
        distances.sum().backward()  # type: ignore[no-untyped-call]
        # A start whose gradient is not finite keeps its knobs, and the others continue.
        logits.grad = torch.nan_to_num(logits.grad, posinf=0.0, neginf=0.0) if logits.grad is not None else None
        optimiser.step()
    return found[closest.argmin()]


def _alone(optimiser: "Adam", row: int) -> "tuple[Tensor, Adam]":
    """Continue one start without the others, with its own momentum."""
    import torch

    (group,) = optimiser.param_groups
    (shared,) = group["params"]
    state = optimiser.state[shared]
    logits = shared.detach()[row : row + 1].clone().requires_grad_()
    single = torch.optim.Adam([logits], lr=group["lr"])
    moments = {name: state[name][row : row + 1].clone() for name in ("exp_avg", "exp_avg_sq")}
    single.state[logits] = {"step": state["step"].clone(), **moments}
    return logits, single


class _Distance:
    """The metric MRSTFT, differentiable, plus a weighted mean absolute error of the waveform.

    Windows too long for the signal are left out.
    """

    def __init__(self, target: "Tensor") -> None:
        self._target = target
        windows = [window for window in MR_STFT_WINDOWS if window // 2 < target.shape[-1]]
        self._mr_stft = mr_stft(windows, hops=[window // 2 for window in windows]) if windows else None

    def __call__(self, output: "Tensor") -> "Tensor":
        """Return the distance of each output, `(starts, channels, time)` to `(starts,)`."""
        import torch

        total = MAE_WEIGHT * (output - self._target).abs().mean((1, 2))
        if self._mr_stft is None:
            return total
        return total + torch.stack([self._mr_stft(row[None], self._target) for row in output])


def _closed_forms(audio: Samples, target: Samples, *, chain: Chain, sample_rate: int) -> list[Table]:
    """Fit the chain's equaliser to the target, with the gain as the compressor's make-up if there is one."""
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
