"""The page without a browser: what is in the file."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import FxstError
from fxst.report import FigureTable, InMemory, Page, ReportEntry, Track, page, write_report

RATE = 24_000
CHAIN = CHAINS["eq-comp"]
VOID = {"meta", "link", "input", "br"}


class Outline(HTMLParser):
    """The elements of a page, and its text; refuses what is not nested as it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def with_class(self, name):
        return [(tag, a) for tag, a in self.elements if name in (a.get("class") or "").split()]


def outline(path):
    return Outline(path.read_text(encoding="utf-8"))


def noise(seconds, level=0.1, channels=1, seed=0):
    generator = np.random.default_rng(seed)
    return (level * generator.standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def track(label, role, x, settings=None, *, sample_rate=RATE):
    """A track in memory."""
    return Track(label, role, InMemory(x, sample_rate=sample_rate), settings)


def table(**changes):
    rows = Table(CHAIN, CHAIN.defaults())
    return rows.with_values({effect: changes[effect] for effect in changes})


def written(tmp_path, *entries, **parts):
    path = tmp_path / "report.html"
    write_report(path, Page(parts.pop("title", "A page"), entries=entries, **parts))
    return path


def decoded(path):
    """What each track of a page sounds like."""
    found = re.findall(r'class="sound">([^<]*)<', path.read_text(encoding="utf-8"))
    return [soundfile.read(io.BytesIO(base64.b64decode(sound, validate=True)), always_2d=True) for sound in found]


def test_ten_entries_of_five_tracks_fit_in_5_mb_at_96_kbit_a_second(ten_entries_html):
    assert ten_entries_html.stat().st_size <= 5_000_000
    assert "MP3 at 96 kbit/s a mono track" in ten_entries_html.read_text(encoding="utf-8")
    sounds = decoded(ten_entries_html)
    assert len(sounds) == 50
    assert min(len(x) for x, _ in sounds) == 3 * RATE


def test_it_is_well_formed_and_its_references_lead_somewhere(ten_entries_html):
    found = outline(ten_entries_html)
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in found.elements:
        for reference in (attributes.get("aria-labelledby") or "").split():
            assert reference in ids
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids
        if tag == "svg" and "aria-hidden" not in attributes:
            assert attributes["role"] == "img"
        if tag in ("button", "input"):
            assert attributes.get("type")
    assert len(found.with_class("player")) == 10
    assert len(found.with_class("track")) == 50


def test_nothing_in_it_comes_from_elsewhere(ten_entries_html):
    found = outline(ten_entries_html)
    for tag, attributes in found.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
        assert "style" not in attributes  # which the page's own policy would refuse
        assert not [name for name in attributes if name.startswith("on")]
    rules = "".join(text for tag, text in found.texts if tag == "style")
    assert rules
    assert "url(" not in rules
    assert "@import" not in rules
    (policy,) = [a["content"] for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_the_same_page_is_the_same_file(ten_entries, ten_entries_html, tmp_path):
    two = replace(ten_entries, entries=ten_entries.entries[:2])
    write_report(tmp_path / "a.html", two)
    write_report(tmp_path / "b.html", two)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


HOSTILE = """<script>alert('x')</script></title>"><img src=x onerror=alert(1)> &amp; ]]> --> \\ ' " ` ‮.wav"""


def test_names_stay_text_whatever_they_hold(tmp_path):
    def make(name, folder):
        tracks = (
            track(name, "input", noise(0.5)),
            track(name, "reference", noise(0.5)),
            track(name, "output", noise(0.5), Table(replace(CHAIN, name=name), CHAIN.defaults())),
        )
        grid = FigureTable(name, (name, name), ((name, name),))
        entry = ReportEntry(name, tracks, grid, (name,))
        (tmp_path / folder).mkdir()
        return outline(written(tmp_path / folder, entry, title=name, lead=(name,), grids=(grid,)))

    tame, hostile = make("tame", "tame"), make(HOSTILE, "hostile")
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in tame.elements]
    for (_, mine), (_, theirs) in zip(hostile.elements, tame.elements, strict=True):
        assert mine.keys() == theirs.keys()
    says_tame = sum("tame" in text for _, text in tame.texts)
    assert says_tame > 10
    assert sum(HOSTILE in text or HOSTILE[:40] in text for _, text in hostile.texts) == says_tame


def test_what_html_cannot_hold_is_marked_and_never_stops_the_page(tmp_path):
    path = written(tmp_path, ReportEntry("a\x00b\x1bc\udcffd\ufffee", (track("x", "input", noise(0.5)),)))
    assert "a\ufffdb\ufffdc\ufffdd\ufffde" in path.read_text(encoding="utf-8")


def test_what_was_in_step_stays_in_step(tmp_path):
    # A click at the same sample of three tracks, one of them stereo, is heard at the same sample.
    tracks = []
    for role, channels, seed in (("input", 1, 1), ("output", 2, 2), ("target", 1, 3)):
        x = noise(2, 0.005, channels, seed)
        x[:, RATE + 123] = 0.9
        tracks.append(track(role, role, x))
    found = decoded(written(tmp_path, ReportEntry("clicks", tuple(tracks))))
    assert [rate for _, rate in found] == [RATE] * 3
    assert [len(x) for x, _ in found] == [2 * RATE] * 3
    assert [x.shape[1] for x, _ in found] == [1, 2, 1]
    assert [int(np.abs(x[:, 0]).argmax()) for x, _ in found] == [RATE + 123] * 3


def test_every_sample_rate_can_be_played_and_tracks_share_one(tmp_path):
    for first, second, played in ((8_000, 8_000, 16_000), (22_050, 44_100, 44_100), (96_000, 12_345, 48_000)):
        time = np.arange(second) / second
        tracks = (
            track("Input", "input", noise(first / RATE), sample_rate=first),
            track(
                "Reference",
                "reference",
                0.5 * np.sin(2 * np.pi * 440 * time)[None].astype(np.float32),
                sample_rate=second,
            ),
        )
        (x, rate), (y, other) = decoded(written(tmp_path, ReportEntry("rates", tracks)))
        assert rate == other == played
        assert len(x) == len(y) == played  # one second each
        assert np.abs(np.fft.rfft(y[:, 0])).argmax() == 440


def test_over_full_scale_all_are_played_lower_by_the_same_and_the_page_says_so(tmp_path):
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 1000 * time)[None].astype(np.float32)
    tracks = (track("Input", "input", 0.25 * tone), track("Output", "output", 2 * tone))
    path = written(tmp_path, ReportEntry("loud", tracks))
    (x, _), (y, _) = decoded(path)
    assert np.abs(y).max() == pytest.approx(0.95, abs=0.01)  # the encoder's own 0.4 dB of room, in all tracks alike
    assert np.std(y) / np.std(x) == pytest.approx(8, rel=0.01)
    assert "6.0 dB lower" in path.read_text(encoding="utf-8")
    calm = written(tmp_path, ReportEntry("calm", tracks[:1]))
    assert "dB lower" not in calm.read_text(encoding="utf-8")


def test_same_loudness_brings_all_down_to_the_quietest(tmp_path):
    x = noise(2, 0.02)
    tracks = (track("Input", "input", 4 * x), track("Output", "output", x))
    tracks += (track("Target", "target", 0 * x),)
    found = outline(written(tmp_path, ReportEntry("levels", tracks)))
    gains = [float(attributes["data-matched"]) for _, attributes in found.with_class("track")]
    assert gains == pytest.approx([0.25, 1, 1], rel=1e-3)


def test_of_a_long_recording_the_loudest_passage_is_heard_from_all_at_the_same_time(tmp_path):
    x = noise(40, 0.01)
    x[:, 21 * RATE : 31 * RATE] *= 10
    marked = x.copy()
    marked[:, 25 * RATE] = 0.95
    reference = noise(15, 0.01)
    tracks = (
        track("Input", "input", x),
        track("Reference", "reference", reference),
        track("Output", "output", marked),
    )
    path = written(tmp_path, ReportEntry("long", tracks))
    (heard, _), (other, _), (mark, _) = decoded(path)
    assert len(heard) == len(mark) == len(other) == 10 * RATE
    assert int(np.abs(mark[:, 0]).argmax()) == 4 * RATE
    assert np.std(heard) == pytest.approx(0.1, rel=0.1)  # less the encoder's room, and the top of its band
    text = path.read_text(encoding="utf-8")
    assert "The player has the loudest 10 s of Input (0:40.0 long), starting at 0:21.0." in text
    assert "The player has the loudest 10 s of Reference (0:15.0 long)" in text


def test_where_there_is_too_much_to_hear_excerpts_shorten_then_entries_go_and_the_page_says_so(tmp_path, monkeypatch):
    entries = [ReportEntry(f"entry {n}", (track("Input", "input", noise(12, seed=n)),)) for n in range(4)]
    sizes, seconds, kept = [], [], []
    for limit in (900_000, 400_000, 250_000, 130_000):
        monkeypatch.setattr(page, "LARGEST_BYTES", limit)
        path = written(tmp_path, *entries)
        sounds = decoded(path)
        assert path.stat().st_size <= limit
        sizes.append(path.stat().st_size)
        seconds.append(len(sounds[0][0]) / RATE)
        kept.append(len(sounds))
        text = path.read_text(encoding="utf-8")
        assert f"the loudest {seconds[-1]:.0f} s of Input (0:12.0 long)" in text
        assert ("left out" in text) == (kept[-1] < 4)
    assert seconds[0] == 10
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[-1] == 3
    assert kept[:2] == [4, 4]
    assert 0 < kept[-1] < 4


def test_what_is_no_number_is_silent_and_named(tmp_path):
    broken = noise(1)
    broken[0, 100:200] = np.nan
    broken[0, 300] = np.inf
    tracks = (track("Input", "input", noise(1)), track("Broken", "output", broken, table()))
    path = written(tmp_path, ReportEntry("broken", tracks))
    assert "Broken: samples that are not finite" in path.read_text(encoding="utf-8")
    assert "nan" not in re.sub(r'class="sound">[^<]*<', "", path.read_text(encoding="utf-8"))


def test_the_smallest_page_and_the_shortest_sound(tmp_path):
    assert outline(written(tmp_path)).with_class("player") == []
    tiny = np.full((1, 1), 0.1, np.float32)
    found = outline(written(tmp_path, ReportEntry("tiny", (track("Input", "input", tiny, table()),))))
    assert len(found.with_class("player")) == 1
    silence = np.zeros((2, RATE), np.float32)
    tracks = (track("Input", "input", silence), track("Output", "output", silence, table()))
    text = written(tmp_path, ReportEntry("silence", tracks)).read_text(encoding="utf-8")
    assert "at most 0.0 dB" in text


def test_parameters_of_one_chain_stand_side_by_side_and_constants_are_folded_away(tmp_path):
    first, second = table(compressor={"ratio": 2.5}), table(compressor={"ratio": 5.75})
    knobs = np.full(len(CHAINS["eq"].knobs), 0.25)
    other = Table(CHAINS["eq"], CHAINS["eq"].settings(knobs))
    x = noise(0.5)
    tracks = (
        track("Input", "input", x),
        track("First", "output", x, first),
        track("Second", "target", x, second),
        track("Third", "output", x, other),
    )
    text = written(tmp_path, ReportEntry("tables", tracks)).read_text(encoding="utf-8")
    row = re.search(r"<tr><td>compressor</td><th[^>]*>ratio</th>(.*?)</tr>", text)[1]
    assert re.findall(r">([^<>]+)<", row) == ["2.5", "5.75", ":1", "2 … 6"]
    assert "Parameters of the chain eq-comp" in text
    assert "Parameters of the chain eq<" in text
    folded = "".join(re.findall(r"<details.*?</details>", text, re.DOTALL))
    assert "attack_ms" in folded
    assert "attack_ms" not in text.replace(folded, "").split("<details")[0]
    assert "\N{MINUS SIGN}10" in text  # a quarter of the way from -20 to 20 dB


def test_an_effect_that_one_table_bypasses_is_so_in_its_column(tmp_path):
    chain = CHAINS["studio"]
    heard = Table(chain, chain.defaults(), {}, {"reverb": 0.9})
    dry = heard.with_values({"reverb": dict(chain.effects[4].transparent())})
    x = noise(0.5)
    tracks = (track("Input", "input", x), track("Wet", "output", x, heard), track("Dry", "output", x, dry))
    text = written(tmp_path, ReportEntry("room", tracks)).read_text(encoding="utf-8")
    rows = re.findall(r"<tr><td>reverb</td>.*?</tr>", text)
    turned = [row for row in rows if "…" in row]
    assert len(turned) == len([p for p in chain.effects[4].parameters if not p.constant]) == 4
    assert re.findall(r"<td[^>]*>[^<]*</td>", turned[0])[2] == '<td rowspan="4" class="figure range">bypassed</td>'
    assert [len(re.findall("<td", row)) for row in turned] == [5, 4, 4, 4]
    assert "Wet: effect probabilities: reverb 90%" in text


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    small = Page("A page")
    (tmp_path / "file").touch()
    with pytest.raises(FxstError, match=r"/file' cannot be made \(file exists\)"):
        write_report(tmp_path / "file/report.html", small)
    (tmp_path / "file").unlink()
    with pytest.raises(FxstError, match="folder"):
        write_report(tmp_path, small)
    with pytest.raises(FxstError, match="cannot be written"):
        write_report(tmp_path / "a\0b.html", small)
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, small)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]
