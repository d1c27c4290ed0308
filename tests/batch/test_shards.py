"""A batch that several processes share: in any order, at once, killed and repeated, it ends as one process ends it."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from fxst.batch import cluster
from fxst.batch.run import apply_files
from fxst.configs import ApplyConfig
from fxst.coordination.chunks import Sorted, hashed
from fxst.coordination.cluster import Lost
from fxst.coordination.parts import Batch, ManifestPart
from fxst.coordination.store import LocalStore
from fxst.errors import NothingMatchedError, SettingsError

FILES = 24
SHARDS = 4


@pytest.fixture
def many(batch):
    """Short recordings, and what one process makes of them."""
    shutil.rmtree("in")
    batch.recordings(FILES, seconds=0.05)
    run("whole", None)
    return batch


def run(output, shard, **options):
    """Apply in this process; return the results by name."""
    given = {"inputs": (Path("in"),), "output": Path(output), "params": Path("house.json"), "shard": shard}
    return {result.input.name: result for result in apply_files(ApplyConfig(**(given | options)))}


def merge(batch, output="out"):
    code, out, err = batch.run("batch", "merge", output)
    assert code == 0, err
    return out


def same(one, other):
    """Whether two folders hold the same files with the same bytes, manifests included."""
    trees = [
        {path.relative_to(top): path.read_bytes() for path in Path(top).rglob("*") if path.is_file()}
        for top in (one, other)
    ]
    return trees[0] == trees[1]


def parts(output="out"):
    return {
        part for name in LocalStore(Path(output, "fxst-batch")).names("parts/") if (part := ManifestPart.of_name(name))
    }


def test_shards_in_any_order_make_what_one_run_makes(many):
    found = [set(run("out", f"{index}/{SHARDS}")) for index in (2, 0, 3, 1)]
    assert sum(map(len, found)) == len(set.union(*found)) == FILES
    assert all(found)
    before = parts()
    again = run("out", f"0/{SHARDS}")
    assert set(again) == found[1]
    assert all(result.was_finished for result in again.values())
    assert parts() == before
    merge(many)
    assert same("out", "whole")
    assert all(result.was_finished for result in run("out", None).values())
    assert same("out", "whole")


def test_one_command_for_all_finishes_what_shards_have_begun(many):
    run("out", f"1/{SHARDS}")
    finished = [result.was_finished for result in run("out", None).values()]
    assert len(finished) == FILES
    assert 0 < sum(finished) < FILES
    assert same("out", "whole")


def test_two_of_one_shard_and_a_killed_one_make_each_file_once(many):
    arguments = ("apply", "in", "-p", "house.json", "-o", "out", "--format", "jsonl", "--shard")
    with many.start(*arguments, "0/2") as process:
        while not list(Path("out").rglob("*.wav")):
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    made = {path: path.stat().st_ino for path in Path("out").rglob("*.wav")}
    processes = [many.start(*arguments, shard) for shard in ("0/2", "1/2", "0/2")]
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    rows = [json.loads(line) for out, _ in told for line in out.splitlines()]
    assert {Path(row["input"]).name for row in rows} == {f"{number}.wav" for number in range(FILES)}
    # What had its name when the first one was killed is not made again.
    assert {path: path.stat().st_ino for path in made} == made
    merge(many)
    assert same("out", "whole")


def test_status_tells_what_is_missing_and_merge_refuses_it(many):
    run("out", f"1/{SHARDS}")
    code, out, _ = many.run("batch", "status", "out", "--format", "json")
    told = json.loads(out)
    assert code == 1
    assert (told["shards"], told["missing_shards"], told["array"]) == (SHARDS, [0, 2, 3], "0,2-3")
    assert (told["done"] + told["missing"], told["failed"]) == (FILES, 0)
    code, _, err = many.run("batch", "merge", "out")
    assert code == 1
    assert "run the shards 0,2-3" in err
    assert not Path("out/fxst-manifest.jsonl").exists()


def test_what_failed_is_a_row_and_is_tried_again(many):
    run("out", "0/2")
    Path("in/0.wav").rename("kept.wav")
    Path("in/0.wav").write_text("no sound")
    for index in range(2):
        run("out", f"{index}/2")
    code, out, _ = many.run("batch", "status", "out", "--format", "jsonl")
    (row,) = map(json.loads, out.splitlines())
    assert code == 1
    assert (row["input"], row["output"], row["status"], row["exit_code"]) == ("in/0.wav", "0.wav", "failed", 1)
    assert "in/0.wav" in row["error"]
    Path("kept.wav").replace("in/0.wav")
    written = [result for index in range(2) for result in run("out", f"{index}/2").values() if not result.was_finished]
    assert [result.input.name for result in written] == ["0.wav"]
    merge(many)
    assert same("out", "whole")


def test_a_file_that_is_added_changes_its_chunk_and_no_other(many):
    for index in range(SHARDS):
        run("out", f"{index}/{SHARDS}")
    before = parts()
    shutil.copy("in/0.wav", "in/new.wav")
    written = {
        name
        for index in range(SHARDS)
        for name, result in run("out", f"{index}/{SHARDS}").items()
        if not result.was_finished
    }
    assert written == {"new.wav"}
    assert before < parts()
    assert len({part.number for part in parts() - before}) == 1


def test_another_table_makes_all_again_and_merges_to_what_is_there(many):
    run("out", "0/1")
    many.table(ratio=6.0)
    assert not any(result.was_finished for result in run("out", "0/1").values())
    merge(many)
    run("other", None)
    rows = {folder: Path(folder, "fxst-manifest.jsonl").read_bytes().splitlines() for folder in ("out", "other")}
    assert set(rows["other"]) < set(rows["out"])  # what was written before is known as fxst's own
    assert {name: data for name, data in many.tree("out").items() if name.endswith(".wav")} == {
        name: data for name, data in many.tree("other").items() if name.endswith(".wav")
    }


def test_what_fxst_has_not_made_fails_alone_and_stays(many):
    Path("out").mkdir()
    Path("out/0.wav").write_text("precious")
    results = run("out", "0/1")
    assert [name for name, result in results.items() if result.error] == ["0.wav"]
    assert "--overwrite" in results["0.wav"].error
    assert Path("out/0.wav").read_text() == "precious"
    assert len(list(Path("out").rglob("*.wav"))) == FILES


def test_outputs_that_would_share_a_name_are_refused_wherever_they_lie(many):
    shutil.copytree("in", "more")
    results = run("out", "0/1", inputs=(Path("in"), Path("more")))
    assert all("written twice" in result.error for result in results.values())
    assert not list(Path("out").rglob("*.wav"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": "0/3"}, "begun with 2 shards, and now there are 3"),
        ({"shard": "2/2"}, "shards count from 0, so the last one is 1/2"),
        ({"shard": "1"}, "write 0/100"),
        ({"shard": "0/2", "inputs": (Path("in/0.wav"),)}, "shares a batch"),
        ({"shard": "0/2", "report": Path("page.html")}, "fxst batch merge"),
        ({"shard": "0/2", "engine": "ray"}, "leave out --shard"),
        ({"shard": "0/2", "address": "here"}, "--address is for a cluster"),
        ({"shard": "0/2", "inputs": (Path("out"),)}, "lies in the output folder"),
        ({"shard": None, "dry_run": True}, "see fxst batch status"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(batch, options, message):
    run("out", "0/2")
    before = batch.tree()
    with pytest.raises(SettingsError, match=message):
        run("out", **options)
    assert batch.tree() == before


def test_a_file_that_costs_every_worker_is_found_and_given_up(many, monkeypatch):
    """As on a cluster whose workers die with one file, of whatever it may be."""

    class Dying:
        workers = 2

        def __init__(self, address, workers, make, content):
            self._make, self._content = make, content

        def __exit__(self, *_):
            pass

        def run(self, tasks):
            do = self._make(self._content())
            for task in tasks:
                lines = task.chunk.lines if task.only is None else (task.only,)
                deadly = [line for line in lines if '"7.wav"' in line and line not in dict(task.crashed)]
                yield Lost(task, "it died") if deadly else do(task)

    monkeypatch.setattr(cluster, "Pool", Dying)
    results = run("out", None, engine="ray")
    assert len(results) == FILES
    assert {name: result.error for name, result in results.items() if result.error} == {"7.wav": "'in/7.wav': it died"}
    assert results["7.wav"].crashed
    assert len(list(Path("out").rglob("*.wav"))) == FILES - 1
    run("out", None)
    assert same("out", "whole")


def test_a_missing_extra_is_one_sentence(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r'^--engine ray needs Ray: install it with: pip install "fxst\[ray\]"$'):
        run("out", None, engine="ray")
    assert not Path("out").exists()


def test_a_shard_of_nothing_is_told(batch):
    with pytest.raises(NothingMatchedError):
        run("out", "0/2", include=("*.flac",))
    assert not Path("out").exists()


def test_a_batch_of_another_command_is_not_joined(batch):
    Batch.begin(LocalStore(Path("out/fxst-batch")), "eval", "0" * 16, 1, shard=None, workers=1)
    with pytest.raises(SettingsError, match="unfinished batch of fxst eval"):
        run("out", "0/2")


def test_chunks_are_found_on_disk_as_they_are_in_memory(monkeypatch):
    def chunks(count):
        with Sorted((f"key {number}", f"line {number}") for number in range(3000)) as lines:
            return [lines.lines(number, count) for number in range(count)]

    found = {count: chunks(count) for count in (1, 7, 300, 1000)}
    monkeypatch.setattr("fxst.coordination.chunks._BYTES_IN_MEMORY", 100)
    assert {count: chunks(count) for count in found} == found
    expected = sorted((hashed(f"key {number}"), f"line {number}") for number in range(3000))
    for count, lines in found.items():
        assert [line for chunk in lines for line in chunk] == [line for _, line in expected]
        assert len(lines) == count
