"""The downward expander: transparent above its threshold, steady at it, and slow to close."""

import numpy as np
import pytest

from fxst.effects import Expander

RATE = 24_000
VALUES = {"threshold_db": -40.0, "ratio": 4.0, "range_db": 20.0, "attack_ms": 2.0, "release_ms": 500.0}


def tone(level_db, seconds=1.0, hz=200.0):
    t = np.arange(round(seconds * RATE)) / RATE
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * hz * t))[None].astype(np.float32)


def rendered(x, **changes):
    return Expander().exact({**VALUES, **changes}, sample_rate=RATE, channels=len(x))(x)


def gains_db(x, y):
    """Return the gain in every hundredth of a second."""
    powers = [np.square(z[0, : z.shape[1] // 240 * 240].reshape(-1, 240), dtype=float).mean(axis=1) for z in (x, y)]
    return 10 * np.log10(powers[1] / powers[0])


@pytest.mark.parametrize("level_db", [-39, -20, 0])
@pytest.mark.parametrize("hz", [30, 200, 5000])
def test_above_its_threshold_it_passes_sound_bit_for_bit(level_db, hz):
    x = tone(level_db + 1.0, hz=hz)
    np.testing.assert_array_equal(rendered(x, release_ms=1000.0), x)


@pytest.mark.parametrize("level_db", [-45, -50, -60, -80])
def test_below_it_lowers_by_the_ratio_and_by_its_range_at_most(level_db):
    x = tone(level_db, 3)
    lowered_db = -20 * np.log10(np.abs(rendered(x))[:, -RATE:].max() / np.abs(x)[:, -RATE:].max())
    under_db = -40 - level_db
    assert lowered_db == pytest.approx(20 * (1 - np.exp(-3 * under_db / 20)), abs=0.6)
    assert lowered_db <= 20
    assert -20 * np.log10(np.abs(rendered(x, range_db=6.0))[:, -RATE:].max() / np.abs(x)[:, -RATE:].max()) <= 6


def test_the_end_of_a_word_is_not_cut():
    # A vowel, and a consonant far below the threshold for as long as consonants last.
    x = np.concatenate([tone(-10, 0.4), tone(-55, 0.1)], axis=1)
    y = rendered(x)
    np.testing.assert_array_equal(y, x)
    # And it does close, smoothly, when nothing follows.
    x = np.concatenate([tone(-10, 0.4), tone(-55, 2.0)], axis=1)
    gains = gains_db(x, rendered(x))
    assert (gains[:50] == 0).all()
    assert gains[-1] < -15
    assert np.diff(gains).min() > -4  # dB in a hundredth of a second


def test_a_word_begins_at_once():
    x = np.concatenate([tone(-60, 1.0), tone(-15, 0.2)], axis=1)
    y = rendered(x)
    late = round(1.005 * RATE)
    np.testing.assert_array_equal(y[:, late:], x[:, late:])


def test_it_does_not_chatter_at_its_threshold():
    rng = np.random.default_rng(0)
    # Noise whose envelope swings around the threshold many times a second.
    swing = 10 ** ((-47 + 4 * np.sin(2 * np.pi * 7 * np.arange(3 * RATE) / RATE)) / 20)
    x = (swing * rng.uniform(-1, 1, len(swing)))[None].astype(np.float32)
    gains = gains_db(x, rendered(x))[100:]
    assert -10 < gains.mean() < -0.1
    assert np.ptp(gains) < 2


def test_all_channels_get_the_gain_of_the_loudest():
    loud, soft = tone(-10), tone(-60, hz=333)
    y = rendered(np.concatenate([loud, soft]))
    np.testing.assert_array_equal(y, np.concatenate([loud, soft]))
    both = rendered(np.concatenate([0.01 * loud, soft]))
    gains = [
        y[RATE // 2 :] / np.where(x == 0, 1, x)[RATE // 2 :]
        for x, y in zip((0.01 * loud[0], soft[0]), both, strict=True)
    ]
    clear = (np.abs(0.01 * loud[0]) > 1e-4)[RATE // 2 :] & (np.abs(soft[0]) > 1e-4)[RATE // 2 :]
    np.testing.assert_allclose(gains[0][clear], gains[1][clear], rtol=1e-3)


def test_a_range_of_nothing_or_a_ratio_of_one_changes_nothing():
    x = tone(-70)
    for values in ({"range_db": 0.0}, {"ratio": 1.0}):
        np.testing.assert_array_equal(rendered(x, **values), x)
        assert Expander().is_transparent({**VALUES, **values})
    assert not Expander().is_transparent(VALUES)


def test_the_lfe_does_not_hold_it_open():
    from fxst.chains.chain import Chain
    from fxst.chains.table import Table
    from fxst.dsp.channels import ChannelLayout

    chain = Chain("one", (Expander(),))
    table = Table(chain, chain.defaults()).with_values({"expander": VALUES})
    x = np.zeros((6, 2 * RATE), np.float32)
    layout = ChannelLayout.usual(6)
    lfe = next(index for index in range(6) if index not in layout.heard)
    x[lfe], x[2] = tone(-10, 2, hz=40), tone(-60, 2)
    y = chain.exact(table, sample_rate=RATE, channels=6, layout=layout)(x)
    assert gains_db(x[2:3], y[2:3])[-1] < -15
