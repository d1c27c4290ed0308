"""What a studio model learns from: passages of a voice or a song, each produced in several ways."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fxst import audio
from fxst.audio import Samples
from fxst.chains.chain import Chain
from fxst.data import sox
from fxst.data.corruption import HIGHEST, DynamicsCorruption, draw_compressor, draw_expander, draw_frequency_corruption
from fxst.data.manifest import Dataset
from fxst.effects import ParametricEQ
from fxst.effects.parameters import Setting
from fxst.errors import SettingsError
from fxst.models.feature_extractor import BANDWIDTH, octave_centres
from fxst.models.studio import CENTRE_HZ, StudioModelConfig

__all__ = ["CURVE_HZ", "WAYS", "Productions", "draw_productions", "draw_settings", "drawn_rates", "random_curve"]

Array = NDArray[np.float32]

BASE_PEAK_DB: Final = -12.0
EQUALISED: Final = 0.75
EXPANDED: Final = 0.10
COMPRESSED: Final = 0.75
"""How often the published evaluation equalises and expands an input, and compresses a target."""

EXPANDED_MORE: Final = 0.2
"""How often an input is expanded in training: oftener than in the evaluation, for much is missed of such inputs."""

SPEED: Final = (0.72, 1.35)
"""How fast a passage is played in training: other voices, and other instruments, for there are few."""

GAINS_DB: Final = (-14.0, 8.0)
"""By how much levels differ from the published evaluation's, which are all the same."""

COLOUR_DB: Final = 8.0
"""By how much each band of a voice's colour is changed at most."""

VOICE_SHARE: Final = 0.35
"""The power with which the number of a voice's clips tells how often it comes."""

SONG_SHARE: Final = 0.7
"""The same of songs, the recordings of all datasets but the first: most of them are short sounds."""

AUGMENTED: Final = 0.85
REGAINED: Final = 0.3
"""How often speed and colour are changed, and how often the level."""

KEPT_IN_16_BITS: Final = 0.2
"""How often what becomes of a passage has the noise of 16 bits, as files have."""

LOWER_RATE: Final = 24_000
LOWERED: Final = 0.3
"""At which sample rate passages of a higher one are produced, too, and how often."""

MIXED: Final = 0.5
"""How often songs are played together: two at once are another one, as two voices are not."""

MOST_MIXED: Final = 2
"""How many are added to one at most."""

MIXED_DB: Final = (-14.0, 0.0)
"""How loud they are beside it."""

CURVE_BANDS: Final = StudioModelConfig.spectrum_bands
CURVE_HZ: Final = octave_centres(CURVE_BANDS).numpy()
"""Where curves are told: at the bands of the long-term spectrum that a studio model hears."""

WAYS: Final = 2
"""How many pairs of an input and a target each passage is made into."""


@dataclass(frozen=True)
class Productions:
    """A batch of passages.

    Args:
        inputs: Both halves of each passage as inputs, in several ways.
        targets: Both halves as they are to become, way by way: one half is the reference for the other.
        wanted: Whether each effect of the chain is in a target; NaN where nobody can say.
        knobs: Where the chain's knobs were, or would be for what published dynamics did; NaN where nobody can say.
        curves: What equalisers make of an input to come to its target, in units of 20 dB, at `CURVE_HZ`; 0 above what
            the sample rate holds.
        sample_rate: Samples a second.

    Shape:
        inputs, targets: (n, WAYS, 2, T); wanted: (n, WAYS, E); knobs: (n, WAYS, P); curves: (n, WAYS, bands).
    """

    inputs: Array
    targets: Array
    wanted: Array
    knobs: Array
    curves: Array
    sample_rate: int


def draw_productions(
    datasets: Sequence[Dataset],
    split: str,
    chain: Chain,
    *,
    styles: Literal["published", "chain"],
    passages: int,
    clips: int,
    augment: bool,
    rng: np.random.Generator,
) -> Productions:
    """Draw passages of one of the datasets, and produce them.

    Args:
        datasets: The clips: of voices in the first, of songs in the others, each a speaker's; they may differ in their
            sample rates.
        split: `train`, `val` or `test`.
        chain: The chain to be learned.
        styles: `published`: the corruptions of the published evaluation on both sides. `chain`: inputs are as recorded,
            and targets are made by the chain, with some of its effects at random settings.
        passages: How many.
        clips: Clips of half a passage.
        augment: Whether to make other voices of those there are, by speed, colour and level; of all datasets but the
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
    samples = clips * round(dataset.clip_samples * rate / dataset.sample_rate)
    made = []
    for _ in range(passages):
        share = SONG_SHARE if number else VOICE_SHARE
        base = _passage(dataset, split, clips=clips, augment=augment, share=share, rng=rng)
        if augment and number and rng.random() < MIXED:
            for _ in range(rng.integers(1, MOST_MIXED + 1)):
                more = _passage(dataset, split, clips=clips, augment=augment, share=share, rng=rng)
                base = base + more * np.float32(_rms(base) / _rms(more) * 10 ** (rng.uniform(*MIXED_DB) / 20))
        if rate != dataset.sample_rate:
            base = audio.resample(base, source_rate=dataset.sample_rate, target_rate=rate)[:, : 2 * samples]
            base = np.pad(base, ((0, 0), (0, 2 * samples - base.shape[1])))  # of rounding, by a sample or two
        made.append(
            _published(base, chain, rng, rate, augment) if styles == "published" else _by_chain(base, chain, rng, rate)
        )
    inputs, targets, wanted, knobs, curves = (np.stack(every) for every in zip(*made, strict=True))
    shape = (passages, WAYS, 2, samples)
    return Productions(inputs.reshape(shape), targets.reshape(shape), wanted, knobs, curves, rate)


def _passage(
    dataset: Dataset, split: str, *, clips: int, augment: bool, share: float, rng: np.random.Generator
) -> Samples:
    """Draw both halves of a passage, one after the other: (1, 2 * T)."""
    speakers = [mine for mine in dataset.indices_by_speaker(split).values() if len(mine) >= 2]
    if not speakers:
        raise SettingsError(
            f"The dataset {str(dataset.folder)!r} has no speaker with two clips in its {split} split; build it from "
            "more speakers, or of shorter clips."
        )
    # Speakers with more clips come more often, but far less than in proportion, so that no voice takes over.
    weights = np.array([len(mine) for mine in speakers]) ** share
    mine = speakers[rng.choice(len(speakers), p=weights / weights.sum())]
    speed = round(float(rng.uniform(*SPEED)), 3) if augment and rng.random() < AUGMENTED else 1.0
    needed = int(np.ceil(2 * clips * speed))
    if len(mine) >= needed:
        first = int(rng.integers(len(mine) - needed + 1))
        picked = mine[first : first + needed]  # in their order: as they were spoken, for the most part
    else:
        # A speaker with too few clips repeats them, within its own half.
        speed, half = 1.0, len(mine) // 2
        picked = np.concatenate([np.resize(part, clips) for part in (mine[:half], mine[half:])])
    x = dataset.clips(picked).reshape(1, -1)
    samples = 2 * clips * dataset.clip_samples
    if speed != 1:
        x = audio.resample(x, source_rate=round(1000 * speed), target_rate=1000)
    return x[:, :samples]


def drawn_rates(datasets: Sequence[Dataset]) -> tuple[int, ...]:
    """Tell at which sample rates passages of some datasets are produced in training, the lowest first."""
    own = {dataset.sample_rate for dataset in datasets}
    return tuple(sorted(own | {min(max(own), LOWER_RATE)}))


Made = tuple[Array, Array, Array, Array, Array]
"""A passage's inputs, targets, wanted effects, knobs and curves."""


def _published(base: Samples, chain: Chain, rng: np.random.Generator, rate: int, augment: bool) -> Made:
    base = _at_peak(base, BASE_PEAK_DB)
    if augment and rng.random() < AUGMENTED:
        base = _at_peak(_coloured(base, rng, rate), BASE_PEAK_DB)
    inputs, targets, compressors = [], [], []
    expanders: list[dict[str, float]] = []
    input_db, target_db = np.zeros(WAYS), np.zeros(WAYS)
    curves = np.zeros((WAYS, CURVE_BANDS), np.float32)
    for way in range(WAYS):
        x = base
        if rng.random() < EQUALISED:
            equaliser = draw_frequency_corruption(rng, sample_rate=rate)
            x = equaliser.apply(x, sample_rate=rate)
            input_db[way] -= _peak_db(x) - BASE_PEAK_DB
            x = _at_peak(x, BASE_PEAK_DB)
            curves[way] -= _curve(equaliser.sections(sample_rate=rate), rate)
        expander = draw_expander(rng) if rng.random() < (EXPANDED_MORE if augment else EXPANDED) else None
        if expander is not None:
            x = expander.apply(x, sample_rate=rate)
        peak_db = BASE_PEAK_DB + _gain_db(rng, augment)
        input_db[way] += peak_db - _peak_db(x)
        undoing, rise_db = _undoing(chain, expander, peak_db - _peak_db(x))
        expanders.append(undoing)
        input_db[way] += rise_db
        inputs.append(_kept(_at_peak(x, peak_db), rng, augment))
    for way in range(WAYS):
        x = base
        if rng.random() < EQUALISED:
            equaliser = draw_frequency_corruption(rng, sample_rate=rate)
            x = equaliser.apply(x, sample_rate=rate)
            curves[way] += _curve(equaliser.sections(sample_rate=rate), rate)
        compressors.append(draw_compressor(rng) if rng.random() < COMPRESSED else None)
        if compressors[-1] is not None:
            x = compressors[-1].apply(x, sample_rate=rate)
        peak_db = BASE_PEAK_DB + _gain_db(rng, augment)
        target_db[way] = peak_db - _peak_db(x)
        targets.append(_kept(_at_peak(x, peak_db), rng, augment))
    # Of an equaliser nobody can say: what the input has is to be undone, too.
    certain = {
        "upward_compressor": [float(bool(settings)) for settings in expanders],
        "parametric_eq": [np.nan] * WAYS,
        "compressor": [float(c is not None) for c in compressors],
    }
    wanted = np.array([certain.get(effect.name, [0.0] * WAYS) for effect in chain.effects], np.float32).T
    middle = _middle(rate)
    knobs = np.stack(
        [
            _knobs(
                chain,
                {
                    "upward_compressor": expanders[way],
                    "compressor": _compressing(
                        compressors[way], input_db[way] - 20 * float(curves[way, middle].mean()), target_db[way]
                    ),
                },
            )
            for way in range(WAYS)
        ]
    )
    return np.stack(inputs), np.stack(targets), wanted, knobs, curves


def _middle(rate: int) -> NDArray[np.bool_]:
    """Tell which bands of a curve have to do with level."""
    middle: NDArray[np.bool_] = (CENTRE_HZ[0] <= CURVE_HZ) & (
        np.minimum(CENTRE_HZ[1], BANDWIDTH * rate / 2) >= CURVE_HZ
    )
    return middle


def _compressing(compressor: DynamicsCorruption | None, before_db: float, after_db: float) -> dict[str, float]:
    """Say how a chain's compressor would be set for what a published one did.

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
    """Say how a chain's upward compressor would be set to undo a published expander.

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
    # Above all that sounds it does not matter how far: the rest is a gain.
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
    """Say where a chain's knobs are for what is known of its effects; NaN for the others."""
    known = [(p, values.get(label, {}).get(p.name)) for label, p in chain.knobs]
    return np.array([np.nan if value is None else p.to_knob(value) for p, value in known], np.float32)


def _by_chain(base: Samples, chain: Chain, rng: np.random.Generator, rate: int) -> Made:
    inputs, targets, wanted, knobs = [], [], [], []
    curves = np.zeros((WAYS, CURVE_BANDS), np.float32)
    equalisers = {
        label for label, effect in zip(chain.labels, chain.effects, strict=True) if isinstance(effect, ParametricEQ)
    }
    behind = max((index for index, (label, _) in enumerate(chain.knobs) if label in equalisers), default=0)
    for way in range(WAYS):
        inputs.append(_at_peak(base, float(rng.uniform(-20, -3))))
        count = int(rng.integers(1, len(chain.effects) + 1))
        heard = rng.permutation(len(chain.effects))[:count]
        labels = [chain.labels[index] for index in heard]
        at, table = draw_settings(chain, labels, rng)
        targets.append(chain.exact(table, sample_rate=rate, channels=1)(inputs[-1]))
        for stage in chain.stages(table):
            if isinstance(stage.effect, ParametricEQ):
                curves[way] += _curve(stage.effect.sections(stage.values, sample_rate=rate), rate)
        wanted.append(np.isin(np.arange(len(chain.effects)), heard).astype(np.float32))
        # A model's curve leaves the level alone; what this equaliser does to it, the knobs behind it make up for.
        off_db = 20 * float(curves[way, _middle(rate)].mean())
        moves = {"threshold_db": -off_db, "makeup_db": off_db}
        for index, (_, p) in enumerate(chain.knobs):
            if off_db and index >= behind and p.name in moves:
                value = p.to_value(at[index]) + moves[p.name]
                at[index] = p.to_knob(value) if p.minimum <= value <= p.maximum else np.nan
        audible = np.repeat(wanted[-1], [sum(label == mine for mine, _ in chain.knobs) for label in chain.labels])
        knobs.append(np.where(audible > 0, at, np.nan).astype(np.float32))
    return np.stack(inputs), np.stack(targets), np.stack(wanted), np.stack(knobs), curves


def draw_settings(
    chain: Chain, labels: Sequence[str], rng: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[Setting, ...]]:
    """Draw random settings of some of a chain's effects; the others are bypassed.

    Every knob is anywhere on its range, but for the gains of an equaliser's bands: most of those are moderate, for ten
    bands at the ends of their ranges are no equaliser that anybody would set.

    Args:
        chain: The chain.
        labels: Which of its effects are to be heard.
        rng: The source of chance; only its `random` is asked, whose numbers are the same on any machine.

    Returns:
        Where the knobs are, and the table.
    """
    import torch

    knobs = np.array([rng.random() for _ in chain.knobs])
    for index, (_, parameter) in enumerate(chain.knobs):
        if parameter.name.endswith("_gain_db") and len(chain.knobs) > 12:
            # The mean of three is near the middle more often than not.
            knobs[index] = (knobs[index] + rng.random() + rng.random()) / 3
    bypassed = [label for label in chain.labels if label not in labels]
    return knobs, chain.settings(torch.from_numpy(knobs), bypassed=bypassed)


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
    from scipy.signal import sosfreqz

    curve = np.zeros(CURVE_BANDS, np.float32)
    if len(sections):
        there = BANDWIDTH * rate / 2 >= CURVE_HZ
        _, response = sosfreqz(sections, CURVE_HZ[there] * (2 * np.pi / rate))
        curve[there] = np.log10(np.maximum(np.abs(response), 1e-6))
    return curve


def _coloured(x: Samples, rng: np.random.Generator, rate: int) -> Samples:
    """Give a voice another colour, as another microphone would."""
    highest = HIGHEST * rate / 2
    bands = [
        sox.bass(rng.uniform(80, 600), rng.uniform(-COLOUR_DB, COLOUR_DB), sample_rate=rate),
        sox.treble(rng.uniform(1500, 8000), rng.uniform(-COLOUR_DB, COLOUR_DB), sample_rate=rate),
    ]
    for _ in range(3):
        hz = math.exp(rng.uniform(math.log(120), math.log(highest)))
        bands.append(sox.equalizer(hz, rng.uniform(0.4, 2.5), rng.uniform(-COLOUR_DB, COLOUR_DB), sample_rate=rate))
    return sox.filtered(x, np.concatenate(bands))


def _gain_db(rng: np.random.Generator, augment: bool) -> float:
    return float(rng.uniform(*GAINS_DB)) if augment and rng.random() < REGAINED else 0.0


def _kept(x: Samples, rng: np.random.Generator, augment: bool) -> Samples:
    """Keep what was made as a file of 16 bits would, or as it is."""
    if not augment or rng.random() >= KEPT_IN_16_BITS:
        return x
    return (np.round(x * np.float32(1 << 15)) / np.float32(1 << 15)).astype(np.float32)


def _rms(x: Samples) -> float:
    return max(math.sqrt(float(np.square(x, dtype=np.float64).mean())), 1e-6)


def _peak_db(x: Samples) -> float:
    return 20 * math.log10(max(float(np.abs(x).max()), 1e-6))


def _at_peak(x: Samples, db: float) -> Samples:
    scaled: Samples = x * np.float32(10 ** (db / 20) / max(float(np.abs(x).max()), 1e-6))
    return scaled
