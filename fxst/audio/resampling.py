"""Other sample rates, and fewer channels."""

from typing import Any, Final

import numpy as np
import soxr

from fxst.audio.formats import Samples

__all__ = ["Resampler", "mono", "resample"]

RESAMPLING_QUALITY: Final = "VHQ"


def mono(x: Samples) -> Samples:
    """Mix to one channel: the mean of all.

    Args:
        x: Audio.

    Shape:
        `(channels, time)` to `(1, time)`.
    """
    return x if x.shape[0] == 1 else x.mean(axis=0, keepdims=True, dtype=np.float32)


def resample(x: Samples, *, source_rate: int, target_rate: int) -> Samples:
    """Change the sample rate and keep the pitch.

    Args:
        x: Audio at `source_rate`.
        source_rate: Its sample rate.
        target_rate: The sample rate wanted.

    Shape:
        `(channels, time)` to `(channels, round(time * target_rate / source_rate))`.

    Source:
        The SoX resampler library, https://sourceforge.net/p/soxr.
    """
    resampler = Resampler(source_rate=source_rate, target_rate=target_rate, channels=x.shape[0])
    return resampler.process(x, last=True)


class Resampler:
    """Change the sample rate of a stream, block after block, exactly as `resample` does it in one piece.

    Args:
        source_rate: The sample rate that comes in.
        target_rate: The sample rate that goes out.
        channels: How many channels.
    """

    def __init__(self, *, source_rate: int, target_rate: int, channels: int) -> None:
        self._stream: Any = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality=RESAMPLING_QUALITY
            )

    def process(self, block: Samples, *, last: bool = False) -> Samples:
        """Take a block in, and give what is ready: less than its share at first, the rest with the last.

        Args:
            block: The next stretch of audio.
            last: Whether the stream ends here.

        Shape:
            `(channels, time)` to `(channels, any)`.
        """
        if self._stream is None:
            return block
        ready = self._stream.resample_chunk(np.ascontiguousarray(block.T, np.float32), last=last)
        return np.ascontiguousarray(ready.T)
