"""Sound file formats, what they can hold, and names for messages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import soundfile

from fxst.dsp import Samples
from fxst.dsp.channels import ChannelLayout
from fxst.errors import AudioError, OutputError
from fxst.untrusted import quoted

__all__ = [
    "FLOAT_SUBTYPES",
    "FOREIGN_SUFFIXES",
    "LOSSY_FORMATS",
    "LOSSY_SUBTYPES",
    "LOSSY_SUFFIXES",
    "READABLE_SUFFIXES",
    "SAMPLE_BYTES",
    "SUFFIXES",
    "AudioInfo",
    "Samples",
    "check_room",
    "nearest_rate",
    "output_format",
    "quoted",
    "reason",
    "unwritable_suffix",
]


_FORMATS: Final = {
    ".wav": "WAV", ".wave": "WAV", ".rf64": "RF64", ".w64": "W64", ".aif": "AIFF", ".aiff": "AIFF",
    ".aifc": "AIFF", ".au": "AU", ".snd": "AU", ".caf": "CAF", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG",
    ".opus": "OGG", ".mp3": "MP3",
}  # fmt: skip
SUFFIXES: Final = frozenset(_FORMATS)
"""The extensions of sound files that can be written, in lower case."""

LOSSY_SUFFIXES: Final = (".mp3", ".ogg", ".oga", ".opus")
"""The extensions of those that are compressed lossily."""

FOREIGN_SUFFIXES: Final = frozenset({
    ".3g2", ".3gp", ".3gpp", ".aac", ".ac3", ".amr", ".ape", ".asf", ".avi", ".awb", ".dff", ".dsf", ".dts", ".eac3",
    ".flv", ".m2ts", ".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp4", ".mpc", ".mpeg", ".mpg",
    ".mpga", ".mts", ".ogv", ".ogx", ".ra", ".rm", ".shn", ".spx", ".tak", ".tta", ".voc", ".weba", ".webm", ".wma",
    ".wmv", ".wv",
})  # fmt: skip
"""The extensions of other files with sound, most of which FFmpeg decodes, in lower case."""

READABLE_SUFFIXES: Final = SUFFIXES | FOREIGN_SUFFIXES
"""The extensions of files that are read where a folder is searched."""

SAMPLE_BYTES: Final = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
"""Size of a sample in each uncompressed encoding."""

FLOAT_SUBTYPES: Final = frozenset({"FLOAT", "DOUBLE"})
"""Encodings that can exceed full scale."""

LOSSY_FORMATS: Final = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
"""Containers of lossy compression, and the encoding that each is written with."""

LOSSY_SUBTYPES: Final = frozenset({"VORBIS", "OPUS", "MPEG_LAYER_III", "ULAW", "ALAW"})
"""Encodings that change the samples, and so the peaks."""

_KEPT_SUBTYPES: Final = frozenset({*SAMPLE_BYTES, "ULAW", "ALAW"})
"""Encodings that outputs in uncompressed containers and FLAC keep. Most others hold complete blocks of samples only,
which would lengthen an output. libsndfile's ALAC encoder crashes on some recordings."""

_DECODED: Final = {"ALAC_16": "PCM_16", "ALAC_20": "PCM_24", "ALAC_24": "PCM_24", "ALAC_32": "PCM_32"}
"""PCM encodings that replace those not kept; the others become `PCM_16`."""

_MOST_CHANNELS: Final = {"VORBIS": 255, "OPUS": 255, "MPEG_LAYER_III": 2, "FLAC": 8}
_HIGHEST_RATES: Final = {"VORBIS": 200_000, "FLAC": 655_350}
_RATES: Final = {
    "OPUS": (8_000, 12_000, 16_000, 24_000, 48_000),
    "MPEG_LAYER_III": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
"""Limits of an encoding or a container. libvorbis crashes beyond them."""

_STEREO: Final = 2
_FLAC_ANY_RATE: Final = 65_535

_NAMES: Final = {"VORBIS": "Ogg Vorbis", "OPUS": "Opus", "MPEG_LAYER_III": "MP3"}


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file states.

    Args:
        path: The file.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
        frames: Samples per channel as stated, which may be wrong; None where the header leaves it open.
        format: soundfile's name of the container, such as `WAV`, from the content and not the file's name; `FFMPEG`
            for all that FFmpeg decodes.
        subtype: soundfile's name of the sample encoding, such as `PCM_24`.
        roles: The loudspeaker of each channel, as the file states them; empty where it states none.
        bit_rate: Bits a second of lossy audio; None where it is not lossy, or not known.
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str
    roles: tuple[str, ...] = ()
    bit_rate: float | None = None

    @property
    def layout(self) -> ChannelLayout:
        """The loudspeakers of the channels, in the order of the audio; guessed where the file states none."""
        return ChannelLayout(self.roles) if self.roles else ChannelLayout.guessed(self.channels)

    @property
    def seconds(self) -> float | None:
        """The stated length; None where the header leaves it open."""
        return None if self.frames is None else self.frames / self.sample_rate


def output_format(path: Path, info: AudioInfo, *, output_sample_rate: int | None = None) -> tuple[str, str]:
    """Choose an output's container by its name, and its sample encoding by that of the input.

    Args:
        path: The output.
        info: The input.
        output_sample_rate: The output's sample rate; by default the input's.

    Returns:
        soundfile's names of format and subtype. An encoding that the format lacks is replaced by the nearest: 8 bits
        stay 8 bits where possible, everything finer or lossy becomes 24 bits. ADPCM, GSM 6.10 and other block codecs
        become 16 bits, and ALAC becomes PCM.

    Raises:
        AudioError: No format that can be written has this extension.
        OutputError: The format does not support so many channels or that sample rate.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise AudioError(unwritable_suffix(path))
    container = _FORMATS[suffix]
    if container == "WAV" and (info.format == "WAVEX" or (info.roles and info.channels > _STEREO)):
        container = "WAVEX"
    if container in ("WAV", "WAVEX") and info.format == "RF64":
        container = "RF64"
    if suffix == ".opus":
        subtype = "OPUS"
    elif container in LOSSY_FORMATS:
        kept = info.format == container and info.subtype in LOSSY_SUBTYPES
        subtype = info.subtype if kept else LOSSY_FORMATS[container]
    else:
        subtype = next(one for one in (*_nearest(info), "PCM_24") if _holds(container, one, info.channels))
    rate = output_sample_rate or nearest_rate(path, info.sample_rate)
    check_room(path, container, subtype, sample_rate=rate, channels=info.channels)
    return container, subtype


def nearest_rate(path: Path, sample_rate: int) -> int:
    """Return a sample rate, or the next one that the lossy format of an output has.

    Args:
        path: The output.
        sample_rate: The sample rate in Hz.
    """
    rates = _RATES.get({".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}.get(path.suffix.lower(), ""), ())
    if not rates or sample_rate in rates:
        return sample_rate
    return min((rate for rate in rates if rate > sample_rate), default=rates[-1])


def unwritable_suffix(path: Path) -> str:
    """Return the message for an output whose extension is not that of a format that can be written."""
    suffix = path.suffix.lower()
    problem = (
        f"is a {suffix} file, which can only be read" if suffix in FOREIGN_SUFFIXES else "has no audio file extension"
    )
    return f"{quoted(path)} {problem}: use one of {' '.join(sorted(SUFFIXES))}."


def check_room(path: Path, container: str, subtype: str, *, sample_rate: int, channels: int) -> None:
    """Check that a format supports a number of channels and a sample rate; an encoder might crash otherwise.

    Args:
        path: The file.
        container: soundfile's name of the container.
        subtype: soundfile's name of the sample encoding.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.

    Raises:
        OutputError: It does not.
    """
    kind = container if container in _MOST_CHANNELS else subtype
    name = _NAMES.get(kind, kind)
    lacking = ""
    if channels > (most := _MOST_CHANNELS.get(kind, channels)):
        lacking = f"{channels} channels ({name} has at most {most})"
    elif sample_rate > (highest := _HIGHEST_RATES.get(kind, sample_rate)):
        lacking = f"{sample_rate} Hz ({name} goes up to {highest} Hz)"
    elif sample_rate not in (rates := _RATES.get(kind, (sample_rate,))):
        lacking = f"{sample_rate} Hz ({name} has only {', '.join(map(str, rates[:-1]))} and {rates[-1]} Hz)"
    elif kind == "FLAC" and sample_rate > _FLAC_ANY_RATE and sample_rate % 10:
        lacking = f"{sample_rate} Hz (above {_FLAC_ANY_RATE} Hz, FLAC has only multiples of 10)"
    if lacking:
        raise OutputError(f"{quoted(path)} cannot hold {lacking}: name it .wav.")


def _nearest(info: AudioInfo) -> tuple[str, ...]:
    """Return the encodings that suit a recording's output, best first."""
    if info.subtype in ("PCM_S8", "PCM_U8"):
        return info.subtype, "PCM_S8", "PCM_U8", "PCM_16"
    if info.subtype in _KEPT_SUBTYPES:
        return (info.subtype,)
    return () if info.subtype in LOSSY_SUBTYPES else (_DECODED.get(info.subtype, "PCM_16"),)


def _holds(container: str, subtype: str, channels: int) -> bool:
    # With one byte a frame libsndfile counts the padding byte of an AIFF's chunk as a sample.
    one_byte = channels == 1 and subtype in ("PCM_S8", "PCM_U8", "ULAW", "ALAW")
    return soundfile.check_format(container, subtype) and not (container == "AIFF" and one_byte)


def reason(error: BaseException) -> str:
    """Return the reason in a library's error, as one line for a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return " ".join(text.split()) or "no reason given"
