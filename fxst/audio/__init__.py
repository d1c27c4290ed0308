"""Sound files and plain signals: the only place that opens sound files.

Audio is a float32 array `(channels, time)`, full scale at ±1; `(time, channels)`, which soundfile speaks,
never leaves this package. Headers are not believed: a file is measured by what can be read from it, and what
cannot be read in full and as finite numbers is an `AudioError`, or is marked as truncated.
"""

from fxst.audio.formats import FLOAT_SUBTYPES, LOSSY_SUBTYPES, SUFFIXES, AudioInfo, Samples, output_format
from fxst.audio.reading import Reader, probe, read, stream
from fxst.audio.resampling import Resampler, mono, resample
from fxst.audio.writing import Writer, compressed
from fxst.dsp.loudness import LoudnessMeter, loudness

__all__ = [
    "FLOAT_SUBTYPES",
    "LOSSY_SUBTYPES",
    "SUFFIXES",
    "AudioInfo",
    "LoudnessMeter",
    "Reader",
    "Resampler",
    "Samples",
    "Writer",
    "compressed",
    "loudness",
    "mono",
    "output_format",
    "probe",
    "read",
    "resample",
    "stream",
]
