import pytest

from fxst.chains.table import Table
from fxst.exports.ffmpeg import NULL_DB


@pytest.mark.parametrize("effect", NULL_DB)
@pytest.mark.parametrize("seed", range(3))
def test_each_effect_nulls_as_declared(by_ffmpeg, exact, draw, passages, null_db, effect, seed):
    sample_rate, channels = [(48_000, 2), (44_100, 1), (24_000, 3)][seed]
    table = draw(seed, effect)
    for x in passages(sample_rate, channels):
        assert null_db(by_ffmpeg(table, x, sample_rate), exact(table, x, sample_rate)) <= NULL_DB[effect]


def test_what_was_asked_for_is_declared():
    assert max(NULL_DB.values()) <= -80


@pytest.mark.parametrize("chain", ["eq-comp", "fx", "studio"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_whole_chain_nulls(by_ffmpeg, exact, draw, passages, null_db, chain, channels):
    table = draw(7, "parametric_eq", "compressor", "distortion", "reverb", "stereo_width", chain=chain)
    for x in passages(48_000, channels):
        assert null_db(by_ffmpeg(table, x, 48_000), exact(table, x, 48_000)) <= -80


@pytest.mark.parametrize("channels", [2, 3])
def test_channels_that_are_not_linked(by_ffmpeg, exact, draw, speech, null_db, channels):
    x = speech(48_000, channels, 1.0)
    x[1:] *= 0.2
    apart = draw(3, "compressor", linked=False)
    rendered = exact(apart, x, 48_000)
    assert null_db(by_ffmpeg(apart, x, 48_000), rendered) <= NULL_DB["compressor"]
    assert null_db(exact(apart.linked(True), x, 48_000), rendered) > -40


def test_a_threshold_above_full_scale(by_ffmpeg, exact, draw, speech, null_db):
    table = draw(0, "compressor").with_values({"compressor": {"threshold_db": 12.0, "ratio": 8.0}})
    x = 20 * speech(48_000, 1, 0.5)
    rendered = exact(table, x, 48_000)
    assert null_db(by_ffmpeg(table, x, 48_000), rendered) <= NULL_DB["compressor"]
    softer = table.with_values({"compressor": {"ratio": 1.0}})
    assert null_db(exact(softer, x, 48_000), rendered) > -40


def test_a_band_beyond_half_the_sample_rate(by_ffmpeg, exact, draw, noise, null_db):
    table = draw(1, "parametric_eq").with_values(
        {"parametric_eq": {"high_shelf_f0_hz": 16_000.0, "peak8_f0_hz": 17_000.0}}
    )
    x = noise(16_000, 1)
    assert null_db(by_ffmpeg(table, x, 16_000), exact(table, x, 16_000)) <= NULL_DB["parametric_eq"]


def test_nothing_at_all(by_ffmpeg, draw, noise):
    table = draw(0)
    table = Table(table.chain, table.chain.at_amount(table, 0.0))
    x = noise(48_000, 2)
    assert (by_ffmpeg(table, x, 48_000) == x).all()


def test_the_order_of_effects_is_kept(exported, draw):
    text = exported("ffmpeg", draw(0), sample_rate=48_000, channels=2).read_text(encoding="utf-8")
    places = [text.index(f"\n{name}=") for name in ("lowshelf", "highshelf", "acompressor", "aeval", "pan=4c|")[:4]]
    assert places == sorted(places)
    assert text.index("afir") > places[-1]
