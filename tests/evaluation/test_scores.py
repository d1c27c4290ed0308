import math
from dataclasses import replace

import numpy as np
import pytest

from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.errors import AudioError
from fxst.evaluation.items import Item
from fxst.evaluation.scores import SETTINGS, score_item, settings_error
from fxst.evaluation.systems import Output

RATE = 24_000
EQ = CHAINS["eq"]
TRUE = Table(EQ, tuple(replace(row, value=6.0) if row.parameter == "peak4_gain_db" else row for row in EQ.defaults()))


def noise(channels, samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


class Items:
    """Two items, the second of which cannot be had."""

    names = ("good", "bad")

    def __init__(self, *, has_targets=True, settings=None):
        self.has_targets, self._settings = has_targets, settings

    def __getitem__(self, index):
        if index:
            raise AudioError("The file is damaged.")
        x = noise(1, 70_000)
        target = x if self.has_targets else None
        return Item("good", "voice", x, noise(2, 50_000, 1), target, RATE, 44_100, self._settings, {"from": "noise"})


def by_system(index=0, items=None, **systems):
    scored = score_item(items or Items(), index, systems, pesq=False)
    return {score.system: score for score in scored.scores}


def unchanged(item):
    return Output(item.input)


def crash(item):
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    ("system", "error"),
    [
        (crash, "ZeroDivisionError: by nothing"),
        (lambda item: Output(item.input * np.nan), "not finite"),
        (lambda item: Output(item.input[:, 1:]), "shape"),
        (lambda item: Output(None), "shape"),
    ],
)
def test_a_system_that_fails_is_missing_and_the_others_go_on(system, error):
    found = by_system(broken=system, perfect=unchanged)
    assert all(math.isnan(value) for value in found["broken"].values.values())
    assert error in found["broken"].error
    perfect = found["perfect"].values
    # Too short for a range of loudness; and the reference is another noise.
    assert {name for name, value in perfect.items() if value != 0} == {
        "lra_lu", "af", "af_spectrum", "af_crest", "af_width"
    }  # fmt: skip
    assert found["perfect"].error == ""


def test_an_item_that_cannot_be_had_is_missing_for_all():
    for score in by_system(1, one=unchanged, two=unchanged).values():
        assert score.error == "The file is damaged."
        assert score.values
        assert all(math.isnan(value) for value in score.values.values())


def test_an_interrupt_ends_it():
    def interrupted(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        by_system(one=interrupted)


def test_without_a_target_only_what_needs_none_is_measured():
    values = by_system(items=Items(has_targets=False), one=unchanged)["one"].values
    assert {"ltas_db", "cfe", "rms", "lufs", "sce"} <= values.keys()
    assert not {"mrstft", "msd", "mae", "pesq", "noise_db", "harm", "further", "noisy"} & values.keys()
    # White noise against white noise of the same power, at another rate and in stereo.
    assert values["rms_db"] < 0.1
    # The noise floor is the input's own business.
    assert values["noise_floor_db"] == 0
    louder = by_system(items=Items(has_targets=False), one=lambda item: Output(2 * item.input))["one"].values
    assert louder["noise_floor_db"] == pytest.approx(6.0206, abs=1e-3)
    assert "noise_floor_db" not in by_system(one=unchanged)["one"].values


def test_rates_are_of_the_input_and_the_reference():
    """The input is the target, so any change leads away from it; the reference is louder than both."""

    class Louder(Items):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return replace(item, reference=4 * item.input, reference_sample_rate=RATE)

    systems = {
        "unchanged": unchanged,
        "louder": lambda item: Output(2 * item.input),
        "softer": lambda item: Output(0.5 * item.input),
        "broken": crash,
    }
    found = by_system(items=Louder(), **systems)
    rates = {name: [found[name].values[rate] for rate in ("nearer", "further", "harm", "noisy")] for name in systems}
    assert rates["unchanged"] == [0, 0, 0, 0]
    assert rates["louder"] == [1, 1, 1, 0]
    assert rates["softer"] == [0, 1, 1, 0]
    assert all(math.isnan(rate) for rate in rates["broken"])
    # Against the reference, although there is a target.
    assert found["louder"].values["af"] < found["unchanged"].values["af"] < found["softer"].values["af"]
    assert found["unchanged"].values["mrstft"] == 0


def test_what_was_drawn_and_what_came_out_is_handed_on():
    kept = []
    scored = score_item(
        Items(), 0, {"one": unchanged, "broken": crash}, pesq=False, keep=lambda item, outputs: kept.append(outputs)
    )
    assert (scored.name, scored.group, scored.drawn) == ("good", "voice", {"from": "noise"})
    assert [list(outputs) for outputs in kept] == [["one"]]


def moved(**knobs):
    """The true table with some knobs turned, in shares of their ranges."""
    rows = []
    for row in TRUE:
        share = knobs.get(row.parameter, 0.0)
        rows.append(replace(row, value=row.value + share * (row.maximum - row.minimum)))
    return Table(EQ, tuple(rows))


def test_the_error_of_settings_is_the_mean_share_of_the_ranges():
    assert settings_error(TRUE, TRUE) == 0
    off = moved(low_shelf_gain_db=0.3, peak1_gain_db=-0.3)
    assert settings_error(off, TRUE) == settings_error(TRUE, off) == pytest.approx(100 * 0.6 / 6)


def test_settings_of_another_chain_have_no_error():
    other = CHAINS["eq-comp"]
    assert settings_error(Table(other, other.defaults()), TRUE) is None


def bypassed(*labels, chain=CHAINS["studio"]):
    """A table with every knob in the middle, and these effects out of the way."""
    return Table(chain, chain.settings(np.full(len(chain.knobs), 0.6), bypassed=labels))


def test_the_knobs_of_what_is_not_heard_are_not_asked_for():
    true = bypassed("reverb", "distortion")
    found = Table(
        true.chain,
        tuple(replace(row, value=row.minimum) if row.parameter in ("room_size", "drive_db") else row for row in true),
    )
    assert settings_error(found, true) == 0
    assert settings_error(found, bypassed("distortion")) > 0
    assert settings_error(true, bypassed(*true.chain.labels)) is None


def test_what_is_heard_is_told_where_the_true_settings_are_known():
    bass = {"parametric_eq": {"low_shelf_gain_db": 24.0, "high_shelf_gain_db": -24.0}}  # all bands alike are a gain
    told = bypassed("upward_compressor", "distortion", "compressor").with_values(bass)
    systems = {
        "told": lambda item: Output(item.input, told),
        "equaliser": lambda item: Output(item.input, TRUE),
        "silent": unchanged,
        "broken": crash,
    }
    true = bypassed("upward_compressor", "reverb", "compressor").with_values(bass)
    nothing = dict.fromkeys(true.chain.predicted.labels, False)
    scored = score_item(Items(settings=true), 0, systems, pesq=False)
    assert scored.audible == nothing | {"parametric_eq": True, "distortion": True}
    found = {score.system: score.audible for score in scored.scores}
    assert found["told"] == nothing | {"parametric_eq": True, "reverb": True}
    # A chain without an effect leaves it out.
    assert found["equaliser"] == nothing | {"parametric_eq": True}
    assert found["silent"] is None
    assert found["broken"] is None


def test_settings_are_scored_where_the_true_ones_are_known():
    systems = {"told": lambda item: Output(item.input, moved(low_shelf_gain_db=0.3)), "silent": unchanged}
    found = by_system(items=Items(settings=TRUE), **systems)
    assert found["told"].values[SETTINGS] == pytest.approx(5)
    assert SETTINGS not in found["silent"].values
    assert SETTINGS not in by_system(**systems)["told"].values
