"""What kinds of sound files there are, and how to speak of one to the person at the keyboard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import soundfile

from fxst.dsp import Samples
from fxst.errors import AudioError, OutputError
from fxst.untrusted import quoted

__all__ = [
    "FLOAT_SUBTYPES",
    "LOSSY_FORMATS",
    "LOSSY_SUBTYPES",
    "SAMPLE_BYTES",
    "SUFFIXES",
    "AudioInfo",
    "Samples",
    "check_room",
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

LOSSY_SUBTYPES: Final = frozenset({"VORBIS", "OPUS", "MPEG_LAYER_III", "ULAW", "ALAW"})
"""The encodings that change the sound, and with it its peaks."""

_KEPT_SUBTYPES: Final = frozenset({*SAMPLE_BYTES, "ULAW", "ALAW"})
"""The encodings that a recording keeps in containers without lossy compression. Most others hold whole blocks of
samples only, and make an output longer than it should be. libsndfile's encoder of ALAC crashes on some recordings."""

_DECODED: Final = {"ALAC_16": "PCM_16", "ALAC_20": "PCM_24", "ALAC_24": "PCM_24", "ALAC_32": "PCM_32"}
"""What becomes of an encoding that is not kept: PCM as wide as it was, and `PCM_16` for those not named here."""

_MOST_CHANNELS: Final = {"VORBIS": 255, "OPUS": 255, "MPEG_LAYER_III": 2, "FLAC": 8}
_HIGHEST_RATES: Final = {"VORBIS": 200_000, "FLAC": 655_350}
_RATES: Final = {
    "OPUS": (8_000, 12_000, 16_000, 24_000, 48_000),
    "MPEG_LAYER_III": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
"""What an encoding, or a container, has room for. libvorbis crashes beyond it."""

_FLAC_ANY_RATE: Final = 65_535

_NAMES: Final = {"VORBIS": "Ogg Vorbis", "OPUS": "Opus", "MPEG_LAYER_III": "MP3"}


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
        soundfile's names of format and subtype. An encoding that the format lacks gives way to the nearest: 8 bits
        stay 8 bits where they can, everything finer or lossy becomes 24 bits. ADPCM, GSM 6.10 and others that hold
        whole blocks of samples only become 16 bits, and ALAC becomes PCM.

    Raises:
        AudioError: the name's ending is not one of a format that can be written.
        OutputError: the format has no room for so many channels, or for that sample rate.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        endings = " ".join(sorted(SUFFIXES))
        raise AudioError(f"{quoted(path)} has no audio file extension: use one of {endings}.")
    container = _FORMATS[suffix]
    if container == "WAV" and info.format == "WAVEX":
        container = "WAVEX"
    if suffix == ".opus":
        subtype = "OPUS"
    elif container in LOSSY_FORMATS:
        kept = info.format == container and info.subtype in LOSSY_SUBTYPES
        subtype = info.subtype if kept else LOSSY_FORMATS[container]
    else:
        subtype = next(one for one in (*_nearest(info), "PCM_24") if _holds(container, one, info.channels))
    check_room(path, container, subtype, sample_rate=info.sample_rate, channels=info.channels)
    return container, subtype


def check_room(path: Path, container: str, subtype: str, *, sample_rate: int, channels: int) -> None:
    """See that a new file has room for so many channels at that rate, before an encoder is asked: it may crash.

    Args:
        path: The file.
        container: soundfile's name of what it is to be.
        subtype: soundfile's name of the sample encoding.
        sample_rate: Samples a second.
        channels: How many channels.

    Raises:
        OutputError: It has not.
    """
    kind = container if container in _MOST_CHANNELS else subtype
    name = _NAMES.get(kind, kind)
    lacking = ""
    if channels > (most := _MOST_CHANNELS.get(kind, channels)):
        lacking = f"{channels} channels, for {name} has {most} at most"
    elif sample_rate > (highest := _HIGHEST_RATES.get(kind, sample_rate)):
        lacking = f"{sample_rate} Hz, for {name} goes up to {highest} Hz"
    elif sample_rate not in (rates := _RATES.get(kind, (sample_rate,))):
        lacking = f"{sample_rate} Hz, for {name} has {', '.join(map(str, rates[:-1]))} and {rates[-1]} Hz only"
    elif kind == "FLAC" and sample_rate > _FLAC_ANY_RATE and sample_rate % 10:
        lacking = f"{sample_rate} Hz, for above {_FLAC_ANY_RATE} Hz FLAC has multiples of 10 only"
    if lacking:
        raise OutputError(f"{quoted(path)} cannot hold {lacking}: name it .wav.")


def _nearest(info: AudioInfo) -> tuple[str, ...]:
    """Name the encodings that a recording's may become in another file, the best first."""
    if info.subtype in ("PCM_S8", "PCM_U8"):
        return info.subtype, "PCM_S8", "PCM_U8", "PCM_16"
    if info.subtype in _KEPT_SUBTYPES:
        return (info.subtype,)
    return () if info.subtype in LOSSY_SUBTYPES else (_DECODED.get(info.subtype, "PCM_16"),)


def _holds(container: str, subtype: str, channels: int) -> bool:
    # libsndfile counts the byte that makes an AIFF's chunk even as a sample, where a frame is one byte.
    one_byte = channels == 1 and subtype in ("PCM_S8", "PCM_U8", "ULAW", "ALAW")
    return soundfile.check_format(container, subtype) and not (container == "AIFF" and one_byte)


def reason(error: BaseException) -> str:
    """Take from a library's message what a person can use."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return " ".join(text.split()) or "no reason given"
