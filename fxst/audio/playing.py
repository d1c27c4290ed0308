"""Decoding: the streams of a file one after the other, through libsndfile, from any sample."""

import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from fxst.audio import flac
from fxst.audio.formats import quoted, reason
from fxst.audio.sources import Source
from fxst.errors import AudioError

__all__ = ["ForwardFile", "Player"]

_FLAC_BITS: Final = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}
_SKIPPED_FRAMES: Final = 1 << 14


class ForwardFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read or written from its beginning to its end."""

    def seekable(self) -> bool:
        # In a seekable file soundfile calls tell and seek around every read. The first fails in GSM and G.72x, the
        # second at the end of a FLAC of unknown length.
        return False


class Player:
    """The audio of an open file, whose streams libsndfile opens one at a time.

    Args:
        path: The file, for messages.
        fd: The file, open for reading; it stays open.
        source: Where its audio is.

    Raises:
        AudioError: The streams have different formats, or a header counts less audio than there is.
        soundfile.SoundFileError: libsndfile cannot read it.
    """

    frames: int | None
    """Total length in samples; None where the header leaves it open."""

    slack_frames = 0
    """By how much the decoded sound may be shorter without being cut off."""

    def __init__(self, path: Path, fd: int, source: Source) -> None:
        self._path = path
        self._fd = fd
        self._views = source.views
        self._counts: list[int | None] = []
        self._number = 0
        self._within = 0
        self.file = self._opened(0)
        try:
            for number in range(len(self._views)):
                self._turn_to(number)
                self._counts.append(self._counted())
            self._turn_to(0)
        except BaseException:
            self.close()
            raise
        known = [count for count in self._counts if count is not None]
        self.frames = source.frames or (sum(known) if len(known) == len(self._counts) else None)
        if len(self._counts) == 1:
            self._counts = [self.frames]

    def close(self) -> None:
        """Close the decoder."""
        self.file.close()

    def read(self, frames: int) -> npt.NDArray[np.float32]:
        """Decode the next block.

        Args:
            frames: Its greatest length; it is shorter at the end of a stream, and empty at the end of the last.

        Shape:
            `(time, channels)`.

        Raises:
            AudioError: The file cannot be read.
            soundfile.SoundFileError: It is damaged.
        """
        while True:
            count = self._counts[self._number]
            # Asked for more than there is, libsndfile would decode what follows the audio, such as a tag.
            requested = frames if count is None else min(frames, count - self._within)
            block: npt.NDArray[np.float32] = self.file.read(max(0, requested), dtype="float32", always_2d=True)
            view = self._views[self._number]
            if view is not None and view.error is not None:
                raise AudioError(f"{quoted(self._path)} cannot be read ({reason(view.error)}): copy the file again.")
            self._within += len(block)
            if len(block) or self._number + 1 == len(self._views):
                return block
            self._turn_to(self._number + 1)

    def go_to(self, frame: int) -> None:
        """Seek to a sample.

        Args:
            frame: Its number, within the file.

        Raises:
            soundfile.SoundFileError: The file is damaged.
        """
        number = 0
        while number + 1 < len(self._views) and frame >= (count := self._counts[number] or 0):
            frame -= count
            number += 1
        if number != self._number:
            self._turn_to(number)
        if frame == self._within:
            return
        # libsndfile 1.2 seeks to the wrong sample, without an error, when a Vorbis file has been read before.
        if self.file.format == "OGG" or frame < self._within:
            self._turn_to(number)
        try:
            self._within = self.file.seek(frame)
        except soundfile.SoundFileError:
            # Some codecs, such as GSM, can only be decoded forwards, from here or from the start.
            self._turn_to(number)
        while self._within < frame:
            skipped = len(self.file.read(min(_SKIPPED_FRAMES, frame - self._within), dtype="float32"))
            if not skipped:
                break
            self._within += skipped

    def tail(self, number: int = -1) -> bytes:
        """Return the last bytes of a stream, by default the last one."""
        view = self._views[number]
        if view is not None:
            return view.tail(flac.TAIL_BYTES)
        return os.pread(self._fd, flac.TAIL_BYTES, max(0, os.fstat(self._fd).st_size - flac.TAIL_BYTES))

    def _turn_to(self, number: int) -> None:
        before = self.file
        before.close()
        self._number, self._within = number, 0
        self.file = self._opened(number)
        for what, old, new in (
            ("sample rate", before.samplerate, self.file.samplerate),
            ("number of channels", before.channels, self.file.channels),
        ):
            if old != new:
                raise AudioError(
                    f"{quoted(self._path)} changes its {what} from {old} to {new} partway through: "
                    "split it, or convert it to WAV with ffmpeg."
                )

    def _opened(self, number: int) -> ForwardFile:
        view = self._views[number]
        if view is not None:
            view.seek(0)
            return ForwardFile(view)
        # By descriptor: the name is not looked up again, and libsndfile cannot be misled by its extension.
        os.lseek(self._fd, 0, os.SEEK_SET)
        return ForwardFile(self._fd, closefd=False)

    def _counted(self) -> int | None:
        file = self.file
        # libsndfile reports the largest 63-bit number where the encoder did not know the length.
        frames = file.frames if 0 < file.frames < 2**62 else None
        if file.format == "FLAC" and (ending := flac.ending(self.tail(self._number))):
            frames = frames or ending.frames
            if frames < ending.frames:
                raise AudioError(f"{quoted(self._path)} holds more audio than its header states: encode it again.")
            for what, before, after in (
                ("sample rate", file.samplerate, ending.sample_rate),
                ("number of channels", file.channels, ending.channels),
                ("bit depth", _FLAC_BITS[file.subtype], ending.bits),
            ):
                if after not in (None, before):
                    raise AudioError(
                        f"{quoted(self._path)} changes its {what} from {before} to {after} partway through: encode it "
                        "again."
                    )
        return frames
