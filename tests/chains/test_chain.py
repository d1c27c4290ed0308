import contextlib
import json
import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.effects import EFFECTS, Compressor, Distortion, ParametricEQ, Reverb
from fxst.errors import FxstError, SettingsError

with suppress(ImportError):  # the extra train
    import torch

every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.name)


def random_knobs(chain, batch=1, seed=0):
    return np.random.default_rng(seed).random((batch, len(chain.knobs)))


def render_rows(chain, rows, x):
    return chain.exact(rows, sample_rate=48_000, channels=len(x))(x)


# --- rendering -------------------------------------------------------------------------------------------------------


@every_chain
def test_autodiff_nulls_against_exact(chain, speech, noise, null_db):
    nulls = []
    for seed, signal in enumerate((speech, noise)):
        for sample_rate in (24_000, 44_100, 48_000):
            for channels in (1, 2):
                x = signal(sample_rate, channels, seconds=0.4)
                knobs = torch.from_numpy(random_knobs(chain, 5, seed=len(nulls) + seed))
                batch = torch.from_numpy(x).repeat(len(knobs), 1, 1)
                for row, y in zip(knobs, chain.autodiff(batch, knobs, sample_rate=sample_rate), strict=True):
                    process = chain.exact(chain.settings(row), sample_rate=sample_rate, channels=channels)
                    nulls.append(null_db(y, process(x)))
    assert len(nulls) >= 60
    assert np.median(nulls) <= -100
    assert max(nulls) <= -80


@every_chain
@pytest.mark.parametrize("blocks", [(1,), (7,), (4096,), (2**17,), (1, 7, 4096)], ids=str)
def test_blocks_render_as_the_whole(chain, blocks, noise):
    time = 500 if blocks == (1,) else 2**17 + 100 if blocks == (2**17,) else 15_000
    x = noise(48_000, 2, seconds=time / 48_000)
    table = chain.settings(random_knobs(chain)[0])
    whole = chain.exact(table, sample_rate=48_000, channels=2)(x)
    process = chain.exact(table, sample_rate=48_000, channels=2)
    rendered, start = [], 0
    while start < time:
        length = blocks[len(rendered) % len(blocks)]
        rendered.append(process(x[:, start : start + length]))
        start += length
    np.testing.assert_array_equal(np.concatenate(rendered, 1), whole)


def test_effects_follow_one_another_in_order(noise):
    x = noise(24_000)
    loud_first = Chain("a", (Distortion().restrict(drive_db=20.0), Compressor()))
    loud_last = Chain("b", (Compressor(), Distortion().restrict(drive_db=20.0)))
    y = {}
    for chain in (loud_first, loud_last):
        y[chain.name] = chain.exact(chain.defaults(), sample_rate=24_000, channels=1)(x)
        expected = x
        for effect in chain.effects:
            values = {p.name: p.default for p in effect.parameters}
            expected = effect.exact(values, sample_rate=24_000, channels=1)(expected)
        np.testing.assert_array_equal(y[chain.name], expected)
    assert not np.allclose(y["a"], y["b"])


def test_knobs_of_another_precision_render_in_that_of_the_audio(noise):
    chain = CHAINS["fx"]
    x = torch.from_numpy(noise(24_000))[None]
    knobs = torch.full((1, len(chain.knobs)), 0.5)
    expected = chain.autodiff(x, knobs, sample_rate=24_000)
    for precision in (torch.bfloat16, torch.float64):
        settings = knobs.to(precision).requires_grad_()
        y = chain.autodiff(x, settings, sample_rate=24_000)
        y.square().sum().backward()
        assert y.dtype == torch.float32
        assert settings.grad.isfinite().all()
        torch.testing.assert_close(y, expected)


def test_a_chain_renders_a_batch_of_six_channels():
    chain = CHAINS["fx"]
    x = 0.1 * torch.randn(2, 6, 1000, generator=torch.manual_seed(1))
    assert chain.autodiff(x, torch.from_numpy(random_knobs(chain, 2)), sample_rate=24_000).shape == x.shape


# --- knobs, values and tables ----------------------------------------------------------------------------------------


@every_chain
def test_knobs_are_split_in_order(chain):
    knobs = random_knobs(chain, 3)
    values = chain.split(knobs)
    assert [list(of_effect) for of_effect in values] == [[p.name for p in e.parameters] for e in chain.effects]
    by_label = dict(zip(chain.labels, values, strict=True))
    for column, (label, p) in enumerate(chain.knobs):
        np.testing.assert_array_equal(by_label[label][p.name], p.to_value(knobs[:, column]))
        assert p.minimum != p.maximum
    for effect, of_effect in zip(chain.effects, values, strict=True):
        for p in effect.parameters:
            assert of_effect[p.name].shape == (3,)
            if p.constant:
                assert (of_effect[p.name] == p.minimum).all()


@every_chain
def test_each_knob_moves_one_value(chain):
    low = chain.settings(np.zeros(len(chain.knobs)))
    for column, (label, p) in enumerate(chain.knobs):
        knobs = np.zeros(len(chain.knobs))
        knobs[column] = 1
        moved = [row for row, before in zip(chain.settings(knobs), low, strict=True) if row != before]
        assert [(row.effect, row.parameter, row.value) for row in moved] == [(label, p.name, p.maximum)]


@pytest.mark.parametrize("shape", [(8,), (1, 7), (1, 9), (1, 8, 1)], ids=str)
def test_knobs_of_another_shape_are_refused(shape):
    with pytest.raises(SettingsError, match="8 knobs"):
        CHAINS["eq-comp"].split(np.zeros(shape))


@every_chain
def test_a_table_has_a_row_for_every_parameter_constants_included(chain):
    table = chain.settings(random_knobs(chain)[0])
    expected = [
        (label, p.name, p.unit, p.minimum, p.maximum)
        for label, effect in zip(chain.labels, chain.effects, strict=True)
        for p in effect.parameters
    ]
    assert [(row.effect, row.parameter, row.unit, row.minimum, row.maximum) for row in table] == expected
    assert all(type(row.value) is float and float(f"{row.value:.7g}") == row.value for row in table)


@every_chain
def test_a_table_says_all_that_is_rendered(chain):
    knobs = random_knobs(chain, seed=3)
    table = chain.settings(knobs[0])
    values = [stage.values for stage in chain.stages(table)]
    assert [list(of_effect.values()) for of_effect in values] == [
        [row.value for row in table if row.effect == label] for label in chain.labels
    ]
    for read, predicted in zip(values, chain.split(knobs), strict=True):
        for name, value in read.items():
            assert value == pytest.approx(predicted[name].item(), rel=1e-6, abs=1e-6)
    shuffled = [table[i] for i in np.random.default_rng(0).permutation(len(table))]
    assert [stage.values for stage in chain.stages(shuffled)] == values


@every_chain
def test_the_ends_of_every_knob_can_be_rendered(chain, noise):
    x = noise(24_000, 2, seconds=0.1)
    for end in (np.zeros, np.ones):
        y = chain.exact(chain.settings(end(len(chain.knobs))), sample_rate=24_000, channels=2)(x)
        assert np.isfinite(y).all()


def edited(table, parameter, value):
    return [replace(row, value=value) if row.parameter == parameter else row for row in table]


def test_an_edited_table_may_leave_the_chains_range_but_not_the_effects():
    chain = CHAINS["fx"]
    table = chain.defaults()
    assert chain.stages(edited(table, "threshold_db", -55.0))[1].values["threshold_db"] == -55
    assert chain.stages(edited(table, "damping", 0.9))[3].values["damping"] == 0.9  # a constant of the chain
    for parameter, value in (("threshold_db", -61.0), ("room_size", 1.01), ("peak1_f0_hz", 0.0), ("ratio", math.nan)):
        with pytest.raises(SettingsError, match=f"{parameter} is .*; it must lie between"):
            chain.exact(edited(table, parameter, value), sample_rate=24_000, channels=1)


def test_a_table_of_something_else_is_refused():
    chain = CHAINS["eq-comp"]
    table = chain.defaults()
    with pytest.raises(SettingsError, match="no row for parametric_eq low_shelf_gain_db"):
        chain.stages(table[1:])
    with pytest.raises(SettingsError, match="low_shelf_gain_db twice"):
        chain.stages([*table, table[0]])
    with pytest.raises(SettingsError, match="has no distortion drive_db, distortion mix, reverb room_size"):
        chain.stages(CHAINS["fx"].defaults())


def test_an_effect_that_comes_twice_has_a_row_for_each():
    chain = Chain("twice", (Compressor(), Distortion(), Compressor()))
    assert chain.labels == ("compressor", "distortion", "compressor2")
    table = [replace(row, value=20.0 if row.effect == "compressor" else 1.0) for row in chain.defaults()]
    table = [replace(row, value=10.0) if row.parameter in ("attack_ms", "release_ms") else row for row in table]
    first, _, second = chain.stages(table)
    assert (first.values["ratio"], second.values["ratio"]) == (20, 1)


# --- specifications --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chain",
    [
        *CHAINS.values(),
        Chain("own", (ParametricEQ(kinds=("peak", "high_shelf")), Reverb(), Reverb())),
        Chain("nothing", ()),
    ],
    ids=lambda chain: chain.name,
)
def test_a_specification_says_all_about_a_chain(chain):
    assert Chain.from_spec(json.loads(json.dumps(chain.to_spec()))) == chain


def test_a_specification_is_plain_data_that_json_leaves_as_it_is():
    spec = CHAINS["fx"].to_spec()
    assert json.loads(json.dumps(spec)) == spec


def test_every_effect_can_be_in_a_specification():
    chain = Chain("all", tuple(kind() for kind in EFFECTS.values()))
    assert Chain.from_spec(chain.to_spec()) == chain


def of_reverb(change):
    """Return the specification of a chain with a reverb, changed."""
    spec = Chain("c", (Reverb(),)).to_spec()
    change(spec["effects"][0])
    return spec


@pytest.mark.parametrize("name", EFFECTS)
def test_a_specification_that_tells_no_ranges_is_refused(name):
    spec = Chain("c", (EFFECTS[name](),)).to_spec()
    spec["effects"][0]["parameters"] = []
    with pytest.raises(SettingsError):
        Chain.from_spec(spec)


@pytest.mark.parametrize(
    "change",
    [
        lambda effect: effect.update(effect="flanger"),
        lambda effect: effect.update(unheard_of=1),
        lambda effect: effect.update(parameters=[]),
        lambda effect: effect.pop("parameters"),
        lambda effect: effect["parameters"].pop(),
        lambda effect: effect["parameters"].reverse(),
        lambda effect: effect["parameters"][0].update(maximum=50.0),
        lambda effect: effect["parameters"][0].update(minimum=-1.0),
        lambda effect: effect["parameters"][0].update(maximum=10**400),
        lambda effect: effect["parameters"][0].update(unit="ms"),
        lambda effect: effect["parameters"][0].update(extra=1),
    ],
)
def test_a_specification_of_what_cannot_be_rendered_is_refused(change):
    with pytest.raises(SettingsError):
        Chain.from_spec(of_reverb(change))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["peak", "reverb"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=10,
)


@st.composite
def damaged_specifications(draw):
    """Take the specification of a chain and put anything anywhere."""
    spec = CHAINS["fx"].to_spec()
    place = spec
    while True:
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.integers(0, 4)) == 0:
            place[key] = draw(JSON)
            return spec
        place = place[key]


@given(damaged_specifications() | JSON)
def test_nothing_but_our_own_error_comes_out_of_a_damaged_specification(spec):
    with contextlib.suppress(FxstError):
        chain = Chain.from_spec(spec)
        # What is accepted can be rendered.
        table = chain.settings(np.full(len(chain.knobs), 0.5))
        y = chain.exact(table, sample_rate=24_000, channels=1)(np.zeros((1, 64), np.float32))
        assert np.isfinite(y).all()


@every_chain
def test_an_amount_leads_from_nothing_to_the_table_and_beyond(chain, noise):
    x = noise(24_000, 1, seconds=0.2)
    table = chain.settings(random_knobs(chain)[0])

    def change(amount):
        y = chain.exact(chain.at_amount(table, amount), sample_rate=24_000, channels=1)(x)
        return float(np.abs(y - x).mean())

    assert change(0) == 0
    assert chain.at_amount(table, 1.0) == table
    assert 0 < change(0.3) < change(0.7)
    values = [stage.values for stage in chain.stages(chain.at_amount(table, 1.5))]
    assert values != [stage.values for stage in chain.stages(table)]


def test_a_chain_without_its_comma_is_refused_in_a_sentence():
    with pytest.raises(SettingsError, match="takes a tuple of effects"):
        Chain("c", Compressor())


def test_a_bypassed_effect_lets_sound_pass_and_keeps_its_values(noise):
    x, chain = noise(48_000, 2), CHAINS["studio"]
    settings = chain.settings(random_knobs(chain)[0], bypassed=chain.labels)
    np.testing.assert_array_equal(render_rows(chain, settings, x), x)
    assert all(row.minimum <= row.value <= row.maximum for row in settings)
    active = tuple(replace(row, bypass=False) for row in settings)
    assert active == chain.settings(random_knobs(chain)[0])
    assert np.abs(render_rows(chain, active, x) - x).max() > 0.01
    one = chain.settings(random_knobs(chain)[0], bypassed=("reverb", "distortion", "compressor"))
    assert not np.array_equal(render_rows(chain, one, x), x)


def test_an_effect_that_is_bypassed_in_some_rows_only_is_refused():
    chain = CHAINS["studio"]
    rows = list(chain.settings(random_knobs(chain)[0], bypassed=["reverb"]))
    last = max(index for index, row in enumerate(rows) if row.effect == "reverb")
    rows[last] = replace(rows[last], bypass=False)
    with pytest.raises(SettingsError, match="reverb is bypassed in some of its rows only"):
        chain.stages(rows)


def test_an_amount_of_0_bypasses_what_no_value_can_and_leaves_the_values_within_their_limits(noise):
    x = noise(48_000, 1)
    for chain in (CHAINS["studio"], CHAINS["fx"]):
        nothing = chain.at_amount(chain.settings(random_knobs(chain)[0]), 0.0)
        np.testing.assert_array_equal(render_rows(chain, nothing, x), x)
        assert all(row.minimum <= row.value <= row.maximum for row in nothing if row.minimum < row.maximum)


def test_the_knobs_of_a_table_are_those_that_made_it():
    for chain in CHAINS.values():
        knobs = random_knobs(chain)[0]
        np.testing.assert_allclose(chain.knobs_of(chain.settings(knobs)), knobs, rtol=0, atol=1e-5)


def test_a_model_predicts_all_but_what_is_matched():
    studio = CHAINS["studio"]
    assert studio.predicted.labels == studio.labels[:-1]
    assert studio.predicted.effects == studio.effects[:-1]
    assert (len(studio.knobs), len(studio.predicted.knobs)) == (46, 45)
    for name in ("eq", "eq-comp", "fx"):
        assert CHAINS[name].predicted == CHAINS[name]


def test_a_table_of_what_a_model_predicts_is_completed_with_the_rest_bypassed(noise):
    studio, x = CHAINS["studio"], noise(48_000, 2)
    wide_first = Chain("wide first", (studio.effects[-1], *studio.effects[:-1]))
    for chain in (studio, wide_first):
        predicted = chain.predicted.settings(random_knobs(chain.predicted)[0], bypassed=["reverb"])
        table = chain.completed(predicted)
        assert [row for row in table if row.effect != "stereo_width"] == list(predicted)
        assert [stage.label for stage in chain.stages(table) if stage.bypass] == [
            label for label in chain.labels if label in ("reverb", "stereo_width")
        ]
        np.testing.assert_array_equal(render_rows(chain, table, x), render_rows(chain.predicted, predicted, x))
    assert CHAINS["fx"].completed(CHAINS["fx"].defaults()) == CHAINS["fx"].defaults()


def test_a_chain_has_one_gain_for_its_level_behind_its_equaliser():
    studio = CHAINS["studio"].effects
    assert CHAINS["studio"].gain == ("compressor", "makeup_db")
    assert CHAINS["eq-comp"].gain is None
    compressor, eq = studio[2], studio[1]
    assert Chain("two", (compressor, eq, compressor)).gain == ("compressor2", "makeup_db")
    assert Chain("before", (compressor, eq)).gain is None
