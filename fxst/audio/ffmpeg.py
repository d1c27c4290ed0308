"""Decoding by FFmpeg's libraries what libsndfile cannot read: through PyAV, or else through the program `ffmpeg`.

The decoder is another process, since a damaged file may crash or stall it. It gets the open file and no name, reads
only containers on a list, opens no other file and no network connection, has limited memory, and is ended when it makes
no progress.
"""

import contextlib
import importlib.util
import os
import re
import selectors
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from fxst import interrupts, isolation
from fxst.audio import mp4
from fxst.audio.formats import quoted
from fxst.audio.id3 import Read
from fxst.errors import AudioError

try:
    import resource
except ImportError:  # not on Windows, where memory is not limited
    resource = None  # type: ignore[assignment]

__all__ = ["NO_TRACK", "DecodingError", "ForeignPlayer", "is_there"]

_PROTOCOLS: Final = "file"
_FORMATS: Final = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
"""The containers that may be read. Playlists are not among them, which could name other files."""

NO_TRACK: Final = "matches no streams"
"""What the decoder says of a file without sound, in part."""

_HEAD_BYTES: Final = 24
_PIECE_BYTES: Final = 1 << 16
_STALL_SECONDS: Final = 60
_MOST_MEMORY_BYTES: Final = 1 << 30
_LONGEST_LINE_BYTES: Final = 1 << 12
_TAIL_BYTES: Final = 1 << 16
_SKIPPED_FRAMES: Final = 1 << 16
_PADDING_FRAMES: Final = 8192
"""More than the encoder adds at the end to fill its last block."""

_TRACK: Final = re.compile(r"\[info\] +Stream #0:\d+\S*: Audio: (\w+).*?, \d+ Hz, ([^,]+), (\w+)(?:[^,]*, (\d+) kb/s)?")
_PAIR: Final = re.compile(r"\[info\] {5}([A-Za-z0-9_-]+) *: (.*)$")
"""A text of the file; those of its tracks are indented more."""
_CHAPTER: Final = re.compile(r"\[info\] +Chapter #0:(\d+): start (\d+)(\.\d+)")
_TITLE: Final = re.compile(r"\[info\] {7,}title *: (.*)$")
_STREAM: Final = re.compile(r"\[info\] +Stream #0:\d+")
_PICTURE: Final = re.compile(r"\[info\] +Stream #0:\d+.*: Video: .*\(attached pic\)")
_TOTAL: Final = re.compile(r"\[info\] +Duration: .*bitrate: (\d+) kb/s")
"""The bit rate of the file, for containers that state none of a track."""
_CONTINUED: Final = re.compile(r" {8,}: ")
"""The next line of a text."""
_ERROR: Final = re.compile(r"\[(?:error|fatal|panic)\] *(.+)")
_LOG_ORIGIN: Final = re.compile(r"^\[[^\]]* @ 0x[0-9a-f]+\] *")

_LOSSLESS: Final = frozenset({
    "alac", "ape", "flac", "mlp", "shorten", "tak", "truehd", "tta", "wavpack", "wmalossless",
})  # fmt: skip
_SUBTYPES: Final = {"u8": "PCM_U8", "s16": "PCM_16", "flt": "FLOAT", "dbl": "DOUBLE"}
"""libsndfile's encodings that hold what a lossless one holds; 24 bits hold the others."""

_MARK_BYTES: Final = 8
_MARKS: Final = (
    b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"MAC ", b"TTA1", b"tBaK", b"#!AMR", b".RMF", b"FLV\x01",
    b"DSD ", b"FRM8", b"MPCK", b"ajkg",
)  # fmt: skip
"""How files begin of which FFmpeg plays the first only, where several are joined."""
_SCANNED_BYTES: Final = 1 << 20

_ASF: Final = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"


class DecodingError(Exception):
    """FFmpeg cannot decode the file; the message is its reason."""


def is_there() -> bool:
    """Return whether there is a decoder: PyAV, or the program `ffmpeg`."""
    return _command() is not None


def _command() -> list[str] | None:
    """Return the command that decodes, less the file; None where nothing is installed."""
    if importlib.util.find_spec("av") is not None:
        return [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name("pyav.py"))]
    program = shutil.which("ffmpeg")
    # A relative path would lead into a folder that others have filled.
    return [program] if program is not None and Path(program).is_absolute() else None


def _arguments(command: list[str], fd: int) -> list[str]:
    # By descriptor: no part of the file's name can be taken for an option, a protocol or a pattern.
    url = f"file:/dev/fd/{fd}"
    if len(command) > 1:
        return [*command, url, _PROTOCOLS, _FORMATS]
    return [
        *command, "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-xerror", "-threads", "1",
        "-protocol_whitelist", _PROTOCOLS, "-format_whitelist", _FORMATS, "-i", url,
        "-map", "0:a:0", "-map_metadata", "-1", "-c:a", "pcm_f32be", "-f", "au", "pipe:1",
    ]  # fmt: skip


class ForeignPlayer:
    """The first sound track of an open file, decoded by another process.

    Args:
        path: The file, for messages.
        fd: The file, open for reading; it stays open.

    Raises:
        AudioError: It has no sound, or holds several recordings in a row.
        DecodingError: FFmpeg cannot read it.
    """

    frames: int | None
    """Total length in samples; None where the container leaves it open."""

    slack_frames = _PADDING_FRAMES
    """By how much the decoded sound may be shorter without being cut off."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._process: subprocess.Popen[bytes] | None = None
        size = os.fstat(fd).st_size
        described = mp4.describe(self._bytes, size)
        if _is_joined(self._bytes, size) or (described is not None and described.recordings > 1):
            raise AudioError(
                f"{quoted(path)} holds several recordings in a row, of which players play the first: split it."
            )
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        stated = described.seconds if described is not None else None
        self.frames = None if stated is None else round(stated * self.sample_rate)
        self.truncated = _is_cut(self._bytes, size)
        self.tracks = len(self._tracks)
        codec, self.layout, samples, kilobits = self._tracks[0] if self._tracks else ("", "", "", "")
        self.subtype = _subtype(codec, samples)
        lossless = codec in _LOSSLESS or codec.startswith("pcm_")
        self.bit_rate = None if lossless else 1000.0 * (int(kilobits or 0) or self._kilobits) or None

    def close(self) -> None:
        """End the decoder."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        process.wait()
        self._selector.close()

    def read(self, frames: int) -> npt.NDArray[np.float32]:
        """Decode the next block.

        Args:
            frames: Its greatest length; it is shorter, or empty, only at the end.

        Shape:
            `(time, channels)`.

        Raises:
            AudioError: The file is damaged, or cannot be decoded.
        """
        frame_bytes = 4 * self.channels
        wanted = frames * frame_bytes
        # Where the length is known, what the encoder has added to fill its last block is left out. A container whose
        # length is wrong by more is not believed.
        held = _PADDING_FRAMES * frame_bytes if self.frames is not None else 0
        try:
            while len(self._data) < wanted + held and self._more():
                pass
        except DecodingError as error:
            seconds = (self._position + len(self._data) // frame_bytes) / self.sample_rate
            raise AudioError(
                f"{quoted(self._path)} is damaged near {seconds:.2f} s ({error}): download or copy the file again."
            ) from error
        there = len(self._data) // frame_bytes
        left = there if self.frames is None else self.frames - self._position
        if 0 <= left <= there < left + _PADDING_FRAMES:
            there = left
        count = min(frames, there)
        data = bytes(self._data[: count * frame_bytes])
        del self._data[: count * frame_bytes]
        self._position += count
        order = ">f4" if self._order == "big" else "<f4"
        return np.frombuffer(data, order).astype(np.float32).reshape(-1, self.channels)

    def go_to(self, frame: int) -> None:
        """Seek to a sample, by decoding everything before it.

        Args:
            frame: Its number.

        Raises:
            AudioError: The file is damaged, or cannot be decoded.
        """
        if frame < self._position:
            self.close()
            try:
                self._begin()
            except DecodingError as error:
                raise AudioError(
                    f"{quoted(self._path)} cannot be decoded again ({error}): copy the file again."
                ) from error
        while self._position < frame and len(self.read(min(_SKIPPED_FRAMES, frame - self._position))):
            pass

    def tail(self) -> bytes:
        """Return the file's last bytes."""
        return self._bytes(_TAIL_BYTES, max(0, os.fstat(self._fd).st_size - _TAIL_BYTES))

    def _bytes(self, size: int, at: int) -> bytes:
        return os.pread(self._fd, size, at)

    def _begin(self) -> None:
        command = _command()
        if command is None:
            raise DecodingError("no decoder is installed")
        self._native = len(command) == 1
        self._data = bytearray()
        self._line = b""
        self._problem = ""
        self._tracks: list[tuple[str, str, str, str]] = []
        self._kilobits = 0
        self.pairs: list[tuple[str, str]] = []
        self.pictures = False
        self._chapter = ""
        self._described = self._ended = False
        self._position = 0
        os.lseek(self._fd, 0, os.SEEK_SET)
        environment = {
            name: text for name, text in os.environ.items() if name not in ("FFREPORT", "AV_LOG_FORCE_COLOR")
        }
        with interrupts.deferred(), isolation.safe_children():
            self._process = subprocess.Popen(
                _arguments(command, self._fd),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                pass_fds=(self._fd,), cwd=os.sep, env=environment,
                process_group=0,  # Ctrl-C is for this process, which ends the other
            )  # fmt: skip
            self._selector = selectors.DefaultSelector()
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, selectors.EVENT_READ)
        interrupts.check()
        _limit_memory(self._process.pid)
        while len(self._data) < _HEAD_BYTES and self._more():
            pass
        head = bytes(self._data[:_HEAD_BYTES])
        if len(head) < _HEAD_BYTES:
            raise DecodingError("it holds no audio")
        self._order: Literal["big", "little"] = "big" if head[:4] == b".snd" else "little"
        first, _, _, self.sample_rate, self.channels = (
            int.from_bytes(head[at : at + 4], self._order) for at in range(4, _HEAD_BYTES, 4)
        )
        while len(self._data) < first and self._more():
            pass
        del self._data[:first]

    def _more(self) -> bool:
        """Read what the decoder has written; return false after its end.

        Raises:
            DecodingError: It reported an error, or made no progress.
        """
        process = self._process
        assert process is not None
        if self._ended:
            return False
        for _ in range(_STALL_SECONDS):
            # In steps of a second: a program that was stopped in between has not waited.
            if ready := self._selector.select(1.0):
                break
        else:
            raise DecodingError(f"the decoder made no progress for {_STALL_SECONDS} s")
        for key, _ in ready:
            data = os.read(key.fd, _PIECE_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is process.stdout:
                self._data += data
            else:
                self._heed(data)
        if not self._selector.get_map():
            self._ended = True
            self._heed(b"\n")
            if (code := process.wait()) and not self._problem:
                self._problem = f"the decoder ended with status {code}"
        if self._problem:
            raise DecodingError(self._problem)
        return True

    def _heed(self, data: bytes) -> None:
        """Read what the decoder says: its tracks, and its first error."""
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[:_LONGEST_LINE_BYTES]
        for line in (line.decode(errors="replace") for line in lines):
            self._described = self._described or "Stream mapping:" in line  # after which ffmpeg describes its output
            if not self._described and (total := _TOTAL.match(line)):
                self._kilobits = int(total[1])
            if not self._described and (pair := _PAIR.match(line)):
                self.pairs.append((pair[1], pair[2]))
            if not self._described:
                self._heed_chapter(line)
                self.pictures = self.pictures or _PICTURE.match(line) is not None
            if not self._described and (track := _TRACK.search(line)):
                self._tracks.append((track[1], track[2], track[3], track[4] or ""))
            if self._native:
                found = _ERROR.search(line)
                problem = found[1] if found else ""
            else:
                problem = "" if line.startswith("[info]") or _CONTINUED.match(line) else _LOG_ORIGIN.sub("", line)
            self._problem = self._problem or problem.removeprefix(f"file:/dev/fd/{self._fd}: ").strip().rstrip(".")

    def _heed_chapter(self, line: str) -> None:
        """Take a chapter as Vorbis comments write it: its start, and its title, which stands some lines later."""
        if chapter := _CHAPTER.match(line):
            minutes, seconds = divmod(int(chapter[2]), 60)
            clock = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{chapter[3]}"
            self._chapter = f"CHAPTER{int(chapter[1]):03}"
            self.pairs.append((self._chapter, clock))
        elif _STREAM.match(line):  # what follows is about a stream
            self._chapter = ""
        elif self._chapter and (title := _TITLE.match(line)):
            self.pairs.append((f"{self._chapter}NAME", title[1]))


def _limit_memory(process: int) -> None:
    """Limit the memory of the decoder: a damaged header may ask for any amount."""
    if resource is None or not hasattr(resource, "prlimit"):  # not on Linux; elsewhere this limit has another meaning
        return
    with contextlib.suppress(OSError, ValueError):
        limits = resource.prlimit(process, resource.RLIMIT_DATA)
        known = [limit for limit in limits if limit != resource.RLIM_INFINITY]
        limit = min(_MOST_MEMORY_BYTES, *known) if known else _MOST_MEMORY_BYTES
        resource.prlimit(process, resource.RLIMIT_DATA, (limit, limit))


def _subtype(codec: str, samples: str) -> str:
    """Return libsndfile's name of the encoding that holds what a codec holds."""
    if codec in _LOSSLESS or codec.startswith("pcm_"):
        return _SUBTYPES.get(samples.removesuffix("p"), "PCM_24")
    return "PCM_24"


def _is_cut(read: Read, size: int) -> bool:
    """Return whether an ASF (Windows Media) file is shorter than its second object, which holds all data, states."""
    if read(len(_ASF), 0) != _ASF:
        return False
    second = int.from_bytes(read(8, 16), "little")
    return second > size or second + int.from_bytes(read(8, second + 16), "little") > size


def _is_joined(read: Read, size: int) -> bool:
    """Return whether the beginning of a file occurs in it again."""
    mark = read(_MARK_BYTES, 0)
    if not mark.startswith(_MARKS):
        return False
    at = 1
    while at < size and (piece := read(_SCANNED_BYTES, at)):
        if mark in piece:
            return True
        at += max(1, len(piece) - _MARK_BYTES + 1)
    return False
