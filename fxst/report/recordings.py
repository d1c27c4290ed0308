"""Recordings as a page takes them: measured whole, block after block, and read only where they are heard."""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from fxst import audio
from fxst.audio import LoudnessMeter, Samples
from fxst.dsp import Array
from fxst.dsp.loudness import TruePeakMeter
from fxst.dsp.spectra import LongTermSpectrum

__all__ = ["InMemory", "OnDisk", "Recording", "Survey", "survey"]


_STEPS_A_SECOND: Final = 10
_BLOCK_FRAMES: Final = 1 << 16


@dataclass(frozen=True)
class Survey:
    """What the whole of a recording measures.

    Args:
        seconds: How long it is, by what could be read of it.
        lufs: Its integrated loudness; minus infinity for silence.
        loudness_range_lu: How far its loud passages are above its soft ones; NaN where it is silent or below 3 s.
        true_peak_dbtp: How high its waveform goes, full scale 0 dB; minus infinity for silence.
        bands_hz: Centres of the third octaves that it is long enough to resolve.
        bands_db: The mean power of its channels in each, full-scale sine 0 dB.
        step_seconds: How long a step is.
        step_powers: The power of each whole step, of all channels together, to find the loudest passage by.

    Shape:
        bands_hz, bands_db: `(bands,)`; step_powers: `(steps,)`.
    """

    seconds: float
    lufs: float
    loudness_range_lu: float
    true_peak_dbtp: float
    bands_hz: Array
    bands_db: Array
    step_seconds: float
    step_powers: Array


def survey(blocks: Iterable[Samples], *, sample_rate: int, channels: int) -> Survey:
    """Measure a recording, in memory that hardly grows with its length: by 80 bytes a second.

    Args:
        blocks: The recording, in pieces of any length; not without any sample.
        sample_rate: Its sample rate.
        channels: How many channels it has.

    Shape:
        Each block: `(channels, time)`.
    """
    loudness = LoudnessMeter(sample_rate=sample_rate, channels=channels)
    peaks = TruePeakMeter(sample_rate=sample_rate, channels=channels)
    spectrum = LongTermSpectrum(sample_rate=sample_rate)
    step = max(1, sample_rate // _STEPS_A_SECOND)
    powers = array("d")  # which grows in one piece; thousands of small arrays would scatter over the memory
    pending = np.zeros(0)
    frames = 0
    for block in blocks:
        loudness.process(block)
        peaks.process(block)
        spectrum.process(block)
        frames += block.shape[1]
        power = np.concatenate([pending, np.square(block, dtype=np.float64).sum(axis=0)])
        whole = len(power) - len(power) % step
        powers.frombytes(power[:whole].reshape(-1, step).sum(axis=1).tobytes())
        pending = power[whole:]
    hz, levels = spectrum.mean_third_octaves()
    return Survey(
        seconds=frames / sample_rate,
        lufs=loudness.integrated(),
        loudness_range_lu=loudness.loudness_range(),
        true_peak_dbtp=float(peaks.peaks_dbtp().max()),
        bands_hz=hz,
        bands_db=levels,
        step_seconds=step / sample_rate,
        step_powers=np.array(powers),
    )


class Recording(ABC):
    """A recording, wherever it is.

    Args:
        sample_rate: Samples a second.
        channels: How many channels.
    """

    def __init__(self, *, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.channels = channels

    @cached_property
    def survey(self) -> Survey:
        """What all of it measures; the first to ask waits for that.

        Raises:
            AudioError: It cannot be read in full as finite audio.
        """
        return survey(self._blocks(), sample_rate=self.sample_rate, channels=self.channels)

    def read(self, *, start: float, seconds: float) -> Samples:
        """Give a stretch of it; less where it ends before.

        Args:
            start: Where the stretch begins, in seconds.
            seconds: How long it is.

        Shape:
            `(channels, time)`.

        Raises:
            AudioError: It cannot be read there.
        """
        return self._read(round(start * self.sample_rate), round(seconds * self.sample_rate))

    @abstractmethod
    def _blocks(self) -> Iterator[Samples]: ...

    @abstractmethod
    def _read(self, first: int, frames: int) -> Samples: ...


class InMemory(Recording):
    """A recording in memory.

    `mended` tells that it held samples that are not finite numbers, as a broken output may; they are silent here.

    Args:
        samples: All of it.
        sample_rate: Samples a second.

    Shape:
        samples: `(channels, time)`.
    """

    mended: bool

    def __init__(self, samples: Samples, *, sample_rate: int) -> None:
        super().__init__(sample_rate=sample_rate, channels=len(samples))
        self.mended = not np.isfinite(samples).all()
        self._samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0) if self.mended else samples

    def _blocks(self) -> Iterator[Samples]:
        for first in range(0, self._samples.shape[1], _BLOCK_FRAMES):
            yield self._samples[:, first : first + _BLOCK_FRAMES]

    def _read(self, first: int, frames: int) -> Samples:
        return self._samples[:, first : first + frames]


class OnDisk(Recording):
    """A recording in a sound file, of which no more is ever in memory than what is being looked at.

    Args:
        path: The file.

    Raises:
        AudioError: It is no readable sound file.
    """

    def __init__(self, path: Path) -> None:
        info = audio.probe(path)
        super().__init__(sample_rate=info.sample_rate, channels=info.channels)
        self.path = path

    def _blocks(self) -> Iterator[Samples]:
        return audio.stream(self.path, block_frames=_BLOCK_FRAMES)

    def _read(self, first: int, frames: int) -> Samples:
        return audio.read(self.path, start=first, frames=frames)[0]
