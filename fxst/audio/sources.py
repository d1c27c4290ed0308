"""Where the audio of a file is: the byte ranges that a decoder gets, so that it decodes all of it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fxst.audio import chunks, codecs, flac, id3, mpeg, ogg
from fxst.audio.formats import quoted
from fxst.audio.views import Part, View
from fxst.errors import AudioError

__all__ = ["ForeignError", "Source", "find", "mpeg_source", "unread"]

_ID3V1_BYTES: Final = 128
_FLAC_FRAME_BYTES: Final = 16
_UNKNOWN: Final = 2**32 - 1
_MPEG_IN_WAV: Final = frozenset({0x50, 0x55})
_CAF_EDITS_BYTES: Final = 4
_WAVS: Final = frozenset({b"RIFF", b"RF64", b"RIFX"})
_PCM: Final = 1
_FORMAT_BYTES: Final = 16
_SCANNED_BYTES: Final = 1 << 20
_REMEDY: Final = "convert it to WAV with ffmpeg, or leave it out"


class ForeignError(AudioError):
    """libsndfile does not read a file's codec.

    Args:
        message: What the file holds.
        changes: Whether it is the parameters that change partway.
    """

    def __init__(self, message: str, *, changes: bool = False) -> None:
        super().__init__(message)
        self.changes = changes


@dataclass(frozen=True)
class Source:
    """How a file is decoded.

    Args:
        views: The streams, decoded one after the other; None is the unchanged file.
        frames: The length of each in samples, where it was counted.
        truncated: Whether the end is known to be missing.
        low_bits: Whether samples lie in the low 24 of 32 bits.
    """

    views: tuple[View | None, ...] = (None,)
    frames: tuple[int | None, ...] = (None,)
    truncated: bool = False
    low_bits: bool = False


def reading(fd: int) -> Callable[[int, int], bytes]:
    """Return `read(size, offset)` for an open file."""

    def read(size: int, at: int) -> bytes:
        return os.pread(fd, size, at)

    return read


def mpeg_source(path: Path, fd: int, start: int, end: int) -> Source | None:
    """Find the MPEG audio in a byte range of a file; None where there is none.

    Args:
        path: The file, for messages.
        fd: The file, open for reading.
        start: Start of the range.
        end: End of the range.

    Raises:
        AudioError: It cannot be decoded as one stream.
    """
    read = reading(fd)
    tags_end = id3.end(read, start)
    tags_begin = max(tags_end, id3.begin(read, end))
    streams: list[mpeg.Stream] = []
    found = False
    at: int | None = tags_end
    while at is not None and (stream := mpeg.walk(read, at, tags_begin)) is not None:
        if stream.change is not None:
            raise ForeignError(f"MPEG audio that {stream.change}", changes=True)
        if stream.fault is not None:
            raise AudioError(f"{quoted(path)} {stream.fault}: {_REMEDY}.")
        streams += [stream] if stream.frames else []
        found, at = True, stream.following
    if not found:
        return None
    if not streams:
        raise AudioError(f"{quoted(path)} holds no audio: export it again, or leave it out.")
    information = streams[0].information
    first_tag = id3.first_end(read, start)
    truncated = any(stream.cut or (_counted(stream) or 0) > stream.frames for stream in streams)
    unbroken = (start, streams[0].spans[0][0], len(streams[0].spans), len(streams)) == (0, first_tag, 1, 1)
    counted = information is not None and _counted(streams[0]) is not None
    if unbroken and counted and information is not None and _is_right(information, streams[0], end):
        return Source(truncated=truncated)
    views = []
    for stream in streams:
        before: list[Part] = [(start, first_tag)] if stream is streams[0] else []
        after: list[Part] = [(tags_begin, end)] if stream is streams[-1] else []
        views.append(View(fd, [*before, *_parts(stream), *after]))
    frames = (None if _counted(one) is not None else one.frames * one.frame_samples for one in streams)
    return Source(tuple(views), tuple(frames), truncated)


def _counted(stream: mpeg.Stream) -> int | None:
    """Return the number of frames in a stream's information frame, where libsndfile knows it."""
    information = stream.information
    return information.frames if information is not None and information.fields is not None else None


def _parts(stream: mpeg.Stream) -> list[Part]:
    """Return the frames of a stream, with the number of them that libsndfile needs."""
    information, counted = stream.information, _counted(stream)
    parts: list[Part] = list(stream.spans)
    if information is not None:
        parts[0] = (information.end, stream.spans[0][1])  # without a count libsndfile would decode it as audio
    if information is not None and counted is not None:
        return [information.counting(max(counted, stream.frames), stream.size), *parts]
    # Without a count libsndfile estimates it from the length, which must be long enough.
    parts.append(max(0, (stream.frames + 2) * (stream.longest_bytes + 4) - stream.size))
    parts.append(bytes(_ID3V1_BYTES))  # where it looks for a tag
    return parts


def _is_right(information: mpeg.Information, stream: mpeg.Stream, size: int) -> bool:
    """Return whether an information frame's counts are right; libsndfile warns of a wrong count of bytes."""
    frames_right = information.frames is not None and information.frames >= stream.frames
    return frames_right and (information.size is None or abs(information.size - size) * 100 < size)


def find(path: Path, fd: int) -> Source | None:
    """Find the audio of an open file; None where its first bytes are not recognised.

    Args:
        path: The file, for messages.
        fd: The file, open for reading.

    Raises:
        AudioError: Not all of its audio can be decoded.
    """
    read, size = reading(fd), os.fstat(fd).st_size
    start = id3.end(read, 0)
    end = max(start, id3.begin(read, size))
    magic = read(4, start)
    if mpeg.begins(magic):
        return mpeg_source(path, fd, 0, size)
    if magic == b"fLaC":
        starts = flac.starts(read, start, end)
        spans = list(zip(starts, [*starts[1:], end], strict=True))
        if any(flac.recount(read, *span) for span in spans):
            return Source(tuple(View(fd, flac.recount(read, *span) or [span]) for span in spans), (None,) * len(spans))
        return _streams(fd, spans)
    if found := flac.header(read(_FLAC_FRAME_BYTES, start)):
        header, before = found
        view = View(fd, [header, (start, end)])
        ending = flac.ending(view.tail(flac.TAIL_BYTES))
        return Source((view,), (ending.frames - before if ending else None,))
    if magic == b"OggS":
        return _ogg_source(path, fd, start, end)
    if magic in (b".snd", b"dns."):
        return _au_source(path, fd, start, end)
    if layout := chunks.layout(read, start, end):
        return _chunk_source(path, fd, layout, start, end)
    return None


def _ogg_source(path: Path, fd: int, start: int, end: int) -> Source:
    read = reading(fd)
    links = ogg.links(read, start, end)
    if not links or links[0].start != start:
        raise AudioError(f"{quoted(path)} lacks the beginning of its audio: download or copy the file again.")
    if all(link.codec.startswith(b"\x7fFLAC") for link in links):
        spans = [ogg.flac_spans(read, link) for link in links]
        if None in spans:
            raise AudioError(
                f"{quoted(path)} is damaged: its FLAC stream is incomplete; download or copy the file again."
            )
        views = tuple(View(fd, span) for span in spans if span)
        return Source(views, (None,) * len(views))
    if name := codecs.unread(b"", links[0].codec):
        if len(links) > 1:
            raise AudioError(f"{quoted(path)} holds several recordings in a row, the first in {name}: split it.")
        raise ForeignError(f"{name} in Ogg")
    return _streams(fd, [(link.start, link.end) for link in links])


def _au_source(path: Path, fd: int, start: int, end: int) -> Source:
    read = reading(fd)
    order: Literal["big", "little"] = "big" if read(4, start) == b".snd" else "little"
    first, size = (int.from_bytes(read(4, start + place), order) for place in (4, 8))
    if read(4, start + first + size) == read(4, start):
        raise AudioError(f"{quoted(path)} is two files joined into one: split it.")
    # libsndfile trusts the size, but everything after the header is audio. The largest size stands for "unknown".
    truncated = end - start - first < size < _UNKNOWN
    view = View(fd, [(start, start + 8), _UNKNOWN.to_bytes(4, order), (start + 12, end)])
    return Source((view,), truncated=truncated)


def _chunk_source(path: Path, fd: int, layout: chunks.Layout, start: int, end: int) -> Source:
    name, first, size = quoted(path), layout.start, layout.size
    if first is None:
        return Source()
    if layout.codec in _MPEG_IN_WAV and (found := mpeg_source(path, fd, first, min(end, first + (size or end)))):
        return found
    if layout.more:
        raise AudioError(
            f"{name} holds {layout.more + 1} recordings in a row, of which players play the first: split it."
        )
    if layout.uncounted and size:
        raise AudioError(
            f"{name} holds {layout.uncounted} bytes after the {size} bytes of audio that its header states: "
            "export it again, or repair its header."
        )
    if layout.uncounted and size == 0 and layout.magic != b"FORM":
        raise AudioError(
            f"{name} has a header that states no audio, but {layout.uncounted} bytes follow: export it again."
        )
    if layout.magic == b"caff" and (size is None or first + size > end):
        # libsndfile refuses it as malformed.
        present = (end - first + _CAF_EDITS_BYTES).to_bytes(8, "big")
        at = first - _CAF_EDITS_BYTES
        return Source((View(fd, [(start, at - 8), present, (at, end)]),), truncated=size is not None)
    if found := _in_32_bits(fd, layout, first, min(end, first + (size or end))):
        return found
    if layout.magic == b"BW64":
        return Source((View(fd, [b"RF64", (start + 4, end)]),))
    if layout.magic == b"riff" and size:
        end = min(end, first + size)  # in W64 libsndfile decodes what follows the audio, too
    return _streams(fd, [(start, end)])


def _in_32_bits(fd: int, layout: chunks.Layout, first: int, end: int) -> Source | None:
    """Return a source for 24-bit samples in 32 bits, which libsndfile may read as noise or 48 dB too low.

    Return None for any other file.

    Args:
        fd: The file, open for reading.
        layout: Its chunks.
        first: Offset of the samples.
        end: Offset at which they end.
    """
    read = reading(fd)
    order: Literal["big", "little"] = "big" if layout.magic == b"RIFX" else "little"
    form = read(_FORMAT_BYTES, layout.described)
    channels, block_bytes, bits = (int.from_bytes(form[place : place + 2], order) for place in (2, 12, 14))
    if layout.magic not in _WAVS or layout.codec != _PCM or (block_bytes, bits) != (4 * channels, 24):
        return None
    lowest, highest = (0, 3) if order == "little" else (3, 0)
    low = high = False
    at = first
    while at < end and (piece := read(min(_SCANNED_BYTES, end - at), at)):
        low = low or any(piece[lowest::4])
        high = high or not {*piece[highest::4]} <= {0, 255}
        at += len(piece)
    if low and high:
        return None
    place = layout.described + 14
    view = View(fd, [(0, place), (32).to_bytes(2, order), (place + 2, os.fstat(fd).st_size)])
    return Source((view,), low_bits=not high)


def _streams(fd: int, spans: list[tuple[int, int]]) -> Source:
    """Return a source for byte ranges in sequence; the unchanged file where one range is all of it."""
    if len(spans) < 2 and spans in ([], [(0, os.fstat(fd).st_size)]):
        return Source()
    return Source(tuple(View(fd, [span]) for span in spans), (None,) * len(spans))


def unread(fd: int) -> str | None:
    """Name the codec or container of an open file that libsndfile cannot read; None where it is unknown."""
    read = reading(fd)
    start = id3.end(read, 0)
    layout = chunks.layout(read, start, os.fstat(fd).st_size)
    return codecs.unread(read(12, start), layout.codec if layout else None)
