import dataclasses
import math
import re
import shlex

import hypothesis
import hypothesis.strategies as st
import pedalboard
import pytest

from fxst import exports
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.effects import EFFECTS, declare_plugin
from fxst.effects.parameters import Parameter
from fxst.errors import FxstError, OutputError, SettingsError
from fxst.exports.base import Export, comments, number

TEXTS = {name: format_.text for name, format_ in exports.FORMATS.items() if format_.text}


@st.composite
def tables(draw):
    """Any settings that the chain studio's effects can have, beyond its own ranges too."""
    chain = CHAINS["studio"]
    widest = [p for effect in chain.effects for p in effect.widest()]
    values = [draw(st.sampled_from([p.minimum, p.maximum]) | st.floats(p.minimum, p.maximum)) for p in widest]
    rows = [dataclasses.replace(row, value=value) for row, value in zip(chain.defaults(), values, strict=True)]
    return Table(chain.linked(draw(st.booleans())), tuple(rows))


@hypothesis.given(tables(), st.sampled_from([8000, 44_100, 192_000]), st.integers(1, 3), st.sampled_from(sorted(TEXTS)))
@hypothesis.settings(max_examples=60)
def test_any_settings_can_be_written(table, sample_rate, channels, name):
    text = TEXTS[name](Export(table, sample_rate, channels, "voice.reverb.wav"))
    assert text.endswith("\n")
    assert f"for recordings of {sample_rate} Hz" in text
    assert not re.search(r"\b(nan|inf)\b", text)
    if name != "easyeffects":  # JSON has exponents
        assert not re.search(r"\d[eE][-+]?\d", text)


def test_all_is_every_format(tmp_path):
    files = exports.export_files(["all"], tmp_path / "voice")
    assert [file.path.name for file in files] == [
        "voice.ffmpeg.txt",
        "voice.ParametricEQ.txt",
        "voice.pedalboard.py",
        "voice.camilladsp.yml",
        "voice.easyeffects.json",
        "voice.sox.txt",
        "voice.jsfx",
        "voice.reverb.wav",
    ]
    assert exports.export_files(list(exports.FORMATS), tmp_path / "voice") == files
    assert exports.export_files([], tmp_path / "voice") == ()


def test_what_plays_an_impulse_response_gets_it(tmp_path):
    for name, needs in [("ffmpeg", True), ("camilladsp", True), ("apo", False), ("sox", False), ("jsfx", True)]:
        files = exports.export_files([name, name], tmp_path / "voice")
        assert [(file.format, file.implied) for file in files] == [(name, False)] + [("ir", True)] * needs


def test_there_is_no_other_format(tmp_path):
    with pytest.raises(SettingsError, match=r"no export 'mp3'; choose from: ffmpeg, apo, .*, all"):
        exports.export_files(["mp3"], tmp_path / "voice")


def test_they_come_all_or_not_at_all(tmp_path, draw):
    files = exports.export_files(["all"], tmp_path / "voice")
    staged = exports.staged(files, draw(0), sample_rate=8000, channels=1)
    staged.__enter__()
    assert not [file for file in files if file.path.exists()]
    assert not staged.__exit__(FxstError, FxstError("later"), None)
    assert list(tmp_path.iterdir()) == []
    with exports.staged(files, draw(0), sample_rate=8000, channels=1) as remarks:
        assert remarks == ()
    assert sorted(tmp_path.iterdir()) == sorted(file.path for file in files)


def test_where_nothing_can_be_written(tmp_path, draw):
    (tmp_path / "file").touch()
    (tmp_path / "voice.ParametricEQ.txt").mkdir()
    for folder, message in [
        ("file", r"The folder '.*/file' cannot be made"),
        (".", r"voice\.ParametricEQ\.txt' is a folder"),
    ]:
        files = exports.export_files(["apo"], tmp_path / folder / "voice")
        staged = exports.staged(files, draw(0), sample_rate=8000, channels=1)
        with pytest.raises(OutputError, match=message), staged:
            pytest.fail("it began")


@pytest.mark.parametrize("name", ["two\nlines", "it's", 'a "quoted" $(name)', "\u2028", "ü"])
def test_names_cannot_leave_their_line_nor_run(draw, name):
    table = draw(0)
    table = dataclasses.replace(table, chain=dataclasses.replace(table.chain, name=name))
    for text in (TEXTS[format_](Export(table, 8000, 2, f"{name}.reverb.wav")) for format_ in TEXTS):
        first = text.splitlines()[0 if not text.startswith("{") else 2]
        assert first.isascii()
        assert "8000 Hz" in first
    shell = TEXTS["sox"](Export(table, 8000, 2, f"{name}.reverb.wav"))
    words = [word for word in shlex.split(shell, comments=True) if word != "\n"]
    names = "case $1 in /*) input=$1 ;; *) input=./$1 ;; esac case $2 in /*) output=$2 ;; *) output=./$2 ;; esac"
    begin = [*shlex.split(names), "sox", "--no-glob", "$input", "$output"]
    assert words[: len(begin)] == begin
    assert not [
        word
        for word in words[len(begin) :]
        if not re.fullmatch(r"gain|bass|treble|equalizer|compand|remix|[-\d.,v]+q?", word)
    ]


def test_an_effect_of_the_users_own_is_left_out_with_a_word():
    try:
        loud = declare_plugin("loud", lambda: pedalboard.Gain(), [Parameter("gain_db", -12.0, 12.0, 6.0, "dB")])
        chain = Chain("mine", (loud(),))
    finally:
        EFFECTS.pop("loud", None)
    table = Table(chain, chain.defaults())
    for text in (write(Export(table, 48_000, 2, "ir.wav")) for write in TEXTS.values()):
        assert re.search(r"\bloud\b", text)
        assert "the result differs" in text


def test_numbers_are_whole():
    for value in (1e-7, -1e-7, 1 / 3, 20_000.0, math.pi * 1e9):
        assert float(number(value)) == value
        assert "e" not in number(value)


def test_the_file_lists_the_bypassed_effects(draw):
    lines = comments(Export(draw(0, "reverb"), 48_000, 1, "ir.wav"), "a program")
    assert lines[0].endswith("chain 'studio' for a program, for recordings of 48000 Hz and 1 channel.")
    assert "do after it" in lines[1]
    assert lines[2:] == [
        "Bypassed, so left out: upward_compressor, parametric_eq, compressor, distortion, stereo_width."
    ]
