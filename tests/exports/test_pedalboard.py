import numpy as np
import pytest

from fxst.chains.table import Table
from fxst.exports.pedalboard import NULL_DB


@pytest.fixture
def by_pedalboard(exported):
    """Give `by_pedalboard(table, x, sample_rate)`: what the file's own function makes of it."""

    def render(table, x, sample_rate):
        file = exported("pedalboard", table, sample_rate=sample_rate, channels=len(x))
        module = {}
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module)
        return module["render"](x, sample_rate)

    return render


@pytest.mark.parametrize("effect", NULL_DB)
@pytest.mark.parametrize("seed", range(4))
def test_each_effect_nulls_as_declared(by_pedalboard, exact, draw, passages, null_db, effect, seed):
    sample_rate, channels = [(48_000, 2), (44_100, 1), (24_000, 3), (96_000, 2)][seed]
    table = draw(seed, effect)
    for x in passages(sample_rate, channels):
        assert null_db(by_pedalboard(table, x, sample_rate), exact(table, x, sample_rate)) <= NULL_DB[effect]


def test_all_but_the_equaliser_is_exact(by_pedalboard, exact, draw, speech, null_db):
    table = draw(4, "compressor", "distortion", "reverb", "stereo_width")
    x = speech(48_000, 2, 1.0)
    assert null_db(by_pedalboard(table, x, 48_000), exact(table, x, 48_000)) <= -100


def test_channels_that_are_not_linked(by_pedalboard, exact, draw, speech, null_db):
    x = speech(48_000, 2, 1.0)
    x[1] *= 0.2
    apart = draw(3, "compressor", linked=False)
    assert null_db(by_pedalboard(apart, x, 48_000), exact(apart, x, 48_000)) <= NULL_DB["compressor"]


def test_low_narrow_bands_are_the_worst(by_pedalboard, exact, draw, noise, null_db):
    low = {"low_shelf_f0_hz": 20.0, "low_shelf_gain_db": 24.0, "peak1_f0_hz": 20.0, "peak1_q": 10.0}
    table = draw(0, "parametric_eq").with_values({"parametric_eq": low})
    x = noise(48_000, 1, 2.0)
    null = null_db(by_pedalboard(table, x, 48_000), exact(table, x, 48_000))
    assert -80 < null <= NULL_DB["parametric_eq"]


def test_nothing_at_all(by_pedalboard, draw, noise):
    table = draw(0)
    x = noise(48_000, 2)
    np.testing.assert_array_equal(by_pedalboard(Table(table.chain, table.chain.at_amount(table, 0.0)), x, 48_000), x)
