"""The page of `apply`, made of files on disk as a batch leaves them."""

import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.batch import report as batch_report
from fxst.batch.report import TransferReport
from fxst.batch.results import FileResult
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.dsp.loudness import loudness, loudness_range, true_peak
from fxst.transfer.style_transfer import render

RATE = 24_000
STUDIO = Table(CHAINS["studio"], CHAINS["studio"].at_amount(CHAINS["studio"].defaults(), 0.0)).with_values(
    {
        "parametric_eq": {"peak4_gain_db": 9.0, "high_shelf_gain_db": -6.0},
        "compressor": {"threshold_db": -40.0, "ratio": 3.0, "makeup_db": 6.0},
    }
)
SURE = Table(
    STUDIO.chain,
    STUDIO.rows,
    {"model": "studio", "reference": "radio.wav:2, house"},
    {"parametric_eq": 0.93, "compressor": 0.71, "distortion": 0.08, "reverb": 0.3},
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recording(name, x, rate=RATE):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x.T, rate, subtype="FLOAT", format="WAV")
    return path


def result_of(path, settings=SURE, warnings=()):
    """What `apply` leaves of a file: the output beside it."""
    x, rate = audio.read(path)
    output = recording(f"out/{path.name}", render(x, settings, sample_rate=rate), rate)
    return FileResult(path, output, Path("out/table.json"), settings, warnings)


def page(*results, references=(), items=10):
    report = TransferReport(Path("page.html"), references=references, items=items)
    for result in results:
        report.add(result)
    report.write()
    return Path("page.html").read_text(encoding="utf-8")


def words(html):
    """What is read on the page: no tags, no sound, no program."""
    kept = re.sub(r"<(script|style)\b.*?</\1>|<(title|desc)\b.*?</\2>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", kept)).split())


def rows(html, caption):
    """The cells of a table."""
    (found,) = re.findall(rf"<caption>{caption}</caption>.*?</table>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", found)]


def levels(path):
    """The figures of a file, measured in one piece and written as the page writes them."""
    x, rate = audio.read(path)
    measured = (f(x, sample_rate=rate) for f in (loudness, loudness_range, true_peak))
    return [f"{value:.1f}".replace("-", "\N{MINUS SIGN}") for value in measured] + [f"{x.shape[1] / rate:.2f}"]


@pytest.mark.parametrize("channels", [1, 2])
def test_the_figures_are_those_that_the_meters_give_for_the_whole_files(speech, channels):
    x = speech(RATE, channels, seconds=3)
    # Longer than an excerpt, with the soft passage outside of it.
    source = recording("voice.wav", np.concatenate([x * 0.3, x, x, x, x], axis=1))
    reference = recording("radio.wav", speech(RATE, seconds=4), 16_000)
    result = result_of(source)
    html = page(result, references=[reference])
    assert [row[:5] for row in rows(html, "Loudness and peaks")[1:]] == [  # the rest is tests/report/test_stereo's
        ["input", *levels(source)],
        ["output", *levels(result.output)],
        ["reference", *levels(reference)],
    ]
    assert "The player has the loudest 10 s of input (0:15.0 long)" in html
    assert "<h1>fxst apply: voice.wav</h1>" in html
    assert "Made to sound like radio.wav:2, house, by the model studio." in html


def test_what_is_in_use_and_what_is_not_is_said(noise):
    html = page(result_of(recording("voice.wav", noise(RATE, seconds=3)), warnings=("the input is odd",)))
    table = rows(html, "Parameters of the chain studio")
    assert ["distortion", "bypassed"] in table
    assert ["reverb", "bypassed"] in table
    assert ["compressor", "ratio", "3", ":1", "1 … 20"] in table
    assert "16000" in next(row for row in table if row[1] == "high_shelf_f0_hz")[4]
    assert not [row for row in table if row[:2] == ["reverb", "room_size"]]
    said = words(html)
    assert "Effect probabilities: parametric_eq 93%, compressor 71%, distortion 8%, reverb 30%" in said
    assert "Note: the input is odd." in said
    assert "Written to 'out/voice.wav', settings in 'out/table.json'." in said
    for heading in ("Long-term spectra in third octaves", "Equaliser, all bands together", "Gain reduction"):
        assert heading in said


def test_a_compressor_out_of_the_way_has_no_meter(noise):
    settings = SURE.with_values({"compressor": dict(SURE.chain.effects[2].transparent())})
    html = page(result_of(recording("voice.wav", noise(RATE, seconds=1)), settings))
    assert "Gain reduction" not in html
    assert ["compressor", "bypassed"] in rows(html, "Parameters of the chain studio")


def test_a_batch_is_listed_whole_and_heard_in_part(noise):
    results = [result_of(recording(f"in/{n}.wav", noise(RATE, seconds=0.5) * 0.1 * (n + 1))) for n in range(7)]
    broken = FileResult(Path("in/broken.wav"), Path("out/broken.wav"), None, None, error="'broken' is not sound.")
    html = page(*results, broken, items=3)
    listed = rows(html, "Rendered files")
    assert [row[0] for row in listed[1:]] == [f"in/{n}.wav" for n in range(7)]
    for row, result in zip(listed[1:], results, strict=True):
        before, after = levels(result.input), levels(result.output)
        assert row[1:6] == [before[0], after[0], before[2], after[2], "parametric_eq, compressor"]
    assert rows(html, "Files that failed")[1:] == [["in/broken.wav", "&#39;broken&#39; is not sound."]]
    said = words(html)
    assert "7 files rendered, 1 failed." in said
    assert "3 of them can be played here, evenly spread; --report-items changes the number." in said
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", html) == ["in/0.wav", "in/4.wav", "in/6.wav"]
    assert html.count('class="player"') == 3


def test_what_an_earlier_run_made_is_listed_too_and_heard(noise):
    result = result_of(recording("in.wav", noise(RATE, seconds=0.2)))
    unknown = FileResult(
        result.input, result.output, result.table_path, None, was_finished=True
    )  # its table was edited
    half = replace(result, table=SURE.at_amount(0.5), was_finished=True)
    html = page(unknown, half)
    assert sorted(row[5:] for row in rows(html, "Rendered files")[1:]) == [
        ["parametric_eq, compressor", "made by an earlier run"],
        ["\N{EN DASH}", "made by an earlier run"],
    ]
    assert html.count('class="player"') == 2
    assert "Amount of the style: 50 %." in words(html)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_what_is_kept_of_a_long_batch_is_spread_evenly(noise, count):
    source = recording("in.wav", noise(RATE, seconds=0.1))
    result = result_of(source)
    report = TransferReport(Path("page.html"), references=(), items=2)
    for n in range(count):
        report.add(FileResult(source, result.output, None, STUDIO, (f"number {n}",)))
        assert len(report._kept) <= 4
    report.write()
    heard = [int(n) for n in re.findall(r"Note: number (\d+)\.", Path("page.html").read_text(encoding="utf-8"))]
    assert heard[0] == 0
    assert len(heard) == min(count, 2)
    assert heard[-1] >= 0.75 * (count - 1)


def test_a_table_stops_at_some_length_and_says_so(noise, monkeypatch):
    monkeypatch.setattr(batch_report, "MOST_ROWS", 3)
    result = result_of(recording("in.wav", noise(RATE, seconds=0.1)))
    bad = FileResult(Path("bad"), Path("bad.wav"), None, None, error="no")
    html = page(*[result] * 5, *[bad] * 4)
    assert len(rows(html, "Rendered files")) == len(rows(html, "Files that failed")) == 1 + 3
    assert "5 files rendered, 4 failed." in words(html)
    assert "Each table lists the first 3 files." in words(html)


def test_nothing_at_all_and_nothing_but_failures():
    html = page()
    assert "0 files rendered." in words(html)
    assert "<table" not in html
    html = page(FileResult(Path("a"), Path("b.wav"), None, None, error="It is broken."))
    assert rows(html, "Files that failed")[1:] == [["a", "It is broken."]]
    assert 'class="player"' not in html


HOSTILE = "<script>alert(1)</script> & \"'.wav"


def test_names_stay_text(noise):
    source = recording("<script>alert(1)<_script> & \"'.wav", noise(RATE, seconds=0.2))
    result = result_of(source)
    tame = page(result_of(recording("tame.wav", noise(RATE, seconds=0.2))), references=[source])
    failed = FileResult(Path(HOSTILE), Path(HOSTILE), None, None, error=HOSTILE)
    html = page(result, result, failed, references=[source])
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;&#39;.wav" in html
    # Two entries of three sounds, and the page's own program.
    assert html.count("<script") == 2 * 3 + 1
    assert tame.count("<script") == 3 + 1


def test_a_file_that_is_gone_is_told_and_the_page_is_made(noise):
    gone = result_of(recording("gone.wav", noise(RATE, seconds=0.2)))
    late = result_of(recording("late.wav", noise(RATE, seconds=0.2)))
    gone.output.unlink()
    report = TransferReport(Path("page.html"), references=[Path("no.wav")], items=5)
    for result in (gone, late):
        report.add(result)
    late.output.unlink()
    report.write()
    html = Path("page.html").read_text(encoding="utf-8")
    dash = "\N{EN DASH}"
    first, second = rows(html, "Rendered files")[1:]
    assert first[1:5] == [dash] * 4
    assert "not measured: &#39;out/gone.wav&#39; does not exist" in first[6]
    assert dash not in second[1:5]
    assert 'class="player"' not in html
    assert "Not shown: 'no.wav' does not exist" in words(html)


def test_several_references_are_told_apart_and_counted(noise):
    references = [recording(f"ref{n}.wav", noise(RATE, seconds=1) * 0.1 * (n + 1)) for n in range(5)]
    html = page(result_of(recording("in.wav", noise(RATE, seconds=1))), references=references)
    assert "The page plays the first 3 of 5 references." in words(html)
    assert [row[0] for row in rows(html, "Loudness and peaks")[3:]] == [f"reference ref{n}.wav" for n in range(3)]
    assert len(set(re.findall(r'class="curve (reference\d)" d=', html))) == 3


def test_silence_has_no_level_and_no_range(noise):
    html = page(result_of(recording("silent.wav", np.zeros((1, RATE), np.float32))))
    minus_infinity = "\N{MINUS SIGN}∞"
    assert rows(html, "Loudness and peaks")[1] == ["input", minus_infinity, "\N{EN DASH}", minus_infinity, "1.00"]


def test_what_came_through_a_pipe_is_called_by_its_own_name(noise):
    result = result_of(recording("spool/stdin", noise(RATE, seconds=0.2)), warnings=("'spool/stdin' is odd",))
    names = {result.input: "standard input", result.output: "standard output"}
    report = TransferReport(Path("page.html"), references=(), items=1, names=names)
    report.add(result)
    report.write()
    said = words(Path("page.html").read_text(encoding="utf-8"))
    assert said.startswith("fxst apply: standard input ")
    assert "Written to standard output, settings in" in said
    assert "Note: standard input is odd." in said
    assert "stdin" not in said


def test_the_same_files_make_the_same_page(noise):
    results = [result_of(recording(f"{n}.wav", noise(RATE, 2, seconds=0.3))) for n in range(3)]
    assert page(*results) == page(*results)


def test_a_page_of_a_table_that_was_applied_needs_no_torch(noise):
    """Worker processes render; the one that writes the page stays small."""
    result_of(recording("in.wav", noise(RATE, seconds=0.5)))
    program = """
import sys
from pathlib import Path
from fxst.batch.report import TransferReport
from fxst.batch.results import FileResult
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
table = Table(CHAINS["studio"], CHAINS["studio"].defaults()).with_values({"upward_compressor": {"ratio": 1.0}})
report = TransferReport(Path("page.html"), references=[Path("in.wav")], items=1)
report.add(FileResult(Path("in.wav"), Path("out/in.wav"), None, table))
report.write()
print(*sorted({"torch", "numba", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert "Gain reduction" in Path("page.html").read_text(encoding="utf-8")


LONG = """
import resource, sys
from pathlib import Path
from fxst.batch.report import TransferReport
from fxst.batch.results import FileResult
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
table = Table(CHAINS["studio"], CHAINS["studio"].defaults()).with_values({"upward_compressor": {"ratio": 1.0}})
report = TransferReport(Path("page.html"), references=(), items=1)
report.add(FileResult(Path(sys.argv[1]), Path("short.wav"), None, table))
report.write()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_ten_minutes_take_no_more_memory_than_half_a_minute(noise):
    peaks = []
    for name, repeats in (("short.wav", 1), ("long.wav", 20)):
        with soundfile.SoundFile(name, "w", RATE, 1, "PCM_16") as file:
            for _ in range(repeats):
                file.write(noise(RATE, seconds=30).T)
        done = subprocess.run([sys.executable, "-c", LONG, name], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 20, peaks  # MiB; the long one alone would be 55 as float32
    html = Path("page.html").read_text(encoding="utf-8")
    assert "the loudest 10 s of input (10:00.0 long)" in html
