"""A folder of tables: each recording is rendered with its own, and what has none or belongs to none is told."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

NAMES = ("one.wav", "season1/two.flac", "season1/deep/three.wav")


def table(path, gain_db):
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = Table(CHAINS["eq"], CHAINS["eq"].defaults())
    table_files.write(flat.with_values({"parametric_eq": {"low_shelf_gain_db": gain_db}}), path)


@pytest.fixture
def folders(tmp_path, monkeypatch, noise):
    """Recordings, a table for each, and what each is by `--params` with its table."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(24_000, 1, 0.3).T, 24_000)
        table(Path("tables", name).with_suffix(".params.json"), number + 1.0)
    return tmp_path


def by_itself(fxst, name, params):
    """What one recording becomes with one table."""
    single = Path("single", Path(name).name)
    shutil.rmtree("single", ignore_errors=True)
    assert fxst("apply", Path("in", name), "--params", params, "-o", single)[0] == 0
    return single.read_bytes()


def states(fxst, *words):
    code, out, err = fxst("apply", "in", "--params-dir", "tables", "-o", "out", "--format", "json", *words)
    files = json.loads(out)["files"]
    return code, {str(Path(file["input"]).relative_to("in")): file["status"] for file in files}, err


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_recording_is_rendered_with_its_own_table(jobs, folders, fxst):
    code, done, err = states(fxst, "--jobs", jobs)
    assert (code, set(done.values()), err) == (0, {"written"}, "")
    assert set(done) == set(NAMES)
    outputs = {name: Path("out", name).read_bytes() for name in NAMES}
    for name, output in outputs.items():
        assert output == by_itself(fxst, name, Path("tables", name).with_suffix(".params.json"))
    assert not list(Path("out").rglob("*.params.*"))  # the tables are where they are


def test_a_batchs_own_tables_are_such_a_folder(folders, fxst):
    """Names as a batch gives them: with their ending where two would share one, and after `.wav` was appended."""
    shutil.copy("in/one.wav", "in/one.aiff")
    Path("in/memo.mp2").write_bytes(Path("in/one.wav").read_bytes())
    assert fxst("apply", "in", "--ref", "in/one.wav", "-m", "eq", "-o", "first")[0] == 0
    first = sorted(str(path.relative_to("first")) for path in Path("first").rglob("*.params.json"))
    assert {"one.wav.params.json", "one.aiff.params.json", "season1/two.params.json"} < set(first)
    code, out, err = fxst("apply", "in", "--params-dir", "first", "-o", "again", "--format", "json")
    assert (code, "table" in err) == (0, False)
    assert len(json.loads(out)["files"]) == len(first) == 5
    for name in (*NAMES, "one.aiff"):
        assert Path("again", name).read_bytes() == Path("first", name).read_bytes()


def test_an_edited_table_is_rendered_again_and_nothing_else(folders, fxst):
    assert states(fxst)[0] == 0
    assert set(states(fxst)[1].values()) == {"finished"}
    table(Path("tables/season1/two.params.json"), -4.0)
    code, done, _ = states(fxst)
    assert (code, done) == (0, {NAMES[0]: "finished", NAMES[1]: "written", NAMES[2]: "finished"})
    assert Path("out", NAMES[1]).read_bytes() == by_itself(fxst, NAMES[1], "tables/season1/two.params.json")
    Path("tables/moved").mkdir()  # a table is known by its content
    shutil.move("tables", "elsewhere")
    code, out, _ = fxst("apply", "in", "--params-dir", "elsewhere", "-o", "out", "--format", "json")
    assert json.loads(out)["counts"]["finished"] == 3


def test_a_missing_table_is_named_and_the_others_are_applied(folders, fxst):
    Path("tables/one.params.json").unlink()
    code, _, err = fxst("apply", "in", "--params-dir", "tables", "-o", "out", "--dry-run")
    assert code == 0
    assert "'in/one.wav' has no table: 'tables/one.params.json' is not there" in err
    code, done, err = states(fxst)
    assert (code, done["one.wav"], set(done.values())) == (1, "failed", {"failed", "written"})
    assert "'in/one.wav' has no table: 'tables/one.params.json' is not there" in err
    assert not Path("out/one.wav").exists()
    table(Path("tables/one.params.csv"), 2.0)  # either format will do
    code, done, _ = states(fxst)
    assert (code, done["one.wav"], done[NAMES[1]]) == (0, "written", "finished")


def test_a_damaged_table_fails_its_own_recording_only(folders, fxst):
    Path("tables/one.params.json").write_text("{}")
    code, done, err = states(fxst)
    assert (code, done["one.wav"], done[NAMES[1]]) == (1, "failed", "written")
    assert "'tables/one.params.json'" in err


def test_a_table_that_no_recording_has_is_told(folders, fxst):
    for name in ("old", "older", "oldest", "season1/gone"):
        table(Path("tables", f"{name}.params.json"), 0.0)
    Path("tables/notes.json").write_text("no table")
    code, _, err = states(fxst)
    assert code == 0
    names = "'tables/old.params.json', 'tables/older.params.json', 'tables/oldest.params.json', and 1 more"
    assert f"no recording has the table {names}: it is not applied" in err
    # One recording leaves the tables of others alone.
    assert fxst("apply", "in/one.wav", "--params-dir", "tables", "-o", "one.wav")[2] == ""


def test_options_of_a_table_apply_to_each(folders, fxst):
    assert fxst("apply", "in", "--params-dir", "tables", "-o", "none", "--amount", "0", "--ceiling", "none")[0] == 0
    for name in NAMES:
        x, y = (soundfile.read(Path(folder, name))[0] for folder in ("in", "none"))
        assert (x == y).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--params", "tables/one.params.json"), "leave out --params, or --params-dir"),
        (("--ref", "in/one.wav"), "leave out --ref and --style, or --params-dir"),
        (("--model", "eq"), "--model is for settings that a model chooses"),
        (("--loudness", "reference"), "--loudness reference needs a reference"),
    ],
)
def test_what_contradicts_a_folder_of_tables_is_refused(words, message, folders, fxst):
    code, _, err = fxst("apply", "in", "--params-dir", "tables", "-o", "out", *words)
    assert code == 2
    assert message in err
    assert not Path("out").exists()


def test_a_folder_that_is_none_is_told_and_no_table_is_replaced(folders, fxst):
    for name in ("none", "in/one.wav"):
        code, _, err = fxst("apply", "in", "--params-dir", name, "-o", "out")
        assert code == 2
        assert f"'{name}' is not a folder" in err
    before = {path: path.read_bytes() for path in Path("tables").rglob("*.params.json")}
    assert fxst("apply", "in", "--params-dir", "tables", "-o", "tables")[0] == 0
    assert {path: path.read_bytes() for path in before} == before
    assert Path("tables/one.wav").is_file()
