import re
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table, equaliser_response
from fxst.effects import Reverb
from fxst.errors import OutputError
from fxst.report.plot import long_term_spectrum, plot_transfer


def test_a_full_scale_sine_is_at_0_db_in_its_third_octave_and_nowhere_else(tmp_path):
    time = np.arange(48_000 * 3) / 48_000
    soundfile.write(tmp_path / "sine.wav", np.sin(2 * np.pi * 1000 * time), 48_000, subtype="FLOAT")
    centres, levels = long_term_spectrum(tmp_path / "sine.wav")
    assert centres[levels.argmax()] == pytest.approx(1000)
    assert levels.max() == pytest.approx(0, abs=0.05)
    assert levels[np.abs(np.log2(centres / 1000)) > 0.5].max() < -60


def test_white_noise_rises_3_db_an_octave_in_third_octaves(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal((48_000 * 20, 2))
    soundfile.write(tmp_path / "noise.wav", noise, 48_000, subtype="FLOAT")
    centres, levels = long_term_spectrum(tmp_path / "noise.wav")
    slope, _ = np.polyfit(np.log2(centres), levels, 1)
    assert slope == pytest.approx(10 * np.log10(2), abs=0.1)
    # A full-scale sine has the power 1/2, and each band has its share of that of a channel.
    expected = 10 * np.log10(2 * 0.01 * centres * 0.2316 / 24_000)
    np.testing.assert_allclose(levels, expected, atol=1.5)


def test_the_curve_is_that_of_the_equaliser_that_renders():
    chain = CHAINS["eq-comp"]
    rows = chain.settings(np.linspace(0.1, 0.9, 8))
    frequencies = np.array([30.0, 200.0, 1000.0, 8000.0])
    curve = equaliser_response(Table(chain, rows), frequencies, sample_rate=48_000)
    impulse = np.zeros((1, 1 << 17), np.float32)
    impulse[0, 0] = 1
    response = np.fft.rfft(
        CHAINS["eq"].exact(rows[: len(CHAINS["eq"].defaults())], sample_rate=48_000, channels=1)(impulse)[0]
    )
    at = np.round(frequencies * (1 << 17) / 48_000).astype(int)
    np.testing.assert_allclose(curve, 20 * np.log10(np.abs(response[at])), atol=0.05)


def test_a_picture_is_written_or_its_folder_named(tmp_path, examples):
    chain = CHAINS["eq-comp"]
    files = dict.fromkeys(("input", "output"), examples / "voice.wav")
    table = Table(chain, chain.defaults())
    plot_transfer(tmp_path / "plot.svg", **files, settings=table)
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(OutputError, match=r"plot\.svg' cannot be made"):
        plot_transfer(tmp_path / "plot.svg/plot.svg", **files, settings=table)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("chain", [CHAINS["studio"], Chain("room", (Reverb(),))], ids=lambda chain: chain.name)
def test_every_chain_is_drawn_with_whatever_references_and_names(tmp_path, chain, suffix):
    if suffix != ".svg":
        import matplotlib  # noqa: F401
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    files = [tmp_path / name for name in ("a.wav", "$x_{$ & <b>.wav", "new\nline.wav")]
    for path in files:
        soundfile.write(path, np.stack([tone, -tone], axis=1), 24_000)  # out of phase: their mixture is silence
    picture = tmp_path / f"plot{suffix}"
    table = Table(chain, chain.defaults())
    plot_transfer(picture, input=files[0], output=files[1], references=files[2:], settings=table)
    written = picture.read_bytes()
    assert written.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
    if suffix == ".svg":
        ElementTree.fromstring(written)
        for words in ("input", "output", "reference", "100", "1k", "10k", "frequency (Hz)"):
            assert f">{words}</text>".encode() in written
        assert (b">Equaliser, all bands together: gain (dB)</text>" in written) == (chain.name == "studio")


def test_a_picture_shows_what_was_measured_in_colours_that_any_program_knows(tmp_path, examples):
    table = Table(CHAINS["eq"], CHAINS["eq"].defaults())
    plot_transfer(tmp_path / "plot.svg", input=examples / "voice.wav", output=examples / "radio.wav", settings=table)
    svg = (tmp_path / "plot.svg").read_text()
    assert "var(" not in svg
    marks = {
        words: float(x)
        for x, words in re.findall(r'class="tick" x="([^"]+)" y="[^"]+" text-anchor="middle">(\w+)<', svg)
    }
    levels = re.findall(r'y="([^"]+)" text-anchor="end">(\u2212?\d+)<', svg)
    (y0, db0), (y1, db1) = ((float(y) - 4, float(db.replace("\u2212", "-"))) for y, db in (levels[0], levels[7]))
    for role, name in (("input", "voice"), ("output1", "radio")):
        hz, db = long_term_spectrum(examples / f"{name}.wav")
        curve = re.search(rf'class="curve {role}"[^>]* d="M([^"]+)"', svg)[1]
        x, y = np.array([[float(number) for number in corner.split()] for corner in curve.split("L")]).T
        np.testing.assert_allclose(db0 + (y - y0) * (db1 - db0) / (y1 - y0), db, atol=0.05)
        octaves = (x - marks["100"]) / (marks["10k"] - marks["100"]) * np.log2(100)
        np.testing.assert_allclose(octaves, np.log2(hz / 100), atol=0.01)


def test_a_recording_too_short_for_a_spectrum_is_told_to_be(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.full(8, 0.5), 24_000)
    files = dict.fromkeys(("input", "output"), tmp_path / "click.wav")
    room = Chain("room", (Reverb(),))
    plot_transfer(tmp_path / "plot.svg", **files, settings=Table(room, room.defaults()))
    assert "too short for a spectrum" in (tmp_path / "plot.svg").read_text()


def test_out_of_phase_channels_are_as_loud_as_in_phase(tmp_path):
    tone = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    soundfile.write(tmp_path / "wide.wav", np.stack([tone, -tone], axis=1), 48_000, subtype="FLOAT")
    assert long_term_spectrum(tmp_path / "wide.wav")[1].max() == pytest.approx(0, abs=0.05)
