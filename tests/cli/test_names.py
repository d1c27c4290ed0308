"""Names are read as they are meant: in lists of any encoding, with brackets, and in patterns that match nothing."""

import json
import re
import shutil
from pathlib import Path

import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

NAMES = ("dogs.flac", "private.wav", "Show [2024]/ep 1.wav", "Show 2/no.wav", "a/Show [2024]/ep 2.wav", "#1 hit.wav")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    """A folder with recordings and a table, and the working folder below it."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("one.wav", noise(8000, 1, 0.5).T, 8000)
    for name in NAMES:
        path = Path("job", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("one.wav", path)
    Path("one.wav").unlink()
    table_files.write(Table(CHAINS["eq"], CHAINS["eq"].defaults()), Path("house.json"))
    monkeypatch.chdir("job")
    return tmp_path


@pytest.fixture
def planned(fxst):
    """Give `planned(*arguments)`: exit code, the recordings that a command would render, and standard error."""

    def run(*arguments):
        how = ("--params", "../house.json", "-o", "../out", "--format", "json", "--dry-run")
        code, out, err = fxst("apply", *arguments, *how)
        return code, sorted(file["input"] for file in json.loads(out)["files"]) if out else [], err

    return run


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", ["dogs.flac\r\n", "dogs.flac\nShow [2024]/ep 1.wav", "\r\ndogs.flac\r\n\r\n# no.wav"])
def test_a_list_in_any_encoding_names_what_its_text_names(planned, encoding, text):
    mark = "\ufeff" if encoding in ("utf-16-be", "utf-16-le") and "[" in text else ""
    Path("list.txt").write_bytes((mark + text).encode(encoding))
    expected = [line for line in text.split() if line == "dogs.flac"] + ["Show [2024]/ep 1.wav"] * ("[" in text)
    assert planned("--list", "list.txt") == (0, sorted(expected), "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfed\0o\0g\0s\0.\0f", "is not valid UTF-16 text: save the list as UTF-8"),
        (b"RIFF\x24\0\0\0WAVE\0.\0/\0\x01\0", "is no list of files, for it names '\\\\x01'"),
        (b".\0\x02\x03\0", "is no list of files"),
    ],
)
def test_what_is_no_list_names_nothing(planned, data, words):
    Path("list.txt").write_bytes(data)
    code, found, err = planned("--list", "list.txt")
    assert (code, found) == (1, [])
    assert re.search(words, err)
    assert err.count("\n") == 1


PLAYLISTS = {
    "names below it": ("#EXTM3U\n#EXTINF:5,dogs.flac\nep 1.wav\n", ["Show [2024]/ep 1.wav"]),
    "backslashes": ("#EXTM3U\r\n..\\Show 2\\no.wav\r\n", ["Show [2024]/../Show 2/no.wav"]),
    "URLs": ("ep%201.wav\n../dogs.flac\n", ["Show [2024]/../dogs.flac", "Show [2024]/ep 1.wav"]),
    "names of the working folder": ("dogs.flac\n", ["dogs.flac"]),
    "a file that looks like a comment": ("../#1 hit.wav\n#1 hit.wav\n#2 hit.wav\n", ["#1 hit.wav"]),
    "a name with blanks around it": ("  ep 1.wav  \n", ["Show [2024]/ep 1.wav"]),
}


@pytest.mark.parametrize(("text", "expected"), PLAYLISTS.values(), ids=PLAYLISTS)
def test_a_playlist_names_files_beside_it(planned, text, expected):
    if "hit" in text:
        text = text.partition("\n")[2]
    Path("Show [2024]/list.m3u").write_text(text, encoding="utf-8")
    assert planned("--list", "Show [2024]/list.m3u") == (0, expected, "")


def test_a_file_url_names_the_file(planned):
    uri = Path("Show [2024]/ep 1.wav").resolve().as_uri()
    Path("list.m3u8").write_text(f"#EXTM3U\n{uri}\n", encoding="utf-8")
    code, found, _ = planned("--list", "list.m3u8")
    assert (code, [Path(name).name for name in found]) == (0, ["ep 1.wav"])


def test_a_playlist_is_no_recording(planned):
    Path("list.m3u").write_text("dogs.flac\n")
    code, found, err = planned("list.m3u")
    assert (code, found) == (2, [])
    assert "'list.m3u' is a list of recordings: name it with --list" in err


PATTERNS = {
    "in a folder": ("Show [2024]/*.wav", ["Show [2024]/ep 1.wav"]),
    "behind a wildcard": ("*/Show [2024]/*", ["a/Show [2024]/ep 2.wav"]),
    "at any depth": ("**/Show [2024]/*.wav", ["Show [2024]/ep 1.wav", "a/Show [2024]/ep 2.wav"]),
    "beside a wildcard": ("Show [2024]*/ep*.wav", ["Show [2024]/ep 1.wav"]),
    "as signs": ("Show [24]/*.wav", ["Show 2/no.wav"]),
    "at the top too": ("**/*.flac", ["dogs.flac"]),
}


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS.values(), ids=PATTERNS)
def test_brackets_of_a_name_that_exists_are_no_signs(planned, pattern, expected):
    assert planned(pattern) == (0, expected, "")


CHOICES = {
    "all but a folder": (("--exclude", "Show [2024]/*"), set(NAMES) - {"Show [2024]/ep 1.wav"}),
    "all but folders at any depth": (("--exclude", "**/Show [2024]/*"), set(NAMES) - {NAMES[2], NAMES[4]}),
    "a folder": (("--include", "Show [2024]/**"), {"Show [2024]/ep 1.wav"}),
    "signs": (("--include", "Show [12]/*"), {"Show 2/no.wav"}),
}


@pytest.mark.parametrize(("options", "expected"), CHOICES.values(), ids=CHOICES)
def test_brackets_in_include_and_exclude(planned, options, expected):
    assert planned(".", *options) == (0, sorted(expected), "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--exclude", "drafts/**"), "--exclude 'drafts/**' matches none of the recordings: check the pattern"),
        (("--exclude", "Show 2"), "--exclude 'Show 2' matches no file: for a folder, write 'Show 2/**'"),
        (("--exclude", "a/"), "--exclude 'a/' matches no file: for a folder, write 'a/**'"),
        (("--include", "*.flac", "--include", "*.ogg"), "--include '*.ogg' matches none of the recordings"),
        (("--exclude", "Shwo [2024]/*"), "--exclude 'Shwo [2024]/*' matches none of the recordings"),
    ],
)
def test_a_pattern_that_matches_nothing_is_told(planned, options, words):
    code, found, err = planned(".", *options)
    assert code == 0
    assert found
    assert words in err
    assert err.count("\n") == 1


def test_a_table_saved_by_windows_is_read(fxst):
    text = Path("../house.json").read_text(encoding="utf-8")
    Path("../house.json").write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
    assert fxst("apply", "dogs.flac", "--params", "../house.json", "-o", "../out.wav")[0] == 0
