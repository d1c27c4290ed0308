"""Decoding: the streams of a file one after the other, through libsndfile, from any sample."""

import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from fxst.audio import flac
from fxst.audio.formats import quoted, reason
from fxst.audio.resampling import Resampler
from fxst.audio.sources import ForeignError, Source
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

    Streams of different formats, as in joined files, are converted to the highest sample rate and to the most channels
    among them.

    Args:
        path: The file, for messages.
        fd: The file, open for reading; it stays open.
        source: Where its audio is.

    Raises:
        AudioError: The streams have numbers of channels that cannot be converted.
        ForeignError: Parameters change within a stream.
        soundfile.SoundFileError: libsndfile cannot read it.
    """

    frames: int | None
    """Total length in samples; None where the header leaves it open."""

    sample_rate: int
    """Its sample rate in Hz."""

    channels: int
    """Its number of channels."""

    remarks: tuple[str, ...]
    """What is converted, a sentence each."""

    slack_frames = 0
    """By how much the decoded sound may be shorter without being cut off."""

    def __init__(self, path: Path, fd: int, source: Source) -> None:
        self._path = path
        self._fd = fd
        self._views = source.views
        self._low_bits = source.low_bits
        self._own_counts: list[int | None] = []
        self._converter: Resampler | None = None
        self._ready = np.zeros((0, 0), np.float32)
        self._within, self._drained = 0, False
        self.file = self._opened(0)
        self.sample_rate, self.channels = self.file.samplerate, self.file.channels
        try:
            kinds = []
            for number, frames in enumerate(source.frames):
                self._turn_to(number)
                self._own_counts.append(frames or self._counted())
                kinds.append((self.file.samplerate, self.file.channels))
            rates, channels = ({kind[place] for kind in kinds} for place in (0, 1))
            self.sample_rate, self.channels = max(rates), max(channels)
            if len(channels) > 1 and channels != {1, 2}:
                first, second = list(dict.fromkeys(kind[1] for kind in kinds))[:2]
                raise AudioError(
                    f"{quoted(path)} changes its number of channels from {first} to {second} partway through: split it."
                )
            self.remarks = (
                *([f"its sample rate changes partway: all of it is at {max(rates)} Hz"] if len(rates) > 1 else []),
                *(["a part is mono: all of it is in stereo"] if len(channels) > 1 else []),
            )
            self._counts: list[int | None] = [
                None if count is None else round(count * self.sample_rate / rate)
                for count, (rate, _) in zip(self._own_counts, kinds, strict=True)
            ]
            self._turn_to(0)
        except BaseException:
            self.close()
            raise
        known = [count for count in self._counts if count is not None]
        self.frames = sum(known) if len(known) == len(self._counts) else None

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
        while not len(self._ready):
            block = self._decoded(frames)
            if not len(block) and self._drained:
                if self._number + 1 == len(self._views):
                    break
                self._turn_to(self._number + 1)
                continue
            self._drained = not len(block)
            self._ready = self._converted(block, last=self._drained)
        block, self._ready = self._ready[:frames], self._ready[frames:]
        return block

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
        if number != self._number or self._converter is not None:
            self._turn_to(number)
        if self._converter is not None:  # what it makes of a sample depends on those before
            while frame and (skipped := len(self.read(min(_SKIPPED_FRAMES, frame)))):
                frame -= skipped
            return
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
        self.file.close()
        self._number, self._within = number, 0
        self._drained = False
        self.file = self._opened(number)
        self._ready = np.zeros((0, self.channels), np.float32)
        self._converter = None
        if (self.file.samplerate, self.file.channels) != (self.sample_rate, self.channels):
            self._converter = Resampler(
                source_rate=self.file.samplerate, target_rate=self.sample_rate, channels=self.file.channels
            )

    def _decoded(self, frames: int) -> npt.NDArray[np.float32]:
        """Decode the next block of this stream; it is empty at the end."""
        count = self._own_counts[self._number]
        # Asked for more than there is, libsndfile would decode what follows the audio, such as a tag.
        requested = frames if count is None else min(frames, count - self._within)
        block: npt.NDArray[np.float32]
        if self._low_bits:
            whole = self.file.read(max(0, requested), dtype="int32", always_2d=True)
            block = (whole << 8).astype(np.float32) / np.float32(2**31)
        else:
            block = self.file.read(max(0, requested), dtype="float32", always_2d=True)
        view = self._views[self._number]
        if view is not None and view.error is not None:
            raise AudioError(f"{quoted(self._path)} cannot be read ({reason(view.error)}): copy the file again.")
        self._within += len(block)
        return block

    def _converted(self, block: npt.NDArray[np.float32], *, last: bool) -> npt.NDArray[np.float32]:
        """Convert a block to the sample rate and the number of channels of the whole."""
        if self._converter is None:
            return block
        return np.repeat(self._converter.process(block.T, last=last), self.channels // self.file.channels, axis=0).T

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
                    raise ForeignError(f"FLAC that changes its {what} from {before} to {after} partway", changes=True)
        return frames
