"""What EasyEffects plays are LSP's plugins, which ffmpeg can play too, without a desktop."""

import json
import math
import subprocess
from pathlib import Path

import pytest

from fxst.chains.table import Table
from fxst.exports.easyeffects import LSP_TIME, NULL_DB

LSP = next(iter(sorted(Path("/usr/lib/ladspa").glob("lsp-plugins-ladspa*.so"))), None)
FROM = "http\\://lsp-plug.in/plugins/ladspa"
TYPES = ["Off", "Bell", "Hi-pass", "Hi-shelf", "Lo-pass", "Lo-shelf"]
MODES = ["RLC (BT)", "RLC (MT)", "BWC (BT)", "BWC (MT)", "LRX (BT)", "LRX (MT)", "APO (DR)"]


def amplitude(db):
    return 10 ** (db / 20)


def controls(name, plugin, channels):
    """Set LSP's plugin as EasyEffects does from a preset: (its name, {number of the control: value})."""
    if name.startswith("equalizer"):
        assert channels == 1
        set_to = {3: ["IIR"].index(plugin["mode"])}
        for index in range(plugin["num-bands"]):
            band = plugin["left"][f"band{index}"]
            values = (TYPES.index(band["type"]), MODES.index(band["mode"]), int(band["slope"][1:]) - 1, 0, 0)
            values += (band["frequency"], amplitude(band["gain"]), band["q"])
            set_to |= {10 + 9 * index + number: value for number, value in enumerate(values)}
        return "para_equalizer_x16_mono", set_to
    sidechain = plugin["sidechain"]
    source = {9: ["Middle", "Side", "Left", "Right", "Min", "Max"].index(sidechain["source"])} if channels == 2 else {}
    rest = [
        sidechain["reactivity"], amplitude(sidechain["preamp"]), 0, plugin["hpf-frequency"], 0, plugin["lpf-frequency"],
        ["Downward", "Upward"].index(plugin["mode"]), amplitude(plugin["threshold"]), plugin["attack"],
        amplitude(plugin["release-threshold"]), plugin["release"], plugin["ratio"], amplitude(plugin["knee"]),
        amplitude(plugin["boost-threshold"]), amplitude(plugin["boost-amount"]), amplitude(plugin["makeup"]),
    ]  # fmt: skip
    set_to = {6: ["Peak", "RMS", "Low-Pass", "SMA"].index(sidechain["mode"]), **source}
    set_to |= {8 + channels + number: value for number, value in enumerate(rest)}
    return f"compressor_{('mono', 'stereo')[channels - 1]}", set_to


@pytest.fixture
def by_lsp(exported, played, ffmpeg_version):
    """Give `by_lsp(table, x, sample_rate)`: what the plugins of the preset make of it, one after the other."""
    listed = subprocess.run(["ffmpeg", "-v", "error", "-filters"], capture_output=True, text=True, check=True).stdout
    if LSP is None or " ladspa " not in listed:
        pytest.skip("lsp-plugins-ladspa is not here, or an ffmpeg that plays it")

    def render(table, x, sample_rate):
        file = exported("easyeffects", table, sample_rate=sample_rate, channels=len(x))
        preset = json.loads(file.read_text(encoding="utf-8"))["output"]
        filters = []
        for name in preset["plugins_order"]:
            plugin, set_to = controls(name, preset[name], len(x))
            c = "|".join(f"c{number}={value}" for number, value in set_to.items())
            filters.append(f"ladspa=file={LSP}:plugin='{FROM}/{plugin}':c={c}")
        graph = file.with_suffix(".txt")
        graph.write_text(",".join(filters), encoding="utf-8")
        play = 'ffmpeg -v error -y -i INPUT -af "$(cat FILE)" -c:a pcm_f64le made.wav'
        return played(play, x, sample_rate, graph)[:, : x.shape[1]]

    return render


@pytest.mark.parametrize(("effect", "channels"), [("parametric_eq", 1), ("compressor", 1), ("compressor", 2)])
@pytest.mark.parametrize("seed", range(2))
def test_each_effect_nulls_as_declared(by_lsp, exact, draw, passages, null_db, effect, seed, channels):
    table = draw(seed, effect)
    for x in passages(48_000, channels):
        assert null_db(by_lsp(table, x, 48_000), exact(table, x, 48_000)) <= NULL_DB[effect]


@pytest.mark.parametrize("seed", range(3))
def test_a_width_nulls_as_declared(exported, played, ffmpeg_version, exact, draw, passages, null_db, seed):
    """EasyEffects plays Calf's Stereo Tools, of which ffmpeg has a form."""
    table = draw(seed, "stereo_width")
    file = exported("easyeffects", table, sample_rate=48_000, channels=2)
    preset = json.loads(file.read_text(encoding="utf-8"))["output"]["stereo_tools#0"]
    modes = {"LR > LR (Stereo Default)": "lr>lr"}
    options = {
        "mode": modes[preset["mode"]], "slev": amplitude(preset["side-level"]), "sbal": preset["side-balance"],
        "mlev": amplitude(preset["middle-level"]), "mpan": preset["middle-panorama"], "base": preset["stereo-base"],
        "balance_in": preset["balance-in"], "balance_out": preset["balance-out"], "delay": preset["delay"],
        "phase": preset["stereo-phase"], "sclevel": preset["sc-level"], "softclip": int(preset["softclip"]),
    }  # fmt: skip
    graph = file.with_suffix(".txt")
    graph.write_text("stereotools=" + ":".join(f"{k}={v}" for k, v in options.items()), encoding="utf-8")
    play = 'ffmpeg -v error -y -i INPUT -af "$(cat FILE)" -c:a pcm_f64le made.wav'
    for x in passages(48_000, 2):
        y = played(play, x, 48_000, graph)
        assert null_db(y, exact(table, x, 48_000)) <= NULL_DB["stereo_width"]


def test_the_preset_is_as_easyeffects_saves_it(exported, draw):
    preset = json.loads(exported("easyeffects", draw(0), sample_rate=48_000, channels=2).read_text(encoding="utf-8"))
    output = preset["output"]
    assert output["blocklist"] == []
    assert output["plugins_order"] == ["equalizer#0", "compressor#0", "stereo_tools#0"]
    assert set(output) == {"blocklist", "plugins_order", *output["plugins_order"]}
    equalizer = output["equalizer#0"]
    assert equalizer["num-bands"] == len(equalizer["left"]) == 10
    assert equalizer["left"] == equalizer["right"]
    for index in range(10):
        band = equalizer["left"][f"band{index}"]
        assert 10 <= band["frequency"] <= 24_000
        assert abs(band["gain"]) <= 36
        assert 0 <= band["q"] <= 100
    compressor = output["compressor#0"]
    assert not compressor["stereo-split"]
    assert compressor["sidechain"]["source"] == "Max"


def test_what_is_not_exact_it_tells(exported, draw):
    table = draw(0).with_values({"compressor": {"threshold_db": 6.0}})
    preset = json.loads(exported("easyeffects", table, sample_rate=48_000, channels=2).read_text(encoding="utf-8"))
    said = "\n".join(preset["fxst"])
    assert "parametric_eq: approximate" in said
    assert f"nulls to {NULL_DB['parametric_eq']:.0f} dB or less" in said
    assert "its threshold is limited to EasyEffects' range" in said
    assert "distortion: left out" in said
    assert preset["output"]["compressor#0"]["threshold"] == 0


def test_channels_that_are_not_linked(exported, draw):
    file = exported("easyeffects", draw(0, linked=False), sample_rate=48_000, channels=2)
    assert json.loads(file.read_text(encoding="utf-8"))["output"]["compressor#0"]["stereo-split"]


def test_a_time_is_that_of_lsp():
    """LSP's recursion is 71 % of its way after a time; ours has 2 pi time constants in it."""
    samples = 4800
    ours = math.exp(-2 * math.pi / samples)
    theirs = math.exp(math.log(1 - math.sqrt(0.5)) / (samples * LSP_TIME))
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_nothing_at_all(exported, draw):
    table = draw(0)
    table = Table(table.chain, table.chain.at_amount(table, 0.0))
    file = exported("easyeffects", table, sample_rate=48_000, channels=2)
    assert json.loads(file.read_text(encoding="utf-8"))["output"] == {"blocklist": [], "plugins_order": []}
