"""Print what the coordination of a large batch takes: `python tests/benchmark_scale.py [FILES]`.

No audio is read or rendered. Everything else is done as `fxst apply` does it: plan rows are sorted and cut into chunks,
each chunk gets its manifest part, and the parts are listed, resumed from and merged. The parts hold real rows only with
fewer than a million files; with more, a short line stands for each file, so that the disk of a laptop is enough.
"""

import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fxst.batch.chunked import chunk_of, line_of
from fxst.batch.manifest import FileState, InputState, ManifestRow, Origin
from fxst.batch.parts import key_of, merge, store_of
from fxst.batch.selection import InputRecording
from fxst.coordination.chunks import Sorted, hashed
from fxst.coordination.parts import Batch
from fxst.coordination.shards import Shard

FILES = 10_000_000
REAL_ROWS = 1_000_000
ORIGIN = Origin((FileState("house.json", 2048, "0" * 64),), None, "0" * 64, "1.0.0")


def plan_rows(count: int) -> Iterator[tuple[str, str]]:
    """Yield the rows of a plan as those of a folder of recordings of 60 s."""
    for number in range(count):
        place = PurePosixPath(f"{number // 10_000:05}/{number % 10_000 // 100:02}/recording-{number:09}.flac")
        recording = InputRecording("in" / place, place, place)
        yield key_of(place), line_of(place, [5_292_044, 1_700_000_000_000_000_000 + number], recording)


def row(line: str) -> str:
    """Return the row of a finished file."""
    output, place, size, mtime = json.loads(line.partition("\t")[0])
    digest = hashed(output) * 4
    table = FileState(output.removesuffix(".flac") + ".params.json", 3000, digest)
    return ManifestRow(InputState(place, size, mtime), ORIGIN, FileState(output, size, digest), (table,)).to_json()


class Steps:
    """Prints how long each step took, and how much memory the process has used at most."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._processor = time.process_time()

    def say(self, what: str) -> None:
        """Print the step that is done."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        now, processor = time.monotonic(), time.process_time()
        print(  # noqa: T201
            f"{what:58} {now - self._last:8.1f} s {processor - self._processor:8.1f} CPU s   peak {peak:6.0f} MB",
            flush=True,
        )
        self._last, self._processor = now, processor


def main(count: int) -> None:
    """Simulate the coordination of a batch."""
    folder = Path(tempfile.mkdtemp(prefix="fxst-scale-"))
    real = count <= REAL_ROWS
    try:
        steps = Steps()
        with Sorted(plan_rows(count)) as files:
            steps.say(f"list and sort {count:,} files")
            batch = Batch.begin(store_of(folder), "apply", "0" * 16, len(files), shard=Shard(0, 100), workers=1)
            for number in batch.numbers(None):
                chunk = chunk_of(number, files, batch)
                batch.seal(chunk, list(map(row, chunk.lines)) if real else [hashed(line) for line in chunk.lines], [])
            steps.say(f"cut {batch.chunks:,} chunks and write a part for each")
            again = Batch.of(store_of(folder))
            assert again is not None
            assert again.status().missing_chunks == 0
            steps.say("status, by a listing of the parts")
            left = [n for n in again.numbers(None) if not again.is_listed(chunk_of(n, files, again))]
            assert not left
            steps.say("resume: see that every chunk is finished")
        size = sum(path.stat().st_size for path in folder.rglob("*.jsonl"))
        if real:
            merge(folder, again)
            steps.say("merge")
            size = (folder / "fxst-manifest.jsonl").stat().st_size
        steps.say(f"manifest: {size / count:.0f} bytes a file{'' if real else ' (short lines)'}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FILES)
