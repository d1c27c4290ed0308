import msgspec
import numpy as np
import pytest

import fxst
from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.effects import StereoWidth
from fxst.transfer import style_transfer
from fxst.transfer.descriptors import Excerpt, active_level_db, describe, mean_descriptors, side_db
from fxst.transfer.level_matching import rendered
from fxst.transfer.width_matching import match_width

STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.bypassed(STUDIO.defaults()))
RATE = 44_100


def scaled(x, width):
    return StereoWidth().exact({"width": width}, sample_rate=RATE, channels=2)(x)


def matched(x, reference, table=NOTHING):
    """Match the width of a recording; return the whole table."""
    rows = match_width(table.chain, table.rows, Excerpt(x, RATE), describe(Excerpt(reference, RATE)))
    return Table(table.chain, rows)


def width(table):
    """Return the width that a table renders with: 1 where it is bypassed."""
    return table.chain.stages(table)[-1].values["width"]


@pytest.fixture(scope="module")
def song(speech):
    """A stereo recording: a voice in the middle, and another one at the sides, 14 dB softer or so."""
    middle, sides = speech(RATE, 2, 3)
    return np.stack([middle + 0.2 * sides, middle - 0.2 * sides])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 1.6, 2.5])
def test_the_width_follows_the_gain_of_the_side(song, share):
    x = Excerpt(song, RATE)
    assert side_db(Excerpt(scaled(song, share), RATE)) == pytest.approx(side_db(x) + 20 * np.log10(share), abs=1e-3)
    longer = np.concatenate([song, 1e-3 * scaled(song, 9.0)], axis=1)  # pauses do not count
    assert side_db(Excerpt(longer, RATE)) == pytest.approx(side_db(x), abs=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.7, 1.5, 2.0])
def test_a_known_width_is_found(song, share):
    narrow = scaled(song, share)
    assert width(matched(narrow, song)) == pytest.approx(1 / share, rel=0.02)
    assert width(matched(song, narrow)) == pytest.approx(share, rel=0.02)


def test_little_and_much(song):
    assert not matched(scaled(song, 1.1), song).chain.stages(matched(scaled(song, 1.1), song))[-1].active
    assert width(matched(scaled(song, 0.2), song)) == 2.0
    assert width(matched(song, scaled(song, 0.05))) == 0.25


def test_mono_tells_nothing_and_stays_as_it_is(song):
    mono, middle = song[:1], np.repeat(song[:1], 2, axis=0)
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(song.shape).astype(np.float32)
    nearly = middle + hiss * np.array([[1], [-1]], np.float32)
    inverted = middle * np.array([[1], [-1]], np.float32)
    one_sided = middle * np.array([[1], [0.001]], np.float32)
    for of_no_width in (mono, middle, nearly, inverted, one_sided, 0 * song, np.repeat(mono, 6, axis=0)):
        assert side_db(Excerpt(of_no_width, RATE)) is None
        assert matched(song, of_no_width) == NOTHING
        assert matched(of_no_width, song) == NOTHING
    assert side_db(Excerpt(song, RATE, surround=True)) is None


def test_nothing_is_widened_beyond_uncorrelated_channels(noise):
    uncorrelated = noise(RATE, 2, 2)
    narrow, wide, wider = (scaled(uncorrelated, share) for share in (0.6, 1.5, 2.0))
    reached = scaled(narrow, width(matched(narrow, wide)))
    assert np.corrcoef(reached)[0, 1] == pytest.approx(0, abs=0.01)
    assert matched(wide, wider) == NOTHING  # what is wider already stays
    assert width(matched(wider, wide)) == pytest.approx(0.75, rel=0.02)


@pytest.mark.parametrize("values", [{}, {"distortion": {"drive_db": 18.0, "mix": 0.7}}], ids=["clean", "distorted"])
def test_the_level_stays(song, values):
    table = NOTHING.with_values({"compressor": {"ratio": 2.0, "threshold_db": -20.0, "makeup_db": 3.0}} | values)
    after = matched(song, scaled(song, 3.0), table)
    assert width(after) > 1.5
    levels = [active_level_db(rendered(STUDIO, rows.rows, Excerpt(song, RATE))) for rows in (table, after)]
    assert levels[1] == pytest.approx(levels[0], abs=0.1)
    without = after.with_values({"compressor": {"makeup_db": 3.0}})
    assert abs(active_level_db(rendered(STUDIO, without.rows, Excerpt(song, RATE))) - levels[0]) > 0.2


def test_a_reverb_counts(song):
    reverb = NOTHING.with_values({"reverb": {"wet_level": 0.4, "dry_level": 0.4, "room_size": 0.9}})
    narrow = scaled(song, 0.4)
    after = matched(narrow, song, reverb)
    output = rendered(STUDIO, after.rows, Excerpt(narrow, RATE))
    assert side_db(output) == pytest.approx(side_db(Excerpt(song, RATE)), abs=0.2)
    assert width(after) < 0.95 * width(matched(narrow, song))  # it is wide by itself


def test_a_chain_without_the_effect_or_the_gain(song):
    eq = CHAINS["eq"]
    assert matched(scaled(song, 0.5), song, Table(eq, eq.defaults())) == Table(eq, eq.defaults())
    alone = Chain("alone", (StereoWidth(),))
    table = matched(scaled(song, 0.2), song, Table(alone, alone.bypassed(alone.defaults())))
    assert width(table) == 2.0
    assert width(matched(song, scaled(song, 0.1), Table(alone, alone.bypassed(alone.defaults())))) == pytest.approx(
        0.1, rel=0.02
    )


def test_the_mean_of_several_references_is_that_of_those_with_a_width(song):
    wide, narrow, mono = (describe(Excerpt(x, RATE)) for x in (song, scaled(song, 0.5), song[:1]))
    assert mean_descriptors([wide, narrow], [1, 1]).side_db == pytest.approx(wide.side_db - 3.0103, abs=0.001)
    assert mean_descriptors([wide, mono], [1, 5]).side_db == pytest.approx(wide.side_db)
    assert mean_descriptors([mono, mono], [1, 5]).side_db is None
    assert mean_descriptors([wide, mono], [0, 5]).side_db is None


@pytest.fixture(scope="module")
def studio():
    return fxst.load("studio")


def test_a_model_sets_the_width_of_stereo_and_leaves_mono_alone(studio, song):
    narrow = scaled(song, 0.5)
    table = studio.predict(narrow, song, sample_rate=RATE)
    stage = STUDIO.stages(table)[-1]
    assert stage.active
    assert "stereo_width" not in table.probabilities
    output = style_transfer.render(narrow, table, sample_rate=RATE)
    before, after, reference = (side_db(Excerpt(x, RATE)) for x in (narrow, output, song))
    assert abs(after - reference) < 0.5 * abs(before - reference)
    for pair in ((narrow[:1], song), (narrow, song[:1]), (narrow, np.repeat(song[:1], 2, axis=0))):
        assert "stereo_width" in studio.predict(*pair, sample_rate=RATE).bypassed


def test_the_level_is_as_right_as_without_it(studio, song):
    narrow = scaled(song, 0.5)
    analysis = studio.analyse([narrow], sample_rate=RATE)
    wide = studio.profile(studio.analyse([song], sample_rate=RATE), loudness_lufs=None)
    no_width = msgspec.structs.replace(wide, descriptors=msgspec.structs.replace(wide.descriptors, side_db=None))
    levels = [
        active_level_db(Excerpt(style_transfer.render(narrow, table, sample_rate=RATE), RATE))
        for table in (studio.choose(analysis, profile) for profile in (wide, no_width))
    ]
    assert levels[0] == pytest.approx(levels[1], abs=0.2)
