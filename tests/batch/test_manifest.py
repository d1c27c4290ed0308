import contextlib
import json
import multiprocessing
import os
import shutil
import tracemalloc
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxst.batch.manifest import FileState, InputState, Manifest, ManifestRow, Origin, origin_of, remove_empty
from fxst.batch.references import references_of
from fxst.batch.run import apply_files
from fxst.configs import ApplyConfig
from fxst.errors import FxstError, OutputError, SettingsError

MANIFEST = "fxst-manifest.jsonl"
SCHEMA = Path(__file__).parents[2] / "docs/manifest.schema.json"

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
STATES = st.builds(FileState, st.text(), st.integers(0, 2**63), HASHES)
ROWS = st.builds(
    ManifestRow,
    st.builds(InputState, st.text(), st.integers(0, 2**63), st.integers(-(2**62), 2**63)),
    st.builds(
        Origin, st.lists(STATES, max_size=2).map(tuple), st.none() | st.tuples(st.text(), st.text()), HASHES, st.text()
    ),
    STATES,
    st.lists(STATES, max_size=2).map(tuple),
)


def config(**options):
    given = {"inputs": (Path("in"),), "output": Path("out"), "params": Path("house.json"), "recursive": False}
    return ApplyConfig(**(given | options))


def run(**options):
    """Apply, and tell of each file whether it was left as it was."""
    results = list(apply_files(config(**options)))
    assert not [result.error for result in results if result.error]
    return {result.input.name: result.was_finished for result in results}


@pytest.fixture
def two(batch):
    """Two recordings that are done."""
    for name in ("2.wav", "3.wav"):
        Path("in", name).unlink()
    assert run() == {"0.wav": False, "1.wav": False}
    return batch


def test_what_is_finished_is_left_as_it_is(two):
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert run() == {"0.wav": True, "1.wav": True}
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before


def test_it_can_all_be_made_again(two):
    before = two.tree()
    assert run(resume=False) == {"0.wav": False, "1.wav": False}
    assert two.tree() == before  # and no row twice


def test_a_new_recording_is_all_that_is_left(two):
    Path("in/new.wav").write_bytes(Path("in/1.wav").read_bytes())
    assert run() == {"0.wav": True, "1.wav": True, "new.wav": False}


CHANGES = {
    "output gone": lambda: Path("out/0.wav").unlink(),
    "input touched": lambda: os.utime("in/0.wav", (0, 0)),
    "row gone and output gone": lambda: (Path("out", MANIFEST).unlink(), *map(Path.unlink, Path("out").glob("*.wav"))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_not_as_a_row_says_is_made_again(two, change):
    before = two.tree()
    change()
    assert run()["0.wav"] is False
    after = two.tree()
    assert after.pop(MANIFEST)
    before.pop(MANIFEST)
    assert after == before


def test_another_table_replaces_what_fxst_has_made(two):
    before = two.tree()
    two.table(ratio=6.0)
    assert run() == {"0.wav": False, "1.wav": False}
    after = two.tree()
    assert all(after[name] != before[name] for name in ("0.wav", "1.wav"))
    assert set(before[MANIFEST]) < set(after[MANIFEST])


def test_a_table_is_known_by_its_content(two):
    Path("elsewhere").mkdir()
    Path("elsewhere/house.json").write_bytes(Path("house.json").read_bytes())
    assert run(params=Path("elsewhere/house.json")) == {"0.wav": True, "1.wav": True}


def test_the_number_of_jobs_changes_nothing(two):
    assert run(jobs=2, format="json", dry_run=False) == {"0.wav": True, "1.wav": True}


def test_another_option_is_another_result(batch):
    def origin(**options):
        return origin_of(config(**options), references_of(config(**options)))

    first = origin()
    for name, value in (("jobs", 3), ("resume", False), ("overwrite", True), ("format", "quiet"), ("name", "x")):
        assert origin(**{name: value}) == first
    assert origin(amount=("50",)) != first
    assert origin(link=False) != first


def test_what_fxst_has_not_made_is_replaced_only_when_told_so(batch):
    Path("out").mkdir()
    Path("out/0.wav").write_text("precious")
    Path("out/1.wav").write_text("precious")
    before = batch.tree()
    with pytest.raises(SettingsError, match=r"'out/0.wav' exists.*and so are 1 more: --overwrite"):
        list(apply_files(config()))
    assert batch.tree() == before
    assert run(overwrite=True)["0.wav"] is False
    assert Path("out/0.wav").read_bytes()[:4] == b"RIFF"


def test_what_was_changed_since_is_replaced_only_when_told_so(two):
    with open("out/0.wav", "ab") as file:
        file.write(b"a note of mine")
    with pytest.raises(SettingsError, match=r"'out/0.wav' exists and is not as fxst wrote it: --overwrite"):
        run()
    assert run(overwrite=True) == {"0.wav": False, "1.wav": True}


def test_one_recording_by_itself_has_no_manifest(batch):
    for _ in range(2):
        (result,) = apply_files(config(inputs=(Path("in/0.wav"),), output=Path("out.wav")))
        assert not result.error
    assert not list(Path().glob(MANIFEST))


def test_rows_keep_to_their_schema_and_tell_no_time(two):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for row in two.rows():
        jsonschema.validate(row, schema)
    assert {row["input"]["path"] for row in two.rows()} == {"0.wav", "1.wav"}
    lines = two.tree()[MANIFEST]
    Path("out").rename("old")
    run()
    assert two.tree()[MANIFEST] == lines


@given(ROWS)
def test_a_row_comes_back_as_it_was(row):
    assert ManifestRow.from_json(row.to_json().encode()) == row


def test_a_line_that_is_torn_is_cut_off_and_damaged_ones_are_counted(two):
    path = Path("out", MANIFEST)
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\n{}\nnothing\n" + second + first[:100])
    gone = Path("out", json.loads(first)["output"]["path"])
    gone.unlink()
    with Manifest(Path("out"), write=False) as manifest:
        assert manifest.damaged == 2
    assert run()[gone.name] is False
    assert path.read_bytes() == b"\n{}\nnothing\n" + second + first


@given(st.lists(st.binary(max_size=60) | ROWS.map(lambda row: row.to_json().encode()), max_size=4).map(b"\n".join))
def test_any_manifest_is_read(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(data)
    with Manifest(folder, write=True) as manifest:
        row = ManifestRow(InputState("x", 1, 1), Origin((), None, "0" * 64, "1"), FileState("x", 1, "0" * 64), ())
        manifest.add(row)
        manifest.add(row)
    lines = (folder / MANIFEST).read_bytes().split(b"\n")
    assert lines.count(row.to_json().encode()) == 1
    assert lines[-1] == b""


NESTED = ["[" * 100_000, '{"input": ' * 5000]


@pytest.mark.parametrize("line", [*NESTED, '{"model": [1], "applied": []}', "null", "1e999", '{"applied": {"a": 1}}'])
def test_a_line_that_is_no_row_is_none(line):
    assert ManifestRow.from_json(line.encode()) is None


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_manifest_that_is_no_file_is_told(batch, make):
    Path("out").mkdir()
    make(Path("out", MANIFEST))
    with pytest.raises(OutputError, match=r"fxst-manifest\.jsonl' (is not a file|cannot be used)"):
        list(apply_files(config()))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here in which none can be made")
def test_a_folder_that_cannot_be_made_is_told():
    with pytest.raises(OutputError, match=r"cannot be used .* choose another folder"):
        Manifest(Path("/proc/out"), write=True)


def test_a_manifest_leads_nowhere(two):
    """Rows of a stranger name files anywhere; nothing there is taken for an output, waited for, or changed."""
    os.mkfifo("pipe")
    with Manifest(Path("out"), write=True) as manifest:
        (row, *_) = (ManifestRow.from_json(json.dumps(row).encode()) for row in two.rows())
        manifest.add(
            msgspec.structs.replace(
                row, companions=(FileState("../pipe", 0, "0" * 64), FileState("/dev/zero", 0, "0" * 64))
            )
        )
    assert run() == {"0.wav": True, "1.wav": True}


def hold(folder, name, ready, done):
    with Manifest(folder, write=True) as manifest, manifest.locked(folder / name):
        ready.set()
        done.wait(60)


def test_a_file_is_locked_against_other_processes_and_freed_when_they_die(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, "a.wav", ready, done))
    other.start()
    assert ready.wait(60)
    with Manifest(tmp_path, write=True) as manifest:
        with manifest.locked(tmp_path / "a.wav") as alone:
            assert not alone
        with manifest.locked(tmp_path / "b.wav") as alone:
            assert alone
        other.kill()
        other.join()
        with manifest.locked(tmp_path / "./a.wav") as alone:
            assert alone


@pytest.mark.parametrize(("count", "jobs"), [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("output", ["out", "deep/er/out"])
def test_where_nothing_was_made_nothing_is_left(batch, count, jobs, output):
    shutil.rmtree("in")
    Path("in").mkdir()
    for number in range(count):
        Path("in", f"{number}.wav").write_text("no sound")
    before = sorted(Path().rglob("*"))
    results = list(apply_files(config(output=Path(output), jobs=jobs)))
    assert len(results) == count
    assert all(result.error for result in results)
    assert sorted(Path().rglob("*")) == before
    # A folder that was there stays, and so does a manifest with a line.
    Path(output).mkdir(parents=True)
    list(apply_files(config(output=Path(output), jobs=jobs)))
    assert not list(Path(output).iterdir())
    batch.recordings(3)  # of which the third lies deeper
    list(apply_files(config(output=Path(output), jobs=jobs)))
    assert len(batch.rows(output)) == 2


def test_what_another_process_may_write_to_is_not_removed(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, "a.wav", ready, done))
    other.start()
    assert ready.wait(60)
    remove_empty(tmp_path)
    assert (tmp_path / MANIFEST).exists()
    done.set()
    other.join()
    remove_empty(tmp_path)
    assert not (tmp_path / MANIFEST).exists()
    remove_empty(tmp_path)


def test_a_manifest_that_was_removed_while_it_was_opened_is_opened_again(tmp_path, monkeypatch):
    taken, times = Manifest._taken, []

    def late(manifest):
        times.append(1)
        if len(times) == 1:
            remove_empty(tmp_path)
        return taken(manifest)

    monkeypatch.setattr(Manifest, "_taken", late)
    with Manifest(tmp_path, write=True) as manifest:
        assert os.fstat(manifest._fd).st_ino == (tmp_path / MANIFEST).stat().st_ino
    assert len(times) == 2


@given(st.binary(max_size=200))
def test_only_fxsts_own_errors_come_of_a_manifest(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "own"
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(data)
    with contextlib.suppress(FxstError), Manifest(folder, write=False) as manifest:
        assert not manifest.is_known(folder / MANIFEST)


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["torn", "whole"])
def test_a_line_of_any_length_is_passed_over_in_bounded_memory(two, end):
    # In bounded memory it is not copied again and again, either.
    row, gone = Path("out/fxst-manifest.jsonl").read_bytes().splitlines(keepends=True)
    Path("out", json.loads(gone)["output"]["path"]).unlink()
    with open("out/fxst-manifest.jsonl", "wb") as file:
        file.write(row)
        file.truncate(len(row) + 300_000_000)
        file.seek(0, os.SEEK_END)
        file.write(end)
    tracemalloc.start()
    with Manifest(Path("out"), write=True) as manifest:
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
        assert manifest.damaged == len(end)
        assert len(manifest._rows) == 1
    tracemalloc.stop()
    assert sorted(run().values()) == [False, True]
    with Manifest(Path("out"), write=False) as manifest:
        assert (manifest.damaged, len(manifest._rows)) == (1, 2)
    assert run() == {"0.wav": True, "1.wav": True}
