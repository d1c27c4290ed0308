"""The format of a dataset, and reading it.

A dataset is a folder:

- `clips-00000.npy`, `clips-00001.npy`, …: the audio, int16 `(clips, samples)`, 128 MiB in each. Training takes random
  clips out of a million: in a plain array each is one read at a known offset, without decoding, and the operating
  system caches it. int16 halves disk and traffic; each clip is scaled to full scale first, so that a quiet clip uses
  all 16 bits too. `sample / 32767 * scale` is the audio.
- `manifest.csv`: a row a clip: `clip` (its number over all shards), `split`, `speaker`, `root` (number of the source,
  from 0), `source` (path of the recording below that source), `offset_seconds` (position in the recording), `seconds`,
  `rms_db` (level, dBFS), `scale`.
- `report.csv`: `file`, `problem`: the damaged recordings.
- `dataset.json`: format, settings and counts. It is written last: a folder without it is not a finished dataset.
"""

import csv
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fxst.data.cutting import FULL_SCALE
from fxst.dsp import Samples
from fxst.errors import AudioError, NothingMatchedError, SettingsError
from fxst.untrusted import from_json, number, quoted, shell_word, whole_number

__all__ = [
    "CARD",
    "COLUMNS",
    "FORMAT",
    "FORMAT_VERSION",
    "MANIFEST",
    "REPORT",
    "SHARDS",
    "Dataset",
    "clips_in_a_shard",
    "read_card",
    "shard_path",
]

FORMAT: Final = "fxst-dataset"
FORMAT_VERSION: Final = 1
CARD: Final = "dataset.json"
MANIFEST: Final = "manifest.csv"
REPORT: Final = "report.csv"
COLUMNS: Final = (
    "clip", "split", "speaker", "root", "source", "offset_seconds", "seconds", "rms_db", "scale",
)  # fmt: skip
SHARDS: Final = "clips-*.npy"
SHARD_BYTES = 1 << 27


def clips_in_a_shard(clip_samples: int) -> int:
    """Return the number of clips in a shard; the last one may have fewer.

    Args:
        clip_samples: Length of a clip in samples.
    """
    return max(1, SHARD_BYTES // (2 * clip_samples))


def shard_path(folder: Path, shard: int) -> Path:
    """Return the path of a shard.

    Args:
        folder: The dataset's folder.
        shard: Its number, from 0.
    """
    return folder / f"clips-{shard:05}.npy"


def read_card(folder: Path) -> dict[str, Any]:
    """Read a dataset's card.

    Args:
        folder: The dataset's folder.

    Raises:
        AudioError: It cannot be read.
        NothingMatchedError: There is no finished dataset.
        SettingsError: It is of another version, or no dataset.
    """
    path = folder / CARD
    try:
        card = from_json(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NothingMatchedError(
            f"{quoted(folder)} holds no finished dataset: make one with `fxst dataset build SOURCE -o "
            f"{shell_word(folder)}`."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise AudioError(f"{str(path)!r} cannot be read: build the dataset again.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise SettingsError(f"{str(path)!r} does not describe a dataset: name a folder made by `fxst dataset build`.")
    if card.get("format_version") != FORMAT_VERSION:
        raise SettingsError(f"{str(folder)!r} was made by another version of fxst: build the dataset again.")
    if not _is_complete(card):
        raise AudioError(f"{str(path)!r} is damaged: build the dataset again.")
    return card


def _is_complete(card: dict[str, Any]) -> bool:
    clips, speakers, notes = card.get("clips"), card.get("speakers"), card.get("notes")
    if not (isinstance(clips, dict) and isinstance(speakers, dict) and clips.keys() == speakers.keys()):
        return False
    counts = [card.get("damaged_files"), *clips.values(), *speakers.values()]
    return (
        all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
        and isinstance(card.get("seconds"), int | float)
        and isinstance(card.get("settings"), dict)
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
    )


class Dataset:
    """A finished dataset: clips by number, and the clips of each speaker.

    It holds no open file, so it can be passed to other processes.

    Args:
        folder: Folder of the dataset.

    Attributes:
        sample_rate: Sample rate of the clips in Hz.
        clip_samples: Length of a clip in samples.
        settings: Settings of the build.

    Raises:
        FxstError: It is not there, not finished, of another version, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        card = read_card(folder)
        self.folder = folder
        self._first_bytes: dict[int, int] = {}
        try:
            self.settings: dict[str, Any] = card["settings"]
            self.sample_rate = int(card["sample_rate"])
            self.clip_samples = int(card["clip_samples"])
            self._clips_in_a_shard = int(card["clips_in_a_shard"])
            clips = sum(card["clips"].values())
            with open(folder / MANIFEST, encoding="utf-8", errors="surrogateescape", newline="") as file:
                self._read_manifest(file, clips)
        except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise self._damaged(MANIFEST) from error

    def __len__(self) -> int:
        return len(self._scale)

    def speakers(self, split: str) -> list[str]:
        """List the speakers of a split, sorted.

        Args:
            split: `train`, `val` or `test`.
        """
        return list(self.indices_by_speaker(split))

    def indices_by_speaker(self, split: str) -> dict[str, npt.NDArray[np.int64]]:
        """Return the numbers of each speaker's clips in a split, the speakers sorted.

        Args:
            split: `train`, `val` or `test`.
        """
        return self._indices.get(split, {})

    def recordings(self, split: str) -> dict[str, list[tuple[int, str]]]:
        """Return the recordings that each speaker's clips of a split were cut from, all sorted.

        Args:
            split: `train`, `val` or `test`; `all` for all three.

        Returns:
            The number of the source and the path below it, by speaker.

        Raises:
            AudioError: The manifest cannot be read.
        """
        found: dict[str, set[tuple[int, str]]] = {}
        try:
            with open(self.folder / MANIFEST, encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file):
                    if split in ("all", row["split"]):
                        found.setdefault(row["speaker"], set()).add((whole_number(row["root"]), row["source"]))
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise self._damaged(MANIFEST) from error
        return {speaker: sorted(names) for speaker, names in sorted(found.items())}

    def clips(self, indices: npt.NDArray[np.int64]) -> Samples:
        """Return clips by their numbers, at their original level.

        Args:
            indices: Their numbers, in any order.

        Shape:
            `(n,)` to `(n, samples)`.

        Raises:
            AudioError: A shard is missing or damaged.
        """
        # Reads, not memory maps: in a dataset larger than memory, a map loads many times what is needed.
        indices = np.asarray(indices)
        out = np.empty((len(indices), self.clip_samples), np.float32)
        gains = self._scale[indices] / np.float32(FULL_SCALE)
        shards, rows = np.divmod(indices, self._clips_in_a_shard)
        integers = np.empty(self.clip_samples, "<i2")
        for shard in np.unique(shards).tolist():
            path = shard_path(self.folder, shard)
            try:
                with open(path, "rb", buffering=0) as file:
                    first_byte = self._first_byte(file, shard)
                    for place in np.flatnonzero(shards == shard).tolist():
                        file.seek(first_byte + int(rows[place]) * integers.nbytes)
                        if file.readinto(integers.data) != integers.nbytes:
                            raise ValueError("the file ends early")
                        np.multiply(integers, gains[place], out=out[place])
            except (OSError, ValueError) as error:
                raise self._damaged(path.name) from error
        return out

    @cached_property
    def _indices(self) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
        # One stable sort by split and speaker: each speaker's clips are then a slice.
        keys = self._split.astype(np.int64) * len(self._speaker_names) + self._speaker
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(np.diff(keys[order])) + 1
        indices: dict[str, dict[str, npt.NDArray[np.int64]]] = {}
        for group in np.split(order, edges) if len(order) else []:
            split, speaker = divmod(int(keys[group[0]]), len(self._speaker_names))
            indices.setdefault(self._split_names[split], {})[self._speaker_names[speaker]] = group
        return {split: dict(sorted(by_speaker.items())) for split, by_speaker in indices.items()}

    def _read_manifest(self, file: Any, clips: int) -> None:
        # Directly into arrays: a million rows as dictionaries would be a gigabyte.
        self._split = np.zeros(clips, np.uint8)
        self._speaker = np.zeros(clips, np.int32)
        self._scale = np.zeros(clips, np.float32)
        splits: dict[str, int] = {}
        speakers: dict[str, int] = {}
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise ValueError("other columns")
        count = 0
        for clip, split, speaker, _, _, _, _, _, scale in rows:
            if whole_number(clip) != count:
                raise ValueError("a row is missing")
            self._split[count] = splits.setdefault(split, len(splits))
            self._speaker[count] = speakers.setdefault(speaker, len(speakers))
            self._scale[count] = number(scale)
            count += 1
        if count != clips:
            raise ValueError("rows are missing")
        self._split_names, self._speaker_names = list(splits), list(speakers)

    def _first_byte(self, file: Any, shard: int) -> int:
        """Return the offset of the audio in a shard, after checking its header."""
        if shard not in self._first_bytes:
            clips = min(self._clips_in_a_shard, len(self) - shard * self._clips_in_a_shard)
            np.lib.format.read_magic(file)
            shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
            if shape != (clips, self.clip_samples) or by_columns or kind != np.dtype("<i2"):
                raise ValueError("another array")
            self._first_bytes[shard] = file.tell()
        return self._first_bytes[shard]

    def _damaged(self, part: str) -> AudioError:
        return AudioError(f"{str(self.folder / part)!r} is missing or damaged: build the dataset again.")
