"""`fxst apply --report` and `--plot`, as a person calls them."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

RATE = 24_000


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    """A folder to work in, with recordings and a table of the chain that the shipped studio model has."""
    monkeypatch.chdir(tmp_path)
    Path("in/deep").mkdir(parents=True)
    for number, name in enumerate(("voice.wav", "in/a.wav", "in/deep/b.wav", "in/c.wav")):
        soundfile.write(name, noise(RATE, 1 + number % 2).T * 0.5, RATE)
    chain = CHAINS["studio"]
    rows = chain.at_amount(chain.defaults(), 0.0)
    table = Table(chain, rows).with_values({"compressor": {"threshold_db": -50.0, "ratio": 3.0}})
    table_files.write(table, Path("house.json"))
    return tmp_path


def headings(page):
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", Path(page).read_text(encoding="utf-8"))


def test_a_page_and_a_picture_of_one_file_by_a_table(fxst):
    code, out, err = fxst(
        "apply", "voice.wav", "-p", "house.json", "-o", "o.wav", "--report", "page.html", "--plot", "spectra.svg"
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[-2:] == ["wrote 'spectra.svg'", "wrote 'page.html'"]
    assert Path("spectra.svg").read_text().startswith("<?xml")
    page = Path("page.html").read_text(encoding="utf-8")
    assert headings("page.html") == ["voice.wav"]
    assert "Gain reduction" in page
    assert "bypassed" in page
    assert page.count('class="sound"') == 2


def test_a_page_of_a_folder_with_a_broken_file(fxst):
    Path("in/broken.wav").write_text("no sound")
    arguments = ("-p", "house.json", "-o", "out", "--report", "out/page.html", "--report-items", 2)
    code, out, _ = fxst("apply", "in", *arguments)
    assert code == 1
    assert "wrote 'out/page.html'" in out
    page = Path("out/page.html").read_text(encoding="utf-8")
    assert "3 files rendered, 1 failed." in page
    assert "2 of them can be played here" in page
    assert headings("out/page.html") == ["in/a.wav", "in/deep/b.wav"]
    assert "in/broken.wav&#39; cannot be read as sound" in page
    # What is finished is left as it is, and still on the page.
    code, out, _ = fxst("apply", "in", *arguments)
    assert "made by an earlier run" in Path("out/page.html").read_text(encoding="utf-8")


def test_a_page_tells_of_the_gain_behind_the_effects_and_of_an_amount_after_a_resume_too(fxst):
    arguments = ("-p", "house.json", "-o", "out", "--report", "out/page.html", "--amount", "50", "--loudness", "-20")
    told = "Amount of the style: 50 %."
    assert fxst("apply", "in", *arguments)[0] == 0
    page = Path("out/page.html").read_text(encoding="utf-8")
    assert page.count(told) == 3
    assert len(re.findall(r"Gain after the effects: [+-]\d+\.\d\d dB, to -20\.00 LUFS\.", page)) == 3
    assert fxst("apply", "in", *arguments)[0] == 0
    page = Path("out/page.html").read_text(encoding="utf-8")
    assert page.count("made by an earlier run") == 6  # in the table, and at each file
    assert page.count(told) == 3


def test_a_table_tells_of_the_gain_of_its_own_run_only(fxst, examples):
    common = ("apply", "voice.wav", "-o", "o.wav", "--report", "page.html")
    reference = ("--ref", examples / "radio.wav", "-p", "made.json", "-m", "eq-comp")
    assert fxst(*common, *reference, "--loudness", "-23")[0] == 0
    assert "to -23.00 LUFS" in Path("made.json").read_text()
    assert "to -23.00 LUFS" in Path("page.html").read_text(encoding="utf-8")
    assert fxst(*common, "-p", "made.json")[0] == 0
    assert "LUFS." not in Path("page.html").read_text(encoding="utf-8")


def test_a_page_beside_a_reference(fxst, examples):
    voice, radio = (str(examples / name) for name in ("voice.wav", "radio.wav"))
    code, out, _ = fxst("apply", voice, "--ref", radio, "-o", "o.wav", "--report", "page.html", "--plot", "p.svg")
    assert code == 0
    assert out.splitlines()[-1] == "wrote 'page.html'"
    assert Path("p.svg").read_bytes().startswith(b"<?xml")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "Made to sound like radio.wav, by the model studio." in page
    assert page.count('class="sound"') == 3
    assert "Effect probabilities: upward_compressor" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "voice.wav"), "The web page 'voice.wav' must be .html or .htm."),
        (("--report", "house.json/page.html"), "'house.json' is a file where a folder is needed"),
        (("--report", "house.html"), "would replace the table to apply"),
        (("--report", "p.html", "--plot", "p.html"), "The picture 'p.html' must be .png, .svg or .pdf."),
    ],
)
def test_a_page_that_cannot_be_is_refused_before_anything_is_done(fxst, here, arguments, message):
    Path("house.html").write_bytes(Path("house.json").read_bytes())
    before = sorted(here.rglob("*"))
    code, out, err = fxst("apply", "voice.wav", "-p", "house.html", "-o", "o.wav", *arguments)
    assert code
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert sorted(here.rglob("*")) == before


def test_a_dry_run_writes_no_page(fxst):
    assert fxst("apply", "in", "-p", "house.json", "-o", "out", "--report", "page.html", "--dry-run")[0] == 0
    assert not Path("page.html").exists()


def test_silence_makes_a_page_too(fxst):
    soundfile.write("silent.wav", np.zeros(100), RATE)
    assert fxst("apply", "silent.wav", "-p", "house.json", "-o", "o.wav", "--report", "page.htm")[0] == 0
    assert headings("page.htm") == ["silent.wav"]
