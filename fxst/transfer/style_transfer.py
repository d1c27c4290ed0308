"""`apply`: listen to a recording and to a reference, choose the settings, render.

Both recordings are heard whole and rendered in blocks, so memory does not grow with their length. What is
rendered is the parameter table's values as they are printed: the table is the whole of what was decided.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.chains.table_files import Table
from fxst.effects import Effect, ParametricEQ
from fxst.effects.parameters import Setting
from fxst.errors import AudioError, SettingsError
from fxst.transfer.descriptors import Excerpt
from fxst.transfer.level_matching import Moments, belief, levelled
from fxst.transfer.profiles import StyleProfile, check_model, check_statistics
from fxst.transfer.safety import cautious
from fxst.version import __version__

if TYPE_CHECKING:
    # Torch takes longer to load than a table takes to apply.
    from torch import Tensor

    from fxst.checkpoints.checkpoint import Checkpoint
    from fxst.models.studio import StudioModel
    from fxst.models.style import Decision
    from fxst.transfer.analysis import Heard

__all__ = ["BLOCK_FRAMES", "Result", "StyleTransfer", "caution_of", "load", "remarks_on", "render"]

LEVEL_SHARE: Final = 0.6
"""How far a model's gain is turned to what an excerpt tells of levels: what the model heard says the rest."""

FLAT_DB: Final = 1.5
"""An equaliser's curve that is this far from 0 on average, or less, may be none at all."""

# Larger blocks leave a processor's cache, and smaller ones spend their time on calls.
BLOCK_FRAMES: Final = 1 << 15
_MOST_CHANNELS: Final = 1024
CAUTION: Final = "caution"
"""Where a table says that less was done than a model chose."""

REFINED: Final = "refined"
"""Where a table says what refining gained."""


@dataclass(frozen=True)
class Result:
    """What became of a recording in memory.

    Args:
        audio: The rendered recording, of the same shape and rate as the one that came in.
        settings: The parameter table that it was rendered with.
        warnings: What a person should know, a sentence each.
    """

    audio: Samples
    settings: Table
    warnings: tuple[str, ...] = ()


def load(model: str | Path, *, device: str = "auto") -> "StyleTransfer":
    """Load a style-transfer model: a shipped one by its name, or any by its folder.

    Args:
        model: `eq-comp`, or a model's folder.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one. The effects always run on the CPU.

    Raises:
        ModelError: There is no such model, or it is damaged.
        SettingsError: There is no such device.
    """
    import torch

    from fxst.checkpoints import checkpoint

    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"There is no device {device!r}: use auto, cpu or cuda.")
    cuda = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise SettingsError("There is no CUDA device that this torch can use: use auto or cpu.")
    return StyleTransfer(checkpoint.load(model, device="cuda" if cuda else "cpu"))


class StyleTransfer:
    """A model ready to use: it hears an input and a reference, sets a chain's knobs, and renders.

    Args:
        checkpoint: The model, its chain, and the sample rate that it listens at.
    """

    def __init__(self, checkpoint: "Checkpoint") -> None:
        self._checkpoint = checkpoint

    @property
    def name(self) -> str:
        """What the model is called: the name of its folder."""
        return self._checkpoint.folder.resolve().name

    @property
    def sha256(self) -> str:
        """Fingerprint of the model's weights and card."""
        return str(self._checkpoint.card.get("sha256", ""))

    @property
    def training(self) -> Mapping[str, Any]:
        """How it was trained, as its card tells; empty where that says nothing."""
        told = self._checkpoint.card.get("training")
        return told if isinstance(told, dict) else {}

    def check_refines(self) -> None:
        """See that it can refine what it chose.

        Raises:
            SettingsError: It cannot.
        """
        if not self.refines:
            raise SettingsError(f"The model {self.name} does not know what to expect, and cannot refine: use studio.")

    @property
    def refines(self) -> bool:
        """Whether it can refine what it chose."""
        from fxst.models.studio import StudioModel

        return isinstance(self._checkpoint.model, StudioModel) and self.chain.differentiable

    @property
    def chain(self) -> Chain:
        """The effects that the model sets."""
        return self._checkpoint.chain

    def apply(
        self,
        audio: Any,
        reference: Any,
        *,
        sample_rate: int,
        reference_sample_rate: int | None = None,
        amount: float | Mapping[str, float] = 1.0,
        linked: bool | None = None,
        refine: int = 0,
    ) -> Result:
        """Make a recording sound as if it had been produced like another one.

        Args:
            audio: The recording, as floats with full scale at ±1; it is not changed.
            reference: The recording to sound like, or a style profile that this model made.
            sample_rate: The recording's sample rate, which the result keeps.
            reference_sample_rate: The reference's, where it is another.
            amount: How much of the style: 0 changes nothing, 1 is all of it, 1.5 the most; in a mapping, by effect.
            linked: Whether compressors turn all channels down alike, by the loudest, or each on its own; None for what
                the model's chain says, which is alike unless you made it otherwise.
            refine: In how many steps at most the settings are refined; 0 for none. Takes seconds.

        Shape:
            audio, reference: `(channels, time)` or `(time,)`, each on its own; result: as audio.

        Raises:
            AudioError: One of the two is empty, not finite or of another shape, or the reference is silent.
            SettingsError: An amount is out of range, or its effect is not in the chain.
        """
        heard, settings = self._hear_and_choose(
            audio, reference, sample_rate, reference_sample_rate, amount=amount, linked=linked, refine=refine
        )
        remarks = remarks_on(heard, "audio") + caution_of(settings)
        return Result(render(audio, settings, sample_rate=sample_rate), settings, remarks)

    def predict(
        self,
        audio: Any,
        reference: Any,
        *,
        sample_rate: int,
        reference_sample_rate: int | None = None,
        amount: float | Mapping[str, float] = 1.0,
        linked: bool | None = None,
        refine: int = 0,
    ) -> Table:
        """Choose the settings that `apply` would, and render nothing.

        Args:
            audio: The recording, as floats with full scale at ±1.
            reference: The recording to sound like, or a style profile that this model made.
            sample_rate: The recording's sample rate.
            reference_sample_rate: The reference's, where it is another.
            amount: How much of the style: 0 changes nothing, 1 is all of it, 1.5 the most; in a mapping, by effect.
            linked: Whether compressors turn all channels down alike, by the loudest, or each on its own; None for what
                the model's chain says, which is alike unless you made it otherwise.
            refine: In how many steps at most the settings are refined; 0 for none. Takes seconds.

        Shape:
            audio, reference: `(channels, time)` or `(time,)`, each on its own.

        Raises:
            AudioError: One of the two is empty, not finite or of another shape, or the reference is silent.
            SettingsError: An amount is out of range, or its effect is not in the chain.
        """
        return self._hear_and_choose(
            audio, reference, sample_rate, reference_sample_rate, amount=amount, linked=linked, refine=refine
        )[1]

    def render(self, audio: Any, settings: Sequence[Setting], *, sample_rate: int) -> Samples:
        """Render a recording with settings of this model's chain, edited or not.

        Args:
            audio: The recording, as floats with full scale at ±1; it is not changed.
            settings: A parameter table, or its rows.
            sample_rate: The recording's sample rate.

        Shape:
            audio: `(channels, time)` or `(time,)`; result: as audio.

        Raises:
            AudioError: The audio is empty, not finite or of another shape.
            SettingsError: The rows are not those of the chain, or out of an effect's range.
        """
        table = settings if isinstance(settings, Table) else Table(self.chain, tuple(settings))
        return render(audio, table, sample_rate=sample_rate)

    def hear(self, blocks: Iterable[Samples], *, sample_rate: int) -> "Heard":
        """Listen to a whole recording.

        Args:
            blocks: The recording, in pieces of any length.
            sample_rate: Its sample rate.

        Shape:
            Each block: `(channels, time)`.
        """
        from fxst.transfer.analysis import Listener

        listener = Listener(self._checkpoint.model, sample_rate=sample_rate)
        for block in blocks:
            listener.hear(block)
        return listener.finish()

    def choose(
        self,
        heard: "Heard",
        reference: "Heard | StyleProfile",
        names: Mapping[str, str] | None = None,
        *,
        amount: float | Mapping[str, float] = 1.0,
        linked: bool | None = None,
        refine: int = 0,
    ) -> Table:
        """Choose the settings that bring one recording to another, from what was heard of both.

        In a silent recording there is nothing to go by: it gets the chain's defaults, or is left as it is by a model
        that can do so.

        Args:
            heard: What was heard of the recording to change.
            reference: What was heard of the one to sound like, or a profile that this model made.
            names: What the two are called, to be noted in the table.
            amount: How much of the style: 0 changes nothing, 1 is all of it, 1.5 the most; in a mapping, by effect.
            linked: Whether compressors turn all channels down alike, by the loudest, or each on its own; None for what
                the model's chain says, which is alike unless you made it otherwise.
            refine: In how many steps at most the settings are refined; 0 for none. Takes seconds.

        Raises:
            AudioError: The reference is silent.
            SettingsError: An amount is out of range, its effect is not in the chain, or the profile is another model's
                or damaged.
        """
        import torch

        from fxst.models.studio import StudioModel
        from fxst.threads import one_thread
        from fxst.transfer.analysis import from_tenths
        from fxst.transfer.refinement import refined

        if isinstance(reference, StyleProfile):
            check_model(reference, self.name, self.sha256)
            if heard.statistics is not None:
                check_statistics(reference, len(heard.statistics), heard.frames.shape[1])
            device = next(self._checkpoint.model.parameters()).device
            goal: torch.Tensor | None = torch.tensor(reference.statistics, device=device)
            goal_frames = from_tenths(reference.frames).to(device)
        else:
            goal, goal_frames = reference.statistics, reference.frames
        for what, statistics in (("recording", heard.statistics), ("reference", goal)):
            if statistics is not None and not statistics.isfinite().all():
                raise AudioError(f"The {what} holds samples far beyond full scale: normalise it.")
        if goal is None:
            raise AudioError("The reference is silent, or too short to hear: choose one with sound in it.")
        chain = self.chain if linked is None else self.chain.linked(linked)
        model = self._checkpoint.model
        if refine:
            self.check_refines()
        made_by = {"fxst": __version__, "model": self.name, "model_sha256": self.sha256}
        confidence: dict[str, float] = {}
        if heard.statistics is None:
            rows = chain.defaults()
            if isinstance(model, StudioModel):  # it can leave a recording as it is
                rows = chain.at_amount(rows, 0.0)
        else:
            with torch.inference_mode(), one_thread():
                if isinstance(model, StudioModel):
                    matched = model.match(heard.statistics, heard.frames, goal, goal_frames)
                    decision = model.decide(heard.statistics[None], goal[None], matched[None])
                else:
                    decision = model.decide(heard.statistics[None], goal[None])
                if not decision.knobs.isfinite().all():
                    what = "style profile" if isinstance(reference, StyleProfile) else "reference"
                    raise AudioError(f"The recording or the {what} is far beyond full scale: normalise it.")
                if isinstance(model, StudioModel):
                    knobs = _fitted(model, chain, decision, sample_rate=heard.excerpt.sample_rate)
                else:
                    knobs = decision.knobs[0].cpu()
            if decision.wanted is None:
                rows = chain.settings(knobs)
            else:
                sure = dict(zip(chain.labels, decision.wanted[0].sigmoid().tolist(), strict=True))
                effects = zip(chain.labels, chain.effects, strict=True)
                away = [label for label, effect in effects if sure[label] < 0.5 and _can_go(effect, decision)]
                rows = chain.settings(knobs, out_of_the_way=away)
                moments = _moments(model, goal_frames) if isinstance(model, StudioModel) else None
                rows = levelled(chain, rows, heard.excerpt, reference.traits, moments, share=LEVEL_SHARE)
                if refine:
                    assert isinstance(model, StudioModel), "none other refines"
                    with one_thread():
                        better = refined(model, chain, rows, heard.excerpt, goal, goal_frames, steps=refine)
                    rows, made_by[REFINED] = better.settings, better.remark
                    # How loud it is where something sounds, the reference tells better than what is expected.
                    rows = levelled(chain, rows, heard.excerpt, reference.traits, moments, share=LEVEL_SHARE)
                trial = cautious(chain, rows, heard.excerpt, reference.traits, moments)
                rows, confidence = trial.settings, {label: round(share, 3) for label, share in sure.items()}
                if trial.remark:
                    made_by[CAUTION] = trial.remark
        table = Table(chain, rows, made_by | dict(names or {}), confidence)
        return table if amount in (1, {}) else table.at_amount(amount)  # all of it is nothing to note

    def profile(
        self, heard: "Heard", *, loudness_lufs: float | None = None, recordings: Sequence[str] = ()
    ) -> StyleProfile:
        """Make a style profile of what was heard of a reference: all that `choose` needs of it, and no sound.

        Args:
            heard: What was heard.
            loudness_lufs: How loud the reference is; None where that is not known.
            recordings: What it is called.

        Raises:
            AudioError: The reference is silent, or far beyond full scale.
        """
        from fxst.transfer.analysis import in_tenths

        if heard.statistics is None:
            raise AudioError("The reference is silent, or too short to hear: choose one with sound in it.")
        if not heard.statistics.isfinite().all():
            raise AudioError("The reference holds samples far beyond full scale: normalise it.")
        return StyleProfile(
            model=self.name,
            model_sha256=self.sha256,
            statistics=tuple(heard.statistics.tolist()),
            traits=heard.traits,
            loudness_lufs=loudness_lufs,
            recordings=tuple(recordings),
            frames=in_tenths(heard.frames),
        )

    def _hear_and_choose(
        self,
        audio: Any,
        reference: Any,
        sample_rate: int,
        reference_sample_rate: int | None,
        *,
        amount: float | Mapping[str, float],
        linked: bool | None,
        refine: int,
    ) -> "tuple[Heard, Table]":
        blocks = _blocks(_samples(audio, "audio"))
        goal: Heard | StyleProfile
        if isinstance(reference, StyleProfile):
            heard, goal = self.hear(blocks, sample_rate=sample_rate), reference
        else:
            reference_blocks = _blocks(_samples(reference, "reference"))
            heard = self.hear(blocks, sample_rate=sample_rate)
            goal = self.hear(reference_blocks, sample_rate=reference_sample_rate or sample_rate)
        return heard, self.choose(heard, goal, amount=amount, linked=linked, refine=refine)


def render(audio: Any, table: Table, *, sample_rate: int) -> Samples:
    """Render a recording with a parameter table; no model is needed.

    Args:
        audio: The recording, as floats with full scale at ±1; it is not changed.
        table: The settings.
        sample_rate: The recording's sample rate.

    Shape:
        audio: `(channels, time)` or `(time,)`; result: as audio.

    Raises:
        AudioError: The audio is empty, not finite or of another shape.
    """
    x = _samples(audio, "audio")
    process = table.chain.exact(table, sample_rate=sample_rate, channels=x.shape[0])
    y = np.concatenate([process(block) for block in _blocks(x)], axis=1)
    return y.reshape(np.shape(audio))


def _blocks(x: Samples) -> Iterator[Samples]:
    return (x[:, first : first + BLOCK_FRAMES] for first in range(0, x.shape[1], BLOCK_FRAMES))


def _samples(given: Any, what: str) -> Samples:
    """Take audio from a caller as `(channels, time)`, without changing it."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.dtype.kind != "f":
        raise AudioError(f"The {what} is of type {array.dtype}: give floats with full scale at ±1.")
    with np.errstate(over="ignore"):
        x: Samples = np.atleast_2d(array).astype(np.float32, copy=False)
    if x.ndim != 2 or not x.size:
        raise AudioError(f"The {what} has the shape {array.shape}: give (channels, time), with time above 0.")
    if x.shape[0] > _MOST_CHANNELS:
        raise AudioError(f"The {what} would have {x.shape[0]} channels: give (channels, time); transpose it.")
    if not (math.isfinite(x.min()) and math.isfinite(x.max())):
        raise AudioError(f"The {what} holds samples that are not finite numbers: make it again.")
    return x


def _moments(model: "StudioModel", reference_frames: "Tensor") -> Moments:
    """Let caution hear moments as the model hears them."""
    import torch

    from fxst.threads import one_thread

    def hear(x: Excerpt) -> "np.typing.NDArray[np.float32]":
        windows = torch.from_numpy(x.samples.reshape(-1, model.window_at(x.sample_rate)))
        with torch.inference_mode(), one_thread():
            frames = model.frames(windows.to(reference_frames.device), sample_rate=x.sample_rate)
        return np.asarray(frames.cpu().numpy())

    return Moments(hear, reference_frames.cpu().numpy())


def _can_go(effect: Effect, decision: "Decision") -> bool:
    """Tell whether an effect that a model thinks is not wanted can be put out of the way without doubt.

    A compressor cannot: its gain sets the level. An equaliser can where its curve is nearly flat, for what is left is
    more often in what is said than in how it was produced.
    """
    if isinstance(effect, ParametricEQ) and decision.curve is not None:
        return 20 * float(decision.curve[0].abs().mean()) < FLAT_DB
    return effect.switched


def _fitted(model: "StudioModel", chain: Chain, decision: "Decision", *, sample_rate: int) -> "Tensor":
    """Give the knobs of a decision, those of the equaliser moved to what its curve asks for.

    In bands that the reference lacks the curve is 0, and counts: else a shelf could do anything there.
    """
    from fxst.transfer.eq_fitting import fitted

    knobs = decision.knobs[0].cpu()
    bands = model.config.curve_knobs
    label = {label for label, _ in chain.knobs[bands]}
    eq = chain.effects[chain.labels.index(label.pop())] if len(label) == 1 else None
    if decision.curve is None or not isinstance(eq, ParametricEQ) or len(eq.parameters) != model.config.n_curve_knobs:
        return knobs  # a card may name a chain without such an equaliser
    there = model.ear.shared(float(sample_rate)).bool().cpu()
    curve_db, hz = 20 * decision.curve[0].cpu()[there], model.ear.octave_centres[there]
    knobs[bands] = fitted(eq, knobs[bands], curve_db, hz, sample_rate=sample_rate)
    return knobs


def caution_of(table: Table) -> tuple[str, ...]:
    """Tell why less was done than a model chose; nothing where all of it was."""
    return (table.provenance[CAUTION],) if CAUTION in table.provenance else ()


def remarks_on(heard: "Heard", what: str) -> tuple[str, ...]:
    """Tell what makes a recording hard to judge, a sentence each."""
    if heard.statistics is None:
        return (f"the {what} is silent, or too short to hear: its settings are no model's choice",)
    if heard.short:
        return (f"the {what} lasts {heard.seconds:.3g} s, too short to judge it well: it was repeated to be heard",)
    if len(heard.frames) and belief(heard.frames.cpu().numpy(), "level") < 1:
        return (f"the {what} has hardly a moment of sound in it, too little to judge it well",)
    return ()
