import pytest

from fxst.chains.amounts import amount_of_each, parse_amounts, written
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import SettingsError

STUDIO = CHAINS["studio"]
ALL = dict.fromkeys(STUDIO.labels, 1.0)


def changed(**effects):
    """A table of the studio's in which every effect does something."""
    values = {
        "parametric_eq": {"peak1_gain_db": 8.0},
        "compressor": {"ratio": 4.0, "makeup_db": 6.0},
        "distortion": {"mix": 0.5},
        "reverb": {"wet_level": 0.2, "dry_level": 0.4},
        "stereo_width": {"width": 1.8},
    }
    return Table(STUDIO, STUDIO.defaults()).with_values(values | effects)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["80"], {"": 0.8}),
        (["80%"], {"": 0.8}),
        (["eq=50", "comp=120", "dist=0", "reverb=33.3"], [("parametric_eq", 0.5), ("compressor", 1.2)]),
        (["EQ=50", "width=30"], {"parametric_eq": 0.5, "stereo_width": 0.3}),
        (["compressor=10", "comp2=20"], {"compressor": 0.1, "compressor2": 0.2}),
        ([], {}),
    ],
)
def test_words_are_read(given, expected):
    assert dict(expected).items() <= parse_amounts(given).items()


@pytest.mark.parametrize("word", ["", "=50", "eq=", "eq", "-1", "151", "eq=nan", "inf", "1e999", "5 0"])
def test_what_is_no_share_is_refused_in_a_sentence(word):
    with pytest.raises(SettingsError, match="is not an amount of the style"):
        amount_of_each(parse_amounts([word]), STUDIO.labels)


def test_an_effect_that_is_not_in_the_chain_is_named():
    with pytest.raises(SettingsError, match=r"no effect 'chorus' in the chain; choose from: upward_compressor"):
        amount_of_each(parse_amounts(["chorus=50"]), STUDIO.labels)
    with pytest.raises(SettingsError, match=r"from 0 to 1\.5, not 2"):
        amount_of_each(2.0, STUDIO.labels)


def test_an_effects_own_amount_stands_for_that_of_all():
    assert amount_of_each({"": 0.8, "eq": 0.5}, STUDIO.labels) == dict.fromkeys(ALL, 0.8) | {"parametric_eq": 0.5}
    assert amount_of_each({"comp": 0.0}, STUDIO.labels) == ALL | {"compressor": 0.0}
    assert amount_of_each(1.5, STUDIO.labels) == dict.fromkeys(ALL, 1.5)


def test_one_effect_is_turned_down_and_the_others_stay():
    table, half = changed(), changed().at_amount({"eq": 0.5})
    assert half.to_dict()["parametric_eq"]["peak1_gain_db"] == 4.0
    assert {k: v for k, v in half.to_dict().items() if k != "parametric_eq"} == {
        k: v for k, v in table.to_dict().items() if k != "parametric_eq"
    }
    without = table.at_amount({"reverb": 0, "dist": 0})
    assert set(without.bypassed) == {"distortion", "reverb"}


def test_what_goes_beyond_an_effect_stops_at_its_end():
    far = changed(distortion={"mix": 0.9}, parametric_eq={"peak1_gain_db": 20.0}).at_amount(1.5)
    values = far.to_dict()
    assert values["distortion"]["mix"] == 1.0
    assert values["parametric_eq"]["peak1_gain_db"] == 24.0
    assert values["compressor"]["makeup_db"] == 9.0


def test_a_width_moves_between_none_and_its_own():
    wide = changed()
    widths = [wide.at_amount({"width": share}).to_dict()["stereo_width"]["width"] for share in (0, 0.5, 1, 1.5)]
    assert widths == [1.0, 1.4, 1.8, 2.0]  # 2.2 is more than the effect can
    assert "stereo_width" in wide.at_amount({"width": 0.0}).bypassed


def test_a_table_tells_how_much_is_in_it():
    assert changed().at_amount(0.8).provenance["amount"] == "80 %"
    told = changed().at_amount(0.8).at_amount({"eq": 0.5}).provenance["amount"]
    others = "compressor 100 %, distortion 100 %, reverb 100 %, stereo_width 100 %"
    assert told == f"80 %, and of that upward_compressor 100 %, parametric_eq 50 %, {others}"
    assert written(ALL) == "100 %"
