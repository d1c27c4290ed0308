"""Style transfer: analyse a recording and a reference, choose the settings of a chain, render.

Both recordings are analysed whole and rendered in blocks, so memory does not grow with their length. The effects are
rendered with the values as the parameter table prints them, so the table is all that was decided.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fxst import extras
from fxst.audio import LoudnessMeter, Samples
from fxst.chains.chain import Chain
from fxst.chains.table import CURVE_LIMITS, Table
from fxst.effects import Effect
from fxst.effects.parameters import Setting
from fxst.errors import AudioError, SettingsError
from fxst.transfer.analysis import BEYOND_FULL_SCALE, Analyser, Analysis, in_tenths, merged, thinned
from fxst.transfer.choice import SAFETY_CHECK, Choice, check_level
from fxst.transfer.curve_limits import CurveLimits
from fxst.transfer.finishing import BLOCK_FRAMES, KEEP, REFERENCE, ArrayShape, Finish, Finisher, rendered
from fxst.transfer.level_matching import confidence
from fxst.transfer.levels import Levelled, levelled
from fxst.transfer.noise_guard import NoiseLimit, guarded
from fxst.transfer.profiles import StyleProfile

if TYPE_CHECKING:
    # A table is applied without a model.
    from fxst.checkpoints.checkpoint import Checkpoint

__all__ = ["Result", "StyleTransfer", "limited", "load", "remarks_on", "render", "safety_remarks"]

_MOST_CHANNELS: Final = 1024
_AS_RENDERED: Final = Finish(ceiling_db=None)

_Heard = tuple[Literal["input", "output", "reference"], Any, int]
"""Role, samples and sample rate of a recording."""


@dataclass(frozen=True)
class Result:
    """A rendered recording, and how it was made.

    Args:
        audio: The rendered recording, of the shape, sample rate and kind (array or tensor) of the input.
        table: The parameter table that it was rendered with.
        warnings: Remarks, a sentence each.
        recordings: What a notebook plays: role, samples and sample rate of input, output and reference.
    """

    audio: Any
    table: Table
    warnings: tuple[str, ...] = ()
    recordings: "tuple[_Heard, ...]" = field(default=(), repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Result(audio={tuple(self.audio.shape)}, table={self.table!r}, warnings={self.warnings})"

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows: players, the equaliser's curve and the table."""
        if not self.recordings:
            return None
        from fxst.report import InMemory, Track
        from fxst.report.notebook import notebook_html

        tracks = []
        for label, samples, rate in self.recordings:
            recording = InMemory(_samples(samples, label), sample_rate=rate)
            tracks.append(Track(label, label, recording, self.table if label == "output" else None))
        return notebook_html(tracks)


def load(model: str | Path, *, device: str = "cpu") -> "StyleTransfer":
    """Load a style model: a shipped one by its name, or any by its folder.

    Args:
        model: `eq-comp`, or a model's folder.
        device: Where the model runs: `cpu`, or `cuda`, which needs the extra `train`. Effects always run on the CPU.

    Raises:
        ModelError: There is no such model, or it is damaged.
        SettingsError: There is no such device.
    """
    from fxst.checkpoints import checkpoint

    if device not in ("cpu", "cuda"):
        raise SettingsError(f"There is no device {device!r}: use cpu or cuda.")
    if device == "cuda":
        extras.need("The device cuda", *extras.MODELS)
        import torch

        if not torch.cuda.is_available():
            raise SettingsError("There is no CUDA device that this torch can use: use cpu.")
    return StyleTransfer(checkpoint.load(model, device=device))


class StyleTransfer:
    """A model ready to use: it analyses an input and a reference, sets a chain's knobs, and renders.

    Args:
        checkpoint: The model, its chain and its card.
    """

    def __init__(self, checkpoint: "Checkpoint") -> None:
        self._checkpoint = checkpoint
        self._model = checkpoint.model

    @property
    def name(self) -> str:
        """The model's name: that of its folder."""
        return self._checkpoint.folder.resolve().name

    @property
    def sha256(self) -> str:
        """Hash of the model's weights and card."""
        return str(self._checkpoint.card.get("sha256", ""))

    @property
    def training(self) -> Mapping[str, Any]:
        """How the model was trained, from its card; empty where the card does not say."""
        training = self._checkpoint.card.get("training")
        return training if isinstance(training, dict) else {}

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
        loudness: float | str | None = None,
        ceiling_db: float | None = None,
    ) -> Result:
        """Make a recording sound as if it had been produced like another one.

        Args:
            audio: The recording, as floats with full scale at ±1; it is not changed.
            reference: The recording to sound like, or a style profile that this model made.
            sample_rate: The recording's sample rate, which the result keeps.
            reference_sample_rate: The reference's, where it is another.
            amount: How much of the style: 0 changes nothing, 1 is all of it, 1.5 the most; in a mapping, by effect.
            linked: Whether a compressor applies one gain to all channels, or compresses each by itself; None for what
                the model's chain does, which is one gain unless you made it otherwise.
            loudness: The integrated loudness of the result in LUFS, `keep` for the recording's own, `reference` for the
                reference's, or None to leave it as the chain renders it.
            ceiling_db: The highest true peak of the result in dBTP; None for any.

        Shape:
            audio, reference: `(channels, time)` or `(time,)`, each on its own; result: as audio.

        Raises:
            AudioError: One of the two is empty, not finite or of another shape, or the reference is silent.
            SettingsError: An amount is out of range, or its effect is not in the chain.
        """
        if isinstance(loudness, str) and loudness not in (KEEP, REFERENCE):
            raise SettingsError(f"The loudness {loudness!r} is neither {KEEP}, {REFERENCE} nor a number of LUFS.")
        found, profile, remarks = self._analyse_both(audio, reference, sample_rate, reference_sample_rate)
        table = self.choose(found.analysis, profile, amount=amount, linked=linked)
        if loudness == REFERENCE:
            if profile.loudness_lufs is None:
                raise AudioError("The reference is too soft to have a loudness: give a number of LUFS.")
            loudness = profile.loudness_lufs
        finish = Finish(loudness=loudness, ceiling_db=ceiling_db)
        x = _samples(audio, "audio")
        louder = x * np.float32(10 ** (found.gain_db / 20)) if found.gain_db else x
        y, more = _render_finished(louder, table, finish, sample_rate)
        result = Result(_like(audio, y), table, remarks + safety_remarks(table) + more)
        rate = reference_sample_rate or sample_rate
        heard: list[_Heard] = [("input", audio, sample_rate), ("output", result.audio, sample_rate)]
        if not isinstance(reference, StyleProfile):
            heard.append(("reference", reference, rate))
        return replace(result, recordings=tuple(heard))

    @BEYOND_FULL_SCALE
    def embed(self, audio: Any, *, sample_rate: int) -> NDArray[np.float32]:
        """Return the model's embedding of a whole recording: its features, of which differences tell of a style.

        Args:
            audio: The recording, as floats with full scale at ±1.
            sample_rate: Its sample rate.

        Shape:
            audio: `(channels, time)` or `(time,)`; result: `(features,)`.

        Raises:
            AudioError: The audio is empty, silent, not finite or of another shape.
        """
        analysis = self.analyse(_blocks(_samples(audio, "audio")), sample_rate=sample_rate)
        if analysis.statistics is None:
            raise AudioError("The audio is silent, or too short to analyse: it has no embedding.")
        return np.asarray(self._model.embed(analysis.statistics[None])[0])

    def predict(
        self,
        audio: Any,
        reference: Any,
        *,
        sample_rate: int,
        reference_sample_rate: int | None = None,
        amount: float | Mapping[str, float] = 1.0,
        linked: bool | None = None,
    ) -> Table:
        """Choose the settings that `apply` would, and render nothing; arguments and errors are those of `apply`."""
        found, profile, _ = self._analyse_both(audio, reference, sample_rate, reference_sample_rate)
        return self.choose(found.analysis, profile, amount=amount, linked=linked)

    def render(self, audio: Any, settings: Sequence[Setting], *, sample_rate: int, gradients: bool = False) -> Any:
        """Render a recording with settings of this model's chain, edited or not.

        Args:
            audio: The recording, as floats with full scale at ±1; it is not changed.
            settings: A parameter table, or its rows.
            sample_rate: The recording's sample rate.
            gradients: As `fxst.render` takes it.

        Shape:
            audio: `(batch, channels, time)`, `(channels, time)` or `(time,)`; result: as audio.

        Raises:
            AudioError: The audio is empty, not finite or of another shape.
            SettingsError: The rows are not those of the chain, or out of an effect's range.
        """
        table = settings if isinstance(settings, Table) else Table(self.chain, tuple(settings))
        return render(audio, table, sample_rate=sample_rate, gradients=gradients)

    def analyse(self, blocks: Iterable[Samples], *, sample_rate: int) -> Analysis:
        """Analyse a whole recording.

        Args:
            blocks: The recording, in pieces of any length.
            sample_rate: Its sample rate.

        Shape:
            Each block: `(channels, time)`.
        """
        analyser = Analyser(self._model, sample_rate=sample_rate)
        for block in blocks:
            analyser.process(block)
        return analyser.finish()

    def merge(self, analyses: Sequence[Analysis]) -> Analysis:
        """Return the analysis of several recordings together, such as the songs of an album.

        Args:
            analyses: One or more; each counts by its active length, and silent ones do not.
        """
        return merged(self._model, analyses)

    def thin(self, analysis: Analysis, most: int) -> Analysis:
        """Return an analysis with so many windows of its excerpt at most, to be merged with many others."""
        return thinned(self._model, analysis, most)

    def profile(
        self, analysis: Analysis, *, loudness_lufs: float | None = None, recordings: Sequence[str] = ()
    ) -> StyleProfile:
        """Make a style profile from the analysis of a reference: all that `choose` needs of it, and no sound.

        Args:
            analysis: The analysis.
            loudness_lufs: The reference's integrated loudness; None where it is not known.
            recordings: The reference's name.

        Raises:
            AudioError: The reference is silent, or far beyond full scale.
        """
        if analysis.statistics is None:
            raise AudioError("The reference is silent, or too short to analyse: choose one with sound in it.")
        check_level(analysis, "reference")
        return StyleProfile(
            model=self.name,
            model_sha256=self.sha256,
            statistics=tuple(analysis.statistics.tolist()),
            descriptors=analysis.descriptors,
            loudness_lufs=loudness_lufs,
            recordings=tuple(recordings),
            frames=in_tenths(analysis.frames),
        )

    def choose(
        self,
        analysis: Analysis,
        profile: StyleProfile,
        names: Mapping[str, str] | None = None,
        *,
        amount: float | Mapping[str, float] = 1.0,
        linked: bool | None = None,
        limits: CurveLimits = CurveLimits(),  # noqa: B008  # it is frozen
        parts: Mapping[type[Effect], StyleProfile] | None = None,
        noise: NoiseLimit = NoiseLimit(),  # noqa: B008
    ) -> Table:
        """Choose the settings that bring a recording to a reference.

        A silent recording gives a model nothing to go by, and is left as it is.

        Args:
            analysis: The analysis of the recording to change.
            profile: The style profile of the reference, which this model made.
            names: What the two are called, to be noted in the table.
            amount: How much of the style: 0 changes nothing, 1 is all of it, 1.5 the most; in a mapping, by effect.
            linked: Whether a compressor applies one gain to all channels, or compresses each by itself; None for what
                the model's chain does.
            limits: Limits on the equaliser's curve, which hold at any amount.
            parts: Profiles of other references, which the effects of some kinds follow instead: `ParametricEQ`,
                `Dynamics`.
            noise: How far noise may rise.

        Raises:
            AudioError: The recording is far beyond full scale.
            SettingsError: An amount is out of range, its effect is not in the chain, or the profile is another model's
                or damaged.
        """
        chain = self.chain if linked is None else self.chain.linked(linked)
        if noise.guard:
            chain = guarded(chain)
        about = {"name": self.name, "sha256": self.sha256}
        choice = Choice(self._model, chain, analysis, profile, parts or {}, **about, limits=limits, noise=noise)
        settings = choice.silent() if analysis.statistics is None else choice.settings()
        table = Table(chain, settings, choice.provenance | dict(names or {}), choice.probabilities)
        table = table if amount in (1, {}) else table.at_amount(amount)  # the whole amount needs no note
        return limited(table, limits, sample_rate=analysis.sample_rate)

    def _analyse_both(
        self, audio: Any, reference: Any, sample_rate: int, reference_sample_rate: int | None
    ) -> tuple[Levelled, StyleProfile, tuple[str, ...]]:
        """Analyse an input and a reference; return the remarks on both as well."""
        x = _samples(audio, "audio")
        remarks: tuple[str, ...] = ()
        profile = reference
        if not isinstance(reference, StyleProfile):
            y, rate = _samples(reference, "reference"), reference_sample_rate or sample_rate
            of_reference = self._levelled(y, rate, measured=True)
            profile = self.profile(of_reference.analysis, loudness_lufs=of_reference.loudness_lufs)
            remarks = remarks_on(of_reference.analysis, "reference") + of_reference.remarks("reference", "analysed")
        found = self._levelled(x, sample_rate, measured=False)
        return found, profile, remarks_on(found.analysis, "audio") + found.remarks("audio", "rendered") + remarks

    def _levelled(self, x: Samples, sample_rate: int, *, measured: bool) -> Levelled:
        return levelled(
            partial(self.analyse, sample_rate=sample_rate),
            lambda: _blocks(x),
            sample_rate=sample_rate,
            channels=len(x),
            floats=True,
            measured=measured,
        )


def render(audio: Any, table: Table, *, sample_rate: int, gradients: bool = False) -> Any:
    """Render a recording, or a batch of them, with a parameter table; no model is needed.

    Args:
        audio: The recording, as floats with full scale at ±1; it is not changed.
        table: The settings.
        sample_rate: The recording's sample rate.
        gradients: Whether gradients pass through to the audio, which is then a torch tensor: the effects' torch forms
            render it, and not the exact ones.

    Shape:
        audio: `(batch, channels, time)`, `(channels, time)` or `(time,)`; result: as audio, an array for an array and a
        tensor for a tensor.

    Raises:
        AudioError: The audio is empty, not finite or of another shape.
        SettingsError: An effect has no torch form.
    """
    if gradients:
        extras.need("Rendering with gradients", *extras.GRADIENTS)
        if not hasattr(audio, "requires_grad"):
            raise AudioError("Gradients pass through torch tensors only: give the audio as a tensor.")
        x = audio.reshape(-1, *audio.shape[-2:]) if audio.ndim > 1 else audio[None, None]
        for stage in table.chain.stages(table):
            if stage.active:
                if not stage.effect.differentiable:
                    raise SettingsError(f"No gradient passes through {stage.label}: it has no torch form.")
                values = {name: x.new_full((len(x),), value) for name, value in stage.values.items()}
                x = stage.effect.autodiff(x, values, sample_rate=sample_rate)
        return x.reshape(audio.shape)
    if np.ndim(audio) == 3:
        rows = [_render_finished(_samples(row, "audio"), table, _AS_RENDERED, sample_rate)[0] for row in audio]
        return _like(audio, np.stack(rows))
    return _like(audio, _render_finished(_samples(audio, "audio"), table, _AS_RENDERED, sample_rate)[0])


def _render_finished(x: Samples, table: Table, finish: Finish, sample_rate: int) -> tuple[Samples, tuple[str, ...]]:
    """Render a recording through its chain, and bring it to a loudness and under a ceiling; return the remarks too."""
    shape = ArrayShape(sample_rate, len(x))
    finisher = Finisher(finish, shape, floats=True)
    if finisher.unmeasured:
        before = LoudnessMeter(sample_rate=sample_rate, channels=len(x))
        if finisher.keeps:
            before.process(x)
        finisher.measure(rendered(_blocks(x), table, shape, finish), before)
    while True:
        blocks = rendered(_blocks(x), table, shape, finish, gain_db=finisher.gain_db)
        y = np.concatenate(list(finisher.finish(blocks)), axis=1)
        if not finisher.misses_loudness():
            return y, finisher.remarks


def _like(given: Any, y: Samples) -> Any:
    """Return rendered audio in the shape and kind of what was given: a tensor for a tensor."""
    y = y.reshape(np.shape(given))
    if not hasattr(given, "detach"):
        return y
    import torch

    return torch.from_numpy(y).to(given.device)


def limited(table: Table, limits: CurveLimits, *, sample_rate: int, smooth: bool = False) -> Table:
    """Return a table whose curve keeps to its limits, noted in its provenance.

    Args:
        table: The table.
        limits: The limits.
        sample_rate: The sample rate of what is rendered, in Hz.
        smooth: Whether the curve is to be smoothed, too, because that was not done yet.
    """
    if not limits.note:
        return table
    keep = limits.shaped if smooth else limits.held
    rows = keep(table.chain, table.rows, sample_rate=sample_rate)
    return replace(table, rows=rows, provenance={**table.provenance, CURVE_LIMITS: limits.note})


def safety_remarks(table: Table) -> tuple[str, ...]:
    """Return why less was applied than the model chose; empty where all of it was."""
    return (table.provenance[SAFETY_CHECK],) if SAFETY_CHECK in table.provenance else ()


def remarks_on(analysis: Analysis, what: str) -> tuple[str, ...]:
    """Return what makes a recording hard to judge, a sentence each."""
    if analysis.statistics is None:
        return (f"the {what} is silent, or too short to analyse, so it was left as it is",)
    if analysis.short:
        return (f"the {what} lasts {analysis.seconds:.3g} s, too short to judge it well: it was analysed in a loop",)
    if len(analysis.frames) and confidence(analysis.frames, "level") < 1:
        return (f"the {what} holds hardly a moment of sound, too little to judge it well",)
    return ()


def _blocks(x: Samples) -> Iterator[Samples]:
    return (x[:, first : first + BLOCK_FRAMES] for first in range(0, x.shape[1], BLOCK_FRAMES))


def _samples(given: Any, what: str) -> Samples:
    """Return a caller's audio as `(channels, time)`, without changing it."""
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.dtype.kind != "f":
        raise AudioError(f"The {what} is of type {array.dtype}: give floats with full scale at ±1.")
    if not 1 <= array.ndim <= 2 or not array.size:
        raise AudioError(f"The {what} has the shape {array.shape}: give (channels, time), with time above 0.")
    with np.errstate(over="ignore"):
        x: Samples = np.atleast_2d(array).astype(np.float32, copy=False)
    if x.shape[0] > _MOST_CHANNELS:
        raise AudioError(f"The {what} would have {x.shape[0]} channels: give (channels, time); transpose it.")
    if not (math.isfinite(x.min()) and math.isfinite(x.max())):
        raise AudioError(f"The {what} holds samples that are not finite numbers: export it again.")
    return x
