"""The page of `fxst ui` in a real browser: drop, listen, switch, drag, bypass, undo, keep."""

import base64
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from test_browser import CONTRAST

ROOT = Path(__file__).parents[2]
HOSTILE = "<img src=x onerror=alert(1)> 'voice'.wav"

PROBE = """
window.contexts = [];
window.gains = [];
window.AudioContext = class extends AudioContext {
  constructor(...given) {
    super(...given);
    window.contexts.push(this);
  }
};
const create = AudioContext.prototype.createGain;
BaseAudioContext.prototype.createGain = function () {
  window.gains.push(create.call(this));
  return window.gains.at(-1);
};
window.sources = [];
const play = BaseAudioContext.prototype.createBufferSource;
BaseAudioContext.prototype.createBufferSource = function () {
  window.sources.push(play.call(this));
  return window.sources.at(-1);
};
// While it plays: where the player is, the audio clock, and the gains of input, output and reference.
window.now = () => ({
  at: Number(document.querySelector(".seek").value),
  playing: document.querySelector(".play").getAttribute("aria-label") === "Pause",
  pressed: [...document.querySelectorAll(".track")].findIndex((t) => t.getAttribute("aria-pressed") === "true"),
  clock: window.contexts[0]?.currentTime ?? 0,
  gains: window.gains.slice(1, 4).map((gain) => gain.gain.value),
});
"""

DROP = """
async ([names, contents]) => {
  const data = new DataTransfer();
  names.forEach((name, index) => {
    const bytes = Uint8Array.from(atob(contents[index]), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "audio/wav" }));
  });
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page's address, while a server runs."""
    spool = tmp_path_factory.mktemp("spool")
    environment = os.environ | {"TMPDIR": str(spool), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-m", "fxst", "ui", "--no-browser"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().removeprefix("fxst ui: ").strip()
        server.send_signal(signal.SIGINT)
    assert server.returncode == 130
    assert list(spool.iterdir()) == []


@pytest.fixture
def opened(browser, address):
    """Give `opened(**context)`: the page, which must ask for nothing elsewhere and complain of nothing."""
    troubles, contexts = [], []

    def open_it(**options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        # Chromium itself reports a refused upload there; the page shows it.
        page.on("console", lambda said: None if "422" in said.text else troubles.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: troubles.append(request.url) if elsewhere(request.url) else None)
        page.set_default_timeout(60_000)
        page.add_init_script(PROBE)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        return page

    def elsewhere(url):
        return not url.startswith((address, f"blob:{address[:16]}", "data:"))

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []


def choose(page, examples, voice=None):
    page.set_input_files("#file-input", voice or examples / "voice.wav")
    page.wait_for_selector("#files-input li")
    page.set_input_files("#file-reference", examples / "radio.wav")
    return settled(page)


def settled(page):
    """Wait until the whole recording is rendered with the present settings."""
    page.wait_for_function(
        "() => document.body.dataset.written && document.body.dataset.written === document.body.dataset.version"
    )
    return int(page.evaluate("document.body.dataset.version"))


def until(page, condition):
    page.wait_for_function(f"() => {{ const now = window.now(); return {condition}; }}")
    return page.evaluate("now()")


def rendered_after(page, version):
    page.wait_for_function(f"() => Number(document.body.dataset.version) > {version}")


def test_drop_listen_turn_and_keep(opened, examples, tmp_path, monkeypatch, fxst):
    page = opened()
    contents = [page_bytes(examples / name) for name in ("voice.wav", "radio.wav")]
    page.evaluate(DROP, [[HOSTILE, "radio.wav"], contents])
    version = settled(page)
    assert page.locator("#files-input li span").first.inner_text() == HOSTILE
    assert page.locator("img").count() == 0

    # Switched in step, by keys, at one loudness.
    page.keyboard.press("Space")
    last = until(page, "now.playing && now.at > 0.2")
    for key, index in (("2", 1), ("3", 2), ("1", 0), ("2", 1)):
        page.keyboard.press(key)
        others = " && ".join(f"now.gains[{other}] === 0" for other in range(3) if other != index)
        now = until(page, f"now.pressed === {index} && now.gains[{index}] > 0.1 && {others}")
        if now["at"] > last["at"]:  # it has not begun again
            assert now["at"] - last["at"] == pytest.approx(now["clock"] - last["clock"], abs=0.1)
        last = now
    assert re.search(r"input \u2212\d\.\d dB, output as it is", page.locator("#matched").inner_text())

    # A loop over a region.
    box = page.locator("#excerpt").bounding_box()
    page.locator("#excerpt").scroll_into_view_if_needed()
    box = page.locator("#excerpt").bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    begin, end = (float(page.locator(f"#loop-{name}").input_value()) for name in ("from", "to"))
    assert 0 < begin < end
    start = until(page, f"now.at >= {begin} && now.at <= {end}")
    page.wait_for_function(f"() => now().clock > {start['clock'] + 2 * (end - begin)}")
    assert begin - 0.01 <= page.evaluate("now().at") <= end + 0.01
    loops = page.evaluate("sources.slice(-3).map((source) => [source.loop, source.loopStart, source.loopEnd])")
    assert loops == [[True, pytest.approx(begin, abs=0.01), pytest.approx(end, abs=0.01)]] * 3
    page.keyboard.press("l")
    assert page.locator(".loop").get_attribute("aria-pressed") == "false"

    # A band is dragged while it plays.
    band = page.locator(".band").nth(4)
    before = band.get_attribute("aria-valuetext")
    band.scroll_into_view_if_needed()
    place = band.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 10, y + 40, steps=5)
    page.mouse.up()
    rendered_after(page, version)
    version = settled(page)
    dragged = band.get_attribute("aria-valuetext")
    assert dragged != before
    page.keyboard.press("ArrowUp")  # it has the focus
    rendered_after(page, version)
    version = settled(page)
    assert band.get_attribute("aria-valuetext") != dragged

    bypass = page.locator('[data-effect="compressor"] .bypass')
    bypass.click()
    rendered_after(page, version)
    version = settled(page)
    assert bypass.get_attribute("aria-pressed") == "true"
    page.locator("#undo").click()
    rendered_after(page, version)
    version = settled(page)
    assert bypass.get_attribute("aria-pressed") == "false"
    page.keyboard.press("Control+z")
    rendered_after(page, version)
    version = settled(page)
    assert band.get_attribute("aria-valuetext") == dragged

    # B begins as A is, and A stays as it was.
    page.locator("#slot-b").click()
    page.locator("#amount-parametric_eq").fill("50")
    rendered_after(page, version)
    version = settled(page)
    assert band.get_attribute("aria-valuetext") != dragged
    page.locator("#slot-a").click()
    rendered_after(page, version)
    version = settled(page)
    assert band.get_attribute("aria-valuetext") == dragged
    page.locator("#loudness").select_option("number")
    page.locator("#lufs").fill("-20")
    page.locator("#lufs").press("Enter")
    rendered_after(page, version)
    settled(page)

    # What is kept is what `apply --params` makes.
    monkeypatch.chdir(tmp_path)
    for kind, name in (("wav", "kept.wav"), ("table", "kept.json")):
        with page.expect_download() as download:
            page.locator(f'.download[data-kind="{kind}"]').click()
        download.value.save_as(tmp_path / name)
    command = page.locator("#command").inner_text()
    assert "--loudness -20 --ceiling -1" in command
    voice = examples / "voice.wav"
    code = fxst("apply", voice, "--params", "kept.json", "--loudness", "-20", "--ceiling", "-1", "-o", "made.wav")[0]
    assert code == 0
    assert Path("made.wav").read_bytes() == Path("kept.wav").read_bytes()


def page_bytes(path):
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_it_is_readable_and_fits(opened, examples, scheme, width):
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    choose(page, examples)
    found = page.evaluate(CONTRAST)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    brightness = sum(int(number) for number in re.findall(r"\d+", found["paper"]))
    assert (brightness > 600) == (scheme == "light")
    assert len(found["words"]) > 100
    assert min(found["words"])[0] >= 4.5, min(found["words"])
    assert min(found["lines"])[0] >= 3.0, min(found["lines"])
    # Everything that can be used has a name.
    unnamed = """() => [...document.querySelectorAll("button, input, select, progress, [role=slider]")].filter((one) =>
      one.getClientRects().length && !(one.getAttribute("aria-label") || one.labels?.length || one.innerText)
    ).map((one) => one.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_what_goes_wrong_is_told_and_the_rest_goes_on(opened, examples, tmp_path):
    page = opened()
    (tmp_path / HOSTILE).write_bytes(b"no sound")
    page.set_input_files("#file-input", tmp_path / HOSTILE)
    problem = page.locator("#problem")
    problem.wait_for(state="visible")
    assert "onerror=alert(1)" in problem.inner_text()
    assert page.locator("img").count() == 0
    choose(page, examples)
    assert problem.is_hidden()

    # What can be used of several files is; the rest is told.
    shorter = examples / "voices" / sorted(path.name for path in (examples / "voices").iterdir())[0]
    version = int(page.evaluate("document.body.dataset.version"))
    page.set_input_files("#file-reference", [shorter, tmp_path / HOSTILE])
    rendered_after(page, version)
    assert "onerror=alert(1)" in problem.inner_text()
    assert page.locator("#files-reference li").count() == 2
    settled(page)

    # Too large a file is not even sent.
    page.evaluate("Object.defineProperty(File.prototype, 'size', { configurable: true, get: () => 5 * 2 ** 30 })")
    page.set_input_files("#file-reference", shorter)
    page.wait_for_function("() => document.querySelector('#problem').innerText.includes('4 GiB at most')")
    page.evaluate("delete File.prototype.size")
    assert page.locator("#files-reference li").count() == 2

    # Of several references, one is heard and drawn.
    row = page.locator('#meters tr[data-role="reference"]')
    wave = "() => document.querySelector('#whole .reference1').getAttribute('d')"
    page.wait_for_function("() => /\\d/.test(document.querySelector('#meters tr[data-role=reference]').innerText)")
    before, drawn, version = row.inner_text(), page.evaluate(wave), int(page.evaluate("document.body.dataset.version"))
    assert page.locator("#played").input_value() == page.locator("#played option").first.get_attribute("value")
    page.get_by_label("Reference to hear").select_option(index=1)
    rendered_after(page, version)
    page.wait_for_function(
        "(old) => /\\d/.test(document.querySelector('#meters tr[data-role=reference]').innerText) "
        "&& document.querySelector('#meters tr[data-role=reference]').innerText !== old",
        arg=before,
    )
    assert page.evaluate(wave) != drawn
    settled(page)
