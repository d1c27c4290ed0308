from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.configs import DatasetConfig
from fxst.data.build import build
from fxst.data.manifest import Dataset
from fxst.errors import AudioError, NothingMatchedError, SettingsError
from fxst.evaluation.voices import MARGIN_SECONDS, Voices, read

RATE = 16_000


@pytest.fixture
def recordings(tmp_path):
    """Twenty voices of two files each; every sample tells where it is: the file's number, then a ramp."""
    for voice in range(20):
        folder = tmp_path / f"v{voice:02}"
        folder.mkdir()
        for file, seconds in enumerate((1.0, 2.0)):
            soundfile.write(folder / f"{file}.wav", ramp(file, seconds), RATE, subtype="FLOAT")
    return tmp_path


def ramp(file, seconds):
    return (0.25 * file + 1e-5 * np.arange(round(seconds * RATE))).astype(np.float32)


def voices(folder, split="all", each_file=False, split_seed=0):
    return Voices(folder, split=split, split_seed=split_seed, each_file=each_file)


def test_the_splits_are_those_of_a_dataset(recordings, tmp_path):
    data = tmp_path / "data"
    build(DatasetConfig((recordings,), data, clips=0, seconds=0.5, seed=3, workers=1))
    dataset = Dataset(data)
    for split in ("train", "val", "test"):
        wanted = dataset.speakers(split)
        assert wanted
        assert list(voices(data, split).names) == wanted
    (recordings / "data").rename(tmp_path.parent / f"{tmp_path.name}-moved")
    held_out = voices(recordings, "test", split_seed=3)
    assert list(held_out.names) == dataset.speakers("test")
    assert list(voices(recordings).names) == sorted(f"v{voice:02}" for voice in range(20))


def test_a_passage_runs_from_one_recording_into_the_next(recordings):
    everything = voices(recordings)
    assert everything.seconds("v03") == 3.0
    seconds = 1.0
    for at in (0.0, 0.3, 0.5, 1.0):
        stretches = everything.passage("v03", at=at, seconds=seconds)
        x = read(stretches, samples=RATE, sample_rate=RATE)
        start = round(at * (3.0 - seconds - MARGIN_SECONDS) * RATE)
        both = np.concatenate([ramp(0, 1.0), ramp(1, 2.0)])
        np.testing.assert_array_equal(x[0], both[start : start + RATE])


def test_a_passage_is_never_shorter_than_asked_for(recordings):
    everything = voices(recordings)
    generator = np.random.default_rng(0)
    for rate in (8000, 22_050, 24_000, 44_100):
        for _ in range(20):
            stretches = everything.passage("v00", at=generator.random(), seconds=1.7)
            x = read(stretches, samples=round(1.7 * rate), sample_rate=rate)
            assert x.shape == (1, round(1.7 * rate))


def test_a_voice_with_too_little_gives_nothing(recordings):
    assert voices(recordings).passage("v00", at=0.5, seconds=3.0) is None
    assert voices(recordings, each_file=True).passage("v00/0.wav", at=0.5, seconds=1.0) is None
    assert voices(recordings, each_file=True).passage("v00/1.wav", at=0.5, seconds=1.0) is not None


def test_unreadable_files_are_no_part_of_a_voice(recordings):
    (recordings / "v00" / "0.wav").write_bytes(b"RIFF....")
    assert voices(recordings).seconds("v00") == 2.0


def test_many_channels_are_heard_as_one(tmp_path):
    x = np.stack([ramp(0, 1.0), ramp(1, 1.0)], axis=1)
    soundfile.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    everything = voices(tmp_path, each_file=True)
    heard = read(everything.passage("x.wav", at=0.0, seconds=0.5), samples=RATE // 2, sample_rate=RATE)
    np.testing.assert_allclose(heard[0], x.mean(axis=1)[: RATE // 2], atol=1e-7)


def test_stereo_stays_where_it_is_asked_for_and_all_files_have_it(tmp_path):
    x = np.stack([ramp(0, 1.0), ramp(1, 1.0)], axis=1)
    for folder, second in (("both", x), ("one", x[:, 0]), ("many", x[:, [0, 1, 0]])):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", x, RATE, subtype="FLOAT")
        soundfile.write(tmp_path / folder / "b.wav", second, RATE, subtype="FLOAT")
    everything = voices(tmp_path)

    def heard(voice, **options):
        stretches = everything.passage(voice, at=0.5, seconds=1.0)
        assert len(stretches) == 2
        return read(stretches, samples=RATE, sample_rate=RATE, **options)

    whole = np.concatenate([x, x])[round(0.45 * RATE) :][:RATE].T
    np.testing.assert_array_equal(heard("both", stereo=True), whole)
    np.testing.assert_allclose(heard("both"), whole.mean(axis=0)[None], atol=1e-7)
    assert [len(heard(voice, stereo=True)) for voice in ("one", "many")] == [1, 1]


def test_a_studio_is_the_folder_around_a_voice_and_an_album_that_around_a_song(tmp_path):
    for name in ("vctk/p1/1.wav", "vctk/p2/1.wav", "ljs/lj/a.wav", "libri/clean/84/121123/84_121123_000.wav", "x.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, ramp(0, 1.0), RATE)
    spoken, songs = voices(tmp_path), voices(tmp_path, each_file=True)

    def studios(of):
        return {name: str(Path(of.studio(name)).relative_to(tmp_path)) for name in of.names}

    assert studios(spoken) == {
        "84": "libri/clean", "ljs/lj": "ljs", "vctk/p1": "vctk", "vctk/p2": "vctk", "x.wav": "."
    }  # fmt: skip
    assert studios(songs)["vctk/p1/1.wav"] == "vctk/p1"
    assert studios(songs)["x.wav"] == "."


def test_a_file_that_holds_less_than_it_claims_gives_nothing(recordings):
    everything = voices(recordings)
    stretches = everything.passage("v00", at=1.0, seconds=1.0)
    path = recordings / "v00" / "1.wav"
    soundfile.write(path, ramp(1, 1.5), RATE, subtype="FLOAT")
    assert read(stretches, samples=RATE, sample_rate=RATE) is None


@pytest.mark.parametrize(("name", "error"), [("nowhere", AudioError), ("empty", NothingMatchedError)])
def test_nothing_to_draw_from(tmp_path, name, error):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=name):
        voices(tmp_path / name)


def test_too_few_voices_to_hold_any_out(tmp_path):
    (tmp_path / "one").mkdir()
    soundfile.write(tmp_path / "one" / "x.wav", ramp(0, 1.0), RATE)
    with pytest.raises(SettingsError, match="--split all"):
        voices(tmp_path, "test")


def test_a_dataset_whose_recordings_are_gone(recordings, tmp_path):
    data = tmp_path.parent / f"{tmp_path.name}-data"
    build(DatasetConfig((recordings,), data, clips=0, seconds=0.5, workers=1))
    recordings.rename(Path(f"{recordings}-elsewhere"))
    with pytest.raises(SettingsError, match="name the folder where these recordings are now"):
        voices(data)
