import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

NAMES = [
    f"out.{ending}"
    for ending in (
        "ffmpeg.txt", "ParametricEQ.txt", "pedalboard.py", "camilladsp.yml", "easyeffects.json", "sox.txt", "reverb.wav"
    )
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    """A folder to work in, with a recording, a reference and a table."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("voice.wav", noise(48_000, 2, 1).T, 48_000, subtype="FLOAT")
    soundfile.write("radio.wav", noise(44_100, 1, 1).T, 44_100)
    chain = CHAINS["studio"]
    edited = {
        "parametric_eq": {"peak4_gain_db": 6.0},
        "compressor": {"threshold_db": -30.0},
        "distortion": {"mix": 0.5},
    }
    table_files.write(Table(chain, chain.defaults()).with_values(edited), Path("house.json"))
    return tmp_path


def test_an_edited_table_for_every_program(fxst):
    code, out, err = fxst("apply", "voice.wav", "--params", "house.json", "-o", "out.wav", "--export", "all")
    assert (code, err) == (0, "")
    assert all(Path(name).is_file() for name in NAMES)
    for name in NAMES:
        assert repr(name) in out
    assert "Filter 1: ON PK Fc" in Path("out.ParametricEQ.txt").read_text(encoding="utf-8")
    info = soundfile.info("out.reverb.wav")
    assert (info.samplerate, info.channels, info.subtype) == (48_000, 4, "FLOAT")


def test_ffmpeg_plays_what_it_was_given(fxst, null_db):
    if shutil.which("ffmpeg") is None:
        pytest.skip("the program ffmpeg is not here")
    table = table_files.read(Path("house.json")).with_values(
        {"upward_compressor": {"ratio": 1.0}, "reverb": {"wet_level": 0.0, "dry_level": 0.5}}
    )
    table_files.write(table, Path("dry.json"))
    fxst("apply", "voice.wav", "-p", "dry.json", "-o", "out.wav", "--export", "ffmpeg")
    play = """ffmpeg -v error -i voice.wav -af "$(grep -v '^#' out.ffmpeg.txt)" -c:a pcm_f32le played.wav"""
    subprocess.run(["sh", "-c", play], check=True)
    assert null_db(soundfile.read("played.wav")[0], soundfile.read("out.wav")[0]) <= -80


def test_a_style_is_exported_beside_its_table(fxst):
    code, _, err = fxst(
        "apply",
        "voice.wav",
        "--ref",
        "radio.wav",
        "-m",
        "eq-comp",
        "-o",
        "out.wav",
        "--export",
        "apo",
        "--export",
        "sox",
    )
    assert (code, err) == (0, "")
    assert {path.name for path in Path().glob("out*")} == {
        "out.wav", "out.params.json", "out.ParametricEQ.txt", "out.sox.txt"
    }  # fmt: skip
    again = fxst("apply", "voice.wav", "--params", "out.params.json", "-o", "again.wav", "--export", "sox")
    assert again[0] == 0
    assert Path("again.sox.txt").read_bytes() == Path("out.sox.txt").read_bytes()


def test_without_a_reverb_there_is_no_impulse_response_and_that_is_told(fxst):
    table_files.write(Table(CHAINS["eq"], CHAINS["eq"].defaults()), Path("eq.json"))
    code, _, err = fxst("apply", "voice.wav", "--params", "eq.json", "-o", "out.wav", "--export", "ir")
    assert code == 0
    assert "no reverb is in use" in err
    assert not Path("out.reverb.wav").exists()
    code, _, err = fxst("apply", "voice.wav", "--params", "eq.json", "-o", "out.wav", "--export", "ffmpeg")
    assert (code, err) == (0, "")


def test_nothing_is_written_over_an_input_or_another_output(fxst):
    Path("in").mkdir()
    for name in ("a.wav", "a.reverb.wav"):
        shutil.copy("voice.wav", Path("in", name))
    code, _, err = fxst("apply", "in", "--params", "house.json", "-o", "made", "--export", "ir")
    assert code != 0
    assert "would be written twice" in err
    assert not Path("made").exists()
    before = Path("in/a.reverb.wav").read_bytes()
    code, _, err = fxst(
        "apply", "in/a.reverb.wav", "--params", "house.json", "-o", "in/a.flac", "--export", "camilladsp"
    )
    assert code != 0
    assert "would replace an input" in err
    assert Path("in/a.reverb.wav").read_bytes() == before


def test_a_recording_that_fails_leaves_no_export(fxst):
    Path("bad.wav").write_text("hello")
    code, _, _ = fxst("apply", "bad.wav", "--params", "house.json", "-o", "out.wav", "--export", "all")
    assert code != 0
    assert not list(Path().glob("out*"))


def test_no_other_program_is_known(fxst):
    code, _, err = fxst("apply", "voice.wav", "--params", "house.json", "-o", "out.wav", "--export", "winamp")
    assert code == 2
    assert "winamp" in err
