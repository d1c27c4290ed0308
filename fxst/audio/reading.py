"""Reading: what counts is the audio that can be read, not the header."""

import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import soundfile

from fxst import extras
from fxst.audio import ffmpeg, id3, layouts, metadata, ogg
from fxst.audio.formats import FOREIGN_SUFFIXES, SAMPLE_BYTES, AudioInfo, Samples, quoted, reason
from fxst.audio.metadata import Metadata
from fxst.audio.playing import Player
from fxst.audio.sources import ForeignError, Source, find, mpeg_source, unread
from fxst.errors import AudioError

__all__ = ["HIGHEST_SAMPLE_RATE", "Reader", "probe", "read", "stream"]

HIGHEST_SAMPLE_RATE: Final = 768_000
LOUDEST: Final = 1e12
"""Largest sample, full scale being 1: after 24 dB from each of ten bands it is still finite in float32."""

_COMPRESSED: Final = frozenset({"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"})
_BLOCK_SAMPLES: Final = 1 << 23

# libsndfile's log, the only source of the header's size before libsndfile corrected it.
_CLAIMED_BYTES: Final = re.compile(r"^\s*(?:data|SSND|Data [sS]ize)\s*:\s*(\d+)(?: \(should be (\d+)\))?", re.MULTILINE)
# Sizes that programs state when they write to a pipe: the largest, or, in SoX and LAME, the largest signed one, rounded
# down or less the header.
_UNKNOWN_SIZES: Final = frozenset({2**32 - 1, *range(2**31 - 2**12, 2**31)})
_CHUNK_HEADER_BYTES: Final = 32
_LAST_OGG_PAGE: Final = 4


def probe(path: Path) -> AudioInfo:
    """Read a sound file's header without its audio.

    Args:
        path: A sound file.

    Raises:
        AudioError: It is not a readable sound file, or has no audio.
    """
    with Reader(path) as reader:
        return reader.info


def stream(path: Path, *, block_frames: int = 1 << 16, start: int = 0, frames: int | None = None) -> Iterator[Samples]:
    """Read a sound file of any length block by block.

    Args:
        path: A sound file.
        block_frames: The longest block, in samples.
        start: The first sample.
        frames: Number of samples; None for all.

    Shape:
        Each block: `(channels, time)`.

    Raises:
        AudioError: The file cannot be read in full as finite audio.
    """
    with Reader(path) as reader:
        yield from reader.blocks(block_frames=block_frames, start=start, frames=frames)


def read(path: Path, *, start: int = 0, frames: int | None = None) -> tuple[Samples, int]:
    """Read a sound file, or a part of it, into memory; return the audio and its sample rate.

    Args:
        path: A sound file.
        start: The first sample.
        frames: Number of samples; None for all.

    Shape:
        The audio: `(channels, time)`.

    Raises:
        AudioError: The file cannot be read in full as finite audio.
    """
    with Reader(path) as reader:
        return reader.read(start=start, frames=frames), reader.info.sample_rate


class Reader:
    """An open sound file.

    What libsndfile cannot read is decoded by FFmpeg, where that is installed. `truncated` is true where there is less
    audio than the header states. Some formats show that on opening, the others once the last block has been read.
    `remarks` says what else of the file is not read, a sentence each.

    Args:
        path: A sound file.

    Raises:
        AudioError: It is not a readable sound file, or has no audio.
    """

    info: AudioInfo
    truncated: bool
    remarks: tuple[str, ...]

    def __init__(self, path: Path) -> None:
        self._fd = _open_regular(path)
        self._player: Player | ffmpeg.ForeignPlayer
        self._order: list[int] | None = None
        self.remarks = ()
        try:
            try:
                self._open(path)
            except (soundfile.SoundFileError, TypeError, ForeignError) as error:
                self._open_foreign(path, error)
        except OSError as error:
            self.close()
            raise AudioError(f"{quoted(path)} cannot be read ({reason(error)}): copy the file again.") from error
        except BaseException:
            self.close()
            raise

    @cached_property
    def metadata(self) -> Metadata:
        """What the file holds besides its sound: tags, pictures, chapters, and chunks such as `bext`."""
        foreign = None if isinstance(self._player, Player) else self._player
        pairs = foreign.pairs if foreign else ()
        found = metadata.read(self._fd, self._bytes, *self._span(), pairs=pairs, mpeg=self.info.format == "MP3")
        if foreign and foreign.pictures and not found.tags.pictures:
            return replace(found, unread="pictures")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_player"):
            self._player.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def blocks(self, *, block_frames: int = 1 << 16, start: int = 0, frames: int | None = None) -> Iterator[Samples]:
        """Yield the audio in blocks.

        Args:
            block_frames: The longest block, in samples.
            start: The first sample.
            frames: Number of samples; None for all.

        Shape:
            Each block: `(channels, time)`.

        Raises:
            AudioError: The file is damaged, has no audio, or has samples that are not finite.
        """
        block_frames = max(1, min(block_frames, _BLOCK_SAMPLES // self.info.channels))
        position = start
        end = None if frames is None else start + frames
        try:
            if self.info.frames is not None and start >= self.info.frames:
                return
            self._player.go_to(start)
            while end is None or position < end:
                block = self._player.read(block_frames if end is None else min(block_frames, end - position))
                if not len(block):
                    break
                low, high = float(block.min()), float(block.max())
                if not (math.isfinite(low) and math.isfinite(high)):
                    raise AudioError(
                        f"{quoted(self.info.path)} holds samples that are not finite numbers, near "
                        f"{position / self.info.sample_rate:.2f} s: export it again."
                    )
                if max(high, -low) > LOUDEST:
                    raise AudioError(
                        f"{quoted(self.info.path)} holds samples far beyond full scale, near "
                        f"{position / self.info.sample_rate:.2f} s: normalise it."
                    )
                position += len(block)
                yield np.ascontiguousarray(block.T if self._order is None else block.T[self._order])
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"{quoted(self.info.path)} is damaged near {position / self.info.sample_rate:.2f} s "
                f"({reason(error)}): download or copy the file again."
            ) from error
        if end is None or position < end:
            self._note_end(position, nothing=position == 0)

    def read(self, *, start: int = 0, frames: int | None = None) -> Samples:
        """Read the audio into memory.

        Args:
            start: The first sample.
            frames: Number of samples; None for all.

        Shape:
            `(channels, time)`.

        Raises:
            AudioError: The file is damaged, has no audio, or has samples that are not finite.
        """
        blocks = list(self.blocks(start=start, frames=frames))
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((self.info.channels, 0), np.float32)

    def _open(self, path: Path) -> None:
        """Open the file with libsndfile."""
        player, source = _opened(path, self._fd)
        self._player, file = player, player.file
        _check_rate(path, player.sample_rate)
        if file.frames == 0:
            raise AudioError(f"{quoted(path)} holds no audio: export it again, or leave it out.")
        subtype = "PCM_24" if source.low_bits else file.subtype
        # libsndfile guesses how 24-bit samples lie in 32 bits; where the guess fails it reads noise.
        if "detection failed" in file.extra_info:
            raise AudioError(f"{quoted(path)} has a header that contradicts itself: export it again.")
        self.info = AudioInfo(path, player.sample_rate, player.channels, player.frames, file.format, subtype)
        self._place(layouts.read_layout(self._bytes, *self._span(), player.channels))
        self.info = replace(self.info, bit_rate=self._bit_rate())
        self.truncated = source.truncated or _promises_more(player, self.info)
        self.remarks = player.remarks

    def _open_foreign(self, path: Path, error: Exception) -> None:
        """Open the file with FFmpeg, since libsndfile cannot read it."""
        if hasattr(self, "_player"):
            self._player.close()
        name = str(error) if isinstance(error, ForeignError) else unread(self._fd)
        if not ffmpeg.is_there() and (name or path.suffix.lower() in FOREIGN_SUFFIXES):
            why = f"holds {name}, and" if name else "is not recognised: perhaps it"
            raise AudioError(f"{quoted(path)} {why} needs PyAV: install it with: {extras.install('av')}") from error
        why = f"it holds {name}" if name else "it is not recognised" if _misleads(error) else reason(error)
        try:
            player = self._player = ffmpeg.ForeignPlayer(path, self._fd)
        except ffmpeg.DecodingError as problem:
            if ffmpeg.NO_TRACK in str(problem):
                raise AudioError(f"{quoted(path)} holds no sound: leave it out.") from problem
            why += f", and FFmpeg says: {problem}" if name else ""
            raise AudioError(
                f"{quoted(path)} cannot be read as sound ({why}): convert it to WAV or FLAC, or leave it out."
            ) from problem
        _check_rate(path, player.sample_rate)
        self.info = AudioInfo(path, player.sample_rate, player.channels, player.frames, "FFMPEG", player.subtype)
        self._place(layouts.of_ffmpeg(player.layout, player.channels))
        self.info = replace(self.info, bit_rate=player.bit_rate)
        lacking = os.pread(self._fd, 4, 0) == b"OggS" and _lacks_last_page(player.tail())
        self.truncated = player.truncated or lacking
        if isinstance(error, ForeignError) and error.changes:
            kind = f"{player.sample_rate} Hz with {player.channels} {'channel' if player.channels == 1 else 'channels'}"
            self.remarks = (f"the format changes partway: all of it is at {kind}",)
        if player.tracks > 1:
            self.remarks += (f"the first of {player.tracks} sound tracks is used",)

    def _bytes(self, size: int, at: int) -> bytes:
        return os.pread(self._fd, size, at)

    def _span(self) -> tuple[int, int]:
        """Return where the file begins and ends without tags around it."""
        start = id3.end(self._bytes, 0)
        return start, max(start, id3.begin(self._bytes, os.fstat(self._fd).st_size))

    def _bit_rate(self) -> float | None:
        """Return the bits a second of lossy audio, without tags: as the encoder states them, or as counted."""
        start, end = self._span()
        if self.info.subtype not in _COMPRESSED or not self.info.seconds:
            return None
        if self.info.format == "OGG":
            if self.info.subtype == "VORBIS" and (stated := ogg.nominal_bit_rate(self._bytes, start)):
                return stated
            start = ogg.first_audio(self._bytes, start, end)
        return 8 * (end - start) / self.info.seconds

    def _place(self, roles: tuple[str, ...] | None) -> None:
        """Put the channels into the order of a WAV's channel mask."""
        if roles is None:
            return
        self._order = layouts.order(roles)
        self.info = replace(self.info, roles=roles if self._order is None else tuple(roles[i] for i in self._order))

    def _note_end(self, position: int, *, nothing: bool) -> None:
        if nothing:
            raise AudioError(f"{quoted(self.info.path)} holds no audio: export it again, or leave it out.")
        if self.info.frames is None:
            return
        if position < self.info.frames - self._player.slack_frames:
            self.truncated = True


def _check_rate(path: Path, sample_rate: int) -> None:
    if not 1 <= sample_rate <= HIGHEST_SAMPLE_RATE:
        raise AudioError(
            f"{quoted(path)} claims a sample rate of {sample_rate} Hz, so its header is damaged: "
            "download or copy the file again."
        )


def _lacks_last_page(tail: bytes) -> bool:
    """Return whether an Ogg stream ends without the page that is marked as the last."""
    page = tail.rfind(b"OggS")
    return page < 0 or page + 5 >= len(tail) or not tail[page + 5] & _LAST_OGG_PAGE


def _promises_more(player: Player, info: AudioInfo) -> bool:
    if info.format == "OGG":
        return _lacks_last_page(player.tail())
    claim = _CLAIMED_BYTES.search(player.file.extra_info)
    if claim is None or int(claim[1]) in _UNKNOWN_SIZES:
        return False
    if claim[2] is not None:
        return int(claim[2]) < int(claim[1])
    if info.subtype not in SAMPLE_BYTES or info.frames is None:
        return False
    present = info.frames * info.channels * SAMPLE_BYTES[info.subtype]
    return int(claim[1]) > present + info.channels * SAMPLE_BYTES[info.subtype] + _CHUNK_HEADER_BYTES


def _misleads(error: Exception) -> bool:
    """Return whether libsndfile's message is misleading, as it is for an unknown format."""
    return any(text in str(error).lower() for text in ("does not exist", "internal error", "unknown error"))


def _open_regular(path: Path) -> int:
    # Checked before opening: to open a pipe waits for a writer, and to open a device may do anything.
    name = quoted(path)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise AudioError(f"{name} is a folder: name a sound file in it.")
        if not stat.S_ISREG(found.st_mode):
            raise AudioError(f"{name} is a pipe or a device: save the sound to a file first.")
        if found.st_size == 0:
            raise AudioError(f"{name} is empty (0 bytes): download or copy the file again.")
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise AudioError(f"{name} is a link to a file that does not exist: fix the link.") from error
        raise AudioError(f"{name} does not exist: check the name.") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{name} cannot be opened ({reason(error)}): check its permissions.") from error


def _opened(path: Path, fd: int) -> tuple[Player, Source]:
    source = find(path, fd)
    if source is None:
        refusal: Exception = AudioError(f"{quoted(path)} is free-format MPEG audio: convert it to WAV with mpg123.")
        try:
            player = Player(path, fd, Source())
            if player.file.format != "MP3":
                return player, Source()
            player.close()
        except soundfile.SoundFileError as error:
            refusal = error
        # libsndfile goes by the first bytes, but MPEG audio may start later.
        source = None if unread(fd) else mpeg_source(path, fd, 0, os.fstat(fd).st_size)
        if source is None:
            raise refusal
    return Player(path, fd, source), source
