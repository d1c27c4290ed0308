"""Writing clips to shards, so that a killed build can continue.

A note in `unfinished/` for each finished shard contains its clips and the position of the work. A shard counts only
with its note, and both appear complete or not at all.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fxst import staging
from fxst.data.cutting import Cut
from fxst.data.manifest import clips_in_a_shard, shard_path

__all__ = ["Clip", "Fault", "Position", "Shards", "write_atomically"]


class Clip(NamedTuple):
    """A clip in the shards: its round, recording and window, and its level."""

    round: int
    recording: int
    window: int
    rms_db: float
    scale: float


class Fault(NamedTuple):
    """A recording's fault, its round, and whether the recording can yield more clips."""

    round: int
    recording: int
    problem: str
    usable: bool


@dataclass(frozen=True)
class Position:
    """Position of the work: round, job, and the number of clips of that job that are stored."""

    round: int = 0
    job: int = 0
    stored: int = 0


class Shards:
    """The shards of an unfinished dataset; finished shards of an earlier run are kept.

    Args:
        folder: Folder of the dataset.
        notes: Subfolder for files that are needed only until the dataset is finished.
        clip_samples: Length of a clip in samples.

    Attributes:
        position: Position of an earlier run.
        faults: Faults of recordings, an earlier run's included.
    """

    position: Position
    faults: list[Fault]

    def __init__(self, folder: Path, notes: Path, *, clip_samples: int) -> None:
        self._folder = folder
        self._notes = notes
        self._clip_samples = clip_samples
        self._capacity = clips_in_a_shard(clip_samples)
        self._finished = 0
        self._file: IO[bytes] | None = None
        self._clips: list[Clip] = []
        self.faults = []
        self.position = Position()
        while (note := self._read_note(self._finished)) and len(note["clips"]) == self._capacity:
            self.position = Position(**note["position"])
            self.faults += (Fault(*row) for row in note["faults"])
            self._finished += 1
        self._faults_noted = len(self.faults)

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def clips(self) -> Iterator[Clip]:
        """Yield the clips of the finished shards, in order."""
        for shard in range(self._finished):
            yield from (Clip(*row) for row in self._read_note(shard)["clips"])

    def append(self, cut: Cut, recording: int, position: Position) -> int:
        """Store the clips of a job, except those that are stored already.

        Args:
            cut: The job's clips.
            recording: Number of their recording.
            position: The job, and the number of its clips that are stored.

        Returns:
            The number of new clips.
        """
        stored = position.stored
        while stored < len(cut.samples):
            piece = slice(stored, stored + self._capacity - len(self._clips))
            self._write(cut.samples[piece])
            self._clips.extend(
                Clip(position.round, recording, window, round(rms_db, 2), scale)
                for window, rms_db, scale in zip(
                    cut.windows[piece].tolist(), cut.rms_db[piece].tolist(), cut.scale[piece].tolist(), strict=True
                )
            )
            stored = min(piece.stop, len(cut.samples))
            if len(self._clips) == self._capacity:
                self._finish_shard(Position(position.round, position.job, stored))
        if cut.problem is not None:
            self.faults.append(Fault(position.round, recording, cut.problem, cut.usable))
        return stored - position.stored

    def finish(self) -> None:
        """Write the last shard, which may be short; a resumed build would write it again."""
        if self._clips:
            self._finish_shard(Position())

    def _write(self, samples: npt.NDArray[np.int16]) -> None:
        if self._file is None:
            self._file = open(self._notes / "shard", "wb")  # noqa: SIM115  (stays open between clips)
            self._write_header(self._file, self._capacity)
        self._file.write(np.ascontiguousarray(samples, "<i2").data)

    def _write_header(self, file: IO[bytes], clips: int) -> None:
        # numpy reserves room for a larger count, so the header has one length for any count.
        header = {"descr": "<i2", "fortran_order": False, "shape": (clips, self._clip_samples)}
        np.lib.format.write_array_header_1_0(file, header)

    def _finish_shard(self, position: Position) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._write_header(self._file, len(self._clips))
        self._file.flush()
        staging.sync(self._file.fileno())
        self._file.close()
        self._file = None
        (self._notes / "shard").replace(shard_path(self._folder, self._finished))
        note = {"position": vars(position), "clips": self._clips, "faults": self.faults[self._faults_noted :]}
        write_atomically(self._note_path(self._finished), json.dumps(note))
        self._clips, self._faults_noted = [], len(self.faults)
        self._finished += 1

    def _note_path(self, shard: int) -> Path:
        return self._notes / f"{shard:05}.json"

    def _read_note(self, shard: int) -> Any:
        path = self._note_path(shard)
        if not path.exists() or not shard_path(self._folder, shard).exists():
            return None
        return json.loads(path.read_text(encoding="utf-8"))


def write_atomically(path: Path, text: str) -> None:
    """Write a text file, completely or not at all.

    Args:
        path: The file.
        text: Its text.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
        file.flush()
        staging.sync(file.fileno())
    temporary.replace(path)
