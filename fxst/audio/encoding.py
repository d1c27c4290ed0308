"""The bit rate of lossy encoders, through the one scale that libsndfile has for all of them.

Source: libsndfile's `mpeg_l3_encode.c`, `ogg_vorbis.c` and `ogg_opus.c`, `SFC_SET_COMPRESSION_LEVEL`; the Vorbis I
specification, section 4.2.2 (the nominal bit rate).
"""

import io
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import soundfile

from fxst.audio.formats import AudioInfo
from fxst.errors import SettingsError

__all__ = ["Encoding", "bit_rate_like", "encoding_of", "settings"]

_BEST: Final = 10.0
_MP3_KILOBITS: Final = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320)
_MP3_SCALES: Final = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
"""From which sample rate on MP3 has which lowest and highest bit rate, in kbit/s."""
_LOWEST_VARIABLE: Final = 0.999
"""LAME refuses the end of its scale."""
_OPUS_BITS: Final = (6_000, 256_000)
"""The lowest and the highest bit rate of a channel."""
_OPUS_SPAN: Final = 16.0
"""The highest bit rate of a grade of quality over the lowest: 256 to 16 kbit/s a channel."""
_FAIR_BITS: Final = {"MPEG_LAYER_III": 64_000, "VORBIS": 56_000, "OPUS": 48_000}
"""Bit rates of a channel below which recordings of another encoding are not encoded again."""
_VORBIS_STEPS: Final = 9
_NOMINAL: Final = slice(48, 52)
"""The nominal bit rate in the first page of a Vorbis stream."""
_BIT_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)k", re.IGNORECASE)
_KILOBITS: Final = (6.0, 2_000.0)


@dataclass(frozen=True)
class Encoding:
    """How much a lossy encoder keeps.

    Args:
        quality: From 0 to 10, the best; None where there is a bit rate.
        bit_rate: Bits a second; None where there is a quality.
    """

    quality: float | None = None
    bit_rate: float | None = None


def encoding_of(given: str) -> Encoding:
    """Read `--quality`.

    Args:
        given: A quality such as `7`, or a bit rate such as `192k`.

    Raises:
        SettingsError: It is neither.
    """
    if found := _BIT_RATE.fullmatch(given.strip()):
        kilobits = float(found[1])
        if _KILOBITS[0] <= kilobits <= _KILOBITS[1]:
            return Encoding(bit_rate=1000 * kilobits)
    else:
        try:
            quality = float(given)
        except ValueError:
            quality = math.nan
        if 0 <= quality <= _BEST:
            return Encoding(quality=quality)
    raise SettingsError(f"--quality {given!r:.60} is not valid: give a quality from 0 to 10, or a bit rate as 192k.")


def bit_rate_like(info: AudioInfo, subtype: str) -> Encoding | None:
    """Return the encoding that keeps about the bit rate of a lossy input; None where there is none to keep.

    Another encoding may need more bits for the same sound, so it gets a fair bit rate at least.

    Args:
        info: The input.
        subtype: soundfile's name of the output's encoding.
    """
    if info.bit_rate is None or subtype not in _FAIR_BITS:
        return None
    least = 0 if info.subtype == subtype else _FAIR_BITS[subtype] * info.channels
    return Encoding(bit_rate=max(info.bit_rate, least))


def settings(encoding: Encoding | None, subtype: str, *, sample_rate: int, channels: int) -> dict[str, Any]:
    """Return the arguments with which soundfile opens an encoder.

    Args:
        encoding: How much it keeps; None for the encoder's own choice.
        subtype: soundfile's name of the encoding.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
    """
    if encoding is None or subtype not in _FAIR_BITS:
        return {}
    if encoding.bit_rate is None:
        level = 1 - (encoding.quality or 0) / _BEST
        if subtype == "MPEG_LAYER_III":
            return {"compression_level": min(level, _LOWEST_VARIABLE), "bitrate_mode": "VARIABLE"}
        if subtype == "VORBIS":
            return {"compression_level": level}
        encoding = Encoding(bit_rate=channels * _OPUS_BITS[1] * _OPUS_SPAN**-level)
    assert encoding.bit_rate is not None
    if subtype == "MPEG_LAYER_III":
        return _mp3(encoding.bit_rate / 1000, sample_rate)
    if subtype == "OPUS":
        lowest, highest = (channels * bits for bits in _OPUS_BITS)
        return {"compression_level": _within((highest - encoding.bit_rate) / (highest - lowest))}
    return {"compression_level": _vorbis_level(encoding.bit_rate, sample_rate, channels)}


def _mp3(kilobits: float, sample_rate: int) -> dict[str, Any]:
    _, lowest, highest = next(scale for scale in _MP3_SCALES if sample_rate >= scale[0])
    kilobits = min(max(kilobits, lowest), highest)
    nearest = min((one for one in _MP3_KILOBITS if lowest <= one <= highest), key=lambda one: abs(one - kilobits))
    constant = abs(nearest - kilobits) < 0.02 * nearest
    # The scale of libsndfile ends at 160 kbit/s below 32 kHz.
    top = 320 if sample_rate >= 32_000 else 160
    level = _within((top - (nearest if constant else kilobits)) / (top - lowest))
    return {"compression_level": level, "bitrate_mode": "CONSTANT" if constant else "AVERAGE"}


def _vorbis_level(bit_rate: float, sample_rate: int, channels: int) -> float:
    """Return the level at which the encoder states a nominal bit rate, which it does for a quality it is set to."""
    low, high = 0.0, 1.0  # the level of the highest bit rate, and of the lowest
    for _ in range(_VORBIS_STEPS):
        level = (low + high) / 2
        if _nominal(level, sample_rate, channels) > bit_rate:
            low = level
        else:
            high = level
    return high if abs(_nominal(high, sample_rate, channels) - bit_rate) < 0.1 * bit_rate else low


def _nominal(level: float, sample_rate: int, channels: int) -> int:
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", sample_rate, channels, "VORBIS", format="OGG", compression_level=level
    ) as encoder:
        encoder.write(np.zeros((1, channels), np.float32))
    return int.from_bytes(file.getvalue()[_NOMINAL], "little", signed=True)


def _within(level: float) -> float:
    return min(max(level, 0.0), 1.0)
