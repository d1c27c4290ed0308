"""What a person sees: nothing is erased or cut, in a real terminal, a narrow one, and one without colours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

pty = pytest.importorskip("pty")

SEQUENCE = re.compile(r"\x1b\[(?P<numbers>[\d;?]*)(?P<kind>[A-Za-z])|(?P<letter>.)", re.DOTALL)


def on_screen(output, columns):
    """Return the lines that a terminal shows in the end, of those that it has scrolled by as well."""
    lines, row, column = [[]], 0, 0
    for found in SEQUENCE.finditer(output):
        kind, letter = found["kind"], found["letter"]
        if kind == "A":
            row = max(0, row - int(found["numbers"] or 1))
        elif kind == "K":
            assert found["numbers"] == "2"
            lines[row] = []
        elif letter == "\r":
            column = 0
        elif letter == "\n":
            row, column = row + 1, 0
        elif letter:
            if column == columns:
                row, column = row + 1, 0
            lines += [[] for _ in range(row + 1 - len(lines))]
            lines[row] += " " * (column + 1 - len(lines[row]))
            lines[row][column] = letter
            column += 1
        lines += [[] for _ in range(row + 1 - len(lines))]
    return ["".join(line).rstrip() for line in lines]


def in_terminal(*arguments, columns=80, **environment):
    """Run the program in a terminal of its own; give its exit code and all that it wrote."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "fxst", *map(str, arguments)],
        env=plain | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color"} | environment,
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    output = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        output += piece
    os.close(ours)
    return process.wait(), output.decode()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("in").mkdir()
    for number in range(2):
        x = noise(8000, 1, 2).T
        x[100 * number + 99 :: 1000] = 0.999  # peaks, which the limiter will tell of
        soundfile.write(f"in/{number}.wav", x, 8000)
    Path("in/broken.wav").write_bytes(b"RIFF")
    table_files.write(Table(CHAINS["fx"], CHAINS["fx"].defaults()), Path("house.json"))
    return tmp_path


BATCH = ("apply", "in", "-o", "out", "-p", "house.json", "--loudness", "-8")


def test_every_message_of_a_batch_stays_on_the_screen(tmp_path):
    code, output = in_terminal(*BATCH)
    assert code == 1
    assert "━" in output  # there was a bar
    text = "".join(on_screen(output, 80))
    for number in range(2):
        assert f"wrote 'out/{number}.wav'" in text
        assert re.search(
            rf"fxst: 'in/{number}.wav': heavily limited: the limiter reduced its peaks .* instead of -8\.0", text
        )
    assert "fxst: 'in/broken.wav'" in text
    assert "fxst: 2 written, 1 failed." in text
    assert "━" not in text  # and it is gone
    assert "\x1b[33m" in output


def test_a_table_stays_on_the_screen():
    code, output = in_terminal(*BATCH[:1], "in/0.wav", *BATCH[2:], "--verbose", columns=100)
    assert code == 0
    lines = on_screen(output, 100)
    assert [line for line in lines if line.split()[:2] == ["compressor", "threshold_db"]]
    assert sum("ratio" in line for line in lines) == 1
    assert any("wrote 'out/0.wav'" in line for line in lines)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "unknown"}, {"TERM": ""}])
def test_a_terminal_without_colours_gets_plain_text(environment):
    code, output = in_terminal(*BATCH[:1], "in/0.wav", *BATCH[2:], **environment)
    assert code == 0
    assert output.replace("\r\n", "").isprintable()
    assert "the limiter reduced its peaks" in output


def test_no_colour_is_none():
    code, output = in_terminal("apply", "none.wav", "-o", "x.wav", "-p", "house.json", NO_COLOR="1")
    assert code == 1
    assert "fxst: 'none.wav' does not exist: check the name.\r\n" in output
    assert not re.search(r"\x1b\[[\d;]*m", output)


COMMANDS = {
    "models": ("models", "list"),
    "one model": ("models", "info", "eq"),
    "chains": ("chains",),
    "doctor": ("doctor",),
    "table": ("apply", "in/0.wav", "-o", "x.wav", "-p", "house.json", "--verbose"),
    "summary": ("apply", "in/0.wav", "-o", "x.wav", "-p", "house.json"),
}


HEADINGS = {"model", "effect", "program", "package", "extra", "optional", "device", "cache"}
"""Of columns whose content needs none where a table becomes a list."""


@pytest.mark.parametrize("columns", [30, 40, 60, 80])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_words_are_folded_and_never_cut(fxst, monkeypatch, command, columns):
    if command == ("doctor",):
        monkeypatch.setattr("fxst.doctor._load", lambda modules: [("", "ImportError: a reason")] * len(modules))

    def words(width):
        monkeypatch.setenv("COLUMNS", str(width))
        _, out, _ = fxst(*command)
        return out

    narrow, wide = words(columns), words(400)
    assert "…" not in narrow
    joined = re.sub(r"\s", "", narrow)
    for word in set(wide.split()) - HEADINGS:
        assert word.strip(";") in joined  # which the list of doctor leaves out


def test_help_without_docstrings_is_the_same(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = [sys.executable, "-m", "fxst", "apply", "--help"]
    with_docstrings, without = (
        subprocess.run(command, env=os.environ | {"PYTHONOPTIMIZE": level}, capture_output=True, text=True, check=True)
        for level in ("0", "2")
    )
    assert with_docstrings.stdout == without.stdout
    assert "Make recordings sound as if" in without.stdout


def test_a_recording_is_rendered_without_docstrings_and_assertions():
    done = subprocess.run(
        [sys.executable, "-m", "fxst", *BATCH[:1], "in/0.wav", *BATCH[2:]],
        env=os.environ | {"PYTHONOPTIMIZE": "2"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert np.isfinite(soundfile.read("out/0.wav")[0]).all()
