"""A signal with its measurements, each computed once: a target is compared with many outputs."""

import functools
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fxst import audio
from fxst.dsp import Array, Samples
from fxst.dsp.loudness import LoudnessMeter, TruePeakMeter
from fxst.dsp.spectra import third_octaves
from fxst.dsp.stft import MR_STFT_FLOOR, hann, mirrored, power_spectra
from fxst.evaluation.audio_features import AF_RATE, AudioFeatures, measure_features
from fxst.transfer.descriptors import Excerpt, active_level_db, noise_floor_db

__all__ = ["EvaluatedSound"]

SILENCE: Final = 1e-12
"""Mean square of silence: -120 dBFS, below the resolution of 20 bits."""

CENTROID_WINDOW: Final = 2048
CENTROID_HOP: Final = 512
MEL_WINDOW: Final = 65_536
MEL_BANDS: Final = 128
LOUDNESS_BLOCK_SECONDS: Final = 0.4
FRAME_SECONDS: Final = 0.05
FEWEST_FRAMES: Final = 10
"""Fewest frames of 50 ms that a noise floor is measured from."""

MOST_SAMPLES_KEPT: Final = 1 << 19
"""Longest signal, in samples of all channels, whose spectra are kept: about 25 bytes a sample."""

_CHUNK_FRAMES: Final = 1 << 18


class EvaluatedSound:
    """A signal with its measurements, each computed on first access.

    Values by channel are NaN for silent channels, and for signals that are too short.

    Args:
        samples: The signal; it is not copied and must not change.
        sample_rate: Its sample rate in Hz.

    Shape:
        samples: `(channels, time)`.

    Raises:
        ValueError: It has another shape, or no samples.
    """

    def __init__(self, samples: Any, *, sample_rate: int) -> None:
        self.samples: Samples = np.ascontiguousarray(samples, np.float32)
        if self.samples.ndim != 2 or not self.samples.size:
            raise ValueError(f"expected samples of the shape (channels, time), got {self.samples.shape}")
        self.sample_rate = sample_rate
        self._magnitudes: dict[int, tuple[Samples, ...]] = {}
        self._resampled: dict[int, EvaluatedSound] = {}

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def frames(self) -> int:
        """Number of samples in each channel."""
        return int(self.samples.shape[1])

    @functools.cached_property
    def mean_square(self) -> Array:
        """Power of each channel."""
        total = np.zeros(self.channels)
        for chunk in self._chunks():
            total += np.einsum("ct,ct->c", chunk, chunk, dtype=np.float64)
        return total / self.frames

    @functools.cached_property
    def moments(self) -> Array:
        """Power of each channel in consecutive frames of 50 ms; a shorter rest is left out.

        Shape:
            `(channels, frames)`.
        """
        length = round(FRAME_SECONDS * self.sample_rate)
        count = self.frames // length
        cut = self.samples[:, : count * length].reshape(self.channels, count, length)
        power: Array = np.einsum("cnt,cnt->cn", cut, cut, dtype=np.float64) / length
        return power

    @functools.cached_property
    def noise_db(self) -> float:
        """Noise floor relative to the active level; NaN for silence, and for fewer than ten frames of sound."""
        if np.count_nonzero(self.moments.max(axis=0, initial=0.0) >= SILENCE) < FEWEST_FRAMES:
            return math.nan
        excerpt = Excerpt(self.samples, self.sample_rate)
        return noise_floor_db(excerpt) - active_level_db(excerpt)

    @functools.cached_property
    def audio_features(self) -> AudioFeatures | None:
        """Features of the audio-feature distance; None for silence, and for more than two channels."""
        if self.channels > 2 or not self.sounding.any():
            return None
        return measure_features(self._chunks_at(AF_RATE))

    @functools.cached_property
    def sounding(self) -> npt.NDArray[np.bool_]:
        """Which channels are not silent."""
        return self.mean_square >= SILENCE

    @functools.cached_property
    def rms_db(self) -> Array:
        """Root mean square of each channel."""
        return 10 * self._logarithm(self.mean_square)

    @functools.cached_property
    def crest_db(self) -> Array:
        """Crest factor of each channel: the peak sample over the root mean square."""
        highest = np.maximum(self.samples.max(axis=1), -self.samples.min(axis=1)).astype(np.float64)
        return 20 * self._logarithm(highest) - self.rms_db

    @functools.cached_property
    def true_peak_dbtp(self) -> Array:
        """True peak of each channel."""
        meter = TruePeakMeter(sample_rate=self.sample_rate, channels=self.channels)
        for chunk in self._chunks():
            meter.process(chunk)
        return np.where(self.sounding, meter.peaks_dbtp(), np.nan)

    @property
    def loudness_lufs(self) -> float:
        """Integrated loudness of all channels together; NaN if no block of 400 ms is above the gate.

        Mono counts as two equal channels, as it is played.
        """
        if self.frames < LOUDNESS_BLOCK_SECONDS * self.sample_rate:
            return math.nan
        loudness = self._loudness.integrated()
        return loudness if math.isfinite(loudness) else math.nan

    @property
    def loudness_range_lu(self) -> float:
        """Loudness range; NaN below 3 s, or if no block is above the gate."""
        return self._loudness.loudness_range()

    @functools.cached_property
    def _loudness(self) -> LoudnessMeter:
        meter = LoudnessMeter(sample_rate=self.sample_rate, channels=self.channels)
        # One channel at this gain has the power of two.
        gain = np.float32(math.sqrt(2) if self.channels == 1 else 1)
        for chunk in self._chunks():
            meter.process(gain * chunk)
        return meter

    @functools.cached_property
    def centroid_hz(self) -> Array:
        """Mean spectral centroid of each channel, weighted by magnitude; silent frames are left out."""
        if self.frames < CENTROID_WINDOW:
            return np.full(self.channels, np.nan)
        hz = np.arange(CENTROID_WINDOW // 2 + 1, dtype=np.float32) * np.float32(self.sample_rate / CENTROID_WINDOW)
        # A Hann window keeps 3/8 of a signal's power, and half of that is in the bins above 0 Hz.
        silence = SILENCE * 3 / 16 * CENTROID_WINDOW**2
        total, count = np.zeros(self.channels), np.zeros(self.channels)
        for power in self._powers(CENTROID_WINDOW, hop=CENTROID_HOP):
            active = power.sum(axis=-1) > silence
            magnitude = np.sqrt(power)
            weight = np.where(active, magnitude.sum(axis=-1), 1)
            total += np.where(active, magnitude @ hz / weight, 0).sum(axis=-1, dtype=np.float64)
            count += active.sum(axis=-1)
        with np.errstate(invalid="ignore"):
            return np.where(self.sounding, total / count, np.nan)

    @functools.cached_property
    def third_octaves(self) -> tuple[Array, Array]:
        """Centre frequencies in Hz, and the long-term average spectrum of each channel in third octaves, in dB.

        Shape:
            `(bands,)` and `(channels, bands)`.
        """
        return third_octaves(self.samples, sample_rate=self.sample_rate)

    @functools.cached_property
    def mel_magnitudes(self) -> Array:
        """Mel spectrum with a very long window: a few frames of high frequency resolution.

        Slaney's mel scale, triangular bands of equal area from 0 Hz to half the sample rate. At every sample rate each
        band contains bins, and no bin is below the floor, so the logarithm exists.

        Shape:
            `(channels, bands, frames)`; no frames if shorter than a window.
        """
        if self.frames < MEL_WINDOW:
            return np.zeros((self.channels, MEL_BANDS, 0))
        bank = _mel_bank(self.sample_rate)
        frames: list[Array] = []
        for power in self._powers(MEL_WINDOW, hop=MEL_WINDOW):
            magnitude = np.sqrt(np.maximum(power, np.float32(MR_STFT_FLOOR)))
            frames.append((bank @ magnitude.reshape(-1, magnitude.shape[-1]).T).reshape(MEL_BANDS, self.channels, -1))
        return np.concatenate(frames, axis=-1).swapaxes(0, 1)

    def magnitudes(self, window: int) -> Iterator[Samples]:
        """Return short-time magnitude spectra in blocks, no bin below the floor, with hops of half a window.

        Signals of equal shape give blocks of equal shapes.

        Args:
            window: Length of a frame in samples.

        Shape:
            Each block: `(channels, frames, bins)`.
        """
        if self.samples.size > MOST_SAMPLES_KEPT:
            return self._measured_magnitudes(window)
        if window not in self._magnitudes:
            self._magnitudes[window] = tuple(self._measured_magnitudes(window))
        return iter(self._magnitudes[window])

    def _measured_magnitudes(self, window: int) -> Iterator[Samples]:
        for power in self._powers(window, hop=window // 2):
            yield np.sqrt(np.maximum(power, np.float32(MR_STFT_FLOOR)))

    def _powers(self, window: int, *, hop: int) -> Iterator[Samples]:
        return power_spectra(mirrored(self.samples, window), hann(window), hop=hop)

    def at(self, sample_rate: int) -> "EvaluatedSound":
        """Return the signal at another sample rate.

        Args:
            sample_rate: The target sample rate in Hz.
        """
        if sample_rate == self.sample_rate:
            return self
        if sample_rate not in self._resampled:
            samples = audio.resample(self.samples, source_rate=self.sample_rate, target_rate=sample_rate)
            self._resampled[sample_rate] = EvaluatedSound(samples, sample_rate=sample_rate)
        return self._resampled[sample_rate]

    def _logarithm(self, values: Array) -> Array:
        logarithm: Array = np.log10(values, where=self.sounding, out=np.full(self.channels, np.nan))
        return logarithm

    def _chunks(self) -> Iterator[Samples]:
        """Yield the samples in chunks, as measurements take a multiple of their memory."""
        for first in range(0, self.frames, _CHUNK_FRAMES):
            yield self.samples[:, first : first + _CHUNK_FRAMES]

    def _chunks_at(self, sample_rate: int) -> Iterator[Samples]:
        """Yield the samples in chunks at another sample rate, without keeping them."""
        resampler = audio.Resampler(source_rate=self.sample_rate, target_rate=sample_rate, channels=self.channels)
        for chunk in self._chunks():
            yield resampler.process(chunk)
        yield resampler.process(np.zeros((self.channels, 0), np.float32), last=True)


@functools.lru_cache(maxsize=4)
def _mel_bank(sample_rate: int) -> Any:
    """Return the triangular bands as a sparse matrix `(bands, bins)`.

    Source:
        M. Slaney, "Auditory toolbox", 1998: the scale is linear below 1 kHz, logarithmic above.
    """
    from scipy import sparse

    highest = _mel(np.array(sample_rate / 2))
    corners = _hertz(np.linspace(0, float(highest), MEL_BANDS + 2))
    hz = np.arange(MEL_WINDOW // 2 + 1) * (sample_rate / MEL_WINDOW)
    # Between corners m and m + 1, band m - 1 falls and band m rises; the last bin is the last corner.
    below = np.clip(np.searchsorted(corners, hz, side="right") - 1, 0, MEL_BANDS)
    rise = (hz - corners[below]) / (corners[below + 1] - corners[below])
    area = 2 / (corners[2:] - corners[:-2])
    bins = np.arange(len(hz))
    rows, columns = np.concatenate([below, below - 1]), np.concatenate([bins, bins])
    heights = np.concatenate([rise, 1 - rise])
    inside = (rows >= 0) & (rows < MEL_BANDS)
    rows, columns, heights = rows[inside], columns[inside], heights[inside]
    return sparse.csr_array((heights * area[rows], (rows, columns)), shape=(MEL_BANDS, len(hz)))


_MEL_HZ: Final = 200 / 3
"""Width of a mel below 1 kHz, in Hz."""
_MEL_BREAK: Final = 1000 / _MEL_HZ
_MEL_STEP: Final = math.log(6.4) / 27


def _mel(hz: Array) -> Array:
    return np.where(hz < 1000, hz / _MEL_HZ, _MEL_BREAK + np.log(np.maximum(hz, 1000) / 1000) / _MEL_STEP)


def _hertz(mel: Array) -> Array:
    return np.where(mel < _MEL_BREAK, mel * _MEL_HZ, 1000 * np.exp(_MEL_STEP * np.maximum(mel - _MEL_BREAK, 0)))
