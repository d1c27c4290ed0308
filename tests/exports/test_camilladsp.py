import numpy as np
import pytest
import soundfile
import yaml

from fxst.chains.table import Table
from fxst.effects.parametric_eq import ParametricEQ

KINDS = {"Lowshelf": "low_shelf", "Peaking": "peak", "Highshelf": "high_shelf"}


@pytest.fixture
def written(exported):
    """Give `written(table, channels=2)`: what YAML reads, and the folder it lies in."""

    def write(table, channels=2):
        file = exported("camilladsp", table, sample_rate=48_000, channels=channels)
        return yaml.safe_load(file.read_text(encoding="utf-8")), file.parent

    return write


def walked(document, channels, folder):
    """Go down the pipeline, as the program checks it: all names are known, all channels there."""
    for step in document["pipeline"]:
        if step["type"] == "Filter":
            assert set(step["channels"]) <= set(range(channels))
            for name in step["names"]:
                parameters = document["filters"][name]["parameters"]
                if document["filters"][name]["type"] == "Conv":
                    assert parameters["channel"] < soundfile.info(folder / parameters["filename"]).channels
        elif step["type"] == "Mixer":
            mixer = document["mixers"][step["name"]]
            assert mixer["channels"]["in"] == channels
            channels = mixer["channels"]["out"]
            assert [to["dest"] for to in mixer["mapping"]] == list(range(channels))
            sources = [source["channel"] for to in mixer["mapping"] for source in to["sources"]]
            assert set(sources) == set(range(mixer["channels"]["in"]))
        else:
            parameters = document["processors"][step["name"]]["parameters"]
            assert parameters["channels"] == channels
            assert parameters["attack"] > 0
            assert set(parameters["monitor_channels"]) == set(parameters["process_channels"]) <= set(range(channels))
    return channels


@pytest.mark.parametrize("chain", ["eq", "eq-comp", "fx", "studio"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_it_is_a_pipeline(written, draw, chain, channels):
    document, folder = written(draw(0, chain=chain), channels)
    assert walked(document, channels, folder) == channels


@pytest.mark.parametrize("seed", range(5))
def test_its_filters_are_our_bands(written, draw, seed):
    table = draw(seed, "parametric_eq")
    document, _ = written(table)
    filters = [document["filters"][name] for name in document["pipeline"][0]["names"]]
    assert {f["type"] for f in filters} == {"Biquad"}
    sections = []
    for parameters in (f["parameters"] for f in filters):
        band = ParametricEQ(kinds=(KINDS[parameters["type"]],))
        values = dict(
            zip((p.name for p in band.parameters), (parameters[n] for n in ("gain", "freq", "q")), strict=True)
        )
        sections.append(band.sections(values, sample_rate=48_000)[0])
    ours = table.chain.effects[1].sections([stage.values for stage in table.chain.stages(table)][1], sample_rate=48_000)
    np.testing.assert_array_equal(sections, ours)


@pytest.mark.parametrize("width", [0.0, 0.3, 2.0])
def test_a_width_is_a_mixer(written, draw, exact, noise, null_db, width):
    table = draw(0, "stereo_width").with_values({"stereo_width": {"width": width}})
    document, _ = written(table)
    (step,) = document["pipeline"]
    x = noise(48_000, 2)
    y = [
        sum((-1) ** s["inverted"] * 10 ** (s["gain"] / 20) * x[s["channel"]].astype(np.float64) for s in to["sources"])
        for to in document["mixers"][step["name"]]["mapping"]
    ]
    assert null_db(y, exact(table, x, 48_000)) <= -120
    assert "mixers" not in written(table, channels=1)[0]


def test_its_mixers_and_responses_are_true_stereo(written, draw, exact, noise, null_db):
    table = draw(2, "reverb").with_values({"reverb": {"width": 0.5}})
    document, folder = written(table)
    x = noise(48_000, 2, 0.25)
    ways = x.astype(np.float64)
    for step in document["pipeline"]:
        if step["type"] == "Mixer":
            mapping = document["mixers"][step["name"]]["mapping"]
            ways = np.array([sum(ways[s["channel"]] * 10 ** (s["gain"] / 20) for s in to["sources"]) for to in mapping])
        else:
            parameters = document["filters"][step["names"][0]]["parameters"]
            response = soundfile.read(folder / parameters["filename"])[0][: x.shape[1], parameters["channel"]]
            (channel,) = step["channels"]
            ways[channel] = np.convolve(ways[channel], response)[: x.shape[1]]
    assert null_db(ways, exact(table, x, 48_000)) <= -95


def test_channels_that_are_not_linked_have_a_compressor_each(written, draw):
    document, folder = written(draw(0, "compressor", linked=False))
    assert walked(document, 2, folder) == 2
    watched = [p["parameters"]["monitor_channels"] for p in document["processors"].values()]
    assert watched == [[0], [1]]


def test_a_time_is_one_time_constant(written, draw):
    document, _ = written(draw(0, "compressor").with_values({"compressor": {"attack_ms": 100.0}}))
    attack = document["processors"]["compressor"]["parameters"]["attack"]
    assert np.exp(-1 / (48_000 * attack)) == pytest.approx(np.exp(-2000 * np.pi / (100.0 * 48_000)), rel=1e-12)


def test_what_is_not_exact_it_tells(exported, draw):
    text = exported("camilladsp", draw(0), sample_rate=48_000, channels=2).read_text(encoding="utf-8")
    assert "# compressor: approximate, and not measured. It follows" in text
    assert "# distortion: CamillaDSP has none: left out" in text


def test_nothing_at_all(written, draw):
    table = draw(0)
    document, _ = written(Table(table.chain, table.chain.at_amount(table, 0.0)))
    assert document == {"pipeline": []}
