"""No argument is ignored or misread without a word, and a shell completes what an option names."""

import shutil
from pathlib import Path

import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    soundfile.write("voice.wav", noise(8000, 1, 0.5).T, 8000)
    shutil.copy("voice.wav", "ref.wav")
    for name in ("eq", "fx"):
        table_files.write(Table(CHAINS[name], CHAINS[name].defaults()), Path(f"{name}.json"))
    Path("pairs.csv").write_text("input,reference\nvoice.wav,ref.wav\n")
    return tmp_path


TABLE = ("apply", "voice.wav", "-o", "out.wav", "-p", "fx.json")
REFUSED = {
    "a share": (
        (*TABLE, "--amount", "0.5"),
        "'0.5' is in percent, so it would be 0.5 % of the style: write 50 for a share of 0.5, or 0.5% if you mean it",
    ),
    "all, as in Python": ((*TABLE, "--amount", "1"), "write 100 for a share of 1, or 1% if you mean it"),
    "an effect's share": ((*TABLE, "--amount", "eq=.8"), "write eq=80 for a share of 0.8, or eq=.8% if you mean it"),
    "two amounts": ((*TABLE, "--amount", "50", "--amount", "60"), "'60' gives the whole style a second amount"),
    "two of an effect": ((*TABLE, "--amount", "eq=5", "--amount", "parametric_eq=6"), "parametric_eq a second amount"),
    "two outputs": ((*TABLE, "-o", "other.wav"), "it is given twice: leave one of them out"),
    "two loudnesses": ((*TABLE, "--loudness", "-16", "--loudness=-14"), "'--loudness'"),
    "both of a switch": ((*TABLE, "--link", "--no-link"), "given twice"),
    "items without a page": ((*TABLE, "--report-items", "5"), "--report-items is for a page (--report)"),
    "no compressor in a table": (
        (*TABLE[:-1], "eq.json", "--no-link"),
        "no compressor: leave out --link and --no-link",
    ),
    "no compressor of a model": (
        (*TABLE[:-2], "--ref", "ref.wav", "-m", "eq", "--link"),
        "The chain 'eq' has no compressor",
    ),
    "a split of pairs": (("eval", "--pairs", "pairs.csv", "--split", "val"), "--split is for items that are drawn"),
    "a rate of pairs": (("eval", "--pairs", "pairs.csv", "--sample-rate", "44100"), "--sample-rate is for items"),
    "steps of no oracle": (("eval", "--pairs", "pairs.csv", "--oracle-steps", "9"), "is for --baseline oracle-chain"),
}


@pytest.mark.parametrize(("command", "words"), REFUSED.values(), ids=REFUSED)
def test_an_argument_that_would_be_ignored_or_misread_is_refused(fxst, monkeypatch, command, words):
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    before = sorted(Path().rglob("*"))
    code, out, err = fxst(*command)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("given", [("--amount", "0.5%"), ("--amount", "0"), ("--amount", "1.6"), ("-v", "-v")])
def test_what_is_clear_is_taken(fxst, given):
    assert fxst(*TABLE, *given)[0] == 0


@pytest.mark.parametrize(
    "inputs",
    [("voice.wav", "./voice.wav"), ("*.wav", "voice.wav", "ref.wav"), ("voice.wav", Path("voice.wav").absolute)],
    ids=["spellings", "pattern", "absolute"],
)
def test_a_recording_that_is_named_twice_is_rendered_once(fxst, inputs):
    words = [word() if callable(word) else word for word in inputs]
    code, out, err = fxst("apply", *words, "-o", "out", "-p", "fx.json", "--dry-run")
    assert code == 0
    assert out.count("voice.wav' -> ") == 1
    assert "voice.wav' is named twice, and rendered once" in err


def test_two_recordings_of_one_name_are_still_refused(fxst):
    Path("other").mkdir()
    shutil.copy("voice.wav", "other/voice.wav")
    code, _, err = fxst("apply", "voice.wav", "other/voice.wav", "-o", "out", "-p", "fx.json")
    assert code == 2
    assert "'out/voice.wav' would be written twice" in err


COMPLETED = {
    "apply --model st": {"studio"},
    "apply -m eq-c": {"eq-comp", "eq-comp-full-hybrid", "eq-comp-half-hybrid", "eq-comp-proxy", "eq-comp-spsa"},
    "apply --export ff": {"ffmpeg"},
    "apply --export e": {"easyeffects"},
    "apply --amount re": {"reverb="},
    "apply --device cu": {"cuda"},
    "models info rever": {"reverb"},
    "models verify stu": {"studio"},
    "style save a.wav --model stu": {"studio"},
    "style train data --chain stu": {"studio"},
    "proxy train data --effect disto": {"distortion"},
    "eval --baseline oracle": {"oracle-eq", "oracle-chain"},
    "eval --model stu": {"studio"},
}


@pytest.mark.parametrize(("words", "expected"), COMPLETED.items(), ids=COMPLETED)
def test_a_shell_completes_names(fxst, monkeypatch, words, expected):
    line = f"fxst {words}"
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    monkeypatch.setenv("_FXST_COMPLETE", "complete_bash")
    code, out, err = fxst()
    assert (code, err) == (0, "")
    assert set(out.split()) == expected
