"""Recordings of a page: measured completely, in blocks, and read only in the excerpts that are played."""

import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fxst import audio
from fxst.audio import LoudnessMeter, Samples
from fxst.dsp import Array
from fxst.dsp.channels import ChannelLayout
from fxst.dsp.loudness import TruePeakMeter
from fxst.dsp.spectra import LongTermSpectrum
from fxst.report.stereo import StereoImage, StereoMeter

__all__ = ["InMemory", "OnDisk", "Outline", "OutlineMeter", "Recording", "Survey", "survey"]


_STEPS_A_SECOND: Final = 10
_BLOCK_FRAMES: Final = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Outline:
    """How loud a recording is over time.

    Args:
        seconds: Length of the readable audio.
        step_seconds: Length of a step.
        step_powers: Power of each complete step, of all channels together, for finding the loudest excerpt.

    Shape:
        step_powers: `(steps,)`.
    """

    seconds: float
    step_seconds: float
    step_powers: Array


class OutlineMeter:
    """Measures the outline of a recording block by block, in memory that grows by only 80 bytes a second of audio.

    Args:
        sample_rate: The recording's sample rate in Hz.
    """

    def __init__(self, *, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._step = max(1, sample_rate // _STEPS_A_SECOND)
        self._powers = array("d")  # one growing array; thousands of small ones would fragment the memory
        self._pending = np.zeros(0)
        self._frames = 0

    def process(self, block: Samples) -> None:
        """Take in the next block.

        Shape:
            block: `(channels, time)`.
        """
        self._frames += block.shape[1]
        power = np.concatenate([self._pending, np.square(block, dtype=np.float64).sum(axis=0)])
        complete = len(power) - len(power) % self._step
        self._powers.frombytes(power[:complete].reshape(-1, self._step).sum(axis=1).tobytes())
        self._pending = power[complete:]

    def outline(self) -> Outline:
        """Return the outline so far."""
        return Outline(
            seconds=self._frames / self._sample_rate,
            step_seconds=self._step / self._sample_rate,
            step_powers=np.array(self._powers),
        )


@dataclass(frozen=True, kw_only=True)
class Survey(Outline):
    """Measurements of a complete recording.

    Args:
        lufs: Integrated loudness; minus infinity for silence.
        loudness_range_lu: Loudness range; NaN for silence or below 3 s.
        true_peak_dbtp: True peak; minus infinity for silence.
        bands_hz: Centres of the third octaves that it is long enough to resolve.
        bands_db: Mean power of its channels in each, full-scale sine 0 dB.
        stereo: The stereo image of two channels; None for any other number.

    Shape:
        bands_hz, bands_db: `(bands,)`.
    """

    lufs: float
    loudness_range_lu: float
    true_peak_dbtp: float
    bands_hz: Array
    bands_db: Array
    stereo: StereoImage | None = None


def survey(
    blocks: Iterable[Samples], *, sample_rate: int, channels: int, layout: ChannelLayout | None = None
) -> Survey:
    """Measure a recording, in memory that grows by only 80 bytes a second of audio.

    Args:
        blocks: The recording, in blocks of any length, with at least one sample.
        sample_rate: Its sample rate in Hz.
        channels: Number of channels.
        layout: Their loudspeakers; by default guessed from their number.

    Shape:
        Each block: `(channels, time)`.
    """
    loudness = LoudnessMeter(sample_rate=sample_rate, channels=channels, layout=layout)
    peaks = TruePeakMeter(sample_rate=sample_rate, channels=channels)
    spectrum = LongTermSpectrum(sample_rate=sample_rate)
    stereo = StereoMeter(sample_rate=sample_rate) if channels == 2 else None
    outline = OutlineMeter(sample_rate=sample_rate)
    for block in blocks:
        loudness.process(block)
        peaks.process(block)
        spectrum.process(block)
        if stereo is not None:
            stereo.process(block)
        outline.process(block)
    hz, levels = spectrum.mean_third_octaves()
    return Survey(
        **vars(outline.outline()),
        lufs=loudness.integrated(),
        loudness_range_lu=loudness.loudness_range(),
        true_peak_dbtp=float(peaks.peaks_dbtp().max()),
        bands_hz=hz,
        bands_db=levels,
        stereo=None if stereo is None else stereo.finish(),
    )


class Recording(ABC):
    """A recording, in memory or on disk.

    Args:
        sample_rate: Its sample rate in Hz.
        channels: Number of channels.
        layout: Their loudspeakers; by default guessed from their number.
    """

    def __init__(self, *, sample_rate: int, channels: int, layout: ChannelLayout | None = None) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self._layout = layout
        self._measuring = threading.Lock()  # in Python 3.11 a cached property has one lock for all recordings
        self._survey: Survey | None = None

    @property
    def survey(self) -> Survey:
        """Measurements of the complete recording, made on first access.

        Raises:
            AudioError: It cannot be read in full as finite audio.
        """
        with self._measuring:
            if self._survey is None:
                self._survey = survey(
                    self._blocks(), sample_rate=self.sample_rate, channels=self.channels, layout=self._layout
                )
            return self._survey

    @property
    def outline(self) -> Outline:
        """How loud it is over time; a recording may know that before all else is measured."""
        return self.survey

    def read(self, *, start: float, seconds: float) -> Samples:
        """Read an excerpt; it is shorter at the end of the recording.

        Args:
            start: Its start, in seconds.
            seconds: Its length.

        Shape:
            `(channels, time)`.

        Raises:
            AudioError: The excerpt cannot be read.
        """
        return self._read(round(start * self.sample_rate), round(seconds * self.sample_rate))

    @abstractmethod
    def _blocks(self) -> Iterator[Samples]: ...

    @abstractmethod
    def _read(self, first: int, frames: int) -> Samples: ...


class InMemory(Recording):
    """A recording in memory.

    `mended` is true if it contained samples that are not finite, as a faulty output may; they are replaced by silence.

    Args:
        samples: The complete recording.
        sample_rate: Its sample rate in Hz.

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
    """A recording in a sound file, of which only the current block is in memory.

    Args:
        path: The file.

    Raises:
        AudioError: The file is not a readable sound file.
    """

    def __init__(self, path: Path) -> None:
        info = audio.probe(path)
        super().__init__(sample_rate=info.sample_rate, channels=info.channels, layout=info.layout)
        self.path = path

    def _blocks(self) -> Iterator[Samples]:
        return audio.stream(self.path, block_frames=_BLOCK_FRAMES)

    def _read(self, first: int, frames: int) -> Samples:
        return audio.read(self.path, start=first, frames=frames)[0]
