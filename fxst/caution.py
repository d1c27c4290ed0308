"""Doing no harm: what a model chose is tried on an excerpt, and turned down where it would make a recording worse."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.audio import Samples
from fxst.chain import Chain
from fxst.effects import UpwardCompressor
from fxst.errors import SettingsError
from fxst.parameters import Setting
from fxst.spectra import third_octaves

__all__ = [
    "AMOUNTS",
    "MOST_NOISE_DB",
    "Excerpt",
    "Moments",
    "Traits",
    "Trial",
    "belief",
    "cautious",
    "distance_db",
    "levelled",
    "louder_db",
    "mixed",
    "noise_floor_db",
    "softness",
    "traits",
]

AMOUNTS: Final = (1.0, 0.9, 0.8, 0.65, 0.5, 0.25, 0.0)
"""How much of what was chosen is tried, from all to nothing."""

MOST_NOISE_DB: Final = 9.0
"""By how much a noise floor may rise against what sounds, beyond the recording's or the reference's own, whichever is
noisier. A gain raises both, and makes nothing noisier."""

MOST_RISE_DB: Final = 24.0
"""By how much it may rise in all, above the recording's or the reference's own: what is but noise is to stay that."""

LEAD_SECONDS: Final = 1.0
"""So much of an excerpt is played before it, for followers to settle and reverbs to fill."""

FRAME_SECONDS: Final = 0.05
FLOOR_PERCENTILE: Final = 10
LOUD_PERCENTILE: Final = 95
RANGE_DB: Final = 70.0
"""Bands further than this below the loudest one are equally silent."""

SILENCE: Final = 1e-10

NO_LEVEL_DB: Final = -100.0
"""The level of nothing."""

GATE_DB: Final = 10.0
RANGE_GATE_DB: Final = 20.0
FRAME_FLOOR: Final = 1e-7
"""Moments further than this below the mean of all, or softer than -70 dB, are pauses and no level."""

DOUBT_DB: Final = 1.5
"""By how much a distance between recordings of other contents may grow by chance."""

CREST_COUNTS, RANGE_COUNTS = 0.25, 0.5
"""How much a decibel of crest factor and of range count, beside one of the spectrum: a crest is one peak's word."""

ALIKE_DB: Final = 2.0
"""How far apart, root mean square over bands, two alike moments are."""

LEVEL_COUNTS: Final = 0.5
"""How much the square of what two moments' levels are apart counts, beside that of their spectra's shapes."""

ROUNDS: Final = 3
"""So often moments are paired, each time as loud as the time before told."""

PAIRS_SHARE: Final = 0.75
"""How far to go from what the loudness of all that sounds tells to what pairs of moments tell."""

NEAR_LOUDEST_DB: Final = 15.0
"""Moments of a reference no further than this below its loudest one tell how loud it is."""

ENOUGH: Final = {"level": 8, "pairs": 30, "chosen": 200}
"""From so many such moments, of a fiftieth of a second, all is believed; from fewer as much less: of the reference's
level, of what pairs tell, and of what a model chose, which heard the pauses around them too. Fitted to speech of
validation voices, with references of which all but 0.05 to 1.5 s was turned down."""


@dataclass(frozen=True)
class Excerpt:
    """Parts of a recording, one after the other.

    Args:
        samples: The audio.
        sample_rate: Samples a second.

    Shape:
        samples: (channels, time).
    """

    samples: Samples
    sample_rate: int


@dataclass(frozen=True)
class Traits:
    """How a recording was produced, whatever is said in it: what two recordings of other contents can be compared by.

    Args:
        colour_db: The long-term spectrum: the power in each third octave, in dB, by the band's centre in Hz.
        level_db: The mean power of the moments in which something sounds; pauses would tell of what is said.
        crest_db: How far the highest peak is above it.
        range_db: How far the loud moments are above the soft ones.
        floor_db: The level that a tenth of all moments stay under.
    """

    colour_db: Mapping[float, float]
    level_db: float
    crest_db: float
    range_db: float
    floor_db: float

    @property
    def noise_db(self) -> float:
        """Tell how high the noise floor is against what sounds: negative, and the nearer to 0 the noisier."""
        return self.floor_db - self.level_db


@dataclass(frozen=True)
class Moments:
    """How loud short moments are, one by one: alike ones tell of a gain, whatever else is said around them.

    Args:
        hear: Tells the levels of the moments in which something sounds, in dB by band.
        reference: Those of the reference, in the same bands.

    Shape:
        hear: gives `(n, bands)`; reference: `(m, bands)`; n and m may be 0.
    """

    hear: Callable[[Excerpt], npt.NDArray[np.float32]]
    reference: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """What came of trying.

    Args:
        settings: The table to apply.
        amount: How much of what was chosen is in it.
        before_db: How far the excerpt is from the reference as it is.
        after_db: How far it is with these settings.
        noisy: Whether noise was why some of it was left out.
        lifted: How much of its upward compressor is in it, which raises what is soft.
    """

    settings: tuple[Setting, ...]
    amount: float
    before_db: float
    after_db: float
    noisy: bool
    lifted: float = 1.0

    @property
    def remark(self) -> str:
        """Say how much of a style was applied, and why not more; nothing where all of it was."""
        if self.amount == self.lifted == 1:
            return ""
        done = f"{self.amount:.0%} of the style was applied" if self.amount else "nothing was changed"
        if self.amount and self.lifted < 1:
            done += f", and {self.lifted:.0%} of that of its upward compressor"
        if self.noisy:
            limits = f"{MOST_NOISE_DB:g} dB against what sounds, or {MOST_RISE_DB:g} dB in all"
            return f"{done}: more would have raised noise by more than {limits}"
        return f"{done}: more did not bring the recording nearer to the reference"


def traits(x: Excerpt) -> Traits:
    """Tell how a recording was produced, from parts of it."""
    centres_hz, bands_db = third_octaves(_sounding(x), sample_rate=x.sample_rate)
    mean_db = 10 * np.log10(np.mean(10 ** (bands_db / 10), axis=0))
    return Traits(
        colour_db=dict(zip(centres_hz.round(3).tolist(), mean_db.tolist(), strict=True)),
        level_db=_level_db(x),
        crest_db=_crest_db(x),
        range_db=_range_db(x),
        floor_db=noise_floor_db(x),
    )


def mixed(several: Sequence[Traits], weights: Sequence[float]) -> Traits:
    """Give the weighted mean of how several recordings were produced, in the bands that all of them have.

    Args:
        several: One or more.
        weights: As many, not negative, and not all 0.
    """
    shares = np.array(weights, np.float64) / np.sum(weights)

    def mean(values: Sequence[float]) -> float:
        return float(shares @ np.array(values))

    shared = sorted(set(several[0].colour_db).intersection(*(one.colour_db for one in several)))
    return Traits(
        colour_db={hz: mean([one.colour_db[hz] for one in several]) for hz in shared},
        level_db=mean([one.level_db for one in several]),
        crest_db=mean([one.crest_db for one in several]),
        range_db=mean([one.range_db for one in several]),
        floor_db=mean([one.floor_db for one in several]),
    )


def cautious(
    chain: Chain, settings: Sequence[Setting], heard: Excerpt, reference: Traits, moments: Moments | None = None
) -> Trial:
    """Try settings on an excerpt, and turn them down where they do harm.

    They are taken whole unless the excerpt is then clearly further from the reference than it was, or noisier, beside
    how loud it is where something sounds: by the level that a tenth of its moments stay under, and by the moments that
    were soft. Where it is noisier, as much of them is taken as may be, and of an upward compressor alone, if that is
    enough; where it is further, as much as comes nearest. Its level is set again then, unless that raised the noise.

    Args:
        chain: The effects.
        settings: What was chosen.
        heard: Of the recording to be changed.
        reference: Of the one to sound like.
        moments: Of both, one by one; None where a model hears none.
    """
    before = traits(heard)
    before_db = distance_db(before, reference)
    most_noise_db = max(before.noise_db, reference.noise_db) + MOST_NOISE_DB
    most_floor_db = max(before.floor_db, reference.floor_db) + MOST_RISE_DB

    def floor_db(result: Excerpt) -> float:
        return min(noise_floor_db(result), before.floor_db + _soft_rise_db(heard, result))

    def is_noisy(result: Excerpt) -> bool:
        return floor_db(result) - _level_db(result) > most_noise_db

    settings, lifted = _lifted(chain, settings, lambda table: is_noisy(_rendered(chain, table, heard)))
    best = Trial(chain.at_amount(settings, 0.0), 0.0, before_db, before_db, noisy=False)
    noisy = lifted < 1
    raised = harmful = False
    for amount in AMOUNTS[:-1]:
        table = chain.at_amount(settings, amount)
        if (amount < 1 or lifted < 1) and not raised:
            table = levelled(chain, table, heard, reference, moments)
        result = _rendered(chain, table, heard)
        too_high = floor_db(result) > most_floor_db
        if too_high or is_noisy(result):
            noisy, raised = True, raised or too_high
            continue
        after_db = distance_db(traits(result), reference)
        near = after_db < before_db + DOUBT_DB
        if near and not harmful:
            # The most that may be: what is less is nearer by chance only.
            return Trial(table, amount, before_db, after_db, noisy, lifted)
        harmful = True
        if after_db < best.after_db:
            best = Trial(table, amount, before_db, after_db, noisy, lifted)
    return best if harmful else replace(best, noisy=noisy)


def _lifted(
    chain: Chain, settings: Sequence[Setting], is_noisy: Callable[[Sequence[Setting]], bool]
) -> tuple[Sequence[Setting], float]:
    """Turn an upward compressor down by itself, where that is enough to keep noise down: all else may stay.

    Returns:
        The table, and how much of the upward compressor is in it.
    """
    values = zip(chain.labels, chain.effects, chain.values(settings), strict=True)
    lifts = [label for label, e, v in values if isinstance(e, UpwardCompressor) and not e.is_transparent(v)]
    if lifts and is_noisy(settings):
        for share in AMOUNTS[1:]:
            table = chain.at_amount(settings, dict.fromkeys(lifts, share))
            if not is_noisy(table):
                return table, share
    return settings, 1.0


def levelled(
    chain: Chain,
    settings: Sequence[Setting],
    heard: Excerpt,
    reference: Traits,
    moments: Moments | None = None,
    *,
    share: float = 1.0,
) -> tuple[Setting, ...]:
    """Turn the make-up gain until what sounds in an excerpt is as loud as what sounds in the reference.

    How far a compressor turns a recording down shows when it is rendered, and not before. That other words are louder
    ones misleads; where moments are known, what alike ones differ by counts for three quarters. The less sounds in the
    reference, the less a model's own choice and pairs count, and the more it counts how loud the recording was.

    Args:
        chain: The effects.
        settings: What was chosen.
        heard: Of the recording to be changed.
        reference: Of the one to sound like.
        moments: Of both, one by one; None where a model hears none.
        share: How far to go: less than all of it lets the gain count that was chosen.

    Returns:
        The table, with another make-up gain where the chain has one; it may leave the chain's range, but not the
        effect's.
    """
    table = tuple(settings)
    index = next((i for i, row in enumerate(table) if row.parameter == "makeup_db"), None)
    if index is None or not heard.samples.any() or reference.level_db <= NO_LEVEL_DB:
        return table
    row = table[index]
    effect = chain.effects[chain.labels.index(row.effect)]
    widest = next(p for p in effect.widest() if p.name == row.parameter)
    rendered = _rendered(chain, table, heard)
    level_db = _level_db(rendered)
    missing_db = reference.level_db - level_db
    if moments is not None:
        by_pairs_db = louder_db(moments.hear(rendered), moments.reference, begin_db=missing_db)
        missing_db += PAIRS_SHARE * belief(moments.reference, "pairs") * (by_pairs_db - missing_db)
        as_it_was_db = _level_db(heard) - level_db
        missing_db = as_it_was_db + belief(moments.reference, "level") * (missing_db - as_it_was_db)
        share = 1 - (1 - share) * belief(moments.reference, "chosen")
    gain_db = min(max(row.value + share * missing_db, widest.minimum), widest.maximum)
    return (*table[:index], replace(row, value=round(gain_db, 3)), *table[index + 1 :])


def _rendered(chain: Chain, settings: Sequence[Setting], x: Excerpt) -> Excerpt:
    """Render an excerpt as the middle of a recording that it is.

    A compressor that begins in the middle of a word lets its onset pass, made up for a compression that is yet to come:
    a peak that the recording's own beginning, which is soft, does not have.
    """
    process = chain.exact(settings, sample_rate=x.sample_rate, channels=len(x.samples))
    process(x.samples[:, : round(LEAD_SECONDS * x.sample_rate)])
    return Excerpt(process(x.samples), x.sample_rate)


def louder_db(frames: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], *, begin_db: float) -> float:
    """Measure how much louder one recording is than another of the same colour, by moments that are alike in both.

    A pair of moments counts for as much as each takes the other for its own, by the shapes of their spectra and, under
    the gain that is known so far, by their levels. A level is half that of the power, which is what is loud, and half
    the mean of the bands', which all of the spectrum tells. A model that looks for a curve pairs moments whatever their
    levels (`fxst.models.matching`); here the curve is done, and levels are what is looked for.

    Args:
        frames: Levels of moments of the one, in dB.
        reference: Of the other.
        begin_db: What is known of it.

    Returns:
        How much louder the reference is; `begin_db` where there is nothing to pair.

    Shape:
        frames: `(n, bands)`; reference: `(m, bands)`.
    """
    if not frames.size or not reference.size:
        return begin_db
    ours, theirs = (np.maximum(x, x.max() - RANGE_DB, dtype=np.float64) for x in (frames, reference))
    # A band that one of the two does not reach says nothing of a gain.
    shared = (ours > ours.max() - RANGE_DB).any(axis=0) & (theirs > theirs.max() - RANGE_DB).any(axis=0)
    if not shared.any():
        return begin_db
    (our_shapes, our_levels), (their_shapes, their_levels) = (_shapes_and_levels(x[:, shared]) for x in (ours, theirs))
    squares = np.square(our_shapes).mean(axis=1)[:, None] + np.square(their_shapes).mean(axis=1)
    unlike = squares - 2 * our_shapes @ their_shapes.T / shared.sum()
    louder = their_levels - our_levels[:, None]
    gain_db = begin_db
    for _ in range(ROUNDS):
        alike = -(unlike + LEVEL_COUNTS * np.square(louder - gain_db)) / (2 * ALIKE_DB**2)
        pairs = _shares(alike, axis=1) * _shares(alike, axis=0)
        gain_db = float((pairs * louder).sum() / pairs.sum())
    return gain_db


def belief(frames: npt.NDArray[np.floating], what: str) -> float:
    """Tell how far to believe what a recording's loud moments say.

    Args:
        frames: Levels of the moments in which something sounds, in dB.
        what: A key of `ENOUGH`.

    Returns:
        From 0, for none, to 1, for enough.

    Shape:
        frames: `(n, bands)`.
    """
    powers = np.power(10, frames / 10, dtype=np.float64).sum(axis=1)
    loud = int(np.count_nonzero(powers > powers.max(initial=0.0) * 10 ** (-NEAR_LOUDEST_DB / 10)))
    return min(1.0, loud / ENOUGH[what])


def softness(moment: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Give what moments are sorted by wherever they are kept: softest first, equal ones side by side."""
    return sum(moment), moment


def _shapes_and_levels(frames: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    means = frames.mean(axis=1)
    powers = 10 * np.log10((10 ** (frames / 10)).sum(axis=1))
    return frames - means[:, None], (means + powers) / 2


def _shares(logits: npt.NDArray[np.float64], *, axis: int) -> npt.NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(shares / shares.sum(axis=axis, keepdims=True))


def _level_db(x: Excerpt) -> float:
    """Measure how loud it is where something sounds, gated as loudness meters gate."""
    power = _frame_powers(x)
    sounding = power[power > FRAME_FLOOR]
    if not len(sounding):
        return 10 * math.log10(float(power.mean()) + SILENCE)
    loud = sounding[sounding > sounding.mean() * 10 ** (-GATE_DB / 10)]
    return 10 * math.log10(float(loud.mean()))


def _sounding(x: Excerpt) -> Samples:
    """Leave out channels without sound; they say nothing of how the others were produced."""
    sounding = np.square(x.samples, dtype=np.float64).mean(axis=1) > SILENCE
    return x.samples[sounding] if sounding.any() else x.samples


def distance_db(x: Traits, reference: Traits) -> float:
    """Measure how differently two recordings were produced, whatever is said in them.

    The mean difference of their long-term spectra in third octaves, a quarter of that of their crest factors, and half
    of that of how far their loud moments are above their soft ones, in dB each, added up.

    Raises:
        SettingsError: They have no band in common, as any two recordings have.
    """
    shared = sorted(x.colour_db.keys() & reference.colour_db.keys())
    if not shared:
        raise SettingsError("The style profile has none of this recording's third octaves: save the style again.")
    ours, theirs = (np.array([one.colour_db[hz] for hz in shared]) for one in (x, reference))
    floor_db = max(ours.max(), theirs.max()) - RANGE_DB
    colour_db = float(np.abs(np.maximum(ours, floor_db) - np.maximum(theirs, floor_db)).mean())
    crest_db, range_db = abs(x.crest_db - reference.crest_db), abs(x.range_db - reference.range_db)
    return colour_db + CREST_COUNTS * crest_db + RANGE_COUNTS * range_db


def noise_floor_db(x: Excerpt) -> float:
    """Measure the level that a tenth of a recording's moments stay under, dBFS; digital silence is no moment."""
    return float(np.percentile(_levels_db(x), FLOOR_PERCENTILE))


def _soft_rise_db(before: Excerpt, after: Excerpt) -> float:
    """Measure by how much the softest tenth of a recording's moments rose, as their median.

    The level that a tenth of moments stay under jumps from pauses to sound when a word reaches into one.
    """
    ours, theirs = _frame_powers(before), _frame_powers(after)
    ours, theirs = ours[ours > SILENCE], theirs[ours > SILENCE]
    if not len(ours):
        return 0.0
    soft = ours <= np.percentile(ours, FLOOR_PERCENTILE)
    return float(np.median(10 * np.log10(np.maximum(theirs[soft], SILENCE) / ours[soft])))


def _range_db(x: Excerpt) -> float:
    """Measure how far loud moments are above soft ones; gated, for how long pauses are tells of what is said.

    Source:
        EBU Tech 3342: the range from the 10th to the 95th percentile above a gate 20 dB below the mean.
    """
    power = _frame_powers(x)
    sounding = power[power > FRAME_FLOOR]
    if not len(sounding):
        return 0.0
    levels_db = 10 * np.log10(sounding[sounding > sounding.mean() * 10 ** (-RANGE_GATE_DB / 10)])
    low, high = np.percentile(levels_db, (FLOOR_PERCENTILE, LOUD_PERCENTILE))
    return float(high - low)


def _levels_db(x: Excerpt) -> npt.NDArray[np.float64]:
    power = _frame_powers(x)
    sounding = power[power > SILENCE]
    return np.asarray(10 * np.log10(sounding if len(sounding) else [SILENCE]))


def _frame_powers(x: Excerpt) -> npt.NDArray[np.float64]:
    """Measure the mean power of the channels that sound, moment by moment."""
    samples = _sounding(x)
    length = min(round(FRAME_SECONDS * x.sample_rate), samples.shape[1])
    count = samples.shape[1] // length
    frames = samples[:, : count * length].reshape(len(samples), count, length)
    return np.asarray(np.square(frames, dtype=np.float64).mean(axis=(0, 2)))


def _crest_db(x: Excerpt) -> float:
    samples = _sounding(x)
    power = float(np.square(samples, dtype=np.float64).mean())
    return 20 * math.log10(float(np.abs(samples).max()) + 1e-9) - 10 * math.log10(power + SILENCE)
