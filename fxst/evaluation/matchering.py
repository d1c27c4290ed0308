"""The Matchering baseline: the best-known reference-matching program.

Matchering is under the GPL. It is not part of fxst and not installed with it.
"""

import importlib.util
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from fxst import audio
from fxst.audio import Samples
from fxst.errors import AudioError

__all__ = ["available", "match"]

PACKAGE: Final = "matchering"
SAMPLE_RATE: Final = 44_100
"""Sample rate of Matchering."""


def available() -> bool:
    """Return whether the package `matchering` is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def match(audio_in: Samples, reference: Samples, *, sample_rate: int, reference_sample_rate: int) -> Samples:
    """Match a recording to a reference with Matchering: spectrum and level of mid and side.

    The result is taken before Matchering's limiter, at the reference's level. Matchering normalises the reference to
    full scale and restores the level of a limited result only, so the gain is undone here. It takes stereo files at
    44.1 kHz: the recordings are resampled, and mono is duplicated, as Matchering does itself. Its delay of one sample
    at 44.1 kHz is not compensated.

    Args:
        audio_in: The recording.
        reference: The reference.
        sample_rate: Sample rate of the recording in Hz.
        reference_sample_rate: Sample rate of the reference in Hz.

    Shape:
        audio_in, reference: `(channels, time)`, of any channel count and length each; result: as audio_in.

    Raises:
        AudioError: Matchering is not installed, or refuses the recordings, such as those of more than two channels.
    """
    if not available():
        raise AudioError(f"The package {PACKAGE} is not installed: pip install {PACKAGE}.")
    import matchering

    config = matchering.Config(allow_equality=True)
    x = audio.resample(audio_in, source_rate=sample_rate, target_rate=SAMPLE_RATE)
    resampled = audio.resample(reference, source_rate=reference_sample_rate, target_rate=SAMPLE_RATE)
    # As Matchering does, but also for a reference beyond full scale.
    reference_gain = np.float32(config.threshold / max(float(np.abs(resampled).max(initial=0.0)), config.min_value))
    with tempfile.TemporaryDirectory(prefix="fxst-") as folder:
        paths = [Path(folder) / f"{name}.wav" for name in ("input", "reference", "result")]
        _write(paths[0], x)
        _write(paths[1], reference_gain * resampled)
        try:
            matchering.process(
                target=str(paths[0]),
                reference=str(paths[1]),
                results=[matchering.Result(str(paths[2]), "FLOAT", use_limiter=False, normalize=False)],
                config=config,
            )
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise AudioError(f"Matchering failed: {reason}") from error
        matched, _ = audio.read(paths[2])
    matched /= reference_gain
    matched = audio.mono(matched) if len(audio_in) == 1 else matched
    matched = audio.resample(matched, source_rate=SAMPLE_RATE, target_rate=sample_rate)[:, : audio_in.shape[1]]
    return np.pad(matched, [(0, 0), (0, audio_in.shape[1] - matched.shape[1])])


def _write(path: Path, x: Samples) -> None:
    with audio.Writer(path, sample_rate=SAMPLE_RATE, channels=len(x), subtype="FLOAT", format="WAV") as writer:
        writer.write(x)
