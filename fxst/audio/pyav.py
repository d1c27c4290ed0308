"""A program that decodes one file with PyAV; `fxst.audio.ffmpeg` starts it.

It imports nothing else of fxst, so that it starts fast. It writes the audio to standard output, as an AU stream in this
machine's byte order. To standard error it writes a description of the track, in ffmpeg's words and after `[info]`;
every other line there is an error.
"""

import struct
import sys
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["main"]

_HEADER: Final = struct.Struct("=6I")
_MAGIC: Final = 0x2E736E64
_UNKNOWN_SIZE: Final = 2**32 - 1
_FLOAT: Final = 6
_SAMPLE_BYTES: Final = 4


def main(name: str, protocols: str, formats: str) -> None:
    """Decode the first sound track of a file.

    Args:
        name: Its URL.
        protocols: The protocols that may be used, separated by commas.
        formats: The containers that may be read, separated by commas.
    """
    import av

    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    whitelists = {"protocol_whitelist": protocols, "format_whitelist": formats}
    with av.open(name, container_options=whitelists, metadata_errors="replace") as container:
        tracks = container.streams.audio
        if not tracks:
            raise ValueError("Stream map matches no streams")
        tracks[0].codec_context.thread_count = 1
        sys.stderr.write(f"[info]   Duration: , bitrate: {container.bit_rate // 1000} kb/s\n")
        for name, text in container.metadata.items():
            sys.stderr.write(f"[info]     {name:<16}: {' '.join(text.splitlines())}\n")
        for number, chapter in enumerate(container.chapters()):
            seconds = float(chapter["start"] * (chapter["time_base"] or 0))
            title = " ".join(chapter["metadata"].get("title", "").splitlines())
            sys.stderr.write(f"[info]     Chapter #0:{number}: start {seconds:.6f}\n[info]         title: {title}\n")
        for video in container.streams.video:
            if video.disposition & av.stream.Disposition.attached_pic:
                sys.stderr.write(f"[info] Stream #0:{video.index}: Video: (attached pic)\n")
        for track in tracks:
            context = track.codec_context
            sys.stderr.write(
                f"[info] Stream #0:{track.index}: Audio: {context.name}, {context.sample_rate} Hz, "
                f"{'+'.join(channel.name for channel in context.layout.channels)}, "
                f"{context.format.name if context.format else 'none'}, {(track.bit_rate or 0) // 1000} kb/s\n"
            )
        sys.stderr.flush()
        for data in _stream(av, _decoded(container.demux(tracks[0]))):
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _decoded(packets: Iterator[Any]) -> Iterator[Any]:
    for packet in packets:
        if packet.is_corrupt:
            raise ValueError("corrupt input packet")
        yield from packet.decode()


def _stream(av: Any, decoded: Iterator[Any]) -> Iterator[bytes]:
    """Yield the header of an AU stream and its audio, which keeps the parameters of the first frame."""
    sample_rate, layout, seen, resampler = 0, None, None, None
    for frame in decoded:
        if layout is None:
            sample_rate, layout = frame.sample_rate, frame.layout
            yield _HEADER.pack(_MAGIC, _HEADER.size, _UNKNOWN_SIZE, _FLOAT, sample_rate, layout.nb_channels)
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if kind != seen:  # a resampler takes one kind of frame
            yield from _resampled(resampler, None)
            seen, resampler = kind, av.AudioResampler("flt", layout, sample_rate)
        frame.pts = None
        yield from _resampled(resampler, frame)
    yield from _resampled(resampler, None)


def _resampled(resampler: Any, frame: Any) -> Iterator[bytes]:
    for block in resampler.resample(frame) if resampler is not None else ():
        yield bytes(block.planes[0])[: block.samples * block.layout.nb_channels * _SAMPLE_BYTES]


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BrokenPipeError:
        sys.exit(1)
    except Exception as problem:
        sys.stderr.write(f"{getattr(problem, 'strerror', '') or problem}\n")
        sys.exit(1)
