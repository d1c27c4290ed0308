import os

import pytest

from fxst.data.sources import assign_splits, find_recordings, speaker_of
from fxst.errors import AudioError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())
    return path


def speakers(*sources, leave_out):
    found, problems = find_recordings(sources, leave_out=leave_out)
    assert not problems
    return {item.name: item.speaker for item in found}


@pytest.mark.parametrize(
    ("file", "speaker"),
    [
        ("train-clean-360/1001/134707/1001_134707_000002_000001.wav", "1001"),
        ("LibriSpeech/dev-clean/84/121123/84-121123-0000.flac", "84"),
        ("wav48_silence_trimmed/p225/p225_001_mic1.flac", "wav48_silence_trimmed/p225"),
        ("speech/Rhasspy-Kathleen/Kathleen/x.ogg", "speech/Rhasspy-Kathleen/Kathleen"),
        ("2019/07/holiday.wav", "2019/07"),  # numbers, but not a chapter's
        ("song.wav", "song.wav"),
    ],
)
def test_speaker_rule(tmp_path, file, speaker):
    assert speaker_of(tmp_path / file, base=tmp_path, alone=True) == speaker


def test_a_speakers_number_is_the_same_from_every_source(tmp_path):
    chapter = tmp_path / "train/1001/134707"
    touch(chapter / "1001_134707_000002_000001.wav")
    for source in (tmp_path, tmp_path / "train", tmp_path / "train/1001", chapter):
        assert set(speakers(source, leave_out=tmp_path / "out").values()) == {"1001"}


def test_finds_sound_files_once_and_in_order(tmp_path):
    for name in ("b/2.WAV", "b/1.flac", "a/x.ogg", "a/notes.txt", "a/.hidden.wav", ".git/y.wav", "top.mp3"):
        touch(tmp_path / "in" / name)
    touch(tmp_path / "in/out/clip.wav")
    (tmp_path / "in/b/again").symlink_to("../a")
    (tmp_path / "in/a/loop").symlink_to("../..")
    (tmp_path / "in/a/self").symlink_to("self")
    os.link(tmp_path / "in/a/x.ogg", tmp_path / "in/b/hard link.ogg")
    found, _ = find_recordings([tmp_path / "in", tmp_path / "in/a/x.ogg"], leave_out=tmp_path / "in/out")
    assert [(item.root, item.name) for item in found] == [
        (0, "a/x.ogg"),
        (0, "b/1.flac"),
        (0, "b/2.WAV"),
        (0, "top.mp3"),
    ]
    again, _ = find_recordings([tmp_path / "in"], leave_out=tmp_path / "in/out")
    assert again == found


def test_single_files_and_broken_links(tmp_path):
    touch(tmp_path / "tape.bin")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/gone.wav").symlink_to("nowhere")
    names = speakers(tmp_path / "tape.bin", tmp_path / "in", leave_out=tmp_path / "out")
    assert names == {"tape.bin": "tape.bin", "gone.wav": "gone.wav"}


def test_missing_source_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"nothing here.*does not exist"):
        find_recordings([tmp_path / "nothing here"], leave_out=tmp_path)


class TestSplits:
    @pytest.mark.parametrize("count", [3, 4, 5, 10, 15, 100, 904])
    def test_each_split_has_speakers_and_none_is_in_two(self, count):
        splits = assign_splits([f"p{i}" for i in range(count)], seed=0)
        share = {split: list(splits.values()).count(split) for split in ("train", "val", "test")}
        assert sum(share.values()) == len(splits) == count
        assert share["val"] == share["test"] == max(1, round(0.1 * count))
        assert share["train"] >= 1

    def test_depends_on_names_and_seed_alone(self):
        names = [f"p{i}" for i in range(50)]
        assert assign_splits(names, seed=3) == assign_splits(names[::-1] + names, seed=3)
        assert assign_splits(names, seed=3) != assign_splits(names, seed=4)

    def test_of_fewer_than_three_none_is_held_out(self):
        assert assign_splits(["a", "b"], seed=0) == {"a": "train", "b": "train"}
        assert assign_splits([], seed=0) == {}

    def test_any_file_name_is_a_name(self):
        assert set(assign_splits(["\udcff", "日本", "\n"], seed=0).values()) == {"train", "val", "test"}


def test_of_several_folders_each_is_one_speakers(tmp_path):
    assert speaker_of(tmp_path / "anna/1.wav", base=tmp_path / "anna", alone=False) == "anna"
    assert speaker_of(tmp_path / "anna/day/1.wav", base=tmp_path / "anna", alone=False) == "day"
