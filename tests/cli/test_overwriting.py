"""A file that fxst did not make, or that was edited since, is replaced only where that is asked for."""

import shutil
from pathlib import Path

import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

MINE = b"what somebody wrote in an evening\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    soundfile.write("voice.wav", noise(24_000, 1, 1).T, 24_000, subtype="PCM_24")
    table_files.write(Table(CHAINS["fx"], CHAINS["fx"].defaults()), Path("house.json"))
    return tmp_path


APPLY = ("apply", "voice.wav", "-o", "out.wav")
TABLE = (*APPLY, "-p", "house.json")
LEARNT = (*APPLY, "--ref", "voice.wav", "-m", "eq")
COMMANDS = {
    "sound": (TABLE, "out.wav"),
    "sound in a folder": (
        ("apply", "voice.wav", "-o", ".", "--name", "new-{stem}", "-p", "house.json"),
        "new-voice.wav",
    ),
    "report": ((*TABLE, "--report", "page.html"), "page.html"),
    "picture": ((*TABLE, "--plot", "curve.svg"), "curve.svg"),
    "export": ((*TABLE, "--export", "apo"), "out.ParametricEQ.txt"),
    "impulse response": ((*TABLE, "--export", "ffmpeg"), "out.reverb.wav"),
    "report of a batch": (
        ("apply", "voice.wav", "--list", "list", "-o", "out", "-p", "house.json", "--report", "p.html"),
        "p.html",
    ),
    "table": ((*LEARNT, "-p", "mine.csv"), "mine.csv"),
    "table beside the output": (LEARNT, "out.params.json"),
    "profile": (("style", "save", "voice.wav", "-o", "style.json", "-m", "eq"), "style.json"),
    "results of an evaluation": (("eval", "--pairs", "pairs.csv", "--output", "to", "--no-pesq"), "to/summary.json"),
    "its journal": (("eval", "--pairs", "pairs.csv", "--output", "to", "--no-pesq"), "to/unfinished.jsonl"),
    "its sound": (("eval", "--pairs", "pairs.csv", "--audio", "to", "--no-pesq"), "to/input/voice.wav"),
    "its page": (("eval", "--pairs", "pairs.csv", "--report", "page.html", "--no-pesq"), "page.html"),
}


@pytest.mark.parametrize(("command", "path"), COMMANDS.values(), ids=COMMANDS)
def test_a_file_of_the_users_own_stays(fxst, command, path):
    Path("list").write_text("")
    Path("pairs.csv").write_text("input,reference\nvoice.wav,voice.wav\n")
    if command[0] == "apply" and "--ref" in command:
        shutil.copy("voice.wav", "ref.wav")
        command = tuple(
            "ref.wav" if word == "voice.wav" and before == "--ref" else word
            for before, word in zip(("", *command), command, strict=False)
        )
    mine = Path(path)
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(MINE)
    before = sorted(Path().rglob("*"))
    code, out, err = fxst(*command)
    assert (code, out) == (2, ""), err
    assert f"{path!r} exists and is not as fxst wrote it" in err
    assert "--overwrite" in err
    assert err.count("\n") == 1
    assert mine.read_bytes() == MINE
    assert sorted(Path().rglob("*")) == before


def test_what_fxst_made_is_made_again_until_it_is_edited(fxst):
    command = (*TABLE, "--report", "page.html", "--plot", "curve.svg", "--export", "apo")
    for _ in range(2):
        code, _, err = fxst(*command)
        assert (code, err) == (0, "")
    for path in ("out.wav", "page.html", "curve.svg", "out.ParametricEQ.txt"):
        made = Path(path).read_bytes()
        Path(path).write_bytes(made + b"\n")
        assert fxst(*command)[0] == 2
        assert Path(path).read_bytes() == made + b"\n"
        Path(path).write_bytes(made)
    Path("page.html").write_bytes(MINE)
    assert fxst(*command, "--overwrite")[0] == 0
    assert Path("page.html").read_bytes() != MINE


def test_without_a_record_every_file_is_the_users(fxst, monkeypatch):
    Path("file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").resolve()))
    assert fxst(*TABLE)[0] == 0
    code, _, err = fxst(*TABLE)
    assert code == 2
    assert "--overwrite" in err
    assert fxst(*TABLE, "--overwrite")[0] == 0


def test_a_file_of_a_batch_is_known_by_its_manifest(fxst):
    Path("in").mkdir()
    shutil.copy("voice.wav", "in/voice.wav")
    assert fxst("apply", "in", "-o", "out", "-p", "house.json")[0] == 0
    assert fxst("apply", "voice.wav", "-o", "out", "-p", "house.json", "--amount", "50")[0] == 0
    Path("out/voice.wav").write_bytes(MINE)
    assert fxst("apply", "voice.wav", "-o", "out", "-p", "house.json")[0] == 2


def test_the_record_holds_no_names_and_stays_small(fxst, monkeypatch):
    record = Path("state/fxst/made")
    assert fxst(*TABLE)[0] == 0
    assert b"out" not in record.read_bytes()
    assert record.stat().st_mode & 0o077 == 0
    monkeypatch.setattr("fxst.authorship._MOST_BYTES", 400)
    for percent in range(50, 60):
        assert fxst(*TABLE, "--amount", percent)[0] == 0
    assert record.stat().st_size < 700
    assert fxst(*TABLE)[0] == 0  # the last one is known
