"""What `fxst apply` lets a person say of the sound, through the real command."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.dsp.loudness import loudness, true_peak

STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
SQUASHED = {"compressor": {"threshold_db": -40.0, "ratio": 10.0, "attack_ms": 5.0, "release_ms": 100.0}}
RATE = 44_100


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def voices(speech):
    """A stereo recording with a loud voice on the left and another, ten times as soft, on the right."""
    x = speech(RATE, 2, 2) * np.array([[1.0], [0.1]], np.float32)
    soundfile.write("voices.wav", x.T, RATE, subtype="FLOAT")
    return x


def written(name="out.wav"):
    return np.ascontiguousarray(soundfile.read(name, dtype="float32", always_2d=True)[0].T)


def save(changes, name="table.json"):
    table_files.write(NOTHING.with_values(changes), Path(name))
    return name


def test_compressors_turn_both_sides_down_alike_unless_told_not_to(fxst, voices):
    table = save(SQUASHED)
    assert fxst("apply", "voices.wav", "-p", table, "-o", "out.wav")[0] == 0
    linked = written()
    compress = STUDIO.exact(NOTHING.with_values(SQUASHED), sample_rate=RATE, channels=2)
    np.testing.assert_array_equal(linked, compress(voices))
    assert fxst("apply", "voices.wav", "-p", table, "-o", "out.wav", "--no-link")[0] == 0
    apart = written()
    for channel in (0, 1):
        alone = STUDIO.exact(NOTHING.with_values(SQUASHED), sample_rate=RATE, channels=1)(voices[channel : channel + 1])
        np.testing.assert_array_equal(apart[channel], alone[0])
    assert np.square(linked[1]).mean() < 0.5 * np.square(apart[1]).mean()  # the soft side goes down with the loud one


def test_a_table_that_was_made_with_channels_apart_says_so(fxst, voices, examples):
    common = ("apply", "voices.wav", "-o")
    assert fxst(*common, "1.wav", "--ref", examples / "radio.wav", "--no-link", "-p", "t.json")[0] == 0
    assert [e.get("linked") for e in json.loads(Path("t.json").read_text())["chain"]["effects"]][2] is False
    assert fxst(*common, "2.wav", "-p", "t.json")[0] == 0
    np.testing.assert_array_equal(written("1.wav"), written("2.wav"))
    assert fxst(*common, "3.wav", "--ref", examples / "radio.wav", "-p", "linked.json")[0] == 0
    assert fxst(*common, "4.wav", "-p", "t.json", "--link")[0] == 0
    assert table_files.read(Path("linked.json")).chain.effects[2].linked


def test_an_amount_of_nothing_changes_nothing_and_all_of_it_is_the_style(fxst, voices, examples):
    common = ("apply", "voices.wav", "--ref", examples / "radio.wav", "-o", "out.wav", "-p", "t.json")
    assert fxst(*common)[0] == 0
    style, table = written(), table_files.read(Path("t.json"))
    assert fxst(*common, "--amount", "100")[0] == 0
    np.testing.assert_array_equal(written(), style)
    assert fxst(*common, "--amount", "0")[0] == 0
    np.testing.assert_array_equal(written(), voices)
    code, _, _ = fxst(*common, "--amount", "80", "--amount", "eq=50%")
    assert code == 0
    turned = table_files.read(Path("t.json"))
    assert turned == table.at_amount({"": 0.8, "eq": 0.5})
    assert turned.provenance["amount"].startswith("upward_compressor 80 %, parametric_eq 50 %, compressor 80 %")
    again = STUDIO.exact(turned, sample_rate=RATE, channels=2)(voices)
    np.testing.assert_array_equal(written(), again)


def test_a_table_can_be_turned_down_too(fxst, voices):
    table = save({"parametric_eq": {"peak3_gain_db": 12.0}})
    code, out, _ = fxst("apply", "voices.wav", "-p", table, "-o", "out.wav", "--amount", "eq=50")
    assert code == 0
    assert "parametric_eq:  +6 dB at" in out
    half = NOTHING.with_values({"parametric_eq": {"peak3_gain_db": 6.0}})
    np.testing.assert_array_equal(written(), STUDIO.exact(half, sample_rate=RATE, channels=2)(voices))


@pytest.mark.parametrize(
    ("given", "message"),
    [("loud", "not an amount of the style"), ("151", "not an amount"), ("chorus=50", "no effect 'chorus'")],
)
def test_an_amount_that_makes_no_sense_is_one_line_and_nothing_is_written(fxst, voices, given, message):
    code, _, err = fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav", "--amount", given)
    assert code != 0
    assert message in err
    assert err.count("\n") == 1
    assert not Path("out.wav").exists()


def peaky(**options):
    """A recording that is 6 dB too loud between its samples: a sine of a quarter of the sample rate."""
    x = 2 * np.sin(np.pi / 2 * np.arange(2 * RATE) + np.pi / 4)[:, None].repeat(2, axis=1) * np.sqrt(0.5)
    soundfile.write("peaky.wav", 0.7 * x, RATE, **options)
    return 0.7 * x.T


def test_nothing_passes_the_ceiling_and_a_person_is_told(fxst):
    x = peaky(subtype="PCM_24")  # samples at 0.7, and 0.99 between them
    code, _, err = fxst("apply", "peaky.wav", "-p", save({}), "-o", "out.wav")
    assert code == 0
    assert "the limiter reduced its peaks by up to 1.1 dB, to stay under the ceiling of -1 dBTP" in err
    assert -1.3 < true_peak(written(), sample_rate=RATE) <= -1
    assert fxst("apply", "peaky.wav", "-p", "table.json", "-o", "out.wav", "--ceiling", "-6")[0] == 0
    assert -6.3 < true_peak(written(), sample_rate=RATE) <= -6
    code, _, err = fxst("apply", "peaky.wav", "-p", "table.json", "-o", "out.wav", "--ceiling", "none")
    assert (code, err) == (0, "")
    np.testing.assert_allclose(written(), x, atol=1e-6)


def test_a_float_output_may_keep_its_peaks(fxst):
    louder = save({"compressor": {"makeup_db": 12.0}})
    peaky(subtype="FLOAT")
    code, _, err = fxst("apply", "peaky.wav", "-p", louder, "-o", "out.wav", "--clip", "float")
    assert code == 0
    assert "8.9 dB above full scale: nothing was clipped" in err
    assert np.abs(written()).max() > 2.7
    peaky(subtype="PCM_16")
    code, _, err = fxst("apply", "peaky.wav", "-p", louder, "-o", "out.wav", "--clip", "float")
    assert "from 8.9 dB above full scale, to stay under the ceiling" in err
    assert true_peak(written(), sample_rate=RATE) <= -1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--ceiling", "loud"), "--ceiling 'loud' is not valid: give none, or from -60 to 0 dBTP"),
        (("--ceiling", "3"), "--ceiling '3' is not valid"),
        (("--loudness", "nan"), "--loudness 'nan' is not valid: give reference, keep, or from -70 to 0 LUFS"),
        (("--loudness", "reference"), "--loudness reference needs a reference"),
        (("--tail", "-1"), "--tail '-1' is not valid: give auto, or from 0 to 600 seconds"),
    ],
)
def test_a_finish_that_makes_no_sense_is_one_line_and_nothing_is_written(fxst, voices, given, message):
    code, _, err = fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav", *given)
    assert code != 0
    assert message in err
    assert err.count("\n") == 1
    assert not Path("out.wav").exists()


def test_a_recording_gets_the_loudness_that_was_asked_for(fxst, voices, examples):
    table = save(SQUASHED)
    common = ("apply", "voices.wav", "-o", "out.wav", "--clip", "float")
    assert fxst(*common, "-p", table, "--loudness", "-16")[0] == 0
    assert loudness(written(), sample_rate=RATE) == pytest.approx(-16, abs=0.01)
    assert fxst(*common, "-p", table, "--loudness", "keep")[0] == 0
    assert loudness(written(), sample_rate=RATE) == pytest.approx(loudness(voices, sample_rate=RATE), abs=0.01)
    with_reference = (*common, "--ref", examples / "radio.wav")
    assert fxst(*with_reference, "--loudness", "reference")[0] == 0
    reference, rate = audio.read(examples / "radio.wav")
    assert loudness(written(), sample_rate=RATE) == pytest.approx(loudness(reference, sample_rate=rate), abs=0.01)
    assert table_files.read(Path("out.params.json")).provenance["loudness"].endswith(" LUFS")
    # It is one gain: nothing but the level differs.
    louder = written()
    assert fxst(*with_reference)[0] == 0
    gain = np.sqrt(np.square(louder).mean() / np.square(written()).mean())
    np.testing.assert_allclose(louder, gain * written(), atol=1e-5)


@pytest.mark.parametrize("goal", [-16, -15])
def test_what_the_ceiling_takes_of_the_loudness_is_made_up_for(fxst, voices, goal):
    code, _, err = fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav", "--loudness", goal)
    assert code == 0
    assert "the limiter reduced its peaks" in err
    assert "LUFS instead of" not in err
    assert loudness(written(), sample_rate=RATE) == pytest.approx(goal, abs=0.1)
    assert true_peak(written(), sample_rate=RATE) <= -1


def test_a_loudness_that_the_ceiling_does_not_allow_is_told(fxst, voices):
    code, _, err = fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav", "--loudness", "-6")
    assert code == 0
    assert "to stay under the ceiling of -1 dBTP, so its loudness is -" in err
    assert "LUFS instead of -6.0" in err
    assert true_peak(written(), sample_rate=RATE) <= -1


@pytest.mark.parametrize("seconds", [0.3, 0.6])  # the shorter one has no block that could be gated
def test_what_is_too_soft_is_not_turned_up(fxst, noise, seconds):
    soft = 1e-4 * noise(RATE, 1, seconds)
    soundfile.write("soft.wav", soft.T, RATE, subtype="FLOAT")
    code, _, err = fxst("apply", "soft.wav", "-p", save({}), "-o", "out.wav", "--loudness", "-16")
    assert code == 0
    assert "too soft to measure its loudness" in err
    np.testing.assert_array_equal(written(), soft)


def test_a_peak_that_is_absurdly_high_is_told_in_plain_figures(fxst, noise):
    soundfile.write("absurd.wav", 1e6 * noise(RATE, 1).T, RATE, subtype="FLOAT")
    code, _, err = fxst("apply", "absurd.wav", "-p", save({}), "-o", "out.wav")
    assert code == 0
    assert re.search(r"by up to 1\d\d\.\d dB from 1\d\d\.\d dB above full scale", err), err


def test_silence_has_no_loudness(fxst):
    soundfile.write("silence.wav", np.zeros(RATE), RATE)
    code, _, err = fxst("apply", "silence.wav", "-p", save({}), "-o", "out.wav", "--loudness", "-16")
    assert code == 0
    assert "too soft to measure its loudness" in err
    assert not written().any()


HALL = {"reverb": {"wet_level": 0.3, "dry_level": 0.5, "room_size": 0.6}}


def test_a_tail_is_what_would_have_followed_with_silence_behind(fxst, voices):
    table = save(HALL)
    quiet = 0.1 * voices
    soundfile.write("dry.wav", quiet.T, RATE, subtype="FLOAT")
    soundfile.write("longer.wav", np.pad(quiet, [(0, 0), (0, 3 * RATE)]).T, RATE, subtype="FLOAT")
    assert fxst("apply", "longer.wav", "-p", table, "-o", "longer-out.wav")[0] == 0
    expected = written("longer-out.wav")
    assert fxst("apply", "dry.wav", "-p", table, "-o", "out.wav")[0] == 0
    assert written().shape == quiet.shape
    assert fxst("apply", "dry.wav", "-p", table, "-o", "out.wav", "--tail", "1.5")[0] == 0
    frames = quiet.shape[1] + round(1.5 * RATE)
    np.testing.assert_array_equal(written(), expected[:, :frames])
    assert fxst("apply", "dry.wav", "-p", table, "-o", "out.wav", "--tail", "auto")[0] == 0
    heard = written()
    assert quiet.shape[1] + RATE / 2 < heard.shape[1] < expected.shape[1]
    np.testing.assert_array_equal(heard, expected[:, : heard.shape[1]])
    assert np.abs(expected[:, heard.shape[1] :]).max() <= 10 ** (-90 / 20)
    assert np.abs(heard[:, -1]).max() > 10 ** (-90 / 20)


def test_a_tail_is_as_long_as_it_is_heard_with_the_gain_behind_it(fxst, voices):
    table = save(HALL)
    soundfile.write("soft.wav", 0.01 * voices.T, RATE, subtype="FLOAT")
    lengths = []
    for loudness_lufs in ("-60", "-30", "-16"):
        arguments = ("--tail", "auto", "--loudness", loudness_lufs, "--clip", "float")
        assert fxst("apply", "soft.wav", "-p", table, "-o", "out.wav", *arguments)[0] == 0
        lengths.append(written().shape[1])
        assert 20 * np.log10(np.abs(written()[:, -1]).max()) > -90
    assert lengths == sorted(set(lengths))


def test_nothing_rings_on_where_nothing_was_done(fxst, voices):
    assert fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav", "--tail", "auto")[0] == 0
    np.testing.assert_array_equal(written(), voices)


def values(name):
    return [row.value for row in table_files.read(Path(name))]


def test_several_references_count_by_their_weights(fxst, voices, examples):
    radio, voice = examples / "radio.wav", examples / "voice.wav"
    Path("book").mkdir()
    for name in ("1.wav", "2.wav"):
        Path("book", name).write_bytes(radio.read_bytes())

    def apply(name, *references):
        given = [word for reference in references for word in ("--ref", reference)]
        assert fxst("apply", "voices.wav", "-o", "out.wav", "-p", name, *given)[0] == 0
        return values(name)

    alone = apply("alone.json", radio)
    assert apply("twice.json", radio, radio) == pytest.approx(alone, rel=1e-4, abs=1e-4)
    assert apply("folder.json", "book") == pytest.approx(alone, rel=1e-4, abs=1e-4)
    assert apply("weightless.json", radio, f"{voice}:0") == alone
    mixed = apply("mixed.json", f"{radio}:2", voice)
    assert mixed not in (alone, apply("other.json", voice))
    assert table_files.read(Path("mixed.json")).provenance["reference"] == "radio.wav:2, voice.wav:1"
    assert apply("heavier.json", f"{radio}:4", f"{voice}:2") == pytest.approx(mixed, rel=1e-4, abs=1e-4)


def test_a_style_profile_stands_for_its_recordings(fxst, voices, examples):
    radio, voice = examples / "radio.wav", examples / "voice.wav"
    code, out, err = fxst("style", "save", radio, "-o", "radio.json")
    assert (code, err) == (0, "")
    assert out == "wrote 'radio.json', the style of 1 recording for the model studio\n"
    assert Path("radio.json").stat().st_size < 1 << 20
    common = ("apply", "voices.wav", "-o")
    assert fxst(*common, "1.wav", "--ref", radio, "--loudness", "reference")[0] == 0
    assert fxst(*common, "2.wav", "--style", "radio.json", "--loudness", "reference")[0] == 0
    np.testing.assert_array_equal(written("1.wav"), written("2.wav"))
    assert values("1.params.json") == values("2.params.json")
    assert table_files.read(Path("2.params.json")).provenance["style"] == "radio.json"

    assert fxst("style", "save", voice, "-o", "voice.json")[0] == 0
    assert fxst("style", "save", f"{radio}:3", voice, "-o", "both.json")[0] == 0
    assert fxst(*common, "3.wav", "--style", "both.json")[0] == 0
    assert fxst(*common, "4.wav", "--style", "radio.json:0.75", "--style", "voice.json:0.25")[0] == 0
    assert values("3.params.json") == pytest.approx(values("4.params.json"), rel=1e-4, abs=1e-4)
    assert fxst(*common, "5.wav", "--ref", f"{radio}:3", "--style", "voice.json")[0] == 0
    assert values("5.params.json") == pytest.approx(values("3.params.json"), rel=1e-4, abs=1e-4)


def test_a_profile_of_another_model_or_a_damaged_one_is_one_line(fxst, voices, examples):
    assert fxst("style", "save", examples / "radio.wav", "-o", "eq.json", "--model", "eq")[0] == 0
    Path("cut.json").write_text(Path("eq.json").read_text()[:500])
    for name, message in (
        ("eq.json", "'eq.json' was saved by the model 'eq', and this is 'studio': name that one with --model"),
        ("cut.json", "'cut.json': not valid JSON"),
        ("none.json", "'none.json' does not exist"),
    ):
        code, _, err = fxst("apply", "voices.wav", "-o", "out.wav", "--style", name)
        assert code != 0
        assert message in err
        assert err.count("\n") == 1
    assert not Path("out.wav").exists()
    assert fxst("apply", "voices.wav", "-o", "out.wav", "--style", "eq.json", "-m", "eq")[0] == 0
    code, _, err = fxst("style", "save", "voices.wav", "-o", "style.txt")
    assert code == 2
    assert "no profile extension" in err


TAGS = {"title": "Mañana", "artist": "A. B.", "album": "Hörspiel", "date": "2024", "comment": "take 3"}


def tagged(name, **options):
    with soundfile.SoundFile(name, "w", RATE, 2, **options) as file:
        for tag, told in TAGS.items():
            setattr(file, tag, told)
        file.write(np.zeros((1000, 2)))
    return name


@pytest.mark.parametrize(
    ("source", "output", "lost"),
    [
        ("a.wav", "out.wav", set()),
        ("a.flac", "out.flac", set()),
        ("a.flac", "out.wav", set()),
        ("a.wav", "out.ogg", set()),
        ("a.flac", "out.mp3", set()),
        ("a.flac", "out.aiff", set()),
        ("a.flac", "out.caf", set()),
        ("a.aiff", "out.opus", {"date", "album"}),  # which libsndfile does not write into the input
        ("a.wav", "out.w64", set(TAGS)),
    ],
)
def test_tags_travel_where_the_container_can_hold_them(fxst, source, output, lost):
    code, _, err = fxst("apply", tagged(source), "-p", save({}), "-o", output)
    assert code == 0
    assert ("does not hold" in err) == (lost == set(TAGS))
    with audio.Reader(Path(output)) as reader:
        told = reader.metadata.tags.texts
    assert told == {tag.upper(): (words,) for tag, words in TAGS.items() if tag not in lost}


def test_a_recording_without_tags_stays_without(fxst, voices):
    assert fxst("apply", "voices.wav", "-p", save({}), "-o", "out.wav")[0] == 0
    with soundfile.SoundFile("out.wav") as file:
        assert file.copy_metadata() == {}


def test_a_stereo_recording_gets_the_width_of_a_style(fxst, speech):
    middle, sides = speech(RATE, 2, 3)
    for name, share in {"narrow.wav": 0.1, "master.wav": 0.2}.items():
        x = np.stack([middle + share * sides, middle - share * sides])
        soundfile.write(name, x.T, RATE, subtype="FLOAT")
    assert fxst("style", "save", "master.wav", "-o", "master.json")[0] == 0
    assert fxst("apply", "narrow.wav", "--style", "master.json", "-o", "out.wav")[0] == 0
    table = table_files.read(Path("out.params.json"))
    assert table.to_dict()["stereo_width"]["width"] == pytest.approx(2.0, rel=0.15)  # other effects change it, too
    assert "stereo_width" not in table.bypassed

    table_files.write(table.with_values({"stereo_width": {"width": 0.5}}), Path("edited.json"))
    common = ("apply", "narrow.wav", "-p", "edited.json", "--ceiling", "none", "--verbose", "-o")
    assert fxst(*common, "edited.wav")[0] == 0
    assert fxst(*common, "off.wav", "--amount", "width=0")[0] == 0
    (left, right), (left_off, right_off) = written("edited.wav"), written("off.wav")
    np.testing.assert_allclose(left - right, 0.5 * (left_off - right_off), atol=1e-6)
    np.testing.assert_allclose(left + right, left_off + right_off, atol=1e-6)
    code, told, _ = fxst(*common, "half.wav", "--amount", "width=50")
    assert code == 0
    assert re.search(r"width +0\.75 ", told)
