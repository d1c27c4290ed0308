"""`fxst apply` on objects: the same bytes as on files, whatever is killed on the way."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import soundfile

from fxst.batch.manifest import ManifestRow
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.coordination.parts import FOLDER
from fxst.storage import copies

SECRETS = (b"AKIATHISISNOTAKEYOFANY", b"wJalrXUtnFEMI", b"thisIsNotASecret")

KILLED = int(os.environ.get("FXST_TEST_OBJECTS", "40"))
"""Objects of the batch that is killed."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table that changes a recording, and renders quickly."""
    path = tmp_path_factory.mktemp("table") / "table.json"
    table = Table(CHAINS["eq"], CHAINS["eq"].defaults()).with_values({"parametric_eq": {"peak1_gain_db": 3.0}})
    table_files.write(table, path)
    return path


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files, which has nothing left at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert copies.root() is None
    assert not list(folder.glob("fxst*"))


def fill(s3, folder, noise, count):
    """Write recordings into a folder, and the same as objects below `in`."""
    for number in range(count):
        path = folder / f"in/{number % 3}/take [{number:03}] #ü.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(16_000, 1, 0.02).T * (1 + number) / (1 + count), 16_000)
        s3.put(f"in/{path.relative_to(folder / 'in')}", path.read_bytes())


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def outputs(s3, prefix="out"):
    keys = [key for key in s3.names() if key.startswith(f"{prefix}/") and "fxst-" not in key]
    return {key.removeprefix(f"{prefix}/"): s3.get(key) for key in keys}


def put(s3, what):
    """Return the keys of the requests that have written something whose key contains a word."""
    paths = map(str, s3.proxy.paths("PUT"))
    return [path for path in paths if what in path]


def rows(s3):
    for key in s3.names():
        if f"/{FOLDER}/parts/" in key:
            yield from filter(None, map(ManifestRow.from_json, s3.get(key).splitlines()))


def check_no_secret(s3, *texts):
    for data in (*texts, *(s3.get(key) for key in s3.names())):
        assert not any(secret in (data if isinstance(data, bytes) else data.encode()) for secret in SECRETS)


def test_objects_become_what_files_become(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 7)
    s3.put("in/notes.txt", b"no sound")
    s3.put("in/.hidden/a.wav", b"no sound")
    s3.put("table.json", table.read_bytes())
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "out")[0] == 0
    code, out, err = fxst("apply", f"{s3.url}/in", "-p", f"{s3.url}/table.json", "-o", f"{s3.url}/out")
    assert (code, err) == (0, "")
    assert outputs(s3) == tree(tmp_path / "out")
    assert out.count(f"wrote '{s3.url}/out/") == 7
    code, out, err = fxst("apply", f"{s3.url}/in/", "-p", table, "-o", f"{s3.url}/out/", "--format", "json")
    report = json.loads(out)
    assert (code, report["counts"]["finished"]) == (0, 7)
    assert {row["input"].rpartition("/in/")[0] for row in report["files"]} == {s3.url}
    check_no_secret(s3, out, err)


def test_objects_go_to_files_and_a_list_names_them(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 3)
    first, second, third = sorted(key for key in s3.names() if key.startswith("in/"))
    s3.put("in/list.txt", f"{first.removeprefix('in/')}\n{s3.url}/{second}\n{tmp_path / third}\n".encode())
    code, _, err = fxst("apply", "--list", f"{s3.url}/in/list.txt", "-p", table, "-o", tmp_path / "some")
    assert (code, err) == (0, "")
    assert fxst("apply", f"{s3.url}/in", "-p", table, "-o", tmp_path / "out", "-j", 2)[0] == 0
    s3.proxy.requests.clear()
    code, _, err = fxst("apply", f"{s3.url}/in", "-p", table, "-o", tmp_path / "out", "-j", 2)
    assert (code, err) == (0, "fxst: 3 already finished.\n")
    assert not any(path.endswith(".wav") for _, path, _ in s3.proxy.requests)
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "again")[0] == 0
    again = tree(tmp_path / "again")
    assert tree(tmp_path / "out") == again
    assert sorted(tree(tmp_path / "some").values()) == sorted(again.values())


def test_references_profiles_tables_pictures_and_pages_may_be_objects(fxst, s3, tmp_path, examples):
    for name in ("voice.wav", "radio.wav"):
        s3.put(f"sounds/{name}", (examples / name).read_bytes())
        s3.put(f"references/{name}", (examples / name).read_bytes())
    local, there = tmp_path / "out", f"{s3.url}/out"
    assert fxst("style", "save", f"{s3.url}/references/radio.wav", "-o", f"{s3.url}/radio.json")[0] == 0
    given = (
        (examples / "voice.wav", examples, f"{tmp_path / 'radio.json'}:2", local),
        (f"{s3.url}/sounds/voice.wav", f"{s3.url}/references", f"{s3.url}/radio.json:2", there),
    )
    (tmp_path / "radio.json").write_bytes(s3.get("radio.json"))
    (tmp_path / "references").mkdir()
    for name in ("voice.wav", "radio.wav"):
        (tmp_path / "references" / name).write_bytes((examples / name).read_bytes())
    for source, references, style, folder in given:
        references = tmp_path / "references" if references is examples else references
        made = ("-o", f"{folder}/a.wav", "-p", f"{folder}/a.csv", "--plot", f"{folder}/a.svg", "--export", "apo")
        code, out, err = fxst(
            "apply", source, "-r", references, "--style", style, *made, "--report", f"{folder}/a.html"
        )
        assert code == 0, err
    found = {key: s3.get(key) for key in s3.names()}
    written = {f"out/{path.name}": path.read_bytes() for path in local.iterdir()}
    assert len(written) == 5
    assert written.keys() == {key for key in found if key.startswith("out/")}
    assert not {key for key in written if not key.endswith(".html") and written[key] != found[key]}
    assert f"wrote '{there}/a.wav', settings in '{there}/a.csv'" in out
    page = found["out/a.html"]
    assert f"{s3.url}/sounds/voice.wav".encode() in page
    assert b"fxst-objects" not in page + found["out/a.svg"] + out.encode()
    check_no_secret(s3, out, err)


def begin(said, *arguments):
    """Start the program in a process of its own; what it says goes to a file."""
    command = [sys.executable, "-m", "fxst", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with open(said, "a") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def test_a_batch_that_is_killed_twice_goes_on_with_the_chunks_that_are_left(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, KILLED)
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "out", "-j", 2)[0] == 0
    command = ("apply", f"{s3.url}/in", "-p", table, "-o", f"{s3.url}/out", "-j", 2, "--format", "jsonl")
    said, finished, sealed = tmp_path / "said", set(), 0
    for least in (2, 5, None):
        s3.proxy.requests.clear()
        program = begin(said, *command)
        while least is not None and sealed + len(put(s3, f"/{FOLDER}/parts/")) < least:
            assert program.poll() is None, said.read_text()
            time.sleep(0.01)
        if least is not None:
            program.kill()
        program.wait(300)
        while True:  # what its workers have begun arrives
            seen = len(s3.proxy.requests)
            time.sleep(0.5)
            if len(s3.proxy.requests) == seen:
                break
        rendered = [path.partition("/out/")[2] for path in put(s3, ".wav")]
        parts = put(s3, f"/{FOLDER}/parts/")
        assert not {quote(place) for place in finished} & set(rendered), "one of a finished chunk was rendered again"
        assert (len(set(rendered)), len(set(parts))) == (len(rendered), len(parts))
        finished, sealed = {row.output.path for row in rows(s3)}, sealed + len(parts)
    assert program.returncode == 0, said.read_text()[-3000:]
    assert outputs(s3) == tree(tmp_path / "out")
    assert finished == outputs(s3).keys()
    assert not {path for path in s3.proxy.paths("GET") if path.endswith(".wav")} & set(finished)
    records = (path.read_bytes() for path in Path(os.environ["XDG_STATE_HOME"]).rglob("*") if path.is_file())
    check_no_secret(s3, said.read_bytes(), *records)
    assert b"fxst-objects" not in said.read_bytes() + b"".join(s3.get(key) for key in s3.names())


def quote(place):
    import urllib.parse

    return urllib.parse.quote(place)


def test_a_damaged_object_fails_alone_and_is_tried_again_alone(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 5)
    good = s3.get(key := next(key for key in s3.names() if key.startswith("in/")))
    s3.put(key, b"RIFF and no more")
    command = ("apply", f"{s3.url}/in", "-p", table, "-o", f"{s3.url}/out")
    code, _, err = fxst(*command)
    assert code == 1
    assert f"'{s3.url}/{key}' cannot be read as sound" in err
    assert len(outputs(s3)) == 4
    code, out, _ = fxst("batch", "status", f"{s3.url}/out", "--format", "jsonl")
    assert (code, json.loads(out)["input"]) == (1, f"{s3.url}/{key}")
    for data, expected in ((None, (1, 0)), (good, (0, 1))):
        if data is not None:
            s3.put(key, data)
        s3.proxy.requests.clear()
        code, _, _ = fxst(*command)
        assert (code, len(put(s3, ".wav"))) == expected
        assert len([path for path in s3.proxy.paths("GET") if path.endswith(".wav")]) == 1
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "out")[0] == 0
    assert outputs(s3) == tree(tmp_path / "out")


def test_shards_of_objects_are_merged(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 6)
    assert fxst("apply", tmp_path / "in", "-p", table, "-o", tmp_path / "out")[0] == 0
    command = ("apply", f"{s3.url}/in", "-p", table, "-o", f"{s3.url}/out")
    assert fxst(*command, "--shard", "1/2")[0] == 0
    code, out, _ = fxst("batch", "status", f"{s3.url}/out")
    assert (code, "--array=0" in out) == (1, True)
    code, _, err = fxst("batch", "merge", f"{s3.url}/out")
    assert (code, f"'{s3.url}/out/'" in err or f"'{s3.url}/out'" in err) == (1, True)
    assert fxst(*command, "--shard", "0/2")[0] == 0
    assert fxst("batch", "merge", f"{s3.url}/out")[0] == 0
    assert outputs(s3) == tree(tmp_path / "out")
    assert [key for key in s3.names() if "fxst-" in key] == ["out/fxst-manifest.jsonl"]
    assert fxst("batch", "status", f"{s3.url}/out")[0] == 0
    s3.proxy.requests.clear()
    assert fxst(*command)[0] == 0
    assert not put(s3, ".wav")


def test_an_object_of_others_is_not_replaced_unasked(fxst, s3, tmp_path, noise, table):
    fill(s3, tmp_path, noise, 2)
    key = next(key for key in s3.names() if key.startswith("in/"))
    mine = f"out/{key.removeprefix('in/')}"
    s3.put(mine, b"mine")
    command = ("apply", f"{s3.url}/in", "-p", table, "-o", f"{s3.url}/out")
    code, _, err = fxst(*command)
    assert (code, s3.get(mine)) == (1, b"mine")
    assert f"'{s3.url}/{mine}' exists and is not as fxst wrote it: --overwrite" in err
    one = ("apply", f"{s3.url}/{key}", "-p", table, "-o", f"{s3.url}/{mine}")
    assert (fxst(*one)[0], s3.get(mine)) == (2, b"mine")
    assert fxst(*command, "--overwrite")[0] == 0
    assert s3.get(mine) != b"mine"
    assert fxst(*one)[0] == 0  # what fxst made is replaced


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{url}/none.wav", "-o", "{url}/out.wav"), 1, "'{url}/none.wav' does not exist, and no object is below it"),
        (("{url}/in/*.wav", "-o", "{url}/out"), 1, "choose with --include '*.wav'"),
        (("{url}/notes", "-o", "{url}/out"), 3, "'{url}/notes' holds no sound files"),
        (("{url}/in", "-o", "s3://no-such-bucket/out"), 2, "there is no bucket 'no-such-bucket'"),
        (("s3://no-such-bucket/in", "-o", "out"), 2, "there is no bucket 'no-such-bucket'"),
        (("s3://KEY:SECRET@bucket/in", "-o", "out"), 2, "credentials in the environment"),
        (("https://me:SECRET@host/in.wav?sig=SECRET", "-o", "out"), 2, "a URL that fxst does not read"),
        (("{url}/in", "-o", "{url}/out", "--report", "page.html"), 2, "--report plays recordings of this machine"),
        (("{url}/in", "-o", "{url}/in"), 2, "lies in the output folder"),
        (("{url}/in/a.wav", "-o", "{url}/in/a.wav"), 2, "'{url}/in/a.wav' would replace an input"),
        (("{url}/in", "-o", "{url}/out", "-p", "{url}/none.json"), 1, "'{url}/none.json' does not exist"),
    ],
)
def test_what_is_not_possible_is_told_in_a_sentence(fxst, s3, table, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    s3.put("in/a.wav", b"")
    s3.put("notes/a.txt", b"")
    given = [argument.format(url=s3.url) for argument in arguments]
    ended, out, err = fxst("apply", *(() if "-p" in given else ("-p", table)), *given)
    assert (ended, out) == (code, "")
    assert words.format(url=s3.url) in err
    assert err.count("\n") == 1
    assert not any(word in err for word in ("SECRET", "KEY", "fxst-objects", "Traceback"))
    assert sorted(s3.names()) == ["in/a.wav", "notes/a.txt"]


def test_other_commands_refuse_objects(fxst, s3):
    for arguments in (("dataset", "build", f"{s3.url}/in"), ("eval", "--pairs", f"{s3.url}/pairs.csv")):
        code, _, err = fxst(*arguments)
        assert code == 2
        assert "is an object, and this command takes files" in err
    assert not s3.proxy.requests


def test_an_input_is_bounded(fxst, s3, tmp_path, noise, table, monkeypatch):
    fill(s3, tmp_path, noise, 1)
    key = next(iter(s3.names()))
    monkeypatch.setattr(copies, "LARGEST_BYTES", 100)
    code, _, err = fxst("apply", f"{s3.url}/{key}", "-p", table, "-o", tmp_path / "out.wav")
    assert code == 1
    assert "there is room for" in err
    assert not (tmp_path / "out.wav").exists()


def test_what_a_killed_process_left_is_removed_by_the_next(fxst, s3, tmp_path, noise, table, temporary):
    fill(s3, tmp_path, noise, 1)
    held = temporary / "fxst-objects-held"
    for folder in (temporary / "fxst-objects-left", held):
        (folder / "s3/bucket").mkdir(parents=True)
        (folder / ".lock").touch()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(); input()",
            held / ".lock",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    assert fxst("apply", f"{s3.url}/in", "-p", table, "-o", tmp_path / "out")[0] == 0
    assert [path.name for path in temporary.glob("fxst-objects*")] == ["fxst-objects-held"]
    holder.communicate(b"\n")
    assert fxst("apply", f"{s3.url}/in", "-p", table, "-o", tmp_path / "out")[0] == 0


def test_without_the_extra_it_is_named(fxst, s3, table, monkeypatch):
    from fxst.storage import objects

    objects._client.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore", None)
    code, _, err = fxst("apply", f"{s3.url}/a.wav", "-p", table, "-o", "out.wav")
    assert code == 2
    assert 'pip install "fxst[cloud]"' in err


@pytest.mark.parametrize(
    "setting", ['params = "s3://bucket/table.json"', 'ref = ["s3://bucket/a.wav"]', 'output = "s3://b1/o"']
)
def test_a_settings_file_names_no_object(fxst, tmp_path, monkeypatch, setting):
    """That of the current folder may be a stranger's, and requests would be made with the user's credentials."""
    monkeypatch.chdir(tmp_path)
    Path("fxst.toml").write_text(f"[apply]\n{setting}\n")
    code, _, err = fxst("apply", "in.wav", *(() if setting.startswith("output") else ("-o", "out.wav")))
    assert code == 2
    assert "the URL of an object is for the command line" in err
