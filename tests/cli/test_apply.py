import gc
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table, short
from fxst.checkpoints.card import pretrained_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "mine"
    return Path(shutil.copytree(pretrained_folder() / "style/eq-comp", folder))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    """A folder to work in, with a recording, a reference and a table."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("voice.wav", noise(48_000, 2, 1).T, 48_000, subtype="PCM_24")
    soundfile.write("radio.wav", noise(44_100, 1, 1).T, 44_100)
    table_files.write(Table(CHAINS["eq-comp"], CHAINS["eq-comp"].defaults()), Path("house.json"))
    return tmp_path


def listing():
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


def test_one_file_to_another(fxst, model):
    code, out, err = fxst("apply", "voice.wav", "--ref", "radio.wav", "-o", "out.wav", "--model", model, "--verbose")
    assert (code, err) == (0, "")
    info = soundfile.info("out.wav")
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (48_000, 2, 48_000, "PCM_24")
    lines = out.splitlines()
    assert lines[-1] == "wrote 'out.wav', settings in 'out.params.json'"
    table = table_files.read(Path("out.params.json"))
    assert len(lines) == 1 + len(table) + 1
    ratio = next(line.split() for line in lines if " ratio " in line)
    assert ratio == ["ratio", short(table.to_dict()["compressor"]["ratio"]), ":1", "2", "to", "6"]
    assert max(map(len, lines)) <= 80
    assert gc.isenabled()


def test_a_summary_has_a_line_for_each_effect_in_use(fxst):
    table = Table(CHAINS["studio"], CHAINS["studio"].at_amount(CHAINS["studio"].defaults(), 0.0)).with_values({
        "parametric_eq": {
            "low_shelf_gain_db": -10.04, "low_shelf_f0_hz": 100.4, "peak3_gain_db": 7.0, "peak3_f0_hz": 1473.0,
            "high_shelf_gain_db": 0.04,
        },
        "compressor": {
            "threshold_db": -42.92, "ratio": 1.349, "attack_ms": 19.16, "release_ms": 1517.9, "makeup_db": 0.563,
        },
        "distortion": {"drive_db": 12.0, "mix": 0.5},
    })  # fmt: skip
    table_files.write(table, Path("studio.json"))
    code, out, _ = fxst("apply", "voice.wav", "-p", "studio.json", "-o", "out.wav", "--loudness", "-23")
    assert code == 0
    said = re.sub(r"\s+", " ", out)
    assert said.startswith(
        "parametric_eq: -10 dB at 100 Hz (low shelf), +7 dB at 1.47 kHz "
        "compressor: 1.35:1 above -42.9 dB, attack 19.2 ms, release 1520 ms, make-up 0.563 dB "
        "distortion: drive 12 dB, mix 0.5 "
        "bypassed: upward_compressor, reverb, stereo_width "
        "loudness: "
    )
    assert "to -23.00 LUFS wrote 'out.wav'" in said
    assert fxst("apply", "voice.wav", "-p", "studio.json", "-o", "out.wav", "--amount", "50")[1].count("style: ") == 1


def test_folders_are_made_for_all_that_is_written(fxst):
    code, _, err = fxst(
        *("apply", "voice.wav", "--ref", "radio.wav", "-m", "eq", "-o", "new/a/o.wav", "--params", "new/b/t.csv"),
        *("--plot", "new/c/p.svg", "--report", "new/d/e/r.html"),
    )
    assert (code, err) == (0, "")
    made = {str(path) for path in Path("new").rglob("*") if path.is_file()}
    assert made == {"new/a/o.wav", "new/b/t.csv", "new/c/p.svg", "new/d/e/r.html"}


def test_its_table_applied_again_gives_the_same_file(fxst, model):
    fxst("apply", "voice.wav", "--ref", "radio.wav", "-o", "1.wav", "-p", "t.csv", "-m", model)
    code, out, err = fxst("apply", "voice.wav", "--params", "t.csv", "-o", "2.wav")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "wrote '2.wav'"
    assert Path("1.wav").read_bytes() == Path("2.wav").read_bytes()


def test_a_folder_with_a_broken_file(fxst, model):
    Path("in/deep").mkdir(parents=True)
    Path("voice.wav").rename("in/deep/voice.wav")
    Path("in/bad.wav").write_text("hello")
    code, out, err = fxst("apply", "in", "--ref", "radio.wav", "-o", "out", "--model", model)
    assert code == 1
    assert out == "wrote 'out/deep/voice.wav', settings in 'out/deep/voice.params.json'\n"
    assert err.startswith("fxst: 'in/bad.wav' cannot be read as sound")
    assert err.splitlines()[1:] == ["fxst: 1 written, 1 failed."]
    assert not Path("out/bad.wav").exists()


def test_a_table_for_many_files_is_shown_once(fxst):
    code, out, _ = fxst("apply", "voice.wav", "radio.wav", "--params", "house.json", "-o", "out")
    assert code == 0
    assert out.count("bypassed:") == 1
    assert sorted(out.splitlines()[-2:]) == ["wrote 'out/radio.wav'", "wrote 'out/voice.wav'"]
    assert {path.name for path in Path("out").iterdir()} == {"voice.wav", "radio.wav", "fxst-manifest.jsonl"}


def test_warnings_go_to_stderr_and_name_the_file(fxst, model):
    soundfile.write("silent.wav", np.zeros(1000), 44_100)
    code, out, err = fxst("apply", "silent.wav", "--ref", "radio.wav", "-o", "out.wav", "--model", model)
    assert code == 0
    assert "silent.wav" not in out
    reason = "the input is silent, or too short to analyse, so it was left as it is"
    assert err == f"fxst: 'silent.wav': {reason}\n"


def write(name, x, **options):
    soundfile.write(name, x, 44_100, **options)
    return name


def text(name):
    Path(name).write_text("hello, not audio\n" * 50)
    return name


def empty(name):
    Path(name).write_bytes(b"")
    return name


NAN = np.full(1000, np.nan)
FAILURES = {
    "text as WAV": (lambda: [text("x.wav"), "-p", "house.json", "-o", "o.wav"], "'x.wav' cannot be read as sound", 1),
    "empty file": (lambda: [empty("x.wav"), "-p", "house.json", "-o", "o.wav"], r"'x.wav' is empty \(0 bytes\)", 1),
    "no samples": (
        lambda: [write("x.wav", np.zeros(0)), "-p", "house.json", "-o", "o.wav"],
        "'x.wav' holds no audio",
        1,
    ),
    "NaN samples": (
        lambda: [write("x.wav", NAN, subtype="FLOAT"), "-p", "house.json", "-o", "new/deep"],
        "'x.wav' holds samples that are not finite",
        1,
    ),
    "missing input": (lambda: ["none.wav", "-p", "house.json", "-o", "o.wav"], "'none.wav' does not exist", 1),
    "missing reference": (lambda: ["voice.wav", "-r", "none.wav", "-o", "o.wav"], "'none.wav' does not exist", 1),
    "text as reference": (
        lambda: ["voice.wav", "-r", text("r.wav"), "-o", "o.wav"],
        "'r.wav' cannot be read as sound",
        1,
    ),
    "output is the input": (
        lambda: ["voice.wav", "-p", "house.json", "-o", "../" + Path.cwd().name + "/voice.wav"],
        "would replace an input, 'voice.wav'",
        2,
    ),
    "output is the reference": (
        lambda: ["voice.wav", "-r", "radio.wav", "-o", "radio.wav"],
        "'radio.wav' would replace the reference",
        2,
    ),
    "folder over itself": (lambda: [".", "-p", "house.json", "-o", "."], "would replace an input", 2),
    "no folder": (
        lambda: ["voice.wav", "-p", "house.json", "-o", "house.json/o.wav"],
        "'house.json' is a file where a folder is needed",
        5,
    ),
    "unwritable folder": (lambda: ["voice.wav", "-p", "house.json", "-o", unwritable()], "cannot be written", 5),
    "folder under a file": (
        lambda: ["voice.wav", "radio.wav", "-p", "house.json", "-o", "house.json/o"],
        "'house.json' is a file where a folder is needed",
        5,
    ),
    "missing table": (lambda: ["voice.wav", "-p", "none.json", "-o", "o.wav"], "'none.json' does not exist", 2),
    "no table": (lambda: ["voice.wav", "-p", "voice.wav", "-o", "o.wav"], "'voice.wav' is not UTF-8 text", 2),
    "other ending": (lambda: ["voice.wav", "-p", "house.json", "-o", "o.xyz"], "has no audio file extension", 2),
    "unknown model": (lambda: ["voice.wav", "-r", "radio.wav", "-o", "o.wav", "-m", "none"], "no model 'none'; ", 4),
    "a model misspelt": (
        lambda: ["voice.wav", "-r", "radio.wav", "-o", "o.wav", "-m", "Stduio"],
        r"no model 'Stduio' \(did you mean 'studio'\?\); choose from: ",
        4,
    ),
    "an effect misspelt": (
        lambda: ["voice.wav", "-p", "house.json", "-o", "o.wav", "--amount", "compresor=50"],
        r"no effect 'compresor' in the chain \(did you mean 'compressor'\?\); choose from: parametric_eq, compressor\.",
        2,
    ),
    "an export misspelt": (
        lambda: ["voice.wav", "-p", "house.json", "-o", "o.wav", "--export", "fmpeg"],
        r"no export 'fmpeg' \(did you mean 'ffmpeg'\?\)",
        2,
    ),
}


def unwritable():
    """A name in a folder where nothing can be written, not even by root."""
    if os.geteuid() == 0:
        return "/proc/self/o.wav"
    Path("locked").mkdir()
    Path("locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    return "locked/o.wav"


@pytest.mark.parametrize(("arrange", "message", "expected"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_one_clear_line_and_changes_nothing(fxst, arrange, message, expected):
    arguments = arrange()
    before = listing()
    code, out, err = fxst("apply", *arguments)
    assert code == expected
    assert err.startswith("fxst: ")
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert out == ""
    assert listing() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["voice.wav", "-o", "o.wav"],
        ["voice.wav", "--ref", "radio.wav"],
        ["-o", "o.wav", "--ref", "radio.wav"],
        ["voice.wav", "--ref", "radio.wav", "-o", "o.wav", "--device", "abacus"],
        ["voice.wav", "--ref", "radio.wav", "-o", "o.wav", "--loud"],
    ],
)
def test_wrong_usage_exits_2(fxst, arguments):
    before = listing()
    code, _, err = fxst("apply", *arguments)
    assert code == 2
    assert "Usage" in err
    assert listing() == before


def test_an_older_output_is_replaced_only_by_a_whole_one(fxst):
    Path("o.wav").write_text("precious")
    Path("x.wav").write_text("no sound")
    assert fxst("apply", "x.wav", "-p", "house.json", "-o", "o.wav", "--overwrite")[0] == 1
    assert Path("o.wav").read_text() == "precious"
    assert fxst("apply", "voice.wav", "-p", "house.json", "-o", "o.wav", "--overwrite")[0] == 0
    assert soundfile.info("o.wav").frames == 48_000


def test_a_name_that_cannot_be_written_is_told(fxst):
    Path("voice.wav").rename("tape")
    code, out, err = fxst("apply", "tape", "-p", "house.json", "-o", "out")
    assert code == 0
    assert "wrote 'out/tape.wav'" in out
    assert "'tape': its name has no audio file extension" in err


def test_a_progress_bar_is_shown_to_a_terminal_only(fxst, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = fxst("apply", "voice.wav", "-p", "house.json", "-o", "o.wav")
    assert code == 0
    assert "voice.wav" in err
    assert "wrote 'o.wav'" in out


def test_the_bar_of_a_reference_goes_when_it_is_analysed(fxst, model, monkeypatch):
    Path("in").mkdir()
    for name in "ab":
        shutil.copy("voice.wav", f"in/{name}.wav")
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, _, err = fxst("apply", "in", "--ref", "radio.wav", "-o", "out", "--model", model, "-j", 1)
    assert code == 0
    assert "2 of 2" in err
    assert "radio.wav" not in err.rsplit("2 of 2")[-1]


def test_help_loads_no_torch(here):
    program = (
        "import sys; from fxst.cli import main; sys.argv = ['fxst', 'apply', '--help']\n"
        "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "--params" in done.stdout
    assert done.stdout.splitlines()[-1] == "False False"


def test_a_picture_is_drawn_beside_the_output(fxst, model):
    arguments = ("apply", "voice.wav", "--ref", "radio.wav", "-o", "out.wav", "--model", model, "--plot", "out.svg")
    code, out, err = fxst(*arguments)
    assert (code, err) == (0, "")
    assert "wrote 'out.svg'" in out
    assert Path("out.svg").read_bytes().startswith(b"<?xml")
