"""Loudness as broadcasters measure it (ITU-R BS.1770-4), block after block."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["LoudnessMeter", "loudness"]

ABSOLUTE_GATE_LUFS: Final = -70.0
RELATIVE_GATE_LU: Final = -10.0
_OFFSET_LU: Final = -0.691
_STEP_SECONDS: Final = 0.1
_STEPS_A_BLOCK: Final = 4
_CHUNK_FRAMES: Final = 1 << 18


def loudness(x: npt.NDArray[np.float32], *, sample_rate: int) -> float:
    """Measure how loud a recording is, in LUFS: gated, so that pauses do not count.

    Args:
        x: Audio.
        sample_rate: Its sample rate.

    Returns:
        Integrated loudness; minus infinity for silence. Audio shorter than one 400 ms block is not gated.

    Shape:
        x: `(channels, time)`.

    Source:
        ITU-R BS.1770-4, annex 1.
    """
    meter = LoudnessMeter(sample_rate=sample_rate, channels=x.shape[0])
    # In chunks: the filtered copy is float64, and a recording may be hours long.
    for first in range(0, x.shape[1], _CHUNK_FRAMES):
        meter.process(x[:, first : first + _CHUNK_FRAMES])
    return meter.integrated()


class LoudnessMeter:
    """Measure the loudness of a stream.

    Channels count alike, but for the surround channels of five (L R C Ls Rs) and six (L R C LFE Ls Rs).

    Args:
        sample_rate: Samples a second.
        channels: How many channels.
    """

    def __init__(self, *, sample_rate: int, channels: int) -> None:
        self._sections = _k_weighting(sample_rate)
        self._state = np.zeros((2, channels, 2))
        self._weights = _channel_weights(channels)
        self._step_frames = max(1, round(_STEP_SECONDS * sample_rate))
        self._step_energies: list[npt.NDArray[np.float64]] = []
        self._pending = np.zeros(0)
        self._energy = 0.0
        self._frames = 0

    def process(self, block: npt.NDArray[np.float32]) -> None:
        """Take in the next stretch of audio.

        Args:
            block: Audio.

        Shape:
            `(channels, time)`.
        """
        # SciPy's signal package takes most of a second to load, and who only reads and writes files needs none of it.
        from scipy.signal import sosfilt

        if not block.shape[1]:
            return
        weighted, self._state = sosfilt(self._sections, block, axis=1, zi=self._state)
        power = self._weights @ np.square(weighted)
        self._energy += float(power.sum())
        self._frames += len(power)
        power = np.concatenate([self._pending, power])
        whole = len(power) - len(power) % self._step_frames
        self._step_energies.append(power[:whole].reshape(-1, self._step_frames).mean(axis=1))
        self._pending = power[whole:]

    def integrated(self) -> float:
        """Give the loudness of all that was taken in, in LUFS; minus infinity for silence."""
        steps = np.concatenate(self._step_energies) if self._step_energies else np.zeros(0)
        if len(steps) < _STEPS_A_BLOCK:
            return _lufs(self._energy / self._frames if self._frames else 0.0)
        blocks = np.convolve(steps, np.full(_STEPS_A_BLOCK, 1 / _STEPS_A_BLOCK), mode="valid")
        blocks = blocks[blocks > _energy(ABSOLUTE_GATE_LUFS)]
        if not len(blocks):
            return -math.inf
        gate = _energy(_lufs(float(blocks.mean())) + RELATIVE_GATE_LU)
        return _lufs(float(blocks[blocks > gate].mean()))


def _lufs(energy: float) -> float:
    return _OFFSET_LU + 10 * math.log10(energy) if energy > 0 else -math.inf


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LU) / 10))


def _channel_weights(channels: int) -> npt.NDArray[np.float64]:
    surround = {5: (1, 1, 1, 1.41, 1.41), 6: (1, 1, 1, 0, 1.41, 1.41)}
    return np.array(surround.get(channels, (1,) * channels), np.float64)


def _k_weighting(sample_rate: int) -> npt.NDArray[np.float64]:
    """The standard's two biquads, a high shelf and a high-pass, at any sample rate.

    The standard tabulates them at 48 kHz only; these analogue prototypes give its table there.

    Source:
        libebur128, ebur128_init_filter.
    """
    corner_hz, gain_db, q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = math.tan(math.pi * min(corner_hz / sample_rate, 0.499))
    high = 10 ** (gain_db / 20)
    middle = high**0.4996667741545416
    norm = 1 + k / q + k * k
    poles = [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    zeros = [(high + middle * k / q + k * k) / norm, 2 * (k * k - high) / norm, (high - middle * k / q + k * k) / norm]
    shelf = [*zeros, *poles]
    corner_hz, q = 38.13547087602444, 0.5003270373238773
    k = math.tan(math.pi * min(corner_hz / sample_rate, 0.499))
    norm = 1 + k / q + k * k
    high_pass = [1, -2, 1, 1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    return np.array([shelf, high_pass])
