"""Resampling, and mixing to mono."""

from typing import Any, Final

import numpy as np
import soxr

from fxst.audio.formats import Samples

__all__ = ["Resampler", "mono", "resample"]

RESAMPLING_QUALITY: Final = "VHQ"


def mono(x: Samples) -> Samples:
    """Mix to one channel: the mean of all.

    Shape:
        x: `(channels, time)`; result: `(1, time)`.
    """
    return x if x.shape[0] == 1 else x.mean(axis=0, keepdims=True, dtype=np.float32)


def resample(x: Samples, *, source_rate: int, target_rate: int) -> Samples:
    """Change the sample rate.

    Args:
        x: Audio.
        source_rate: Its sample rate in Hz.
        target_rate: The new sample rate in Hz.

    Shape:
        x: `(channels, time)`; result: `(channels, round(time * target_rate / source_rate))`.

    Source:
        The SoX resampler library, https://sourceforge.net/p/soxr.
    """
    resampler = Resampler(source_rate=source_rate, target_rate=target_rate, channels=x.shape[0])
    return resampler.process(x, last=True)


class Resampler:
    """Change the sample rate of a stream block by block, with the same result as `resample`.

    Args:
        source_rate: The sample rate of the input in Hz.
        target_rate: The sample rate of the output in Hz.
        channels: Number of channels.
    """

    def __init__(self, *, source_rate: int, target_rate: int, channels: int) -> None:
        self._stream: Any = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality=RESAMPLING_QUALITY
            )

    def process(self, block: Samples, *, last: bool = False) -> Samples:
        """Process the next block; return the samples that are ready, the remaining ones with the last block.

        Args:
            block: Audio.
            last: Whether the stream ends here.

        Shape:
            block: `(channels, time)`; result: `(channels, any)`.
        """
        if self._stream is None:
            return block
        ready = self._stream.resample_chunk(np.ascontiguousarray(block.T, np.float32), last=last)
        return np.ascontiguousarray(ready.T)
