"""Metrics: one function each.

Nothing is normalised first. Each channel is compared on its own and the results are averaged, so that left
and right cannot compensate for one another; a channel that is silent in both is left out. A metric that cannot be
measured is NaN, which an evaluation counts as missing.

Paired metrics follow the target in time, and need the output's shape and sample rate. The others compare a recording
as a whole, and accept other content, length, sample rate or channel counts: if the channel counts differ, they compare
means over the active channels.

Some metrics compare an output with its reference even where there is a target, and one compares it with its input. A
rate is the share of the items on which an output passes a limit, often one that the input sets.
"""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from fxst.dsp import Array
from fxst.dsp.stft import MR_STFT_WINDOWS
from fxst.evaluation import audio_features
from fxst.evaluation.audio_features import AudioFeatures
from fxst.evaluation.sound import CENTROID_WINDOW, FEWEST_FRAMES, SILENCE, EvaluatedSound

__all__ = [
    "COLUMNS",
    "METRICS",
    "RATES",
    "Metric",
    "Rate",
    "af",
    "af_crest",
    "af_spectrum",
    "af_width",
    "cfe",
    "cfe_db",
    "lra_lu",
    "ltas_db",
    "lufs",
    "mae",
    "mrstft",
    "msd",
    "noise_db",
    "noise_floor_db",
    "pesq",
    "pesq_available",
    "rms",
    "rms_db",
    "sce",
    "true_peak_db",
]

PESQ_RATE: Final = 16_000
PESQ_SECONDS: Final = (0.25, 20)
"""Shortest input of PESQ, and the longest that never exceeds 50 utterances: beyond, its C code crashes."""

INAUDIBLE_DB: Final = -80.0
"""Relative to the loudest third octave: at speech level this is about the threshold of hearing."""

FLOOR_SHARE: Final = 0.1

HARM: Final = 1.05
"""An output is clearly further from its target than the input if its MRSTFT exceeds the input's by this factor."""

NOISY_DB: Final = 6.0
"""A noise floor is raised if it lies this far above the target's."""

LOGARITHMS_A_DB: Final = math.log(10)
"""The published level metrics are 20 times the natural logarithm: this many to one dB."""


Against = Literal["target", "either", "reference", "input"]


@dataclass(frozen=True)
class Metric:
    """A metric, and its names in tables and files.

    Args:
        name: Name in files and requirements.
        heading: Name in tables.
        unit: The printed unit.
        measure: Function of output and target; NaN if it cannot be measured.
        against: What the output is compared with: a `target`; the target, or `either` without one the reference; the
            `reference`, even where there is a target; or the `input`, and only where there is no target.
        published: Whether it is one of the seven that DeepAFx-ST was published with.
        higher_is_better: Whether it is a score rather than a distance.
        ratio: Whether a ratio to the input's value has a meaning, as that of two distances.
    """

    name: str
    heading: str
    unit: str
    measure: Callable[[EvaluatedSound, EvaluatedSound], float]
    against: Against = "either"
    published: bool = False
    higher_is_better: bool = False
    ratio: bool = True

    def applies(self, *, has_targets: bool) -> bool:
        """Return whether it is measured on items with or without targets."""
        return self.against not in ({"input"} if has_targets else {"target"})


@dataclass(frozen=True)
class Rate:
    """The share of the items on which an output passes a limit.

    Args:
        name: Name in files and requirements.
        heading: Name in tables.
        metric: The metric that is judged.
        passes: Function of the metric's value for the output and for the input.
        higher_is_better: Whether passing is good.
    """

    name: str
    heading: str
    metric: str
    passes: Callable[[float, float], bool]
    higher_is_better: bool = False
    unit: str = "share"
    published: bool = False
    ratio: bool = False


def pesq_available() -> bool:
    """Return whether the package `pesq` is installed."""
    return importlib.util.find_spec("pesq") is not None


def pesq(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Predict the perceived quality of speech relative to its target, from 1 (bad) to 4.6 (identical).

    NaN without the package `pesq`, and for input that it cannot measure: shorter than a quarter of a second, longer
    than 20 s, or without speech.

    Source:
        ITU-T P.862.2, wide-band.
    """
    _check_pair(output, target)
    try:
        from pesq import PesqError
        from pesq import pesq as opinion
    except ImportError:
        return math.nan
    shortest, longest = (seconds * output.sample_rate for seconds in PESQ_SECONDS)
    if not shortest <= output.frames <= longest:
        return math.nan

    def judge(ours: Array, theirs: Array) -> float:
        try:
            return float(opinion(PESQ_RATE, theirs, ours, "wb"))
        except PesqError:
            return math.nan

    return _mean_by_channel(output, target, (output.at(PESQ_RATE).samples, target.at(PESQ_RATE).samples), judge)


def mrstft(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare short-time spectra at six resolutions, from 32 to 32,768 samples: linear and log magnitudes together.

    The mean over six FFTs of the mean absolute difference of magnitudes and of their natural logarithms; hops of
    half a window, Hann windows, mirrored ends. NaN for a signal shorter than the longest window: a mean over fewer
    resolutions would be another metric under the same name. The windows are counted in samples, so values compare at
    one sample rate only.

    Source:
        C. J. Steinmetz et al., "Style transfer of audio effects with differentiable signal processing", 2022, which
        measures with auraloss' `MultiResolutionSTFTLoss(w_sc=0, w_lin_mag=1, w_log_mag=1)`: the values are equal.
    """
    _check_pair(output, target)
    if output.frames < max(MR_STFT_WINDOWS):
        return math.nan
    total = 0.0
    for window in MR_STFT_WINDOWS:
        difference, bins = 0.0, 0
        for x, y in zip(output.magnitudes(window), target.magnitudes(window), strict=True):
            difference += float(np.abs(x - y).sum() + np.abs(np.log(x / y)).sum())
            bins += x.size
        total += difference / bins
    return total / len(MR_STFT_WINDOWS)


def msd(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare the spectrum in fine detail over seconds: linear and log magnitudes in 128 mel bands together.

    The mean absolute difference of the magnitudes in the bands and of their natural logarithms; FFT, hop and Hann
    window are all 65,536 samples, with mirrored ends. NaN for a signal shorter than the window: most of the frame
    would be its mirror image. Values compare at one sample rate only.

    Source:
        See `mrstft`; auraloss' `MelSTFTLoss(sample_rate, 65536, 65536, 65536, w_sc=0, w_lin_mag=1, w_log_mag=1)`.
    """
    _check_pair(output, target)
    x, y = output.mel_magnitudes, target.mel_magnitudes
    return float(np.abs(x - y).mean() + np.abs(np.log(x / y)).mean()) if x.size else math.nan


def sce(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare brightness: the difference of the mean spectral centroids, in Hz.

    Silent frames have no centroid and are left out. Signals of different sample rates are compared at the lower one,
    the bandwidth that both have.
    """
    rate = min(output.sample_rate, target.sample_rate)
    if min(sound.frames * rate / sound.sample_rate for sound in (output, target)) < CENTROID_WINDOW:
        return math.nan
    return _difference(output.at(rate), target.at(rate), lambda sound: sound.centroid_hz)


def cfe(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare dynamics by crest factor as published, with 20 times the natural logarithm: `cfe_db` times 2.3026."""
    return cfe_db(output, target) * LOGARITHMS_A_DB


def rms(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare levels as published, with 20 times the natural logarithm: `rms_db` times 2.3026."""
    return rms_db(output, target) * LOGARITHMS_A_DB


def lufs(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare the integrated loudness of all channels together, in dB.

    Mono counts as two equal channels, as it is played. NaN for a recording shorter than one gating block of 400 ms, or
    with no block above the gate.

    Source:
        ITU-R BS.1770-4, annex 1.
    """
    return abs(output.loudness_lufs - target.loudness_lufs)


def cfe_db(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare dynamics: the difference of the crest factors (peak over root mean square), in dB."""
    return _difference(output, target, lambda sound: sound.crest_db)


def rms_db(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare levels: the difference of the root mean squares, in dB."""
    return _difference(output, target, lambda sound: sound.rms_db)


def mae(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare waveforms: the mean absolute difference of their samples."""
    _check_pair(output, target)
    return float(np.abs(output.samples - target.samples).mean(dtype=np.float64))


def ltas_db(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare spectrum and level: the mean difference of the long-term average spectra over third octaves, in dB.

    From 20 Hz, or the lowest band that the shorter signal resolves, to the lower of the two Nyquist frequencies. Band
    levels are clipped at 80 dB below the signal's loudest band, and a band below that in both is left out. Pauses are
    included, and lower all bands alike.
    """
    (ours, x), (theirs, y) = output.third_octaves, target.third_octaves
    bands = np.intersect1d(ours, theirs)
    if not len(bands):
        return math.nan

    def distance(x: Array, y: Array) -> float:
        faintest = [float(levels.max()) + INAUDIBLE_DB for levels in (x, y)]
        active = (x > faintest[0]) | (y > faintest[1])
        apart = np.abs(np.maximum(x, faintest[0]) - np.maximum(y, faintest[1]))
        return float(apart[active].mean())

    return _mean_by_channel(output, target, (x[:, np.isin(ours, bands)], y[:, np.isin(theirs, bands)]), distance)


def lra_lu(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare dynamics over seconds: the difference of the loudness ranges, in LU.

    NaN below 3 s; it takes about a minute to be meaningful.

    Source:
        EBU Tech 3342.
    """
    return abs(output.loudness_range_lu - target.loudness_range_lu)


def true_peak_db(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Compare peaks, including those between samples: the difference of the true peaks, in dB.

    Source:
        ITU-R BS.1770-4, annex 2.
    """
    return _difference(output, target, lambda sound: sound.true_peak_dbtp)


def noise_floor_db(output: EvaluatedSound, source: EvaluatedSound) -> float:
    """Measure the rise of the noise floor from input to output, in dB; negative where it fell.

    The floor is the level that a tenth of all frames of 50 ms stay below. Frames of digital silence in the input are
    left out on both sides. Without pauses, the floor is the level of the softest passages. A gain raises it too. NaN
    for fewer than ten such frames.

    Args:
        output: The rendered output.
        source: The input that it was rendered from.

    Source:
        The level exceeded 90 % of the time: ISO 1996-1 calls it L90 and uses it for the background noise.
    """
    _check_pair(output, source)

    def rise(after: Array, before: Array) -> float:
        active = before >= SILENCE
        if np.count_nonzero(active) < FEWEST_FRAMES:
            return math.nan
        floors = (np.quantile(power[active], FLOOR_SHARE) for power in (after, before))
        # An output of digital silence fell to the lowest measurable level.
        ours, theirs = (10 * math.log10(max(float(floor), SILENCE)) for floor in floors)
        return ours - theirs

    return _mean_by_channel(output, source, (output.moments, source.moments), rise)


def noise_db(output: EvaluatedSound, target: EvaluatedSound) -> float:
    """Measure how far the noise floor lies above the target's own, each relative to its level, in dB.

    The floor is the level that a tenth of the frames of 50 ms stay below, digital silence left out; the level is that
    of the active signal. No gain changes it. NaN for fewer than ten frames of sound.
    """
    return output.noise_db - target.noise_db


def af(output: EvaluatedSound, reference: EvaluatedSound) -> float:
    """Compare with the reference by the published audio-feature distance: level, crest factor, width, bark spectrum.

    At 44.1 kHz, mono as two equal channels. A gain alone counts, and a side signal that only one of the two has costs
    more than everything else. NaN for a recording shorter than 0.38 s, silent, or of more than two channels.

    Source:
        S. S. Vanka et al., "Diff-MST: differentiable mixing style transfer", ISMIR 2024, and its public code.
    """
    return _feature_distance(output, reference, audio_features.audio_feature_distance)


def af_spectrum(output: EvaluatedSound, reference: EvaluatedSound) -> float:
    """Compare with the reference by AF's spectrum term alone, mid and side each at one loudness."""
    return _feature_distance(output, reference, audio_features.spectrum_distance)


def af_crest(output: EvaluatedSound, reference: EvaluatedSound) -> float:
    """Compare with the reference by AF's crest factor term alone, which does not depend on level."""
    return _feature_distance(output, reference, audio_features.crest_distance)


def af_width(output: EvaluatedSound, reference: EvaluatedSound) -> float:
    """Compare with the reference by AF's stereo width term alone, which does not depend on level."""
    return _feature_distance(output, reference, audio_features.width_distance)


METRICS: Final = (
    Metric("pesq", "PESQ", "", pesq, "target", published=True, higher_is_better=True, ratio=False),
    Metric("mrstft", "MRSTFT", "", mrstft, "target", published=True),
    Metric("msd", "MSD", "", msd, "target", published=True),
    Metric("sce", "SCE", "Hz", sce, published=True),
    Metric("cfe", "CFE", "20·ln", cfe, published=True),
    Metric("rms", "RMS", "20·ln", rms, published=True),
    Metric("lufs", "LUFS", "dB", lufs, published=True),
    Metric("cfe_db", "crest factor", "dB", cfe_db),
    Metric("rms_db", "RMS", "dB", rms_db),
    Metric("mae", "MAE", "", mae, "target"),
    Metric("ltas_db", "spectrum", "dB", ltas_db),
    Metric("lra_lu", "loudness range", "LU", lra_lu),
    Metric("true_peak_db", "true peak", "dB", true_peak_db),
    Metric("noise_floor_db", "noise floor rise", "dB", noise_floor_db, "input", ratio=False),
    Metric("noise_db", "noise floor", "dB", noise_db, "target", ratio=False),
    Metric("af", "AF", "", af, "reference"),
    Metric("af_spectrum", "AF spectrum", "", af_spectrum, "reference"),
    Metric("af_crest", "AF crest", "", af_crest, "reference"),
    Metric("af_width", "AF width", "", af_width, "reference"),
)
"""All metrics in the order of the tables: the seven published ones in their units, then the others."""

RATES: Final = (
    Rate("nearer", "nearer", "af", lambda output, source: output < source, higher_is_better=True),
    Rate("further", "further", "mrstft", lambda output, source: output > source),
    Rate("harm", "harm", "mrstft", lambda output, source: output > HARM * source),
    Rate("noisy", "noisy", "noise_db", lambda output, source: output > NOISY_DB),
)
"""All rates, which follow the metrics in the tables."""

COLUMNS: Final[tuple[Metric | Rate, ...]] = (*METRICS, *RATES)
"""Everything that is measured of an output, in the order of the tables."""


def _feature_distance(
    output: EvaluatedSound, reference: EvaluatedSound, distance: Callable[[AudioFeatures, AudioFeatures], float]
) -> float:
    ours, theirs = output.audio_features, reference.audio_features
    return math.nan if ours is None or theirs is None else distance(ours, theirs)


def _check_pair(output: EvaluatedSound, target: EvaluatedSound) -> None:
    if output.samples.shape != target.samples.shape or output.sample_rate != target.sample_rate:
        raise ValueError(
            f"expected two of one shape and sample rate, got {output.samples.shape} at {output.sample_rate} Hz and "
            f"{target.samples.shape} at {target.sample_rate} Hz"
        )


def _difference(output: EvaluatedSound, target: EvaluatedSound, measured: Callable[[EvaluatedSound], Array]) -> float:
    values = (measured(output), measured(target))
    return _mean_by_channel(output, target, values, lambda x, y: abs(float(x) - float(y)))


def _mean_by_channel(
    output: EvaluatedSound, target: EvaluatedSound, measured: tuple[Any, Any], distance: Callable[[Any, Any], float]
) -> float:
    """Return the mean over channels of a distance between measurements."""
    active = output.sounding, target.sounding
    if output.channels != target.channels:
        if not all(s.any() for s in active):
            return math.nan
        return distance(*(values[s].mean(axis=0) for values, s in zip(measured, active, strict=True)))
    distances = [
        distance(x, y) if ours and theirs else math.nan
        for x, y, ours, theirs in zip(*measured, *active, strict=True)
        if ours or theirs
    ]
    return math.fsum(distances) / len(distances) if distances else math.nan
