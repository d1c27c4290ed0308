"""What kinds of sound files there are, and how to speak of one to the person at the keyboard."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import soundfile

from fxst.dsp import Samples
from fxst.errors import AudioError

__all__ = [
    "FLOAT_SUBTYPES",
    "LOSSY_FORMATS",
    "SAMPLE_BYTES",
    "SUFFIXES",
    "AudioInfo",
    "Samples",
    "output_format",
    "quoted",
    "reason",
]


_FORMATS: Final = {
    ".wav": "WAV", ".wave": "WAV", ".rf64": "RF64", ".w64": "W64", ".aif": "AIFF", ".aiff": "AIFF",
    ".aifc": "AIFF", ".au": "AU", ".snd": "AU", ".caf": "CAF", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG",
    ".opus": "OGG", ".mp3": "MP3",
}  # fmt: skip
SUFFIXES: Final = frozenset(_FORMATS)
"""The file-name endings that sound files have here, in lower case."""

SAMPLE_BYTES: Final = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
"""What a sample takes in each encoding that is not compressed."""

FLOAT_SUBTYPES: Final = frozenset({"FLOAT", "DOUBLE"})
"""The encodings that hold what is above full scale."""

LOSSY_FORMATS: Final = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
"""The containers of lossy compression, and the encoding that each is written with."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says.

    Args:
        path: The file.
        sample_rate: Samples a second.
        channels: How many channels.
        frames: Samples in each channel as claimed, which may be a lie; None where the header does not say.
        format: soundfile's name of the container, such as `WAV`, found by content and not by name.
        subtype: soundfile's name of the sample encoding, such as `PCM_24`.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    @property
    def seconds(self) -> float | None:
        """The claimed length; None where the header does not say."""
        return None if self.frames is None else self.frames / self.sample_rate


def output_format(path: Path, info: AudioInfo) -> tuple[str, str]:
    """Choose the container by the new file's name, and the sample encoding by the old file's.

    Args:
        path: The file to be written.
        info: The recording it is made from.

    Returns:
        soundfile's names of format and subtype. An encoding that the format lacks gives way to the nearest:
        8 bits stay 8 bits where they can, everything finer or lossy becomes 24 bits.

    Raises:
        AudioError: the name's ending is not one of a format that can be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        endings = " ".join(sorted(SUFFIXES))
        raise AudioError(f"{quoted(path)} has no sound file's ending: use one of {endings}.")
    container = _FORMATS[suffix]
    if container == "WAV" and info.format == "WAVEX":
        container = "WAVEX"
    if suffix == ".opus":
        return container, "OPUS"
    if container in LOSSY_FORMATS and info.format != container:
        return container, LOSSY_FORMATS[container]
    # WAV can wrap MP3, but whoever asks for a WAV of an MP3 wants samples.
    kept = () if info.format in LOSSY_FORMATS and info.format != container else (info.subtype,)
    nearest = ("PCM_S8", "PCM_U8") if info.subtype in ("PCM_S8", "PCM_U8") else ()
    for subtype in (*kept, *nearest, "PCM_24"):
        if soundfile.check_format(container, subtype):
            return container, subtype
    return container, str(soundfile.default_subtype(container))


def quoted(path: Path) -> str:
    """Write a file's name for a message; repr keeps it to one line whatever the name holds."""
    return repr(os.fspath(path))


def reason(error: BaseException) -> str:
    """Take from a library's message what a person can use."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return " ".join(text.split()) or "no reason given"
