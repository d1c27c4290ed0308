import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.data import production
from fxst.data.production import Production
from fxst.errors import SettingsError
from fxst.evaluation import protocol_q
from fxst.evaluation.protocol import PATCH_SAMPLES
from fxst.evaluation.protocol_q import ProducedItems
from fxst.evaluation.voices import Stretch, Voices, read

RATE = 24_000
PEAK = 10 ** (-12 / 20)


def write(path, channels=1, seconds=7, rate=RATE, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng((seed, len(path.name))).standard_normal((len(time), channels))
    soundfile.write(path, 0.1 * noise * (1.1 + np.sin(7 * time + seed))[:, None], rate, subtype="FLOAT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two studios of three voices and two voices; one voice alone in its own; one too short for anything."""
    folder = tmp_path_factory.mktemp("voices")
    names = ("one/ann", "one/bob", "one/cat", "two/dan", "two/eve", "three/fay")
    for seed, name in enumerate(names):
        write(folder / name / "x.wav", seed=seed)
    write(folder / "one/short/x.wav", seconds=2)
    return folder


def items(folder, *, kind="same-studio", count=24, seed=0, sample_rate=RATE, each_file=False, **options):
    voices = Voices(folder, split="all", split_seed=0, each_file=each_file)
    return ProducedItems(voices, kind=kind, sample_rate=sample_rate, count=count, seed=seed, **options)


def rebuilt(drawn):
    """The style that the list of items tells of."""
    kinds = {kind.__name__.lower(): kind for kind in production.Step.__args__}
    return Production(tuple(kinds[step["step"]](**{k: v for k, v in step.items() if k != "step"}) for step in drawn))


def base_of(drawn, *, stereo=False, rate=RATE, role=""):
    stretches = tuple(Stretch(**stretch) for stretch in drawn[f"{role}passage"])
    x = read(stretches, samples=PATCH_SAMPLES[rate], sample_rate=rate, stereo=stereo)
    return x * np.float32(PEAK / np.abs(x).max())


def faded(x, rate=RATE):
    ramp = np.minimum(1, np.arange(x.shape[1]) / (0.05 * rate - 1))
    return x * ramp * ramp[::-1]


def test_an_item_depends_on_the_seed_and_its_number_alone(folder):
    one, again = items(folder)[5], items(folder, count=6)[5]
    assert one.name == "q-same-studio-24000-0-5"
    assert json.dumps(one.drawn) == json.dumps(again.drawn)
    for ours, theirs in ((one.input, again.input), (one.target, again.target), (one.reference, again.reference)):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == (1, PATCH_SAMPLES[RATE])
    assert json.dumps(items(folder)[4].drawn) != json.dumps(one.drawn)
    assert json.dumps(items(folder, seed=1)[5].drawn) != json.dumps(one.drawn)


def test_the_list_of_items_makes_the_same_sound_again(folder):
    dry = []
    for index in range(5):
        item = items(folder)[index]
        drawn = json.loads(json.dumps(item.drawn))
        style = rebuilt(drawn["target"])
        base, other = base_of(drawn), base_of(drawn, role="reference_")
        own = rebuilt(drawn["input"]).apply(base, sample_rate=RATE)
        np.testing.assert_allclose(item.input, faded(own), atol=1e-5)
        np.testing.assert_allclose(item.target, faded(style.apply(base, sample_rate=RATE)), atol=1e-5)
        np.testing.assert_allclose(item.reference, faded(style.apply(other, sample_rate=RATE)), atol=1e-5)
        dry.append(not drawn["input"])
    assert 0 < sum(dry) < 5


class Plain:
    """A style that changes nothing."""

    def apply(self, x, *, sample_rate, responses=()):
        return x.copy()

    def to_data(self):
        return []


def test_a_transparent_style_makes_the_target_of_the_input(folder, monkeypatch):
    monkeypatch.setattr(protocol_q, "draw_production", lambda rng, **options: Plain())
    for index in range(4):
        item = items(folder)[index]
        np.testing.assert_array_equal(item.input, item.target)
        assert not np.array_equal(item.input, item.reference)
        assert np.abs(item.input).max() == pytest.approx(PEAK, rel=1e-6)


@pytest.fixture
def quick(monkeypatch):
    """Draw items without rendering their styles, which is not what is asked for."""
    monkeypatch.setattr(protocol_q, "draw_production", lambda rng, **options: Plain())


def studio_of(voice):
    return Path(voice).parent.as_posix()


@pytest.mark.parametrize("kind", ["same-studio", "any-studio"])
def test_the_reference_is_another_voice_of_the_studio_that_is_asked_for(folder, quick, kind):
    pairs = Counter()
    drawn_items = items(folder, kind=kind)
    for index in range(24):
        drawn = drawn_items[index].drawn
        voice, other = drawn["voice"], drawn["reference_voice"]
        assert voice != other
        assert {Path(stretch["file"]).parent for stretch in drawn["reference_passage"]} == {folder / other}
        assert (studio_of(voice) == studio_of(other)) == (kind == "same-studio")
        assert drawn_items[index].group == voice
        pairs[voice] += 1
    alone = {"three/fay"} if kind == "same-studio" else set()
    # Every voice that has a reference, and none that is too short.
    assert pairs.keys() == {"one/ann", "one/bob", "one/cat", "two/dan", "two/eve", "three/fay"} - alone


def test_half_of_the_inputs_are_dry(folder, monkeypatch):
    drawn = []

    def draw(rng, *, sample_rate, music, only):
        drawn.append(music)
        return Plain()

    monkeypatch.setattr(protocol_q, "draw_production", draw)
    monkeypatch.setattr(protocol_q, "draw_passage", lambda *_, **options: ((), np.ones((1, 3000), np.float32)))
    every = items(folder, count=400)
    for index in range(400):
        every[index]
    own = len(drawn) - 400
    assert own / 400 == pytest.approx(0.5, abs=4 * 0.5 / 20)  # four standard errors
    assert not any(drawn)


@pytest.mark.parametrize("only", ["distortion", "reverb"])
def test_one_strong_effect_alone_on_dry_inputs(folder, only):
    item = items(folder, only=only)[0]
    assert item.name == f"q-same-studio-{only}-24000-0-0"
    assert item.drawn["input"] == []
    steps = [step["step"] for step in item.drawn["target"]]
    assert steps == [{"distortion": "saturation", "reverb": "room"}[only], "loudnesslimiter"]
    np.testing.assert_allclose(item.input, faded(base_of(item.drawn)), atol=1e-6)


def test_measured_rooms_make_the_reverb_where_there_are_some(folder):
    echo = np.zeros((1, 2400), np.float32)
    echo[0, 2399] = 1
    differing = 0
    for index in range(12):
        plain, measured = (items(folder, only="reverb", responses=given)[index] for given in ((), [(echo, RATE)]))
        assert plain.drawn == measured.drawn
        differing += not np.array_equal(plain.target, measured.target)
        if plain.drawn["target"][0]["measured"] is None:
            np.testing.assert_array_equal(plain.target, measured.target)
    assert 0 < differing < 12


MUSIC = 44_100


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """An album of stereo songs, and one of a mono song and a stereo one."""
    folder = tmp_path_factory.mktemp("songs")
    for seed, (name, channels) in enumerate((("wide/a", 2), ("wide/b", 2), ("mixed/c", 1), ("mixed/d", 2))):
        write(folder / f"{name}.wav", channels, rate=MUSIC, seed=seed)
    return folder


def test_music_stays_stereo_where_both_are(songs):
    drawn_items = items(songs, sample_rate=MUSIC, each_file=True)
    albums = set()
    for index in range(6):
        item = drawn_items[index]
        album = studio_of(item.drawn["voice"])
        channels = {"wide": 2, "mixed": 1}[album]
        assert item.drawn["channels"] == channels
        for sound in (item.input, item.target, item.reference):
            assert sound.shape == (channels, PATCH_SAMPLES[MUSIC])
        if channels == 2 and album not in albums:
            style = rebuilt(json.loads(json.dumps(item.drawn["target"])))
            base = base_of(item.drawn, stereo=True, rate=MUSIC)
            np.testing.assert_allclose(item.target, faded(style.apply(base, sample_rate=MUSIC), MUSIC), atol=1e-5)
            assert not np.array_equal(item.reference[0], item.reference[1])
        albums.add(album)
    assert albums == {"wide", "mixed"}


def test_speech_is_mono(songs, quick):
    assert items(songs, each_file=True)[0].input.shape == (1, PATCH_SAMPLES[RATE])


@pytest.mark.parametrize(
    ("voices", "kind", "message"),
    [
        (("one/a", "two/b"), "same-studio", r"No two of the 2 voice\(s\) in one folder have 5\.5 s"),
        (("one/a", "one/b"), "any-studio", r"No two of the 2 voice\(s\) in two folders have 5\.5 s"),
        (("one/a",), "same-studio", r"No two of the 1 voice"),
        (("one/a", "one/short"), "same-studio", r"No two of the 2 voice"),
    ],
)
def test_voices_that_make_no_pair_are_refused_before_any_work(tmp_path, voices, kind, message):
    for name in voices:
        write(tmp_path / name / "x.wav", seconds=2 if "short" in name else 7)
    with pytest.raises(SettingsError, match=message):
        items(tmp_path, kind=kind)


def test_voices_that_are_silent_are_refused_when_it_shows(tmp_path):
    write(tmp_path / "one/a/x.wav")
    (tmp_path / "one/b").mkdir()
    soundfile.write(tmp_path / "one/b/x.wav", np.zeros(7 * RATE), RATE)
    with pytest.raises(SettingsError, match="s of sound"):
        items(tmp_path)[0]


def test_the_other_rate_is_refused(folder):
    with pytest.raises(SettingsError, match="24000 and 44100 Hz, not at 48000"):
        items(folder, sample_rate=48_000)


def test_what_cannot_be_read_is_listed(folder, tmp_path, quick):
    for name in ("a", "b"):
        write(tmp_path / "one" / name / "x.wav")
    (tmp_path / "one/a/broken.wav").write_bytes(b"RIFF")
    assert items(tmp_path)[0].drawn["unreadable"] == [str(tmp_path / "one/a/broken.wav")]
