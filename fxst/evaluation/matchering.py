"""Matchering, where it is installed: the best-known program that brings a recording to a reference.

It is under the GPL, and no part of fxst or of what fxst installs: who wants the row installs it.
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
"""The rate that it works at."""


def available() -> bool:
    """Whether the package `matchering` is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def match(audio_in: Samples, reference: Samples, *, sample_rate: int, reference_sample_rate: int) -> Samples:
    """Bring a recording to a reference with Matchering: mid and side apart, spectrum and level.

    Taken is its result before the limiter, which brings down peaks only, at the reference's level: it works with the
    reference turned up to full scale, and turns a limited result down again, but not this one. It takes files of 44.1
    kHz and two channels: the recordings are resampled, and one channel is doubled, as it does itself. Its delay of one
    sample at that rate is left in.

    Args:
        audio_in: The recording.
        reference: The recording to sound like.
        sample_rate: The recording's.
        reference_sample_rate: The reference's.

    Shape:
        audio_in, reference: `(channels, time)`, each on its own; result: as audio_in.

    Raises:
        AudioError: It is not installed, or refuses the recordings, such as those of more than two channels.
    """
    if not available():
        raise AudioError(f"The package {PACKAGE} is not installed: pip install {PACKAGE}.")
    import matchering

    config = matchering.Config(allow_equality=True)
    x = audio.resample(audio_in, source_rate=sample_rate, target_rate=SAMPLE_RATE)
    example = audio.resample(reference, source_rate=reference_sample_rate, target_rate=SAMPLE_RATE)
    # As it does itself, but for a reference beyond full scale too.
    turned_up = np.float32(config.threshold / max(float(np.abs(example).max(initial=0.0)), config.min_value))
    with tempfile.TemporaryDirectory(prefix="fxst-") as folder:
        paths = [Path(folder) / f"{name}.wav" for name in ("input", "reference", "result")]
        _write(paths[0], x)
        _write(paths[1], turned_up * example)
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
    matched /= turned_up
    matched = audio.mono(matched) if len(audio_in) == 1 else matched
    matched = audio.resample(matched, source_rate=SAMPLE_RATE, target_rate=sample_rate)[:, : audio_in.shape[1]]
    return np.pad(matched, [(0, 0), (0, audio_in.shape[1] - matched.shape[1])])


def _write(path: Path, x: Samples) -> None:
    with audio.Writer(path, sample_rate=SAMPLE_RATE, channels=len(x), subtype="FLOAT", format="WAV") as writer:
        writer.write(x)
