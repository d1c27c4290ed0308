import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fxst.errors import FxstError, SettingsError
from fxst.transfer import profiles
from fxst.transfer.descriptors import Descriptors
from fxst.transfer.level_matching import loudness_key
from fxst.transfer.profiles import StyleProfile

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/style-profile.schema.json").read_text(encoding="utf-8"))
NUMBERS = st.floats(-200, 200)
PROFILES = st.builds(
    StyleProfile,
    model=st.text(),
    model_sha256=st.text(),
    statistics=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50).map(tuple),
    descriptors=st.builds(
        Descriptors,
        spectrum_db=st.dictionaries(st.floats(1, 20_000), NUMBERS, min_size=1),
        level_db=NUMBERS,
        crest_db=NUMBERS,
        range_db=NUMBERS,
        floor_db=NUMBERS,
        side_db=st.none() | NUMBERS,
    ),
    loudness_lufs=st.none() | NUMBERS,
    recordings=st.lists(st.text(), max_size=3).map(tuple),
    frames=st.integers(1, 5).flatmap(
        lambda bands: st.lists(st.tuples(*[st.integers(-6000, 6000)] * bands), max_size=4).map(tuple)
    ),
)


def frames_of(rng, count, bands=96):
    return tuple(map(tuple, rng.integers(-1000, 0, (count, bands)).tolist()))


@pytest.fixture
def profile():
    rng = np.random.default_rng(0)
    statistics = tuple(rng.standard_normal(2000).astype(np.float32).tolist())
    descriptors = Descriptors({250.0: -30.5, 1000.0: -20.25}, -24.0, 15.0, 22.0, -60.0, -12.5)
    return StyleProfile("studio", "ab" * 32, statistics, descriptors, -18.5, ("radio.wav",), frames_of(rng, 256))


@given(PROFILES)
def test_a_profile_reads_back_as_it_was_and_keeps_to_its_schema(profile):
    text = profiles.to_json(profile)
    assert profiles.from_json(text) == profile
    jsonschema.validate(json.loads(text), SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(text) | {"more": 1}, SCHEMA)


def test_a_profile_on_disk_is_small_text(tmp_path, profile):
    profiles.write(profile, tmp_path / "house.json")
    assert profiles.read(tmp_path / "house.json") == profile
    assert (tmp_path / "house.json").stat().st_size < 200_000
    assert [path.name for path in tmp_path.iterdir()] == ["house.json"]


def test_a_mean_lies_between(profile):
    other = replace(
        profile,
        statistics=tuple(-number for number in profile.statistics),
        loudness_lufs=-10.5,
        recordings=("hall.wav",),
    )
    assert profiles.mean([profile], [0.3]) == profile
    assert profiles.mean([profile, other], [1.0, 0.0]) == profile
    middle = profiles.mean([profile, other], [3.0, 1.0])
    np.testing.assert_allclose(middle.statistics, np.array(profile.statistics) / 2, rtol=1e-6)
    assert middle.loudness_lufs == -16.5
    assert middle.recordings == ("radio.wav", "hall.wav")
    assert profiles.mean([profile, replace(other, loudness_lufs=None)], [1, 1]).loudness_lufs is None
    three = profiles.mean([profile, other, profile], [1, 2, 1])
    np.testing.assert_allclose(three.statistics, np.zeros(2000), atol=1e-7)


@pytest.mark.parametrize(("sizes", "weights", "taken"), [
    ((256, 256), (3, 1), (192, 64)),
    ((256, 256), (1, 1e-9), (256, 0)),
    ((10, 30), (1, 1), (15, 15)),  # of a short recording some come twice
    ((256, 0), (1, 1), (256, 0)),
    ((0, 0), (1, 1), (0, 0)),
])  # fmt: skip
def test_a_mean_has_frames_of_each_by_its_weight_and_evenly_spread(profile, sizes, weights, taken):
    rng = np.random.default_rng(1)
    first, other = (replace(profile, frames=frames_of(rng, size)) for size in sizes)
    frames = profiles.mean([first, other], weights).frames
    assert len(frames) == sum(taken)
    for mine, count in ((first.frames, taken[0]), (other.frames, taken[1])):
        times = [frames.count(frame) for frame in mine]
        assert sum(times) == pytest.approx(count, abs=1)
        assert max(times, default=0) - min(times, default=0) <= 1
    assert profiles.mean([first, other], [2 * weight for weight in weights]).frames == frames


def test_a_profile_and_itself_are_itself(profile):
    frames = tuple(sorted(frames_of(np.random.default_rng(1), 200), key=loudness_key))
    profile = replace(profile, frames=frames)
    for several in (2, 3, 7):
        assert profiles.mean([profile] * several, [1] * several).frames == frames
    assert profiles.mean([profile] * 7, [1, 2, 3, 4, 5, 6, 7]).frames == frames
    assert profiles.mean([profile], [0.1]).frames == frames


def test_profiles_of_different_models_do_not_mix(profile):
    with pytest.raises(SettingsError, match="saved by another version of the model 'studio'"):
        profiles.mean([profile, replace(profile, model_sha256="0")], [1, 1])
    with pytest.raises(SettingsError, match="saved by the model 'eq', and this is 'studio'"):
        profiles.mean([profile, replace(profile, model="eq", model_sha256="0")], [1, 1])


def test_a_mean_is_one_of_any_weights(profile):
    other = replace(profile, statistics=tuple(-number for number in profile.statistics), loudness_lufs=-10.5)
    for weight in (1e-300, 1e308):
        middle = profiles.mean([profile, other], [weight, weight])
        np.testing.assert_allclose(middle.statistics, np.zeros(2000), atol=1e-7)
        assert middle.loudness_lufs == -14.5
        assert middle.descriptors == profile.descriptors


def test_profiles_of_different_lengths_do_not_mix(profile):
    with pytest.raises(SettingsError, match=r"holds 1,999 statistics, and its model 'studio' has 2,000: it is dam"):
        profiles.mean([profile, replace(profile, statistics=profile.statistics[1:])], [1, 1])
    narrow = replace(profile, frames=tuple(frame[1:] for frame in profile.frames))
    with pytest.raises(SettingsError, match="holds frames of 95 bands, and its model 'studio' has 96: it is damaged"):
        profiles.mean([profile, narrow], [1, 1])


def test_writing_needs_a_profiles_ending(tmp_path, profile):
    with pytest.raises(SettingsError, match=r"use \.json"):
        profiles.write(profile, tmp_path / "house.txt")


def put(key, value):
    return lambda document: document.__setitem__(key, value)


DAMAGE = {
    "another format": (put("format", "fxst-settings"), "not a style profile.* or a parameter table with --params"),
    "a later version": (put("version", 5), "version 5 .* update fxst"),
    "an earlier version": (put("version", 3), "version 3 .* save the style again"),
    "no version": (lambda document: document.pop("version"), "version None .* update fxst"),
    "no statistics": (lambda document: document.pop("statistics"), r"missing required field `statistics`"),
    "empty statistics": (put("statistics", []), "damaged style profile"),
    "a statistic that is text": (put("statistics", ["1"]), r"got `str` - at `\$.statistics\[0\]`"),
    "not a number": (put("statistics", [float("nan")]), "NaN is not a JSON number"),
    "beyond float32": (put("statistics", [1e300]), "too large"),
    "true": (put("loudness_lufs", True), "got `bool`"),
    "no trait": (lambda told: told["descriptors"].pop("crest_db"), "damaged style profile"),
    "one more trait": (lambda told: told["descriptors"].update(width_db=1.0), "damaged style profile"),
    "a level beyond all": (
        lambda told: told["descriptors"].update(level_db=1e5),
        "<= 600.0 - at .*level_db",
    ),
    "a loudness beyond all": (put("loudness_lufs", -1e5), ">= -600.0 - at .*loudness_lufs"),
    "a colour beyond all": (
        lambda told: told["descriptors"].update(spectrum_db={"250": 1e5}),
        "<= 600.0 - at .*spectrum_db",
    ),
    "no colour": (lambda told: told["descriptors"].update(spectrum_db={}), "length >= 1 - at .*spectrum_db"),
    "a band that is no number": (lambda told: told["descriptors"].update(spectrum_db={"bass": 1}), "damaged"),
    "a band below 0": (lambda told: told["descriptors"].update(spectrum_db={"-1": 1}), "a frequency is not above 0"),
    "a list for a model": (put("model", []), "got `array` - at .*model"),
    "a name for recordings": (put("recordings", "radio.wav"), "Expected `array`, got `str` - at .*recordings"),
    "no frames": (lambda document: document.pop("frames"), "missing required field `frames`"),
    "text for frames": (put("frames", "-100"), "Expected `array`, got `str` - at .*frames"),
    "frames that are numbers": (put("frames", [-100]), "Expected `array`, got `int` - at .*frames"),
    "ragged frames": (lambda document: document["frames"][7].pop(), "frames of different lengths"),
    "a frame without bands": (put("frames", [[]]), "length >= 1 - at .*frames"),
    "too many bands": (put("frames", [[0] * 1025]), "length <= 1024 - at .*frames"),
    "too many frames": (put("frames", [[0]] * 1025), "length <= 1024 - at .*frames"),
    "a level that is text": (put("frames", [["-100"]]), "got `str` - at .*frames"),
    "a level that is not a number": (put("frames", [[float("nan")]]), "NaN is not a JSON number"),
    "an infinite level": (put("frames", [[float("-inf")]]), "-Infinity is not a JSON number"),
    "a level that is true": (put("frames", [[True]]), "got `bool` - at .*frames"),
    "part of a tenth": (put("frames", [[-100.5]]), "got `float` - at .*frames"),
    "a moment beyond all": (put("frames", [[6001]]), "<= 6000 - at .*frames"),
    "a moment beyond floats": (put("frames", [[10**400]]), "not valid JSON"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_profile_is_refused_in_a_sentence(tmp_path, profile, change, message):
    document = json.loads(profiles.to_json(profile))
    change(document)
    path = tmp_path / "house.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SettingsError, match=message) as caught:
        profiles.read(path)
    assert str(caught.value).startswith(repr(str(path)))
    assert "\n" not in str(caught.value)


@given(st.data())
def test_only_a_sentence_comes_out_of_any_edit(data):
    text = profiles.to_json(data.draw(PROFILES))
    start = data.draw(st.integers(0, len(text)))
    edited = text[:start] + data.draw(st.text(max_size=5)) + text[start + data.draw(st.integers(0, 20)) :]
    try:
        profiles.from_json(edited)
    except FxstError as error:
        assert str(error)  # noqa: PT017


def test_what_is_no_profile_at_all_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b" " * (1 << 23))
    for name, message in (
        ("none", "does not exist"),
        ("", "is a folder"),
        ("binary", "is not UTF-8 text"),
        ("large", "is larger than any style profile"),
    ):
        with pytest.raises(SettingsError, match=message):
            profiles.read(tmp_path / name)
