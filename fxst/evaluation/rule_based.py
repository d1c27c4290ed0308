"""The rule-based baseline: an engineer's recipe, as published with DeepAFx-ST.

The equaliser matches the input's average spectrum to the reference's. Then the threshold of a compressor falls until
the input is as loud as the reference. Both have the same peak level, which the recipe sets.
"""

from typing import Final

import numpy as np

from fxst.audio import resample
from fxst.dsp import Array, Samples
from fxst.dsp.loudness import loudness
from fxst.dsp.stft import mirrored, power_spectra

__all__ = ["equalise", "rule_based"]

PEAK_DB: Final = -12.0

N_FFT: Final = 65_536
SMOOTHING_BINS: Final = 1025
SMOOTHING_ORDER: Final = 2
TAPS: Final = 63
FAINT: Final = 1e-6
"""Bins this far below the strongest contain no signal, and keep their gain."""

RATIO: Final = 3.0
ATTACK_MS: Final = 1.0
RELEASE_MS: Final = 50.0
KNEE_DB: Final = 6.0
THRESHOLD_STEP_DB: Final = 0.5
LOWEST_THRESHOLD_DB: Final = -80.0
TOLERANCE_LU: Final = 0.5


def rule_based(audio: Samples, reference: Samples, *, sample_rate: int, reference_sample_rate: int) -> Samples:
    """Match a recording to a reference by rule: average spectrum first, then loudness through a compressor.

    The threshold falls in steps until the loudness is within `TOLERANCE_LU`; the result is the step before, with a
    peak of `PEAK_DB`. If either recording is silent, the input is returned unchanged.

    Args:
        audio: The recording.
        reference: The reference.
        sample_rate: Sample rate of the recording in Hz.
        reference_sample_rate: Sample rate of the reference in Hz.

    Shape:
        audio, reference: `(channels, time)`, of any channel count and length each; result: as audio.

    Source:
        C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with differentiable signal
        processing", JAES 2022: the rule-based baseline, for mono. Here, channels share one filter and one gain.
    """
    reference = resample(reference, source_rate=reference_sample_rate, target_rate=sample_rate)
    if not audio.any() or not reference.any():
        return audio
    reference = _normalised(reference)
    equalised = _normalised(equalise(_normalised(audio), reference))
    target_lufs = loudness(reference, sample_rate=sample_rate)

    level_db = _level_db(equalised)
    peak_db = float(level_db.max())
    before = attempt = equalised
    lufs = equalised_lufs = loudness(equalised, sample_rate=sample_rate)
    threshold_db = 0.0
    while target_lufs - lufs > TOLERANCE_LU and threshold_db > LOWEST_THRESHOLD_DB:
        before = attempt
        if peak_db > threshold_db - KNEE_DB / 2:
            attempt = _normalised(equalised * _gain(level_db, threshold_db, sample_rate=sample_rate))
            lufs = loudness(attempt, sample_rate=sample_rate)
        else:  # the signal stays below the knee
            attempt, lufs = equalised, equalised_lufs
        threshold_db -= THRESHOLD_STEP_DB
    return before


def equalise(audio: Samples, reference: Samples) -> Samples:
    """Match a recording's average magnitude spectrum to a reference's with a short linear-phase filter.

    The filter is causal, so it delays by half its length.

    Args:
        audio: The recording.
        reference: The reference, at the same rate.

    Shape:
        audio, reference: `(channels, time)`, of any channel count and length each; result: as audio.
    """
    from scipy.signal import firwin2, lfilter

    ours, theirs = _smooth_spectrum(audio), _smooth_spectrum(reference)
    # At 0 Hz the smoothing mostly ends below 0, in both alike, and the quotient is right. Clipping one of them above 0
    # would make the quotient about a million, which would dominate the filter.
    response = np.divide(theirs, ours, out=np.ones_like(ours), where=np.abs(ours) > FAINT * np.abs(ours).max())
    response[-1] = 0.0
    taps = firwin2(TAPS, np.linspace(0.0, 1.0, len(response)), response)
    filtered: Samples = lfilter(taps, [1.0], audio, axis=1).astype(np.float32)
    return filtered


def _gain(level_db: Array, threshold_db: float, *, sample_rate: int) -> Array:
    """Compute a compressor's gain, `(time,)`, from the level: the recipe's ratio, soft knee and times; no make-up gain.

    Source:
        D. Giannoulis, M. Massberg and J. D. Reiss, "Digital dynamic range compressor design", JAES 2012: the
        feed-forward design in the log domain, its soft knee, and its smooth branching detector after the gain
        computer. A time is how long 10 % to 90 % of a step take.
    """
    from fxst.dsp.follower import Follower

    # Quadratic on the knee and linear above it.
    on_knee = np.clip(level_db - (threshold_db - KNEE_DB / 2), 0.0, KNEE_DB)
    over = on_knee**2 / (2 * KNEE_DB) + np.maximum(level_db - (threshold_db + KNEE_DB / 2), 0.0)
    attack, release = (np.exp(-np.log(9) / (sample_rate * ms / 1000)) for ms in (ATTACK_MS, RELEASE_MS))
    smooth = Follower(attack, release, begin=0.0, channels=1)(over[None] * (1 - 1 / RATIO))[0]
    gain: Array = np.exp(smooth * (-np.log(10) / 20))
    return gain


def _level_db(audio: Samples) -> Array:
    level = np.abs(audio).max(axis=0).astype(np.float64)
    level_db: Array = 20 * np.log10(np.maximum(level, np.finfo(np.float32).tiny))
    return level_db


def _smooth_spectrum(x: Samples) -> Array:
    """Average the magnitudes of centred frames of a rectangular window, and smooth them over frequency."""
    from scipy.signal import savgol_filter

    magnitudes, count = np.zeros(N_FFT // 2 + 1), 0
    for power in power_spectra(mirrored(x, N_FFT), np.ones(N_FFT, np.float32), hop=N_FFT // 4):
        magnitudes += np.sqrt(power).mean(axis=0).sum(axis=0, dtype=np.float64)
        count += power.shape[1]
    smooth: Array = savgol_filter(magnitudes / count, SMOOTHING_BINS, SMOOTHING_ORDER)
    return smooth


def _normalised(x: Samples | Array) -> Samples:
    scaled: Samples = (x * (10 ** (PEAK_DB / 20) / np.abs(x).max())).astype(np.float32)
    return scaled
