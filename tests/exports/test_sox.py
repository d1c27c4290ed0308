import numpy as np
import pytest

from fxst.chains.table import Table
from fxst.exports.sox import NULL_DB, SHORT_ATTACK_DB


@pytest.fixture
def softened(exact):
    """Turn a recording down until nothing clips that goes in or comes out, for SoX has integers."""

    def soften(table, x, sample_rate):
        peak = max(np.abs(x).max(), np.abs(exact(table, x, sample_rate)).max())
        return x * np.float32(min(1.0, 0.5 / peak))

    return soften


@pytest.mark.parametrize("effect", NULL_DB)
@pytest.mark.parametrize("seed", range(4))
def test_each_effect_nulls_as_declared(by_sox, exact, draw, passages, softened, null_db, effect, seed):
    sample_rate, channels = [(48_000, 2), (44_100, 1), (24_000, 3), (96_000, 2)][seed]
    table = draw(seed, effect)
    for x in passages(sample_rate, channels):
        x = softened(table, x, sample_rate)
        assert null_db(by_sox(table, x, sample_rate), exact(table, x, sample_rate)) <= NULL_DB[effect]


def test_what_was_asked_for_is_declared():
    assert NULL_DB["parametric_eq"] <= -80


@pytest.mark.parametrize("width", [0.0, 0.5, 2.0])
def test_no_width_clips(by_sox, exact, draw, null_db, width):
    table = draw(0, "parametric_eq").with_values({"stereo_width": {"width": width}})
    table = table.at_amount({"eq": 0.0})
    x = np.array([[0.5, -0.5, 0.6, 0.1], [0.4, 0.45, -0.05, -0.4]], np.float32).repeat(500, axis=1)
    assert null_db(by_sox(table, x, 48_000), exact(table, x, 48_000)) <= NULL_DB["stereo_width"]


@pytest.mark.parametrize("channels", [1, 2])
def test_three_effects_in_a_row_null(by_sox, exact, draw, speech, softened, null_db, channels):
    table = draw(7, "parametric_eq", "compressor", "distortion")
    x = softened(table, speech(48_000, channels, 1.0), 48_000)
    assert null_db(by_sox(table, x, 48_000), exact(table, x, 48_000)) <= -70


def test_channels_that_are_not_linked(by_sox, exact, draw, speech, null_db):
    x = speech(48_000, 2, 1.0)
    x[1] *= 0.2
    apart = draw(3, "compressor", linked=False)
    assert null_db(by_sox(apart, x, 48_000), exact(apart, x, 48_000)) <= NULL_DB["compressor"]


def test_an_attack_shorter_than_a_sample(by_sox, exact, exported, draw, speech, null_db):
    table = draw(0, "compressor").with_values(
        {"compressor": {"attack_ms": 0.25, "release_ms": 50.0, "threshold_db": -60.0, "ratio": 20.0, "makeup_db": 0.0}}
    )
    x = speech(24_000, 1)
    null = null_db(by_sox(table, x, 24_000), exact(table, x, 24_000))
    assert NULL_DB["compressor"] < null <= SHORT_ATTACK_DB
    said = exported("sox", table, sample_rate=24_000, channels=1).read_text(encoding="utf-8")
    assert (
        f"compressor: approximate, because its attack is shorter than a sample: nulls to {SHORT_ATTACK_DB:.0f} dB"
        in said
    )


def test_nothing_clips_in_between(by_sox, exact, draw, noise, null_db):
    table = draw(0, "parametric_eq").with_values(
        {
            "parametric_eq": {
                "peak3_gain_db": 24.0,
                "peak4_gain_db": 24.0,
                "peak7_gain_db": -24.0,
                "peak8_gain_db": -24.0,
            }
        }
    )
    x = noise(48_000, 1)
    x *= np.float32(0.9 / np.abs(exact(table, x, 48_000)).max())
    assert null_db(by_sox(table, x, 48_000), exact(table, x, 48_000)) <= NULL_DB["parametric_eq"]


def test_nothing_at_all(by_sox, draw, noise):
    table = draw(0)
    x = noise(48_000, 2)
    np.testing.assert_allclose(
        by_sox(Table(table.chain, table.chain.at_amount(table, 0.0)), x, 48_000), x, rtol=0, atol=2**-31
    )
