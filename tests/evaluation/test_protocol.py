import json

import numpy as np
import pytest
import soundfile

from fxst.chain import CHAINS
from fxst.data.corruption import from_data
from fxst.errors import SettingsError
from fxst.evaluation.protocol import PATCH_SAMPLES, DrawnItems, draw_styles
from fxst.evaluation.voices import Stretch, Voices, read

RATE = 24_000
PEAK = 10 ** (-12 / 20)


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


def items(voices, chain=None, count=30, seed=0, sample_rate=RATE):
    return DrawnItems(voices, chain=chain, sample_rate=sample_rate, count=count, seed=seed)


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
            for style in map(from_data, drawn[role]):
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
