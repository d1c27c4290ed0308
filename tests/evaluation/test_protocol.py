import json

import numpy as np
import pedalboard
import pytest
import soundfile

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.data.corruption import CorruptionBand, DynamicsCorruption, FrequencyCorruption
from fxst.effects import EFFECTS, declare_plugin
from fxst.effects.parameters import Parameter
from fxst.errors import SettingsError
from fxst.evaluation.protocol import PATCH_SAMPLES, DrawnItems, draw_styles
from fxst.evaluation.voices import Stretch, Voices, read

RATE = 24_000
PEAK = 10 ** (-12 / 20)


def from_list(drawn):
    """Make a style from what the list of items tells of it."""
    if drawn["kind"] == "frequency":
        return FrequencyCorruption(tuple(CorruptionBand(**band) for band in drawn["bands"]))
    return DynamicsCorruption(**drawn)


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Four voices of 13 s at 22,050 Hz, noises that swell; one of them silent in its middle."""
    folder = tmp_path_factory.mktemp("voices")
    generator = np.random.default_rng(0)
    for voice in range(4):
        seconds = np.arange(13 * 22_050) / 22_050
        x = 0.1 * generator.standard_normal(len(seconds)) * (1.2 + np.sin(2 * seconds + voice))
        if voice == 3:
            x[seconds > 5] = 0
        soundfile.write(folder / f"{voice}.wav", x, 22_050, subtype="FLOAT")
    return Voices(folder, split="all", split_seed=0, each_file=True)


def items(voices, chain=None, count=30, seed=0, sample_rate=RATE, **options):
    return DrawnItems(voices, chain=chain, sample_rate=sample_rate, count=count, seed=seed, **options)


@pytest.mark.parametrize("sample_rate", PATCH_SAMPLES)
def test_an_item_has_the_published_lengths_and_level(voices, sample_rate):
    for index in range(3):
        item = items(voices, sample_rate=sample_rate)[index]
        assert item.input.shape == item.target.shape == item.reference.shape == (1, PATCH_SAMPLES[sample_rate])
        assert item.sample_rate == item.reference_sample_rate == sample_rate
        # Both halves together peak at -12 dBFS; each alone may stay below.
        assert np.abs(item.target).max() <= PEAK * (1 + 1e-6)
        assert max(np.abs(item.target).max(), np.abs(item.reference).max()) == pytest.approx(PEAK, rel=1e-6)


def test_an_item_depends_on_the_seed_and_its_number_alone(voices):
    one, again = items(voices)[7], items(voices, count=8)[7]
    assert one.name == "p-24000-0-7"
    assert json.dumps(one.drawn) == json.dumps(again.drawn)
    for ours, theirs in ((one.input, again.input), (one.target, again.target), (one.reference, again.reference)):
        np.testing.assert_array_equal(ours, theirs)
    assert json.dumps(items(voices)[8].drawn) != json.dumps(one.drawn)
    assert json.dumps(items(voices, seed=1)[7].drawn) != json.dumps(one.drawn)


def test_the_list_of_items_makes_the_same_sound_again(voices):
    """What is written of an item is all that it is made of."""
    expanded = 0
    for index in range(40):
        if index >= 4 and expanded >= 2:
            break
        item = items(voices, count=40)[index]
        drawn = json.loads(json.dumps(item.drawn))
        # Every way that an item can be made: one in ten has an expander.
        has_expander = any(style["kind"] == "expander" for style in drawn["input"])
        if index >= 4 and not has_expander:
            continue
        expanded += has_expander
        stretches = tuple(Stretch(**stretch) for stretch in drawn["passage"])
        patch = read(stretches, samples=2 * PATCH_SAMPLES[RATE], sample_rate=RATE)
        base = patch * np.float32(PEAK / np.abs(patch).max())
        made = {}
        for role in ("input", "target"):
            x = base
            for style in map(from_list, drawn[role]):
                if role == "input" and getattr(style, "kind", "") == "expander":
                    x = x * np.float32(PEAK / np.abs(x).max())
                x = style.apply(x, sample_rate=RATE)
            ramp = np.minimum(1, np.arange(x.shape[1]) / (0.05 * RATE - 1))
            x = x * ramp * ramp[::-1]
            made[role] = x * (PEAK / np.abs(x).max())
        ours, theirs = np.split(np.arange(2 * PATCH_SAMPLES[RATE]), 2)
        if drawn["input_is"] == "second half":
            ours, theirs = theirs, ours
        np.testing.assert_allclose(item.input, made["input"][:, ours], atol=1e-6)
        np.testing.assert_allclose(item.target, made["target"][:, ours], atol=1e-6)
        np.testing.assert_allclose(item.reference, made["target"][:, theirs], atol=1e-6)
    assert expanded


def test_the_coins_fall_as_published():
    """75 % equalised, 10 % expanded, 75 % compressed; four standard errors of 2,000 throws."""
    rng = np.random.default_rng(0)
    drawn = [draw_styles(rng, sample_rate=RATE) for _ in range(2000)]
    for field, share in (
        ("equaliser", 0.75), ("expander", 0.1), ("target_equaliser", 0.75), ("target_compressor", 0.75),
    ):  # fmt: skip
        found = np.mean([getattr(styles, field) is not None for styles in drawn])
        assert found == pytest.approx(share, abs=4 * (share * (1 - share) / 2000) ** 0.5)


def test_either_half_is_drawn_of_every_voice_that_sounds(voices):
    drawn = [items(voices)[index].drawn for index in range(16)]
    assert {one["input_is"] for one in drawn} == {"first half", "second half"}
    assert {one["voice"] for one in drawn} == {"0.wav", "1.wav", "2.wav"}


def test_a_chain_hides_its_settings_in_the_target(voices):
    chain = CHAINS["eq-comp"]
    item = items(voices, chain)[3]
    assert item.settings.chain == chain
    rendered = chain.exact(item.settings, sample_rate=RATE, channels=1)(item.input)
    np.testing.assert_array_equal(item.target, rendered)
    assert item.drawn["settings"]["compressor threshold_db"] == next(
        row.value for row in item.settings if row.parameter == "threshold_db"
    )
    assert max(np.abs(item.input).max(), 0) <= PEAK * (1 + 1e-6)


STUDIO = CHAINS["studio"]


def heard(item):
    """Which effects made an item, as its table tells."""
    tables = zip(STUDIO.labels, STUDIO.effects, [stage.values for stage in STUDIO.stages(item.settings)], strict=True)
    return [label for label, effect, values in tables if not effect.is_transparent(values)]


@pytest.mark.parametrize("effects", [1, 2, 3, 4, 5])
def test_so_many_effects_as_are_asked_for_make_a_target(voices, effects):
    drawn = items(voices, STUDIO, effects=effects)
    combinations = set()
    for index in range(8):
        item = drawn[index]
        assert item.name == f"studio-{effects}-of-5-24000-0-{index}"
        assert len(heard(item)) == effects
        combinations.add(tuple(heard(item)))
        # The input stays dry, and the reference has been through the same settings.
        rendered = STUDIO.exact(item.settings, sample_rate=RATE, channels=1)(item.input)
        np.testing.assert_array_equal(item.target, rendered)
        if heard(item) != ["upward_compressor"]:  # which may find nothing that is as soft as its threshold
            assert not np.array_equal(item.target, item.input)
    assert len(combinations) > 1 or effects == 5


def test_every_effect_has_the_same_chance(voices):
    """The draw alone, of which an item's audio is made: four standard errors of 400."""
    drawn = items(voices, STUDIO, effects=2)
    rng = np.random.default_rng(0)
    tables = [drawn._settings(STUDIO, rng) for _ in range(400)]
    values = [[stage.values for stage in STUDIO.stages(table)] for table in tables]
    for place, effect in enumerate(STUDIO.predicted.effects):
        share = np.mean([not effect.is_transparent(one[place]) for one in values])
        assert share == pytest.approx(0.4, abs=4 * (0.4 * 0.6 / 400) ** 0.5)


class OnlyRandom:
    """A source of chance with the one method whose numbers are the same on any machine."""

    def __init__(self, rng):
        self.random = rng.random


def test_an_item_of_some_effects_asks_for_nothing_but_random_numbers(voices, monkeypatch):
    one, again = items(voices, STUDIO, effects=2)[5], items(voices, STUDIO, effects=2, count=8)
    monkeypatch.setattr(again, "_generator", lambda index: OnlyRandom(np.random.default_rng((0, index))))
    assert json.dumps(again[5].drawn) == json.dumps(one.drawn)
    np.testing.assert_array_equal(again[5].reference, one.reference)
    assert json.dumps(items(voices, STUDIO, effects=2, seed=1)[5].drawn) != json.dumps(one.drawn)


def test_more_effects_than_there_are_are_refused(voices):
    with pytest.raises(SettingsError, match="studio has 5 effect"):
        items(voices, STUDIO, effects=6)


def test_an_effect_that_cannot_be_out_of_the_way_is_refused(voices):
    rate_hz = Parameter("rate_hz", 0.1, 5.0, 1.0, "Hz", "log")
    phaser = declare_plugin("stubborn_phaser", pedalboard.Phaser, (rate_hz,))()
    del EFFECTS["stubborn_phaser"]  # which no other test is to find
    chain = Chain("mine", (phaser, STUDIO.effects[4]))
    with pytest.raises(SettingsError, match="cannot be bypassed"):
        items(voices, chain, effects=1)
    assert items(voices, chain, effects=2).names


def test_the_other_rate_is_refused(voices):
    with pytest.raises(SettingsError, match="24000 and 44100 Hz, not at 48000"):
        items(voices, sample_rate=48_000)


def test_voices_that_are_all_too_short_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.ones(RATE), RATE)
    with pytest.raises(SettingsError, match="1 voice"):
        items(Voices(tmp_path, split="all", split_seed=0, each_file=True))


def test_voices_that_are_all_silent_are_refused_when_it_shows(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(12 * RATE), RATE)
    with pytest.raises(SettingsError, match="s of sound"):
        items(Voices(tmp_path, split="all", split_seed=0, each_file=True))[0]
