"""Voices or songs that items are drawn from, split as a dataset splits them."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from fxst import audio
from fxst.audio import Samples
from fxst.data.manifest import CARD, Dataset
from fxst.data.sources import assign_splits, find_recordings, root_folder
from fxst.errors import AudioError, NothingMatchedError, SettingsError

__all__ = ["Stretch", "Voices"]

MARGIN_SECONDS: Final = 0.1
"""Read in addition: the pieces of a passage round their lengths independently."""


@dataclass(frozen=True)
class Stretch:
    """A part of a recording.

    Args:
        file: The recording.
        start: First sample, at the recording's own rate.
        frames: Number of samples.
    """

    file: str
    start: int
    frames: int


class Voices:
    """The voices of a split, each with its recordings in order.

    Args:
        folder: A folder of recordings, or a dataset, whose source recordings are used.
        split: `train`, `val` or `test`, as `fxst dataset build` splits; `all` for every voice.
        split_seed: Seed of the split; a dataset has its own.
        each_file: Whether every file is a voice (a song), instead of every folder.

    Attributes:
        names: The voices, sorted.

    Raises:
        AudioError: There is no such folder, or the dataset cannot be read.
        NothingMatchedError: There is no recording.
        SettingsError: There is no voice in the split.
    """

    def __init__(self, folder: Path, *, split: str, split_seed: int, each_file: bool) -> None:
        if (folder / CARD).exists():
            recordings, voices_of_split = _of_dataset(Dataset(folder), split)
        else:
            recordings, voices_of_split = _of_folder(folder, split, split_seed, each_file=each_file)
        if not voices_of_split:
            raise SettingsError(
                f"{str(folder)!r} has too few voices to hold any out as {split}: use --split all, or --each-file where "
                "each file is a voice or a song of its own."
            )
        self._recordings = recordings
        self.names = tuple(sorted(voices_of_split))

    def seconds(self, voice: str) -> float:
        """Return the length of a voice's recordings, as their headers state."""
        return sum(info.frames / info.sample_rate for info in self._infos(voice) if info.frames)

    def unreadable(self, voice: str) -> tuple[str, ...]:
        """Return the files of a voice that cannot be read, and are left out."""
        readable = {info.path for info in self._infos(voice)}
        return tuple(str(path) for path in self._recordings[voice] if path not in readable)

    def studio(self, voice: str) -> str:
        """Return the folder of a voice's corpus or album: the one around the voice's folder, or around a song's file.

        Args:
            voice: Name of the voice.
        """
        first = self._recordings[voice][0]
        folder = first.parent
        if voice.endswith(first.name):
            return str(folder)
        # LibriTTS and LibriSpeech have a folder for each chapter.
        return str((folder.parent if folder.parent.name == voice else folder).parent)

    def passage(self, voice: str, *, at: float, seconds: float) -> tuple[Stretch, ...] | None:
        """Choose a passage of a voice; None if the voice is too short.

        Args:
            voice: Name of the voice.
            at: Position, from 0, the first possible passage, to 1, the last.
            seconds: Length of the passage.
        """
        seconds += MARGIN_SECONDS
        room = self.seconds(voice) - seconds
        if room < 0:
            return None
        before, left = at * room, seconds
        stretches = []
        for info in self._infos(voice):
            length = (info.frames or 0) / info.sample_rate
            if before < length:
                start = round(before * info.sample_rate)
                frames = min((info.frames or 0) - start, round(left * info.sample_rate))
                if frames > 0:
                    stretches.append(Stretch(str(info.path), start, frames))
                    left -= frames / info.sample_rate
                if left * info.sample_rate < 1:
                    break
            before = max(0.0, before - length)
        return tuple(stretches)

    def _infos(self, voice: str) -> tuple[audio.AudioInfo, ...]:
        return _infos(self._recordings[voice])


def read(stretches: tuple[Stretch, ...], *, samples: int, sample_rate: int, stereo: bool = False) -> Samples | None:
    """Read a passage as one recording; None if the files are shorter than their headers state.

    Args:
        stretches: The parts of the passage.
        samples: Its length in samples.
        sample_rate: The target sample rate in Hz.
        stereo: Whether a passage of stereo files alone stays stereo; everything else becomes mono.

    Shape:
        `(1, samples)` or `(2, samples)`.

    Raises:
        AudioError: A file is damaged.
    """
    found = [audio.read(Path(stretch.file), start=stretch.start, frames=stretch.frames) for stretch in stretches]
    stereo = stereo and all(len(x) == 2 for x, _ in found)
    pieces = [
        audio.resample(x if stereo else audio.mono(x), source_rate=rate, target_rate=sample_rate) for x, rate in found
    ]
    passage = np.concatenate(pieces, axis=1)
    return passage[:, :samples] if passage.shape[1] >= samples else None


# Headers are read when a voice is drawn: an evaluation needs few of a large corpus.
@lru_cache(maxsize=4096)
def _infos(paths: tuple[Path, ...]) -> tuple[audio.AudioInfo, ...]:
    infos = []
    for path in paths:
        try:
            infos.append(audio.probe(path))
        except AudioError:
            continue  # `Voices.unreadable` names it
    return tuple(infos)


def _of_folder(
    folder: Path, split: str, split_seed: int, *, each_file: bool
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    found, _ = find_recordings([folder], leave_out=folder / CARD)
    if not found:
        raise NothingMatchedError(f"No recordings were found in {str(folder)!r}: name a folder that holds sound files.")
    base = root_folder(folder)
    voices: dict[str, list[Path]] = {}
    for recording in found:
        voices.setdefault(recording.name if each_file else recording.speaker, []).append(base / recording.name)
    splits = assign_splits(voices, seed=split_seed)
    chosen = [voice for voice in voices if split in ("all", splits[voice])]
    return {voice: tuple(paths) for voice, paths in voices.items()}, chosen


def _of_dataset(dataset: Dataset, split: str) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    # A missing source looks the same whether it was a file or a folder: its name leads nowhere.
    bases = [root_folder(Path(source)) for source in dataset.settings["sources"]]
    voices = {
        speaker: tuple(bases[root] / name for root, name in recordings)
        for speaker, recordings in dataset.recordings(split).items()
    }
    missing = next((path for paths in voices.values() for path in paths if not path.exists()), None)
    if missing is not None:
        raise SettingsError(
            f"{str(missing)!r}, which {str(dataset.folder)!r} was cut from, does not exist: "
            "name the folder where these recordings are now."
        )
    return voices, list(voices)
