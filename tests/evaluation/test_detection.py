from dataclasses import replace

import numpy as np
import pytest

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.effects import Compressor, Distortion, ParametricEQ, Reverb
from fxst.evaluation.detection import audible_effects, change_db

STUDIO = CHAINS["studio"]
RATE = 44_100


@pytest.fixture
def voice(speech):
    x = speech(RATE, 1, 3)
    return (0.5 * x / np.abs(x).max()).astype(np.float32)


def verdict(x, effect, **values):
    """Whether an effect is audible with these settings, and its defaults else."""
    chain = Chain("mine", (effect,))
    rows = tuple(replace(row, value=values.get(row.parameter, row.value)) for row in chain.defaults())
    assert values.keys() <= {row.parameter for row in rows}
    return audible_effects(Table(chain, rows), x, sample_rate=RATE)[effect.name]


@pytest.mark.parametrize("away", [(), ("reverb",), ("parametric_eq", "compressor"), STUDIO.labels])
def test_what_is_out_of_the_way_is_not_heard(voice, away):
    knobs = np.full(len(STUDIO.knobs), 0.6)
    found = audible_effects(Table(STUDIO, STUDIO.settings(knobs, bypassed=away)), voice, sample_rate=RATE)
    assert found == {label: label not in away for label in STUDIO.predicted.labels}


def test_a_gain_is_no_change_and_a_gain_on_half_of_it_is_half_of_that(noise):
    x = noise(RATE, 2, 2)
    assert change_db(x, np.float32(3) * x, sample_rate=RATE) < 1e-4
    halved = x * np.where(np.arange(x.shape[1]) < RATE, 1, 10 ** (4 / 20)).astype(np.float32)
    assert change_db(x, halved, sample_rate=RATE) == pytest.approx(2.0, abs=1e-3)
    assert change_db(0 * x, 0 * x, sample_rate=RATE) == 0


def test_what_is_far_below_the_loudest_band_does_not_count(noise):
    x = noise(RATE, 1, 2)
    x[:, RATE:] *= 1e-4
    softer = x * np.where(np.arange(x.shape[1]) < RATE, 1, 0.1).astype(np.float32)
    assert change_db(x, softer, sample_rate=RATE) < 1e-4


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ({"peak2_gain_db": 0.0}, False),
        ({"low_shelf_gain_db": 0.9}, False),
        ({"high_shelf_gain_db": -3.0, "high_shelf_f0_hz": 2000.0}, True),
        ({"peak2_gain_db": 6.0, "peak2_q": 1.0}, True),
        # It is the curve that counts: two bands that undo each other do nothing.
        ({"peak1_gain_db": 12.0, "peak2_gain_db": -12.0, "peak1_f0_hz": 500.0, "peak2_f0_hz": 500.0}, False),
    ],
)
def test_an_equaliser_is_heard_from_1_db_on(voice, bands, expected):
    assert verdict(voice, ParametricEQ(), **bands) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ratio": 1.0, "makeup_db": 12.0}, False),  # a gain
        ({"threshold_db": -5.0, "ratio": 20.0}, False),  # never reached
        ({"threshold_db": -12.0, "ratio": 1.1}, False),
        ({"threshold_db": -40.0, "ratio": 4.0, "makeup_db": 10.0}, True),
    ],
)
def test_a_compressor_is_heard_where_it_compresses_what_there_is(voice, values, expected):
    assert verdict(voice, Compressor(), **values) == expected


def test_an_effect_hears_what_those_before_it_leave(voice):
    x = 10 ** (-40 / 20) * voice
    nothing = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
    table = nothing.with_values({"compressor": {"threshold_db": -25.0, "ratio": 8.0}})
    assert not any(audible_effects(table, x, sample_rate=RATE).values())
    raised = table.with_values({"upward_compressor": {"threshold_db": 0.0, "ratio": 4.0}})
    assert audible_effects(raised, x, sample_rate=RATE)["compressor"]


def test_the_last_trace_of_an_effect_is_not_heard_and_more_of_it_is(voice):
    assert not verdict(voice, Reverb(), wet_level=0.0, dry_level=0.4)
    assert [verdict(voice, Reverb(), wet_level=wet) for wet in (1e-4, 0.4)] == [False, True]
    assert [verdict(voice, Distortion(), drive_db=drive, mix=1.0) for drive in (0.5, 30.0)] == [False, True]
