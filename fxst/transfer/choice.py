"""Choosing the settings for one recording: decide, fit the equaliser, match level and width, check."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.dsp.loudness import ABSOLUTE_GATE_LUFS, loudness
from fxst.effects import Distortion, Dynamics, Effect, ParametricEQ, UpwardCompressor
from fxst.effects.parameters import Setting
from fxst.errors import AudioError
from fxst.transfer.analysis import BEYOND_FULL_SCALE, Analysis, from_tenths
from fxst.transfer.curve_limits import CurveLimits
from fxst.transfer.descriptors import Descriptors, Excerpt, describe, distance_db
from fxst.transfer.level_matching import FrameLevels, match_level, move_gain, neighbour_ratio, rendered
from fxst.transfer.noise_guard import NoiseLimit, guard_noise
from fxst.transfer.profiles import StyleProfile, check_model, check_statistics
from fxst.transfer.safety import limit_amount
from fxst.transfer.scope import scope
from fxst.transfer.width_matching import match_width
from fxst.version import __version__

if TYPE_CHECKING:
    # A table is applied without a model.
    from fxst.models.network import Decision, StyleNetwork

__all__ = ["SAFETY_CHECK", "Choice", "check_level"]

GAIN_SHARE: Final = 0.6
"""How far the model's gain is moved to the level that an excerpt calls for; the model's own choice is the rest."""

FLAT_DB: Final = 1.5
"""An equaliser whose curve is no further than this from 0 dB on average may be bypassed."""

CERTAIN: Final[Mapping[type[Effect], float]] = {UpwardCompressor: 0.8, Distortion: 0.8}
"""Effects that do harm where they are not needed, since they add noise and overtones, and the probability from which
they are tried. All others that can be bypassed are applied from one half on."""

SURE: Final = 0.95
CHANCE_DB: Final = 1.0
"""From this probability on, a trial overrules the model only if the recording is so much further away with the effect:
by less, two recordings differ by what is said in them."""

SAME_RATIO: Final = 1.2
OTHER_RATIO: Final = 1.35
"""Up to the first neighbour ratio two recordings count as of one voice or song, and from the second on as of two.
Fitted to validation voices and songs."""

LOUDNESS_ROUNDS: Final = 2
"""How often the loudness is matched: a distortion behind the gain makes less of it than was asked for."""

SAFETY_CHECK: Final = "safety_check"
"""The key of a table's provenance under which the safety check says why less was applied than the model chose."""


class Choice:
    """Choosing the settings for one recording.

    Args:
        model: The network.
        chain: The chain that it sets, linked or not.
        analysis: The analysis of the recording.
        profile: The style profile of the reference.
        parts: Profiles of the references that some kinds of effects follow instead.
        name: The model's name.
        sha256: Hash of the model's weights and card.
        limits: Limits on the equaliser's curve.
        noise: How far noise may rise.

    Attributes:
        provenance: What a table is to say of where its settings are from.
        probabilities: The probability that each effect is active, by label.

    Raises:
        AudioError: The recording is far beyond full scale.
        SettingsError: The profile is another model's, or damaged.
    """

    def __init__(
        self,
        model: "StyleNetwork",
        chain: Chain,
        analysis: Analysis,
        profile: StyleProfile,
        parts: Mapping[type[Effect], StyleProfile],
        *,
        name: str,
        sha256: str,
        limits: CurveLimits,
        noise: NoiseLimit,
    ) -> None:
        for one in (profile, *parts.values()):
            check_model(one, name, sha256)
            if analysis.statistics is not None:
                check_statistics(one, len(analysis.statistics), analysis.frames.shape[1])
        if analysis.statistics is not None:
            check_level(analysis, "recording")
        self._model, self._chain, self._analysis, self._profile, self._parts = model, chain, analysis, profile, parts
        self._reference = _combined(profile, parts)
        # Through another reference's equaliser no frames are alike, and the model's gain was for another compressor.
        self._levels = None if parts else _frame_levels(model, from_tenths(profile.frames))
        self._gain_share = 1.0 if parts else GAIN_SHARE
        self._limits, self._noise = limits, noise
        self._loudness_share = 0.0
        self.provenance = {"fxst": __version__, "model": name, "model_sha256": sha256}
        self.probabilities: dict[str, float] = {}

    def silent(self) -> tuple[Setting, ...]:
        """Return the settings for a silent recording, which leave it as it is."""
        defaults = self._chain.defaults()
        return self._chain.bypassed(defaults) if self._chain.can_be_bypassed else self._chain.at_amount(defaults, 0.0)

    def settings(self) -> tuple[Setting, ...]:
        """Return the settings: decided, fitted, matched in level and width, and checked."""
        decision, self._loudness_share = self._decide(self._profile)
        for kind, profile in self._parts.items():
            decision = self._replaced(decision, kind, self._decide(profile)[0])
        predicted = self._chain.predicted
        knobs = _fit_curve(self._model, predicted, decision, self._analysis.excerpt.sample_rate)
        if decision.activation is None:
            return self._guard_noise(self._match_width(self._shaped(predicted.settings(knobs))))
        settings = self._shaped(predicted.settings(knobs, bypassed=self._bypassed(decision)))
        settings = self._match_width(self._tried(self._match_level(settings)))
        return self._check(self._guard_noise(self._match_loudness(settings)))

    def _shaped(self, predicted: Sequence[Setting]) -> tuple[Setting, ...]:
        """Return the table of the whole chain, with the curve within its limits."""
        settings = self._chain.completed(predicted)
        return self._limits.shaped(self._chain, settings, sample_rate=self._analysis.sample_rate)

    @BEYOND_FULL_SCALE
    def _decide(self, profile: StyleProfile) -> "tuple[Decision, float]":
        """Decide on the settings that bring the recording to a reference, and how far its loudness sets the level."""
        statistics = self._analysis.statistics
        assert statistics is not None, "a silent recording is not decided on"
        model, reference = self._model, np.array(profile.statistics, np.float32)
        frames, reference_frames = self._analysis.frames, from_tenths(profile.frames)
        matched = model.match(statistics, frames, reference, reference_frames)
        loudness_share = 0.0
        decision: Decision = model.decide(statistics[None], reference[None], matched[None])
        ours, theirs = model.long_term(statistics), model.long_term(reference)
        if ours is not None and theirs is not None and decision.curve is not None:
            hz = model.curve_frequencies(self._analysis.excerpt.sample_rate)
            found = scope(ours, theirs, hz)
            ratio = neighbour_ratio(frames + 20 * decision.curve[0], reference_frames) if len(frames) else None
            if not found.alike:
                loudness_share = 1.0
            elif ratio is not None:
                loudness_share = min(1.0, max(0.0, (ratio - SAME_RATIO) / (OTHER_RATIO - SAME_RATIO)))
            decision = decision._replace(curve=found.limited(decision.curve, hz))
        if not np.isfinite(decision.knobs).all():
            raise AudioError("The recording or the style profile is far beyond full scale: normalise it.")
        return decision, loudness_share

    def _replaced(self, decision: "Decision", kind: type[Effect], other: "Decision") -> "Decision":
        """Return a decision with that on the effects of a kind taken from another."""
        chain = self._chain.predicted
        of_kind = np.array([isinstance(effect, kind) for effect in chain.effects])
        labels = {label for label, one in zip(chain.labels, of_kind, strict=True) if one}
        replaced = np.array([label in labels for label, _ in chain.knobs])
        knobs: Samples = np.where(replaced, np.asarray(other.knobs), np.asarray(decision.knobs)).astype(np.float32)
        activation = decision.activation
        if activation is not None and other.activation is not None:
            activation = np.where(of_kind, other.activation, activation)
        curve = other.curve if kind is ParametricEQ else decision.curve
        return decision._replace(knobs=knobs, activation=activation, curve=curve)

    def _bypassed(self, decision: "Decision") -> list[str]:
        """Return the effects to bypass: those that the model holds for inactive, where that does no harm.

        A compressor stays, for its gain sets the level. An equaliser goes where its curve is nearly flat: what is left
        of it is more often in what was said than in how it was produced.
        """
        assert decision.activation is not None
        predicted = self._chain.predicted
        probabilities = (1 / (1 + np.exp(-decision.activation[0].astype(np.float64)))).tolist()
        self.probabilities = {
            label: round(share, 3) for label, share in zip(predicted.labels, probabilities, strict=True)
        }
        stages = zip(predicted.labels, predicted.effects, probabilities, strict=True)
        return [
            label
            for label, effect, share in stages
            if share < CERTAIN.get(type(effect), 0.5) and _may_be_bypassed(effect, decision)
        ]

    def _tried(self, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        """Bypass the effects of `CERTAIN` where a recording is no further from the reference without them."""
        excerpt, reference = self._analysis.excerpt, self._reference
        for stage in self._chain.stages(settings):
            if type(stage.effect) in CERTAIN and stage.active:
                without = self._match_level(
                    [replace(row, bypass=row.bypass or row.effect == stage.label) for row in settings]
                )
                less_db, with_db = (
                    distance_db(describe(rendered(self._chain, table, excerpt)), reference)
                    for table in (without, settings)
                )
                sure = self.probabilities[stage.label] >= SURE
                if with_db >= less_db + (CHANCE_DB if sure else 0):
                    settings = without
        return settings

    def _match_level(self, settings: Sequence[Setting], share: float | None = None) -> tuple[Setting, ...]:
        share = self._gain_share if share is None else share
        excerpt, reference = self._analysis.excerpt, self._reference
        return match_level(self._chain, settings, excerpt, reference, self._levels, share=share)

    def _relevel(self, settings: Sequence[Setting]) -> tuple[Setting, ...]:
        return self._match_loudness(self._match_level(settings, share=1.0))

    def _match_loudness(self, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        """Bring the excerpt to the reference's loudness where the two are of other voices, songs or sessions.

        Their frames are alike in less, and a level depends on the bass of a voice. Loudness is what programmes are
        delivered by. In one recording, another passage is as loud as what is said in it.
        """
        lufs = self._profile.loudness_lufs
        if lufs is None or not self._loudness_share:
            return settings
        target: float | None = None
        for _ in range(LOUDNESS_ROUNDS):
            output = rendered(self._chain, settings, self._analysis.excerpt)
            reached = loudness(output.samples, sample_rate=output.sample_rate)
            if reached < ABSOLUTE_GATE_LUFS:
                break
            if target is None:
                target = reached + self._loudness_share * (lufs - reached)
            settings = move_gain(self._chain, settings, target - reached)
        return settings

    def _match_width(self, settings: Sequence[Setting]) -> tuple[Setting, ...]:
        return match_width(self._chain, settings, self._analysis.excerpt, self._reference)

    def _guard_noise(self, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        if not self._noise.guard or self._noise.most_db is None:
            return settings
        return guard_noise(self._chain, settings, self._analysis.excerpt, self._analysis.pauses, self._noise.most_db)

    def _check(self, settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
        excerpt, pauses, reference = self._analysis.excerpt, self._analysis.pauses, self._reference
        most_db = self._noise.most_db
        checked = limit_amount(self._chain, settings, excerpt, reference, self._relevel, pauses, most_db)
        if checked.remark:
            self.provenance[SAFETY_CHECK] = checked.remark
        return checked.settings


def _combined(profile: StyleProfile, parts: Mapping[type[Effect], StyleProfile]) -> Descriptors:
    """Return what the result is compared with: the spectrum and the dynamics of the references that set them."""
    rest = profile.descriptors
    eq, dynamics = (parts.get(kind, profile).descriptors for kind in (ParametricEQ, Dynamics))
    louder_db = rest.level_db - eq.level_db
    return msgspec.structs.replace(
        rest,
        spectrum_db={hz: level_db + louder_db for hz, level_db in eq.spectrum_db.items()},
        crest_db=dynamics.crest_db,
        range_db=dynamics.range_db,
    )


def check_level(analysis: Analysis, what: str) -> None:
    """Check that a recording can be decided on.

    Raises:
        AudioError: It is far beyond full scale.
    """
    if analysis.statistics is not None and not np.isfinite(analysis.statistics).all():
        raise AudioError(f"The {what} holds samples far beyond full scale: normalise it.")


def _frame_levels(model: "StyleNetwork", reference_frames: Samples) -> FrameLevels | None:
    """Return how frames are measured for level matching, and the reference's; None where a model uses no frames."""
    if not model.uses_frames:
        return None

    @BEYOND_FULL_SCALE
    def measure(x: Excerpt) -> Samples:
        windows = x.samples.reshape(-1, model.window_at(x.sample_rate))
        return np.asarray(model.frames(windows, sample_rate=x.sample_rate))

    return FrameLevels(measure, reference_frames)


def _may_be_bypassed(effect: Effect, decision: "Decision") -> bool:
    if isinstance(effect, ParametricEQ) and decision.curve is not None:
        return 20 * float(np.abs(decision.curve[0]).mean()) < FLAT_DB
    return effect.needs_bypass


def _fit_curve(model: "StyleNetwork", chain: Chain, decision: "Decision", sample_rate: int) -> Samples:
    """Return a decision's knobs, with those of the equaliser fitted to its curve.

    In bands that the reference does not hold, the curve is 0 and counts: else a shelf could do anything there.
    """
    from fxst.transfer.eq_fitting import fitted

    knobs: Samples = decision.knobs[0].copy()
    bands = model.curve_knobs
    labels = {label for label, _ in chain.knobs[bands]}
    eq = chain.effects[chain.labels.index(labels.pop())] if len(labels) == 1 else None
    if decision.curve is None or not isinstance(eq, ParametricEQ) or len(eq.parameters) != bands.stop - bands.start:
        return knobs  # a card may name a chain without such an equaliser
    hz = model.curve_frequencies(sample_rate)
    held = np.isfinite(hz)
    knobs[bands] = fitted(eq, knobs[bands], 20 * decision.curve[0][held], hz[held], sample_rate=sample_rate)
    return knobs
