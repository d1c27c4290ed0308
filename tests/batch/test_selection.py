import contextlib
import errno
import io
import os
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxst.batch.selection import _any, _compiled, read_list, select
from fxst.configs import ApplyConfig
from fxst.errors import AudioError, NothingMatchedError, SettingsError


@pytest.fixture(autouse=True)
def tree(tmp_path, monkeypatch):
    """A folder with names only: a selection looks at no audio."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.flac", "notes.txt", "book/1.wav", "book/part/1.flac", "book/part/2.WAV", "[odd].wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    return tmp_path


def places(*inputs, output="out", **options):
    selected = select(ApplyConfig(tuple(map(Path, inputs)), Path(output), **options))
    return [(str(recording.path), str(recording.place)) for recording in selected.recordings]


def test_a_folder_is_searched_to_its_ground_or_not():
    deep = [("book/1.wav", "1.wav"), ("book/part/1.flac", "part/1.flac"), ("book/part/2.WAV", "part/2.WAV")]
    assert places("book") == deep
    assert places("book", recursive=False) == deep[:1]
    Path("shelf/box").mkdir(parents=True)
    with pytest.raises(NothingMatchedError, match="or leave out --no-recursive"):
        places("shelf", recursive=False)


def test_a_folder_that_cannot_be_searched_is_told_unless_it_is_left_out(monkeypatch):
    scan = os.scandir

    def barred(folder):
        if Path(folder).name == "part":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", barred)
    with pytest.raises(AudioError, match=r"'book/part' cannot be searched \(permission denied\): .* or exclude it"):
        places("book")
    with pytest.raises(AudioError, match="'book/part' cannot be searched"):
        places("book/part", exclude=("*.wav",))
    for pattern in ("part", "part/**", "**/pa*/*"):
        assert places("book", exclude=(pattern,)) == [("book/1.wav", "1.wav")]
    assert places("book", recursive=False) == [("book/1.wav", "1.wav")]


def test_links_that_lead_in_circles_end():
    Path("book/loop").symlink_to(Path("book").resolve())
    assert len(places("book")) == 3


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", [("[odd].wav", "[odd].wav"), ("a.wav", "a.wav")]),
        ("book/*.wav", [("book/1.wav", "1.wav")]),
        ("book/**/*.[fF]*", [("book/part/1.flac", "part/1.flac")]),
        ("b*/part/?.*", [("book/part/1.flac", "book/part/1.flac"), ("book/part/2.WAV", "book/part/2.WAV")]),
        ("bo*", [("book/1.wav", "book/1.wav"), ("book/part/1.flac", "book/part/1.flac"), ("book/part/2.WAV",) * 2]),
        ("[odd].wav", [("[odd].wav", "[odd].wav")]),
        ("not*.txt", [("notes.txt", "notes.txt")]),
    ],
)
def test_a_pattern_takes_what_it_matches_unless_a_file_is_called_so(pattern, expected):
    assert places(pattern) == expected


def test_a_pattern_leaves_an_earlier_output_out():
    Path("book/out/deep").mkdir(parents=True)
    for name in ("book/out/x.wav", "book/out/deep/x.wav"):
        Path(name).write_bytes(b"")
    assert len(places("book/**", output="book/out")) == 3
    assert len(places("book/*", output="book/out")) == 3
    assert len(places("book/**/*.wav", output="elsewhere")) == 3


@pytest.mark.parametrize("pattern", ["*.ogg", "none/*", "out/*"])
def test_a_pattern_without_a_match_is_told(pattern):
    with pytest.raises(NothingMatchedError, match="matches no file"):
        places(pattern)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": ("*.wav",)}, ["1.wav", "part/2.WAV"]),
        ({"include": ("part/*",)}, ["part/1.flac", "part/2.WAV"]),
        ({"exclude": ("part/**",)}, ["1.wav"]),
        ({"include": ("*.wav", "*.flac"), "exclude": ("1.*",)}, ["part/2.WAV"]),
        ({"include": ("*[1]*",)}, ["1.wav", "part/1.flac"]),
        ({"include": ("*[!1].*",)}, ["part/2.WAV"]),
    ],
)
def test_patterns_take_and_leave_out(options, expected):
    assert [place for _, place in places("book", **options)] == expected


def test_nothing_left_is_told():
    with pytest.raises(NothingMatchedError, match="None of 3 recordings is left"):
        places("book", include=("*.ogg",))
    with pytest.raises(NothingMatchedError, match="None of 1 recording is left"):
        places("a.wav", exclude=("a.*",))
    with pytest.raises(SettingsError, match="empty pattern"):
        places("book", include=("",))


@given(st.text(max_size=12), st.lists(st.text("ab*?[]!^-\\/.", min_size=1, max_size=8), min_size=1, max_size=3))
def test_any_pattern_is_taken_or_refused_in_a_sentence(text, parts):
    for pattern in (text, *parts):
        with contextlib.suppress(SettingsError):
            assert _any([_compiled(pattern)], PurePosixPath("a/b.wav")) in (True, False)


@given(st.text("ab*./", min_size=1, max_size=10))
def test_a_name_matches_itself(name):
    place = PurePosixPath(name)
    assert not place.parts or place.is_absolute() or _any([_compiled(str(place).replace("*", "[*]"))], place)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"a.wav\nb.flac\n", ["a.wav", "b.flac"]),
        (b"a.wav\r\nb.flac", ["a.wav", "b.flac"]),
        (b"\xef\xbb\xbfa.wav\n\n  \nb c.wav\n", ["a.wav", "b c.wav"]),
        (b"a\nb.wav\0c.wav\0", ["a\nb.wav", "c.wav"]),
        (b"caf\xe9.wav\n", [os.fsdecode(b"caf\xe9.wav")]),
        (b"", []),
    ],
)
def test_a_list_is_of_lines_or_divided_by_nul(data, names, monkeypatch):
    Path("list").write_bytes(data)
    assert [str(path) for path in read_list(Path("list"))] == names
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert [str(path) for path in read_list(Path("-"))] == names


def test_a_list_goes_with_inputs_and_may_name_folders_but_no_patterns():
    Path("list").write_text("book/part\n[odd].wav\n*.wav\n")
    assert places("a.wav", list_file=Path("list")) == [
        ("a.wav", "a.wav"),
        ("book/part/1.flac", "1.flac"),
        ("book/part/2.WAV", "2.WAV"),
        ("[odd].wav", "[odd].wav"),
        ("*.wav", "*.wav"),
    ]


def test_a_list_that_is_none_is_told():
    Path("empty").write_bytes(b"\n")
    with pytest.raises(NothingMatchedError, match="'empty' lists no files"):
        places(list_file=Path("empty"))
    with pytest.raises(AudioError, match="'none' does not exist"):
        places(list_file=Path("none"))
    with pytest.raises(AudioError, match="'book' cannot be read"):
        places(list_file=Path("book"))
    with pytest.raises(SettingsError, match="name a recording"):
        places()


@given(st.binary(max_size=40))
def test_any_list_is_one_of_names_or_refused_in_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any list"
    path.write_bytes(data)
    with contextlib.suppress(AudioError):  # a sentence, and nothing else
        assert all(str(name) for name in read_list(path))
