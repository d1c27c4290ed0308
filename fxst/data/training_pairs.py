"""What a studio model learns from: passages of a voice or a song, each in several versions of input and target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.data import sox
from fxst.data.corruption import HIGHEST, DynamicsCorruption, draw_compressor, draw_expander, draw_frequency_corruption
from fxst.data.manifest import Dataset
from fxst.data.passages import AUGMENTED, VOICE_SHARE, Passages
from fxst.data.production import (
    Filter,
    LoudnessLimiter,
    Production,
    Room,
    Saturation,
    SoftKneeCompressor,
    draw_production,
)
from fxst.effects import ParametricEQ
from fxst.effects.parameters import Setting
from fxst.models.feature_extractor import BANDWIDTH, octave_centres
from fxst.models.studio import CENTRE_HZ, StudioModelConfig

__all__ = [
    "CURVE_HZ",
    "STYLES",
    "VERSIONS",
    "Styles",
    "TrainingPairs",
    "draw_pairs",
    "draw_settings",
    "drawn_rates",
    "random_curve",
]  # fmt: skip

Array = NDArray[np.float32]

BASE_PEAK_DB: Final = -12.0
EQUALISED: Final = 0.75
EXPANDED: Final = 0.10
COMPRESSED: Final = 0.75
"""How often the published evaluation equalises and expands an input, and compresses a target."""

EXPANDED_MORE: Final = 0.2
"""How often an input is expanded in training: oftener than in the evaluation, for much is missed of such inputs."""

GAINS_DB: Final = (-14.0, 8.0)
"""By how much levels differ from the published evaluation's, which are all the same."""

COLOUR_DB: Final = 8.0
"""By how much each band of a voice's spectrum is changed at most."""

REGAINED: Final = 0.3
"""How often the level is changed."""

KEPT_IN_16_BITS: Final = 0.2
"""How often what becomes of a passage has the noise of 16 bits, as files have."""

LOWER_RATE: Final = 24_000
LOWERED: Final = 0.3
"""At which sample rate passages of a higher one are produced, too, and how often."""

PRODUCED: Final = 0.5
"""How often the input of a production is one itself, as in protocol Q."""

OTHERS: Final = 0.8
"""How often the reference of a production is of another voice or song; else of the same."""

SAME_MICROPHONE: Final = 0.5
"""How often both go through the same microphone."""

STRONG: Final = 0.1
"""How often a production is one strong distortion or reverberation, and nothing else."""

AUDIBLE_DRIVE_DB: Final = 8.0
"""From this drive on a saturation counts as a distortion; of a weaker one nobody can say."""

LIMITED_LUFS: Final = -16.0
"""A limiter to more than this may compress, so of a compressor nobody can say."""

STEEPEST: Final = 1.5
"""The largest label of a curve, up or down, in units of 20 dB: beyond a band limit it says no more."""

CURVE_BANDS: Final = StudioModelConfig.spectrum_bands
CURVE_HZ: Final = octave_centres(CURVE_BANDS)
"""Where curves are given: at the bands of the long-term spectrum that a studio model analyses."""

VERSIONS: Final = 2
"""How many pairs of an input and a target are made of each passage."""


Styles = Literal["published", "chain", "produced"]
"""Where inputs and targets come from: `published`: the corruptions of the published evaluation on both sides. `chain`:
inputs are as recorded, and targets are made by the chain, with some of its effects at random settings. `produced`:
productions as in protocol Q, most of them with a reference of another voice or song."""

STYLES: Final[tuple[Styles, ...]] = ("published", "chain", "produced")


@dataclass(frozen=True)
class TrainingPairs:
    """Inputs and targets with their labels: of a passage, in all its versions, or of a batch of passages.

    Args:
        inputs: Both halves of each passage as inputs.
        targets: Both halves as they are to become.
        references: What they are to sound like: of the same passage, the target's other half.
        active: Whether each effect of the chain is in a target; NaN where nobody can say.
        knobs: Where the chain's knobs were, or would be for what published dynamics did; NaN where nobody can say.
        curves: What equalisers make of an input to come to its target, in units of 20 dB, at `CURVE_HZ`; 0 above what
            the sample rate holds.
        sample_rate: Samples a second.

    Shape:
        inputs, targets, references: (n, VERSIONS, 2, T); active: (n, VERSIONS, E); knobs: (n, VERSIONS, P); curves:
        (n, VERSIONS, bands); of a passage, without n.
    """

    inputs: Array
    targets: Array
    references: Array
    active: Array
    knobs: Array
    curves: Array
    sample_rate: int


def draw_pairs(
    datasets: Sequence[Dataset],
    split: str,
    chain: Chain,
    *,
    styles: Styles,
    passages: int,
    clips: int,
    augment: bool,
    rng: np.random.Generator,
) -> TrainingPairs:
    """Draw passages of one of the datasets, and make pairs of them.

    Args:
        datasets: The clips: of voices in the first, of songs in the others, each a speaker's; they may differ in their
            sample rates.
        split: `train`, `val` or `test`.
        chain: The chain to be learned.
        styles: Where inputs and targets come from.
        passages: How many.
        clips: Clips of half a passage.
        augment: Whether to make other voices of those there are, by speed, spectrum and level; of all datasets but the
            first other songs, by playing some of them together; and to produce some at a lower sample rate.
        rng: The source of chance.

    Raises:
        SettingsError: No speaker of the split has two clips.
    """
    # As with speakers: the larger dataset comes more often, but far less than in proportion.
    weights = np.array([len(dataset) for dataset in datasets]) ** VOICE_SHARE
    number = rng.choice(len(datasets), p=weights / weights.sum())
    dataset = datasets[number]
    rate = dataset.sample_rate
    if augment and rng.random() < LOWERED:
        rate = min(rate, LOWER_RATE)
    made = []
    for _ in range(passages):
        source = Passages(dataset, split, clips=clips, augment=augment, songs=bool(number), rate=rate)
        speaker, base = source.draw(rng)
        if styles == "published":
            made.append(_published(base, chain, rng, rate, augment))
        elif styles == "chain":
            made.append(_by_chain(base, chain, rng, rate))
        else:
            other = source.draw(rng, unlike=speaker)[1] if rng.random() < OTHERS else None
            made.append(_produced(base, other, chain, rng, rate, augment, songs=bool(number)))
    arrays = {
        name: np.stack([getattr(of_one, name) for of_one in made])
        for name in ("inputs", "targets", "references", "active", "knobs", "curves")
    }
    for name in ("inputs", "targets", "references"):
        arrays[name] = arrays[name].reshape(passages, VERSIONS, 2, -1)
    return TrainingPairs(**arrays, sample_rate=rate)


def drawn_rates(datasets: Sequence[Dataset]) -> tuple[int, ...]:
    """Return the sample rates that training pairs of some datasets have, the lowest first."""
    own = {dataset.sample_rate for dataset in datasets}
    return tuple(sorted(own | {min(max(own), LOWER_RATE)}))


@dataclass(frozen=True)
class _Corrupted:
    """One side of a published pair.

    Args:
        sound: What became of the passage.
        curve: What its equaliser did, in units of 20 dB.
        gain_db: By how much its level was changed behind the equaliser.
        dynamics: Which expander or compressor it went through.
        undoing: The settings that undo an expander.
    """

    sound: Samples
    curve: Array
    gain_db: float
    dynamics: DynamicsCorruption | None
    undoing: Mapping[str, float]


def _published(base: Samples, chain: Chain, rng: np.random.Generator, rate: int, augment: bool) -> TrainingPairs:
    """Make pairs by the corruptions of the published evaluation, on both sides."""
    base = _at_peak(base, BASE_PEAK_DB)
    if augment and rng.random() < AUGMENTED:
        base = _at_peak(sox.filtered(base, _microphone(rng, rate)), BASE_PEAK_DB)
    inputs = [_published_input(base, chain, rng, rate, augment) for _ in range(VERSIONS)]
    targets = [_published_target(base, rng, rate, augment) for _ in range(VERSIONS)]
    # Of an equaliser nobody can say: what the input has is to be undone, too.
    compressing_label = chain.gain[0] if chain.gain else "compressor"
    certain = {
        "upward_compressor": [float(bool(x.undoing)) for x in inputs],
        "parametric_eq": [np.nan] * VERSIONS,
        compressing_label: [float(y.dynamics is not None) for y in targets],
    }
    active = np.array([certain.get(label, [0.0] * VERSIONS) for label in chain.labels], np.float32).T
    middle = _middle(rate)
    knobs, curves = [], []
    for x, y in zip(inputs, targets, strict=True):
        curves.append(y.curve - x.curve)
        before_db = x.gain_db - 20 * float(curves[-1][middle].mean())
        compressing = _compressing(y.dynamics, before_db, y.gain_db)
        knobs.append(_knobs(chain, {"upward_compressor": x.undoing, compressing_label: compressing}))
    before, after = (np.stack([side.sound for side in of_all]) for of_all in (inputs, targets))
    return TrainingPairs(before, after, _other_halves(after), active, np.stack(knobs), np.stack(curves), rate)


def _other_halves(x: Samples) -> Samples:
    """Swap the halves of passages: (VERSIONS, 1, 2 * T)."""
    return np.concatenate(np.split(x, 2, axis=-1)[::-1], axis=-1)


def _published_input(base: Samples, chain: Chain, rng: np.random.Generator, rate: int, augment: bool) -> _Corrupted:
    x, curve = _equalised(base, rng, rate)
    gain_db = 0.0
    if x is not base:
        gain_db -= _peak_db(x) - BASE_PEAK_DB
        x = _at_peak(x, BASE_PEAK_DB)
    expander = draw_expander(rng) if rng.random() < (EXPANDED_MORE if augment else EXPANDED) else None
    if expander is not None:
        x = expander.apply(x, sample_rate=rate)
    peak_db = BASE_PEAK_DB + _gain_db(rng, augment)
    gain_db += peak_db - _peak_db(x)
    undoing, rise_db = _undoing(chain, expander, peak_db - _peak_db(x))
    sound = _stored(_at_peak(x, peak_db), rng, augment)
    return _Corrupted(sound, curve, gain_db + rise_db, expander, undoing)


def _published_target(base: Samples, rng: np.random.Generator, rate: int, augment: bool) -> _Corrupted:
    x, curve = _equalised(base, rng, rate)
    compressor = draw_compressor(rng) if rng.random() < COMPRESSED else None
    if compressor is not None:
        x = compressor.apply(x, sample_rate=rate)
    peak_db = BASE_PEAK_DB + _gain_db(rng, augment)
    gain_db = peak_db - _peak_db(x)
    return _Corrupted(_stored(_at_peak(x, peak_db), rng, augment), curve, gain_db, compressor, {})


def _equalised(x: Samples, rng: np.random.Generator, rate: int) -> tuple[Samples, Array]:
    """Equalise as the published evaluation does, or not at all; return the curve as well."""
    if rng.random() >= EQUALISED:
        return x, np.zeros(CURVE_BANDS, np.float32)
    equaliser = draw_frequency_corruption(rng, sample_rate=rate)
    return equaliser.apply(x, sample_rate=rate), _curve(equaliser.sections(sample_rate=rate), rate)


def _middle(rate: int) -> NDArray[np.bool_]:
    """Mark the bands of a curve that have to do with level."""
    middle: NDArray[np.bool_] = (CENTRE_HZ[0] <= CURVE_HZ) & (
        np.minimum(CENTRE_HZ[1], BANDWIDTH * rate / 2) >= CURVE_HZ
    )
    return middle


def _compressing(compressor: DynamicsCorruption | None, before_db: float, after_db: float) -> dict[str, float]:
    """Return the settings of a chain's compressor for what a published one did.

    Args:
        compressor: What was drawn; None for none.
        before_db: How much louder the input is, once equalised, than what the published compressor was given.
        after_db: By how much the level was changed behind it.
    """
    if compressor is None:
        return {"ratio": 1.0, "makeup_db": after_db - before_db}
    return {
        "ratio": compressor.ratio,
        "makeup_db": compressor.makeup_db + after_db - before_db,
        "threshold_db": compressor.threshold_db + before_db,
        **_times(compressor),
    }


def _undoing(chain: Chain, expander: DynamicsCorruption | None, after_db: float) -> tuple[dict[str, float], float]:
    """Return the settings of a chain's upward compressor that undo a published expander.

    Where an expander's level e follows a signal's with a time constant T, the power e^ratio follows the level of what
    it leaves with T / ratio: d(e^ratio) = ratio * e^(ratio - 1) * (x - e) / T. So such a one finds the gain to undo.

    Args:
        chain: The chain.
        expander: What was drawn; None for none.
        after_db: By how much the level was changed behind it.

    Returns:
        The settings, none where there is nothing to undo; and how much louder than what the expander was given the
        sound is that they leave.
    """
    highest_db = next((p.maximum for label, p in chain.knobs if label == "upward_compressor"), None)
    if expander is None or highest_db is None:
        return {}, 0.0
    threshold_db = expander.threshold_db + expander.makeup_db + after_db
    # Above every level of the signal it does not matter how far: the rest is a gain.
    held_db = min(threshold_db, highest_db)
    settings = {
        "ratio": expander.ratio,
        "threshold_db": held_db,
        **{name: ms / expander.ratio for name, ms in _times(expander).items()},
    }
    return settings, expander.makeup_db - (threshold_db - held_db) * (1 - 1 / expander.ratio)


def _times(dynamics: DynamicsCorruption) -> dict[str, float]:
    # SoX's time constants are those of an exponential; ours are 2 pi times as long for the same.
    return {"attack_ms": 2 * np.pi * dynamics.attack_ms, "release_ms": 2 * np.pi * dynamics.release_ms}


def _knobs(chain: Chain, values: Mapping[str, Mapping[str, float]]) -> Array:
    """Return where a chain's knobs are for the known settings of its effects; NaN for the others."""
    known = [(p, values.get(label, {}).get(p.name)) for label, p in chain.knobs]
    return np.array([np.nan if value is None else p.to_knob(value) for p, value in known], np.float32)


def _by_chain(base: Samples, chain: Chain, rng: np.random.Generator, rate: int) -> TrainingPairs:
    """Make pairs whose targets are the chain's, with some of its effects at random settings."""
    inputs, targets, active, knobs, curves = [], [], [], [], []
    for _ in range(VERSIONS):
        inputs.append(_at_peak(base, float(rng.uniform(-20, -3))))
        count = int(rng.integers(1, len(chain.effects) + 1))
        audible = rng.permutation(len(chain.effects))[:count]
        at, table = draw_settings(chain, [chain.labels[index] for index in audible], rng)
        targets.append(chain.exact(table, sample_rate=rate, channels=1)(inputs[-1]))
        curve = np.zeros(CURVE_BANDS, np.float32)
        for stage in chain.stages(table):
            if isinstance(stage.effect, ParametricEQ):
                curve += _curve(stage.effect.sections(stage.values, sample_rate=rate), rate)
        active.append(np.isin(np.arange(len(chain.effects)), audible).astype(np.float32))
        _move_gain_behind_equaliser(chain, at, 20 * float(curve[_middle(rate)].mean()))
        of_knobs = np.repeat(active[-1], [sum(label == mine for mine, _ in chain.knobs) for label in chain.labels])
        knobs.append(np.where(of_knobs > 0, at, np.nan).astype(np.float32))
        curves.append(curve)
    before, after = np.stack(inputs), np.stack(targets)
    return TrainingPairs(before, after, _other_halves(after), np.stack(active), np.stack(knobs), np.stack(curves), rate)


def _produced(
    base: Samples,
    other: Samples | None,
    chain: Chain,
    rng: np.random.Generator,
    rate: int,
    augment: bool,
    *,
    songs: bool,
) -> TrainingPairs:
    """Make pairs by productions, as in protocol Q; the reference is of another passage, or of this one."""
    base = _at_peak(base, BASE_PEAK_DB)
    if other is not None:
        other = _at_peak(other[:, : other.shape[1] // 2], BASE_PEAK_DB)  # one reference serves both halves
    if augment and rng.random() < AUGMENTED:
        microphones = [_microphone(rng, rate), _microphone(rng, rate)]
        base = _at_peak(sox.filtered(base, microphones[0]), BASE_PEAK_DB)
        if other is not None:
            same = rng.random() < SAME_MICROPHONE
            other = _at_peak(sox.filtered(other, microphones[0 if same else 1]), BASE_PEAK_DB)
    inputs, targets, references, active, curves = [], [], [], [], []
    for _ in range(VERSIONS):
        style = _style(rng, rate, songs)
        own = _style(rng, rate, songs) if rng.random() < PRODUCED else Production(())
        x = own.apply(base, sample_rate=rate)
        if augment or not own.steps:
            x = _at_peak(x, _peak_db(x) + float(rng.uniform(*GAINS_DB)) if augment else BASE_PEAK_DB)
        inputs.append(_stored(x, rng, augment))
        targets.append(_stored(style.apply(base, sample_rate=rate), rng, augment))
        if other is None:
            references.append(_other_halves(targets[-1]))
        else:
            references.append(np.tile(_stored(style.apply(other, sample_rate=rate), rng, augment), (1, 2)))
        active.append(_active(chain, own, style))
        curve = _curve(style.sections(sample_rate=rate), rate) - _curve(own.sections(sample_rate=rate), rate)
        curves.append(np.clip(curve, -STEEPEST, STEEPEST))
    knobs = np.full((VERSIONS, len(chain.knobs)), np.nan, np.float32)
    before, after, like = (np.stack(of_all) for of_all in (inputs, targets, references))
    return TrainingPairs(before, after, like, np.stack(active), knobs, np.stack(curves), rate)


def _style(rng: np.random.Generator, rate: int, songs: bool) -> Production:
    only: Literal["distortion", "reverb"] | None = None
    if rng.random() < STRONG:
        only = "distortion" if rng.random() < 0.5 else "reverb"
    return draw_production(rng, sample_rate=rate, music=songs, only=only)


def _active(chain: Chain, own: Production, style: Production) -> Array:
    """Say which effects of a chain turn one production into another; NaN where nobody can say."""

    def has(production: Production, kind: type) -> bool:
        return any(isinstance(step, kind) for step in production.steps)

    def wanted(kind: type, *, unsure: bool = False) -> float:
        if has(own, kind):
            return np.nan if has(style, kind) else 0.0  # nothing of the chain takes a reverberation away
        return 1.0 if has(style, kind) and not unsure else (np.nan if unsure else 0.0)

    limits = any(isinstance(step, LoudnessLimiter) and step.lufs > LIMITED_LUFS for step in style.steps)
    mild = any(isinstance(step, Saturation) and step.drive_db < AUDIBLE_DRIVE_DB for step in style.steps)
    compressed = wanted(SoftKneeCompressor)
    certain = {
        "upward_compressor": np.nan if has(own, SoftKneeCompressor) else 0.0,
        "parametric_eq": np.nan if has(own, Filter) or has(style, Filter) else 0.0,
        chain.gain[0] if chain.gain else "compressor": np.nan if not compressed and limits else compressed,
        "distortion": wanted(Saturation, unsure=mild),
        "reverb": wanted(Room),
    }
    return np.array([certain.get(label, 0.0) for label in chain.labels], np.float32)


def _move_gain_behind_equaliser(chain: Chain, at: NDArray[np.float64], gain_db: float) -> None:
    """Move what an equaliser does to the level into the knobs behind it, for a model's curve leaves the level alone."""
    equalisers = {
        label for label, effect in zip(chain.labels, chain.effects, strict=True) if isinstance(effect, ParametricEQ)
    }
    behind = max((index for index, (label, _) in enumerate(chain.knobs) if label in equalisers), default=0)
    moves = {"threshold_db": -gain_db, "makeup_db": gain_db}
    for index, (label, p) in enumerate(chain.knobs):
        if gain_db and index >= behind and p.name in moves:
            value = p.to_value(at[index]) + moves[p.name]
            at[index] = p.to_knob(value) if p.minimum <= value <= p.maximum else np.nan
            if (label, p.name) == chain.gain:  # what comes behind it gets the level that it had
                break


def draw_settings(
    chain: Chain, labels: Sequence[str], rng: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[Setting, ...]]:
    """Draw random settings of some of a chain's effects; the others are bypassed.

    Every knob is anywhere on its range, but for the gains of an equaliser's bands: most of those are moderate, for ten
    bands at the ends of their ranges are no equaliser that anybody would set.

    Args:
        chain: The chain.
        labels: Which of its effects are to be audible.
        rng: The source of chance; only its `random` is asked, whose numbers are the same on any machine.

    Returns:
        Where the knobs are, and the table.
    """
    knobs = np.array([rng.random() for _ in chain.knobs])
    for index, (_, parameter) in enumerate(chain.knobs):
        if parameter.name.endswith("_gain_db") and len(chain.knobs) > 12:
            # The mean of three is near the middle more often than not.
            knobs[index] = (knobs[index] + rng.random() + rng.random()) / 3
    bypassed = [label for label in chain.labels if label not in labels]
    return knobs, chain.settings(knobs, bypassed=bypassed)


def random_curve(rng: np.random.Generator, *, sample_rate: int) -> Array:
    """Draw what the published evaluation's equalisers make of an input to come to its target.

    Shape:
        (bands,), in units of 20 dB.
    """
    curve = np.zeros(CURVE_BANDS, np.float32)
    for sign in (-1, 1):
        if rng.random() < EQUALISED:
            equaliser = draw_frequency_corruption(rng, sample_rate=sample_rate)
            curve += sign * _curve(equaliser.sections(sample_rate=sample_rate), sample_rate)
    return curve


def _curve(sections: NDArray[np.float64], rate: int) -> Array:
    """Give the response of sections at the bands' centres, in units of 20 dB."""
    curve = np.zeros(CURVE_BANDS, np.float32)
    if len(sections):
        there = BANDWIDTH * rate / 2 >= CURVE_HZ
        delay = np.exp(-1j * (CURVE_HZ[there] * (2 * np.pi / rate)))
        b0, b1, b2, a0, a1, a2 = sections.T[:, :, None]
        response = np.prod((b0 + delay * (b1 + delay * b2)) / (a0 + delay * (a1 + delay * a2)), axis=0)
        curve[there] = np.log10(np.maximum(np.abs(response), 1e-6))
    return curve


def _microphone(rng: np.random.Generator, rate: int) -> NDArray[np.float64]:
    """Draw what another microphone makes of a voice's spectrum, as second-order sections."""
    highest = HIGHEST * rate / 2
    bands = [
        sox.bass(rng.uniform(80, 600), rng.uniform(-COLOUR_DB, COLOUR_DB), sample_rate=rate),
        sox.treble(rng.uniform(1500, 8000), rng.uniform(-COLOUR_DB, COLOUR_DB), sample_rate=rate),
    ]
    for _ in range(3):
        hz = math.exp(rng.uniform(math.log(120), math.log(highest)))
        bands.append(sox.equalizer(hz, rng.uniform(0.4, 2.5), rng.uniform(-COLOUR_DB, COLOUR_DB), sample_rate=rate))
    return np.concatenate(bands)


def _gain_db(rng: np.random.Generator, augment: bool) -> float:
    return float(rng.uniform(*GAINS_DB)) if augment and rng.random() < REGAINED else 0.0


def _stored(x: Samples, rng: np.random.Generator, augment: bool) -> Samples:
    """Round to 16 bits, as a file would, or leave it as it is."""
    if not augment or rng.random() >= KEPT_IN_16_BITS:
        return x
    return (np.round(x * np.float32(1 << 15)) / np.float32(1 << 15)).astype(np.float32)


def _peak_db(x: Samples) -> float:
    return 20 * math.log10(max(float(np.abs(x).max()), 1e-6))


def _at_peak(x: Samples, db: float) -> Samples:
    scaled: Samples = x * np.float32(10 ** (db / 20) / max(float(np.abs(x).max()), 1e-6))
    return scaled
