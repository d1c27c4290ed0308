"""The page of recipes does what it says, word for word."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fxst import audio
from fxst.chains import table_files
from fxst.chains.table import equaliser_response
from fxst.dsp.loudness import loudness, true_peak
from fxst.exports import easyeffects, ffmpeg, pedalboard, sox

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- needs (?P<program>\w+) -->\n)?```sh\n(?P<commands>.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    """Run all of the page in one shell that stops at the first error; give its folder and what it printed."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "tests").symlink_to(ROOT / "tests")
    (folder / "bin").mkdir()
    (folder / "bin/fxst").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fxst "$@"\n')
    (folder / "bin/fxst").chmod(0o755)
    (folder / "bin/python3").symlink_to(sys.executable)
    blocks = [
        block["commands"] for block in BLOCK.finditer(PAGE) if not block["program"] or shutil.which(block["program"])
    ]
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(blocks)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "recipes", done.stdout, done.stderr


@pytest.fixture(autouse=True)
def here(request, monkeypatch):
    """Work in the folder that the page has filled."""
    if "recipes" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("recipes")[0])


@pytest.mark.slow
def test_the_podcast_comes_out_at_its_loudness_and_no_episode_twice(recipes):
    names = ["season1/one.flac", "season1/two.flac", "trailer.flac"]
    assert sorted(str(path.relative_to("done")) for path in Path("done").rglob("*.flac")) == names
    _, out, err = recipes
    for name in names:
        x, sample_rate = audio.read(Path("done", name))
        assert x.shape == audio.read(Path("podcast", name))[0].shape
        told = re.search(rf"'podcast/{name}': .*its loudness is (\S+) LUFS instead", err)
        lufs = float(told[1]) if told else -16.0
        assert loudness(x, sample_rate=sample_rate) == pytest.approx(lufs, abs=0.1)
        peak_db = true_peak(x, sample_rate=sample_rate)
        assert peak_db <= -1
        assert peak_db > -1.5 or not told  # nothing but the ceiling keeps it softer
        assert out.count(f"wrote 'done/{name}'") == 1
    assert "1 written, 2 already finished." in err
    assert "'wavs/season1/one-like-radio.wav'" in out
    assert "'wavs/trailer" not in out


@pytest.mark.slow
def test_the_house_style_lies_between_the_two(recipes):
    assert table_files.read(Path("house/trailer.params.json")).provenance["style"] == "radio.json:0.7, choir.json:0.3"


@pytest.mark.slow
def test_the_edited_table_is_what_is_heard(recipes):
    made, edited = table_files.read(Path("out.params.json")), table_files.read(Path("edited.json"))
    assert edited.rows != made.rows
    assert edited.to_dict()["compressor"]["makeup_db"] == -6
    assert not np.array_equal(audio.read(Path("edited.wav"))[0], audio.read(Path("out.wav"))[0])
    assert np.array_equal(audio.read(Path("piped.wav"))[0], audio.read(Path("edited.wav"))[0])
    for folder in ("lines", "listed/podcast"):
        for name in ("season1/one.flac", "trailer.flac"):
            assert Path(folder, name).read_bytes() == Path("same", name).read_bytes()


@pytest.mark.slow
def test_each_episode_has_its_own_table(recipes):
    edited = table_files.read(Path("tables/season1/one.params.json"))
    assert edited.to_dict()["compressor"]["makeup_db"] == -6
    for name in ("season1/one.flac", "season1/two.flac", "trailer.flac"):
        same = np.array_equal(audio.read(Path("final", name))[0], audio.read(Path("done", name))[0])
        assert same == (name != "season1/one.flac")
    assert not list(Path("final").rglob("*.params.*"))


@pytest.mark.slow
def test_presets_and_the_projects_file_set_the_loudness(recipes):
    _, out, err = recipes
    for name, lufs in (("for-radio.wav", -23), ("episodes/trailer.flac", -16), ("episodes/season1/one.flac", -16)):
        x, sample_rate = audio.read(Path(name))
        told = re.search(rf"'\S*{Path(name).name}': .*its loudness is (\S+) LUFS instead of {lufs}", err)
        expected = float(told[1]) if told else lufs
        assert loudness(x, sample_rate=sample_rate) == pytest.approx(expected, abs=0.1), name
    assert "'fxst.toml' in this folder sets --preset, --params, --jobs, --loudness, --ceiling" in err
    assert re.search(r"--loudness +-16 +preset podcast, in fxst\.toml", out)


@pytest.mark.slow
def test_amount_loudness_and_ceiling_are_as_told(recipes):
    x, sample_rate = audio.read(Path("voice.wav"))
    y, _ = audio.read(Path("as-loud.wav"))
    assert loudness(y, sample_rate=sample_rate) == pytest.approx(loudness(x, sample_rate=sample_rate), abs=0.1)
    assert true_peak(audio.read(Path("loud.wav"))[0], sample_rate=sample_rate) <= -2


@pytest.mark.slow
@pytest.mark.parametrize("program", ["ffmpeg", "sox", "convolution"])
def test_other_programs_play_the_same(recipes, program):
    played, plays = Path(f"by-{program}.wav"), Path("hall.wav" if program == "convolution" else "edited.wav")
    if not played.exists():
        pytest.skip(f"{program} is not installed")
    x, y = audio.read(played)[0], audio.read(plays)[0]
    length = min(x.shape[1], y.shape[1])
    assert length >= audio.read(Path("voice.wav"))[0].shape[1]
    # As near as samples of 16 bits can be: both are rounded to steps of 2^-15, and some are dithered.
    assert np.sqrt(np.square(x[:, :length] - y[:, :length]).mean()) < 2**-15


@pytest.mark.slow
def test_pages_and_gates(recipes):
    _, out, err = recipes
    page = Path("done.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("one.flac", "two.flac", "trailer.flac"))
    assert Path("edited.html").exists()
    assert Path("edited.svg").exists()
    assert "exit code 1" in out
    assert "'inbox/broken.wav' cannot be read as sound" in out
    counts = json.loads(Path("result.json").read_text(encoding="utf-8"))["counts"]
    assert counts == {"written": 1, "finished": 0, "failed": 1, "planned": 0}
    assert "studio is intact" in out
    assert "Traceback" not in err


def test_the_page_claims_no_more_of_exports_than_they_declare():
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE))
    claimed = {
        name: max(map(int, re.findall(r"(?<![\w.])-\d+", told.split(" (")[0])))
        for name, told in rows.items()
        if "dB" in told
    }
    for name, module in {"ffmpeg": ffmpeg, "sox": sox, "pedalboard": pedalboard, "easyeffects": easyeffects}.items():
        assert claimed[name] >= max(module.NULL_DB.values())
    assert str(round(sox.SHORT_ATTACK_DB)) in rows["sox"]


@pytest.mark.slow
def test_an_album_has_one_table_and_a_limited_equaliser_its_limits(recipes):
    rows = {table_files.read(path).rows for path in Path("album").glob("*.params.json")}
    assert len(rows) == 1
    changes = [
        loudness(audio.read(path)[0], sample_rate=rate) - loudness(x, sample_rate=rate)
        for path in sorted(Path("relations").glob("*.flac"))
        for x, rate in [audio.read(Path("voices", path.name))]
    ]
    assert len(changes) == 3
    assert np.ptp(changes) < 0.2
    rate = audio.probe(Path("voice.wav")).sample_rate
    curve = equaliser_response(
        table_files.read(Path("limited.params.json")), np.geomspace(10, rate / 2.001, 5000), sample_rate=rate
    )
    assert -6 <= curve.min() < curve.max() <= 4
