"""Rows of models."""

import numpy as np

from fxst.evaluation.items import Item
from fxst.evaluation.systems import applied
from fxst.transfer.descriptors import Excerpt, active_level_db
from fxst.transfer.style_transfer import load

RATE = 24_000


def level_db(x):
    return active_level_db(Excerpt(x, RATE))


def test_a_soft_reference_is_a_style_though_apply_takes_the_level_of_floats_for_arbitrary(speech):
    """Targets of chains with a low threshold are as soft as that, and an evaluation measures levels."""
    x = speech(RATE, 1, 8)
    half = x.shape[1] // 2
    first, soft = x[:, :half], (10 ** (-35 / 20) * x[:, half:]).astype(np.float32)
    item = Item("soft", "voice", first, soft, None, RATE, RATE)
    studio = load("studio")
    output = applied(studio)(item)
    assert abs(level_db(output.audio) - level_db(soft)) < 6
    np.testing.assert_array_equal(output.audio, studio.render(first, output.settings, sample_rate=RATE))
    as_applied = studio.apply(first, soft, sample_rate=RATE)
    assert level_db(as_applied.audio) - level_db(soft) > 12
