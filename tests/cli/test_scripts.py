"""What other programs read of `fxst apply`: its output, its exit codes, and pipes."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile

from fxst.audio import Reader
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.cli.app import EXIT_CODES
from fxst.errors import FxstError, ModelError, NothingMatchedError, OutputError, SettingsError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/apply.schema.json").read_text(encoding="utf-8"))
LINE = {**SCHEMA["$defs"]["FileReport"], "$defs": SCHEMA["$defs"]}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    """A folder to work in, with two recordings, one that is none, and a table."""
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    soundfile.write("in/voice.wav", noise(48_000, 2, 0.5).T, 48_000, subtype="PCM_24")
    soundfile.write("in/deep/tape.flac", noise(44_100, 1, 0.5).T, 44_100)
    Path("in/bad.wav").write_text("hello")
    chain = CHAINS["eq-comp"]
    table_files.write(Table(chain, chain.defaults()).with_values({"compressor": {"ratio": 2.5}}), Path("house.json"))
    return tmp_path


def program(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "fxst", *map(str, arguments)],
        env=environment,
        capture_output=True,
        check=False,
        **options,
    )


def lines(out):
    rows = [json.loads(line) for line in out.splitlines()]
    for row in rows:
        jsonschema.validate(row, LINE)
    return {row["input"]: row for row in rows}


def test_each_line_is_an_object_as_the_schema_says(fxst):
    code, out, err = fxst("apply", "in", "-p", "house.json", "-o", "out", "--format", "jsonl")
    assert code == 1
    rows = lines(out)
    assert {name: row["status"] for name, row in rows.items()} == {
        "in/voice.wav": "written", "in/deep/tape.flac": "written", "in/bad.wav": "failed",
    }  # fmt: skip
    assert rows["in/voice.wav"]["output"] == "out/voice.wav"
    assert rows["in/voice.wav"]["settings"]["compressor"]["ratio"] == 2.5
    assert rows["in/bad.wav"]["output"] is None
    assert f"fxst: {rows['in/bad.wav']['error']}\n" in err
    code, out, _ = fxst("apply", "in", "-p", "house.json", "-o", "out", "--format", "jsonl", "--exclude", "bad.*")
    assert code == 0
    assert {row["status"] for row in lines(out).values()} == {"finished"}


def test_one_document_tells_all(fxst):
    code, out, _ = fxst("apply", "in", "-p", "house.json", "-o", "out", "--format", "json")
    document = json.loads(out)
    jsonschema.validate(document, SCHEMA)
    assert document["exit_code"] == code == 1
    assert document["counts"] == {"written": 2, "finished": 0, "failed": 1, "planned": 0}
    assert len(document["files"]) == 3


def test_quiet_leaves_standard_output_alone(fxst):
    code, out, err = fxst("apply", "in", "-p", "house.json", "-o", "out", "--format", "quiet")
    assert (code, out) == (1, "")
    assert "bad.wav" in err


def test_names_of_any_bytes_are_told(fxst):
    name = os.fsdecode(b"in/caf\xe9\n.wav")
    Path("in/voice.wav").rename(name)
    _, out, _ = fxst("apply", name, "-p", "house.json", "-o", "out", "--format", "jsonl")
    assert lines(out)[name]["status"] == "written"
    code, out, _ = fxst("apply", name, "-p", "house.json", "-o", "out")
    assert code == 0
    assert out.splitlines()[-1] == r"wrote 'out/caf\udce9\n.wav'"


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_a_dry_run_tells_the_plan_and_touches_nothing(fxst, form):
    before = sorted(Path().rglob("*"))
    arguments = ("apply", "in", "-p", "house.json", "-o", "out", "--name", "{relpath}-{ref}.wav", "--exclude", "bad*")
    code, out, err = fxst(*arguments, "--dry-run", "--format", form)
    assert code == 0, err
    assert sorted(Path().rglob("*")) == before
    if form == "table":
        assert "'in/deep/tape.flac' -> 'out/deep/tape-house.wav'\n" in out
        return
    rows = json.loads(out)["files"] if form == "json" else lines(out).values()
    assert {row["status"] for row in rows} == {"planned"}
    fxst(*arguments, "--include", "voice*")
    code, out, err = fxst(*arguments, "--dry-run")
    assert "already finished: 'in/voice.wav'" in out
    assert err == "fxst: 1 to write, 1 already finished.\n"
    assert not Path("out/deep").exists()


def test_a_plan_that_cannot_be_is_refused_in_a_dry_run_too(fxst):
    assert fxst("apply", "in", "-p", "house.json", "-o", "out", "--name", "same.wav", "--dry-run")[0] == 2
    assert fxst("apply", "in", "-p", "house.json", "-o", "house.json/out", "--dry-run")[0] == 5


def test_an_output_that_is_there_is_asked_about(fxst):
    Path("out").mkdir()
    Path("out/voice.wav").write_text("precious")
    arguments = ("apply", "in", "-p", "house.json", "-o", "out", "--include", "*voice*")
    code, out, err = fxst(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--overwrite" in err
    assert fxst(*arguments, "--overwrite")[0] == 0
    assert soundfile.info("out/voice.wav").frames == 24_000


def test_a_list_a_pattern_and_what_to_leave_out(fxst, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"in/voice.wav\0in/deep\0")))
    code, out, _ = fxst("apply", "--list", "-", "-p", "house.json", "-o", "out")
    assert code == 0
    assert {"wrote 'out/voice.wav'", "wrote 'out/tape.flac'"} <= set(out.splitlines())
    code, out, _ = fxst("apply", "in/**/*.[fw]*", "--exclude", "bad.wav", "-p", "house.json", "-o", "again")
    assert code == 0
    assert {"wrote 'again/voice.wav'", "wrote 'again/deep/tape.flac'"} <= set(out.splitlines())
    assert fxst("apply", "in", "--no-recursive", "--exclude", "bad*", "-p", "house.json", "-o", "flat")[0] == 0
    assert not Path("flat/deep").exists()


CODES = {
    "all went well": (["in/voice.wav", "-o", "o.wav"], 0),
    "a file failed": (["in", "-o", "out"], 1),
    "wrong usage": (["in", "-o", "out", "--nonsense"], 2),
    "no input": (["-o", "out"], 2),
    "a setting that makes no sense": (["in", "-o", "out", "--name", "{x}"], 2),
    "a folder without recordings": (["empty", "-o", "out"], 3),
    "a pattern that matches nothing": (["in/*.ogg", "-o", "out"], 3),
    "all left out": (["in", "-o", "out", "--include", "*.ogg"], 3),
    "a list without names": (["--list", "empty.txt", "-o", "out"], 3),
    "no place for an output": (["in", "-o", "house.json/out"], 5),
    "an output that cannot be written": (["in/voice.wav", "-o", "/proc/self/o.wav"], 5),
}


@pytest.mark.parametrize(("arguments", "expected"), CODES.values(), ids=CODES)
def test_exit_codes(fxst, arguments, expected):
    Path("empty").mkdir()
    Path("empty.txt").touch()
    if "/proc/self/o.wav" in arguments and not Path("/proc/self").exists():
        pytest.skip("no folder is known where nobody can write")
    code, _, err = fxst("apply", *arguments, "-p", "house.json")
    assert code == expected, err
    assert code in EXIT_CODES


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("becomes", [None, ImportError], ids=["nothing", "another error"])
def test_an_interrupt_that_is_lost_on_its_way_comes_with_the_next_block(fxst, monkeypatch, number, code, becomes):
    # As where it is raised in a callback, or while a library is loaded.
    blocks = Reader.blocks

    def interrupted(*arguments, **options):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if becomes is not None:
                raise becomes("initialization failed") from None
        yield from blocks(*arguments, **options)

    monkeypatch.setattr(Reader, "blocks", interrupted)
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(signal, "default_int_handler", handlers[0])  # whatever pytest was started with
    result, _, err = fxst("apply", "in/voice.wav", "-p", "house.json", "-o", "out.wav")
    assert (result, err) == (code, "fxst: interrupted\n")
    assert not list(Path().glob("*out*"))
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_dataset_of_no_recordings_exits_3(fxst):
    Path("empty").mkdir()
    code, _, err = fxst("dataset", "build", "empty", "-o", "data")
    assert (code, err.count("\n")) == (3, 1)
    assert not Path("data").exists()


def test_a_recording_that_may_not_be_read_leaves_the_others_alone(fxst, monkeypatch):
    # As for anybody but root, whom permissions do not keep from reading.
    monkeypatch.setattr(os, "access", lambda path, mode, **options: mode != os.R_OK)
    code, out, err = fxst("apply", "in/voice.wav", "in/bad.wav", "-p", "house.json", "-o", "out")
    assert code == 1
    assert "wrote 'out/voice.wav'" in out
    assert "'in/bad.wav' cannot be read" in err


def test_a_model_that_cannot_be_used_exits_4(fxst):
    Path("model").mkdir()
    Path("model/card.json").write_text("{}")
    for model in ("none", "model"):
        code, _, err = fxst("apply", "in", "--ref", "in/voice.wav", "-o", "out", "-m", model)
        assert (code, err.count("\n")) == (4, 1)
    assert not Path("out").exists()


def test_every_kind_of_error_has_a_documented_code():
    kinds = [FxstError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert kind.exit_code in EXIT_CODES
    assert [kind.exit_code for kind in (SettingsError, NothingMatchedError, ModelError, OutputError)] == [2, 3, 4, 5]


def test_help_tells_the_exit_codes():
    told = " ".join(program("--help", env={"TERMINAL_WIDTH": "200"}).stdout.decode().split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in told


def test_sound_goes_through_pipes(fxst):
    fxst("apply", "in/deep/tape.flac", "-p", "house.json", "-o", "out.wav")
    done = program("apply", "-", "-p", "house.json", "-o", "-", input=Path("in/deep/tape.flac").read_bytes())
    assert done.returncode == 0, done.stderr
    assert done.stdout == Path("out.wav").read_bytes()
    told = done.stderr.decode()
    assert "2.5:1 above" in told
    assert told.endswith("wrote standard output\n")
    assert "/tmp" not in told


def test_nothing_goes_into_a_pipe_that_is_not_whole():
    x = np.zeros((100_000, 1))
    x[-1] = np.nan
    soundfile.write("x.wav", x, 44_100, subtype="FLOAT")
    done = program("apply", "-", "-p", "house.json", "-o", "-", input=Path("x.wav").read_bytes())
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"fxst: standard input holds samples that are not finite")


def test_standard_input_goes_to_a_file_or_a_folder(fxst, monkeypatch):
    for output, made in (("o.flac", "o.flac"), ("new", "new/stdin.wav")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("in/voice.wav").read_bytes())))
        code, out, err = fxst("apply", "-", "-p", "house.json", "-o", output, "--format", "jsonl")
        assert code == 0, err
        assert lines(out)["standard input"]["output"] == made
        assert soundfile.info(made).frames == 24_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "in/voice.wav", "-o", "out"], "name no other input"),
        (["-", "--list", "x", "-o", "out"], "name no other input"),
        (["in/voice.wav", "-o", "-", "--format", "json"], "cannot both go to standard output"),
        (["in/voice.wav", "-o", "-", "--export", "ffmpeg"], "other files are named after the output"),
        (["in", "-o", "-"], "takes one recording"),
    ],
)
def test_a_dash_stands_where_it_can(arguments, message):
    done = program("apply", *arguments, "-p", "house.json", stdin=subprocess.DEVNULL, env={"TERMINAL_WIDTH": "200"})
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.decode().split())
    assert done.stdout == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_under_standard_output(fxst):
    with open("/dev/full", "wb") as full:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "fxst", "apply", "in/voice.wav", "-p", "house.json", "-o", "-"]
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 5
    assert b"space" in done.stderr


@pytest.mark.parametrize(
    ("words", "found"), [("fxst app", {"apply"}), ("fxst apply --over", {"--overwrite"}), ("fxst dataset b", {"build"})]
)
def test_a_shell_completes_commands_and_options(words, found):
    count = str(len(words.split()) - 1)
    environment = {"_FXST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    assert set(program(env=environment).stdout.decode().split()) == found


def test_the_program_writes_what_a_shell_needs_to_complete():
    done = program("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == 0
    assert b"_FXST_COMPLETE" in done.stdout
