from dataclasses import replace

import numpy as np
import pytest
import torch

from fxst.chain import CHAINS, Chain
from fxst.effects import Compressor, ParametricEQ, Reverb
from fxst.evaluation.detection import heard
from fxst.tables import Table

STUDIO = CHAINS["studio"]
RATE = 44_100


def verdict(effect, sample_rate=RATE, **values):
    """Whether an effect is heard with these settings, and its defaults else."""
    chain = Chain("mine", (effect,))
    rows = tuple(replace(row, value=values.get(row.parameter, row.value)) for row in chain.defaults())
    assert values.keys() <= {row.parameter for row in rows}
    return heard(Table(chain, rows), sample_rate=sample_rate)[effect.name]


@pytest.mark.parametrize("away", [(), ("reverb",), ("parametric_eq", "compressor"), STUDIO.labels])
def test_what_is_out_of_the_way_is_not_heard(away):
    knobs = torch.full((len(STUDIO.knobs),), 0.6)
    found = heard(Table(STUDIO, STUDIO.settings(knobs, out_of_the_way=away)), sample_rate=RATE)
    assert found == {label: label not in away for label in STUDIO.labels}


@pytest.mark.parametrize(
    ("gain_db", "expected"), [(0.0, False), (0.9, False), (-0.9, False), (1.1, True), (-1.1, True)]
)
@pytest.mark.parametrize("band", ["low_shelf", "peak2", "high_shelf"])
def test_an_equaliser_is_heard_from_1_db_on(band, gain_db, expected):
    assert verdict(ParametricEQ(), **{f"{band}_gain_db": gain_db}) == expected


def test_it_is_the_curve_that_counts_and_not_the_bands():
    together = {"peak1_gain_db": 0.6, "peak2_gain_db": 0.6, "peak1_f0_hz": 500.0, "peak2_f0_hz": 500.0}
    assert verdict(ParametricEQ(), **together)
    # Two bands that undo each other do nothing.
    assert not verdict(ParametricEQ(), **together | {"peak1_gain_db": 12.0, "peak2_gain_db": -12.0})
    narrow = {"peak3_gain_db": 1.02, "peak3_q": 10.0}
    assert all(verdict(ParametricEQ(), peak3_f0_hz=hz, **narrow) for hz in np.geomspace(30, 15_000, 50))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ratio": 1.0, "makeup_db": 0.0}, False),
        ({"ratio": 1.0, "makeup_db": 2.0}, True),
        ({"threshold_db": -20.0, "ratio": 1.04}, False),  # 0.8 dB at full scale
        ({"threshold_db": -20.0, "ratio": 1.06}, True),
        ({"threshold_db": 3.0, "ratio": 20.0}, False),  # never reached
        ({"threshold_db": -20.0, "ratio": 2.0, "makeup_db": 10.0}, True),  # soft levels rise, full scale stays
    ],
)
def test_a_compressor_is_heard_from_1_db_on(values, expected):
    assert verdict(Compressor(), **values) == expected


def test_the_gain_at_full_scale_is_the_one_that_is_rendered():
    values = {"threshold_db": -20.0, "ratio": 1.06, "attack_ms": 0.1, "release_ms": 50.0, "makeup_db": 0.0}
    y = Compressor().exact(values, sample_rate=RATE, channels=1)(np.ones((1, RATE), np.float32))
    assert 20 * np.log10(y[0, -1]) == pytest.approx(-20 * (1 - 1 / 1.06), abs=0.01)


def test_whatever_else_is_not_transparent_is_heard():
    assert verdict(Reverb(), wet_level=0.001, dry_level=0.5)
    assert not verdict(Reverb(), wet_level=0.0, dry_level=0.5)
    assert verdict(Reverb(), wet_level=0.0, dry_level=0.4)
