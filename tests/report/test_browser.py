"""The page in a real browser, with no network: heard through a tap on what goes to the loudspeakers."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from fxst.batch.report import TransferReport
from fxst.batch.results import FileResult
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.report import InMemory, Page, ReportEntry, Track, write_report
from fxst.transfer.style_transfer import render

sync_api = pytest.importorskip("playwright.sync_api")

# Times in the page are in seconds of the browser's own audio clock, taken when the page draws where it is: a machine
# under load draws and delivers commands late.
IN_STEP = 0.05

TAP = """
(() => {
  const connect = AudioNode.prototype.connect;
  let tap = null;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      if (!tap) {
        tap = target.context.createAnalyser();
        tap.fftSize = 4096;
        tap.smoothingTimeConstant = 0;
      }
      connect.call(this, tap);
    }
    return connect.call(this, target, ...rest);
  };
  // The loudest pitch in Hz.
  const sounding = () => {
    if (!tap) return { clock: 0, hz: 0, level: -Infinity };
    const bins = new Float32Array(tap.frequencyBinCount);
    tap.getFloatFrequencyData(bins);
    const loudest = bins.reduce((best, level, bin) => (level > bins[best] ? bin : best), 0);
    const { sampleRate, currentTime } = tap.context;
    return {
      clock: currentTime, hz: (loudest * sampleRate) / tap.fftSize, level: bins[loudest],
      window: tap.fftSize / sampleRate,
    };
  };
  let drawn = sounding();
  const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value");
  Object.defineProperty(HTMLInputElement.prototype, "value", {
    ...value,
    set(seconds) {
      value.set.call(this, seconds);
      drawn = sounding();
    },
  });
  // What is heard, and where the page's players say they are: while one plays, both when it was last drawn.
  window.heard = () => {
    const players = [...document.querySelectorAll(".player")];
    const playing = players.map((player) => player.querySelector(".play").getAttribute("aria-label") === "Pause");
    return {
      at: players.map((player) => Number(player.querySelector(".seek").value)),
      playing,
      pressed: players.map((player) =>
        [...player.querySelectorAll(".track")].findIndex((track) => track.getAttribute("aria-pressed") === "true")),
      ...(playing.some(Boolean) ? drawn : sounding()),
    };
  };
})();
"""

CONTRAST = """
() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opaque = (colour) => (numbers(colour)[3] ?? 1) > 0;
  const ratio = (element, colour) => {
    let behind = element;
    while (!opaque(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const [high, low] = [luminance(colour), luminance(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  const words = [], lines = [];
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    if (element.matches("script, noscript, noscript *, title, desc") || !element.getClientRects().length) continue;
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const colour = element instanceof SVGElement ? style.fill : style.color;
    if (says) words.push([ratio(element, colour), element.outerHTML.slice(0, 80)]);
    if (element.matches(".curve")) lines.push([ratio(element, style.stroke), element.outerHTML.slice(0, 80)]);
    if (element.matches("button")) lines.push([ratio(element.parentElement, style.borderTopColor), "border"]);
  }
  return { words, lines, paper: getComputedStyle(document.body).backgroundColor };
}
"""


@pytest.fixture(scope="module")
def open_page(browser):
    """Give `open_page(path, **context)`: a page without network, which must ask for nothing and complain of nothing."""
    opened = []

    def open_it(path, **options):
        context = browser.new_context(offline=True, **({"viewport": {"width": 1280, "height": 900}} | options))
        page = context.new_page()
        troubles = []
        page.on("console", lambda message: troubles.append(f"console: {message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("request", lambda request: troubles.append(request.url) if elsewhere(request.url) else None)
        page.add_init_script(TAP)
        page.goto(path.as_uri())
        opened.append((context, troubles))
        return SimpleNamespace(page=page, troubles=troubles)

    def elsewhere(url):
        return not re.match(r"(data|blob):", url) and not (url.startswith("file:") and url.endswith(".html"))

    yield open_it
    for context, _ in opened:
        context.close()


@pytest.fixture(scope="module")
def shown(open_page, ten_entries_html):
    return open_page(ten_entries_html)


@pytest.fixture
def ten(shown):
    """The page of ten entries, at rest, with the focus nowhere; complaints of a test are that test's failure."""
    shown.page.reload()
    yield shown.page
    assert shown.troubles == []


def heard(page):
    return page.evaluate("heard()")


def until(page, condition):
    page.wait_for_function(f"() => {{ const now = heard(); return {condition}; }}", timeout=5000)
    return heard(page)


def player(page, number):
    return page.locator(".player").nth(number)


def track(page, name, number=0):
    return player(page, number).locator(".track", has_text=name)


def play(page, number=0):
    player(page, number).locator(".play").click()
    return until(page, f"now.playing[{number}] && now.at[{number}] > 0.2 && now.level > -60")


def time_heard(now, begin_hz, number=0):
    """Where the sound is, by its pitch: that of the middle of the stretch that was analysed."""
    return (now["hz"] - begin_hz) / 600.0 + now["window"] / 2


def test_it_plays_and_says_where_it_is(ten):
    assert player(ten, 0).locator(".time").inner_text() == "0:00.0 / 0:05.5"
    before = play(ten)
    ten.wait_for_timeout(300)
    after = heard(ten)
    assert after["at"][0] - before["at"][0] == pytest.approx(after["clock"] - before["clock"], abs=IN_STEP)
    assert time_heard(after, 500.0) == pytest.approx(after["at"][0], abs=2 * IN_STEP)
    player(ten, 0).locator(".play").click()
    still = until(ten, "!now.playing[0] && now.level < -60")
    ten.wait_for_timeout(100)
    assert heard(ten)["at"] == still["at"]
    assert still["at"][0] > 0.5


def test_switching_changes_what_is_heard_and_keeps_the_position(ten):
    last = play(ten)
    for name, begin_hz in (("Output", 4000.0), ("Target", 7500.0), ("Input", 500.0)):
        track(ten, name).click()
        now = until(ten, f"now.hz > {begin_hz} && now.hz < {begin_hz + 3300} && now.clock > {last['clock'] + 0.15}")
        assert now["at"][0] - last["at"][0] == pytest.approx(now["clock"] - last["clock"], abs=IN_STEP)
        assert time_heard(now, begin_hz) == pytest.approx(now["at"][0], abs=2 * IN_STEP)
        assert track(ten, name).get_attribute("aria-pressed") == "true"
        last = now
    assert ten.locator(".player").first.locator('.track[aria-pressed="true"]').count() == 1


def test_a_shorter_track_starts_again_where_it_has_already_ended(ten):
    play(ten)
    player(ten, 0).locator(".seek").fill("4.5")
    until(ten, "now.at[0] > 4.5")
    track(ten, "Reference").click()
    now = until(ten, "now.at[0] < 1 && now.hz > 180 && now.hz < 220")
    assert now["playing"][0]
    assert player(ten, 0).locator(".time").inner_text().endswith("/ 0:03.0")


def test_starting_one_entry_pauses_the_other(ten):
    play(ten, 0)
    play(ten, 1)
    now = heard(ten)
    assert now["playing"] == [False, True, *[False] * 8]
    ten.wait_for_timeout(100)
    assert heard(ten)["at"][0] == now["at"][0] > 0
    play(ten, 0)
    assert heard(ten)["playing"][:2] == [True, False]


def test_seeking_is_heard_at_once(ten):
    play(ten)
    slider = player(ten, 0).locator(".seek")
    before = heard(ten)
    slider.fill("3")
    after = heard(ten)
    now = until(ten, f"now.at[0] >= 3 && now.clock > {after['clock'] + 0.2}")
    assert after["at"][0] >= 3
    assert now["at"][0] <= 3 + now["clock"] - before["clock"]
    assert now["at"][0] - after["at"][0] == pytest.approx(now["clock"] - after["clock"], abs=2 * IN_STEP)
    assert time_heard(now, 500.0) == pytest.approx(now["at"][0], abs=2 * IN_STEP)
    assert slider.get_attribute("aria-valuetext") == "3 of 6 seconds"


def test_at_the_end_it_stops_or_repeats(ten):
    play(ten)
    player(ten, 0).locator(".seek").fill("5.3")
    until(ten, "!now.playing[0] && now.at[0] === 0")
    player(ten, 0).locator(".loop").click()
    player(ten, 0).locator(".seek").fill("5.3")
    before = heard(ten)["clock"]
    player(ten, 0).locator(".play").click()
    after = until(ten, "now.playing[0] && now.at[0] > 0.1 && now.at[0] < 5")
    assert after["at"][0] < after["clock"] - before  # from the beginning


def test_same_loudness_turns_down_what_is_louder(open_page, tmp_path, speech):
    x = speech(24_000, seconds=3)
    tracks = (
        Track("Input", "input", InMemory(0.1 * x, sample_rate=24_000)),
        Track("Output", "output", InMemory(x, sample_rate=24_000)),
    )
    write_report(tmp_path / "report.html", Page("Levels", entries=(ReportEntry("levels", tracks),)))
    shown = open_page(tmp_path / "report.html")
    # The gains themselves: speech is not steady enough to be compared by ear while it goes on.
    gains = "() => window.gains.slice(-3).map((gain) => Number(gain.gain.value.toFixed(3)))"
    shown.page.evaluate("""() => {
      window.gains = [];
      const create = AudioContext.prototype.createGain;
      AudioContext.prototype.createGain = function () {
        window.gains.push(create.call(this));
        return window.gains.at(-1);
      };
    }""")
    shown.page.locator(".play").click()
    until(shown.page, "now.at[0] > 0.2")
    assert shown.page.evaluate(gains) == [1, 1, 0]  # all, input, output
    shown.page.keyboard.press("2")
    shown.page.wait_for_timeout(100)
    assert shown.page.evaluate(gains) == [1, 0, 1]
    shown.page.locator(".match").click()
    shown.page.wait_for_timeout(100)
    assert shown.page.evaluate(gains) == [1, 0, pytest.approx(0.1, abs=0.002)]
    assert shown.troubles == []


def test_the_keyboard_alone_is_enough(ten):
    reached = []
    for _ in range(40):
        ten.keyboard.press("Tab")
        element = ten.evaluate(
            "() => { const on = document.activeElement, style = getComputedStyle(on); return {"
            "in: [...document.querySelectorAll('.entry')].indexOf(on.closest('.entry')), "
            "name: on.getAttribute('aria-label') || on.innerText, outline: style.outlineStyle + style.outlineWidth}; }"
        )
        assert element["outline"] == "solid3px", element
        if element["in"] == 0:
            reached.append(" ".join(element["name"].split()))
    tracks = ["1 Input", "2 Reference", "3 Output", "4 Another", "5 Target"]
    assert reached[:9] == [*tracks, "Play", "Position", "Repeat", "Same loudness"]

    player(ten, 1).locator(".seek").focus()
    ten.keyboard.press("k")
    until(ten, "now.playing[1] && now.at[1] > 0.1 && now.at[1] < 1")
    ten.keyboard.press("5")
    until(ten, "now.pressed[1] === 4 && now.hz > 7500")
    ten.keyboard.press("9")  # there is no ninth track
    ten.keyboard.press("ArrowRight")
    ten.keyboard.press("ArrowRight")
    now = until(ten, "now.at[1] > 2")
    ten.keyboard.press("Space")
    assert not until(ten, "!now.playing[1]")["playing"][1]
    ten.keyboard.press("ArrowLeft")
    assert heard(ten)["at"][1] == pytest.approx(now["at"][1] - 1, abs=0.5)
    # On a button the space bar does what the button does; on the track that is heard, it plays.
    track(ten, "Output", 1).focus()
    ten.keyboard.press("Space")
    now = until(ten, "now.pressed[1] === 2")
    assert not now["playing"][1]
    ten.keyboard.press("Space")
    until(ten, "now.playing[1]")
    assert now["playing"][0] is False
    assert heard(ten)["pressed"][0] == 0  # nothing of this was the first entry's


def test_all_tracks_are_decoded_to_one_length(ten):
    lengths = ten.evaluate("""async () => {
      const context = new OfflineAudioContext(1, 1, 24000);
      const sounds = [...document.querySelector(".player").querySelectorAll(".sound")];
      const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
      return Promise.all(sounds.map(async (s) => (await context.decodeAudioData(bytes(s.textContent))).length));
    }""")
    assert lengths == [132_000, 72_000, 132_000, 132_000, 132_000]


def test_sound_that_cannot_be_decoded_is_told(ten_entries_html, open_page, tmp_path):
    text = ten_entries_html.read_text(encoding="utf-8")
    path = tmp_path / "damaged.html"
    path.write_text(re.sub(r'(class="sound">)[^<]*', r"\1bm8gc291bmQ=", text, count=1), encoding="utf-8")
    shown = open_page(path)
    player(shown.page, 0).locator(".play").click()
    trouble = player(shown.page, 0).get_by_role("alert")
    trouble.wait_for(state="visible")
    assert "cannot decode" in trouble.inner_text()
    assert heard(shown.page)["playing"][0] is False
    play(shown.page, 1)  # the other entries are not affected
    assert shown.troubles == []


@pytest.mark.parametrize("width", [390, 320, 1280])
def test_only_tables_scroll_sideways(shown, width):
    page = shown.page
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = page.locator(".scroll").first
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth")
    assert wide.get_attribute("tabindex") == "0"
    assert shown.troubles == []


PHONES = [(390, 844), (390, 664), (360, 640)]


@pytest.mark.parametrize(("width", "height"), PHONES)
def test_on_a_phone_the_first_player_is_on_the_first_screen(open_page, ten_entries_html, width, height):
    shown = open_page(ten_entries_html, viewport={"width": width, "height": height})
    first = shown.page.locator(".player").first
    box = first.bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= height
    play(shown.page)
    # Nothing is lost: the overview opens, and a wide screen has it open.
    assert not shown.page.locator(".scroll").first.is_visible()
    shown.page.get_by_text("Overview").click()
    assert shown.page.locator(".scroll").first.is_visible()
    shown.page.get_by_text("Overview").click()
    shown.page.set_viewport_size({"width": 1280, "height": height})
    shown.page.locator(".scroll").first.wait_for(state="visible")
    assert shown.troubles == []


def test_an_overview_that_leaves_room_for_the_player_stays_open(open_page, tmp_path, noise):
    track = Track("Input", "input", InMemory(noise(24_000), sample_rate=24_000))
    page = Page("Short", ("A word.",), entries=(ReportEntry("one", (track,)),))
    write_report(tmp_path / "short.html", page)
    shown = open_page(tmp_path / "short.html", viewport={"width": 390, "height": 844})
    assert shown.page.get_by_text("A word.").is_visible()
    box = shown.page.locator(".player").bounding_box()
    assert box["y"] + box["height"] <= 844
    assert shown.troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_is_readable(shown, scheme):
    # Without motion, colours do not fade from one scheme to the other.
    shown.page.emulate_media(reduced_motion="reduce")
    shown.page.emulate_media(color_scheme=scheme)
    found = shown.page.evaluate(CONTRAST)
    brightness = sum(int(number) for number in re.findall(r"\d+", found["paper"]))
    assert (brightness > 600) == (scheme == "light")
    assert len(found["words"]) > 500
    assert len(found["lines"]) > 100
    assert min(found["words"])[0] >= 4.5, min(found["words"])  # WCAG AA, text
    assert min(found["lines"])[0] >= 3.0, min(found["lines"])  # and graphics


@pytest.fixture(scope="module")
def transferred(tmp_path_factory, speech):
    """The page of `apply` for a folder: two recordings that can be heard, and one that failed."""
    folder = tmp_path_factory.mktemp("apply")
    knobs = np.linspace(0.2, 0.8, len(CHAINS["studio"].knobs))
    rows = CHAINS["studio"].settings(knobs, bypassed=("distortion",))
    table = Table(CHAINS["studio"], rows, {}, {"parametric_eq": 0.9, "distortion": 0.1})
    reference = folder / "reference.wav"
    soundfile.write(reference, speech(24_000, seconds=2).T, 24_000)
    report = TransferReport(folder / "page.html", references=[reference], items=5)
    for name, channels in ((HOSTILE, 1), ("wide.wav", 2)):
        x = speech(24_000, channels, seconds=3)
        source, output = folder / name, folder / f"out {name}"
        soundfile.write(source, x.T, 24_000)
        soundfile.write(output, render(x, table, sample_rate=24_000).T, 24_000)
        report.add(FileResult(source, output, folder / "table.json", table, ("it was odd",)))
    report.add(FileResult(folder / "broken.wav", folder / "no.wav", None, None, error=f"{HOSTILE} is no sound."))
    report.write()
    return folder / "page.html"


HOSTILE = "<script>document.title=1<_script><img src=x onerror=alert(1)>.wav"


def test_a_transfer_is_heard_before_after_and_beside_its_reference(open_page, transferred):
    shown = open_page(transferred)
    page = shown.page
    assert page.title() == "fxst apply"
    assert page.locator("h2").first.inner_text().endswith(HOSTILE)
    failed = page.get_by_role("group", name="Files that failed")
    assert f"{HOSTILE} is no sound." in failed.inner_text()
    assert page.locator(".player").count() == 2
    assert [words.split("\n")[-1] for words in player(page, 1).locator(".track").all_inner_texts()] == [
        "input",
        "output",
        "reference",
    ]
    play(page, 1)
    for key, name in (("2", "output"), ("3", "reference"), ("1", "input")):
        before = heard(page)
        page.keyboard.press(key)
        now = until(page, f"now.pressed[1] === {int(key) - 1} && now.clock > {before['clock'] + 0.05}")
        assert now["at"][1] - before["at"][1] == pytest.approx(now["clock"] - before["clock"], abs=IN_STEP)
        assert track(page, name, 1).get_attribute("aria-pressed") == "true"
    entry = page.locator(".entry").nth(1)
    drawn = entry.locator("figcaption").all_inner_texts()
    assert drawn == [
        "Long-term spectra in third octaves",
        "Mid signal, (L + R) / 2, in third octaves",
        "Side signal, (L \u2212 R) / 2, in third octaves",
        "Equaliser, all bands together",
        "Gain reduction, without make-up gain",
    ]
    assert entry.get_by_role("row", name="distortion bypassed").count() == 1
    assert "parametric_eq 90%" in entry.inner_text()
    assert shown.troubles == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_transfers_page_scrolls_sideways_only_in_its_tables(open_page, transferred, width):
    shown = open_page(transferred, viewport={"width": width, "height": 800})
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    first = shown.page.locator(".player").first.bounding_box()
    assert width == 1280 or first["y"] + first["height"] <= 800
    assert shown.troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_a_transfers_page_is_readable(open_page, transferred, scheme):
    shown = open_page(transferred, color_scheme=scheme, reduced_motion="reduce")
    found = shown.page.evaluate(CONTRAST)
    assert len(found["words"]) > 150
    assert min(found["words"])[0] >= 4.5, min(found["words"])
    assert min(found["lines"])[0] >= 3.0, min(found["lines"])
    assert shown.troubles == []
