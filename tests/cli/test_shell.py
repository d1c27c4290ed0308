"""A command that fxst tells to paste does what it says, whatever a file is called."""

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile
import yaml

from fxst import doctor, extras
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.data.manifest import read_card
from fxst.errors import NothingMatchedError
from fxst.untrusted import shell_word

TRAPS = [
    "it's $(touch PWN)",
    "`touch PWN`",
    '"; touch PWN; "',
    "'; touch PWN; '",
    "two\ntouch PWN\n#",
    "\r\ntouch PWN\r\n.",
    "-y",
    "--help $(touch PWN)",
    "|touch PWN;",
    " # touch PWN",
    "&& touch PWN &",
    "a\\'; touch PWN; \\'",
    "${IFS}$(touch${IFS}PWN)",
    "http:touch",
    "\u202e\u2028touch PWN",
    os.fsdecode(b"\xff$(touch PWN)\n."),
    "smile \U0001f642 %s %n",
    "[1]*?~",
]

NAMES = [  # of files; each holds several traps
    "it's $(touch PWN) `touch PWN` \"; touch PWN; \"'; touch PWN; ' ${IFS}",
    "-y two\ntouch PWN\n#\r\u2028\x1b[2J",
    "|touch PWN; \u202e \U0001f642 %s [1]*?~ \\",
    os.fsdecode(b"--help \xff$(touch PWN)\n#"),
    "concat:a|b # touch PWN &",
]

SHELLS = [path for path in map(shutil.which, ("bash", "dash", "sh", "zsh")) if path]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    soundfile.write("plain.wav", noise(8000, 2, 0.2).T, 8000)
    chain = CHAINS["fx"]
    table = Table(chain, chain.defaults()).with_values(
        {"parametric_eq": {"peak1_gain_db": 6.0}, "reverb": {"wet_level": 0.0, "dry_level": 0.25, "room_size": 0.0}}
    )
    table_files.write(table, Path("fx.json"))
    return tmp_path


def ran():
    return list(Path().rglob("PWN*"))


def in_shell(command, shell="bash"):
    return subprocess.run([shell, "-c", command], capture_output=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda path: Path(path).name)
@pytest.mark.parametrize("word", TRAPS, ids=ascii)
def test_a_quoted_word_is_one_line_and_comes_back_as_it_was(word, shell):
    quoted = shell_word(word)
    assert quoted.isprintable()
    assert in_shell(f"printf '%s|' {quoted} end", shell).stdout == os.fsencode(word) + b"|end|"
    assert not ran()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_exports_of_a_file_and_a_chain_of_any_name(fxst, name):
    told = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = Path("fx.json").read_text(encoding="utf-8")
    Path("named.json").write_text(text.replace('"name": "fx"', f'"name": {json.dumps(told)}'), encoding="utf-8")
    Path("plain.wav").rename(f"./{name}.wav")
    code, _, err = fxst("apply", f"./{name}.wav", "--params", "named.json", "-o", "out", "--export", "all")
    assert code == 0, err
    exported = {
        kind: Path(f"out/{name}.{kind}").read_text(encoding="utf-8")
        for kind in ("ffmpeg.txt", "sox.txt", "pedalboard.py", "ParametricEQ.txt", "easyeffects.json", "camilladsp.yml")
    }
    plays_in_ffmpeg(exported["ffmpeg.txt"], name)
    plays_in_sox(exported["sox.txt"], name)

    module = ast.parse(exported["pedalboard.py"])
    assert {type(node) for node in module.body} <= {ast.Import, ast.FunctionDef}
    assert "touch" not in ast.unparse(module)

    filters = exported["ParametricEQ.txt"].split("\n")
    assert all(re.match(r"#|Preamp: 0 dB$|Filter \d+: ON |$", line) for line in filters)

    preset = json.loads(exported["easyeffects.json"])
    assert preset.keys() == {"fxst", "output"}

    configuration = yaml.safe_load(exported["camilladsp.yml"])
    assert configuration.keys() == {"filters", "processors", "mixers", "pipeline"}
    files = {f["parameters"]["filename"] for f in configuration["filters"].values() if f["type"] == "Conv"}
    assert files == {f"{name}.reverb.wav"} or told != name  # YAML has no word for bytes that are no text
    assert not ran()


def plays_in_ffmpeg(text, name):
    """Paste what the file says to paste."""
    lines = text.split("\n")
    # What is no comment is a filter, so a name has ended no comment.
    assert all(re.match(r"[a-z]+=|\[|$", line) for line in lines if not line.startswith("#"))
    assert "touch" not in "".join(line for line in lines if not line.startswith("#"))
    (command,) = (line.removeprefix("# ") for line in lines if "-filter_complex" in line)
    words = {"FILE": f"./{name}.ffmpeg.txt", "INPUT": f"../{name}.wav", "OUTPUT": "../played.wav"}
    for word, path in words.items():
        command = command.replace(word, shell_word(path))
    done = in_shell(f"cd out && {command}")
    assert not ran()
    if shutil.which("ffmpeg") is not None:
        # Both files were found; an old ffmpeg may lack an option of a filter.
        assert done.stderr.count(b"Input #") == 2, done.stderr
        assert done.returncode == 0 or b"irnorm" in done.stderr, done.stderr


def plays_in_sox(text, name):
    assert "touch" not in "".join(line for line in text.split("\n") if not line.startswith("#"))
    Path("script").write_text(text, encoding="utf-8")
    done = subprocess.run(["sh", "script", f"{name}.wav", f"{name} made.wav"], capture_output=True, check=False)
    assert not ran()
    if shutil.which("sox") is not None:
        assert done.returncode == 0, done.stderr
        assert Path(f"./{name} made.wav").stat().st_size > 1000


@pytest.mark.parametrize("name", ["$(touch PWN)", "it's; touch PWN", "two\nlines $(touch PWN)"], ids=ascii)
def test_a_message_that_is_a_command_can_be_pasted(name):
    with pytest.raises(NothingMatchedError) as caught:
        read_card(Path(name))
    command = re.search("`fxst (.*)`", str(caught.value))[1]
    assert in_shell(f"printf '%s|' {command}").stdout == os.fsencode(f"dataset|build|SOURCE|-o|{name}|")
    assert not ran()


def test_what_doctor_says_to_install_can_be_pasted(monkeypatch):
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch[$(touch PWN)]>=2,<3; extra == 'x'"])
    monkeypatch.setattr(extras, "version", lambda name: "")
    remedies = [check.remedy for check in doctor._packages() if check.remedy]
    assert "pip install numpy" in remedies
    for remedy in remedies:
        in_shell(remedy.replace("pip install", "printf '%s|'"))
    assert not ran()
