"""Reading and writing sound files: the only package that opens them.

Audio is a float32 array `(channels, time)`, full scale at ±1; soundfile's `(time, channels)` never leaves this package.
Headers are not trusted: what counts is what can be read. A file that cannot be read in full as finite samples is an
`AudioError`, or is marked as truncated.
"""

from fxst.audio.encoding import Encoding, bit_rate_like, encoding_of
from fxst.audio.formats import (
    FLOAT_SUBTYPES,
    LOSSY_SUBTYPES,
    LOSSY_SUFFIXES,
    READABLE_SUFFIXES,
    SUFFIXES,
    AudioInfo,
    Samples,
    nearest_rate,
    output_format,
    unwritable_suffix,
)
from fxst.audio.reading import Reader, probe, read, stream
from fxst.audio.resampling import Resampler, mono, resample
from fxst.audio.writing import Writer, compressed
from fxst.dsp.loudness import LoudnessMeter, loudness

__all__ = [
    "FLOAT_SUBTYPES",
    "LOSSY_SUBTYPES",
    "LOSSY_SUFFIXES",
    "READABLE_SUFFIXES",
    "SUFFIXES",
    "AudioInfo",
    "Encoding",
    "LoudnessMeter",
    "Reader",
    "Resampler",
    "Samples",
    "Writer",
    "bit_rate_like",
    "compressed",
    "encoding_of",
    "loudness",
    "mono",
    "nearest_rate",
    "output_format",
    "probe",
    "read",
    "resample",
    "stream",
    "unwritable_suffix",
]
