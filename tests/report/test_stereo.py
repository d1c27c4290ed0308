"""The stereo image of a recording, by signals whose image is known, and on the page."""

import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.report import InMemory

RATE = 24_000


def image(left, right):
    return InMemory(np.stack([left, right]).astype(np.float32), sample_rate=RATE).survey.stereo


@pytest.fixture
def two():
    """Two unrelated signals of equal power."""
    return 0.1 * np.random.default_rng(0).standard_normal((2, 4 * RATE))


def test_the_correlation_and_the_width_of_known_images(two):
    a, b = two
    apart = image(a, b)
    assert apart.correlation == pytest.approx(0, abs=0.02)
    assert apart.side_db == pytest.approx(0, abs=0.2)
    mono, inverted = image(a, a), image(a, -a)
    assert mono.correlation == pytest.approx(1)
    assert mono.side_db == -math.inf
    assert inverted.correlation == pytest.approx(-1)
    assert inverted.side_db == math.inf
    for width in (0.25, 0.5, 2.0):
        middle, side = (a + b) / 2, (a - b) / 2
        found = image(middle + width * side, middle - width * side)
        assert found.side_db == pytest.approx(apart.side_db + 20 * math.log10(width), abs=1e-3)
        assert found.correlation == pytest.approx((1 - width**2) / (1 + width**2), abs=0.03)
        np.testing.assert_allclose(found.mid_bands_db, apart.mid_bands_db, atol=1e-3)
        np.testing.assert_allclose(found.side_bands_db, apart.side_bands_db + 20 * math.log10(width), atol=1e-3)
    # The level and a swap of the channels change nothing but the level.
    louder = image(0.1 * b, 0.1 * a)
    assert (louder.correlation, louder.side_db) == pytest.approx((apart.correlation, apart.side_db))


def test_a_signal_on_one_side_has_as_much_side_as_mid(two):
    found = image(two[0], 0 * two[0])
    assert math.isnan(found.correlation)
    assert found.side_db == pytest.approx(0)
    silent = image(0 * two[0], 0 * two[0])
    assert math.isnan(silent.correlation)
    assert math.isnan(silent.side_db)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_only_two_channels_have_an_image(channels, noise):
    assert InMemory(noise(RATE, channels), sample_rate=RATE).survey.stereo is None


def test_the_page_shows_the_image_of_stereo_recordings_and_none_of_mono(fxst, tmp_path, monkeypatch, two):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    soundfile.write("mono.wav", two[0], RATE)
    soundfile.write("wide.wav", two.T, RATE)
    from fxst.chains import table_files
    from fxst.chains.named import CHAINS
    from fxst.chains.table import Table

    chain = CHAINS["studio"]
    table = Table(chain, chain.bypassed(chain.defaults())).with_values({"stereo_width": {"width": 0.5}})
    table_files.write(table, Path("table.json"))
    pages = {}
    for name in ("mono", "wide"):
        command = ("apply", f"{name}.wav", "--params", "table.json", "-o", f"{name}-out.wav", "--ceiling", "none")
        code, _, err = fxst(*command, "--report", f"{name}.html")
        assert code == 0, err
        pages[name] = unescape(Path(f"{name}.html").read_text(encoding="utf-8"))
    for words in ("Correlation", "Side to mid (dB)", "Mid signal, (L + R) / 2", "Side signal, (L \u2212 R) / 2"):
        assert words in pages["wide"]
        assert words not in pages["mono"]
    (table,) = re.findall(r"<caption>Loudness and peaks</caption>.*?</table>", pages["wide"], re.DOTALL)
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table)]
    cells = {row[0]: row for row in rows}
    correlation, width_db = zip(*(cells[label][-2:] for label in ("input", "output")), strict=True)
    assert [float(cell.replace("\u2212", "-")) for cell in correlation] == pytest.approx([0, 0.6], abs=0.03)
    before_db, after_db = (float(cell.replace("\u2212", "-")) for cell in width_db)
    assert after_db - before_db == pytest.approx(-6, abs=0.15)
