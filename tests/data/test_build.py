import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio, workers
from fxst.configs import DatasetConfig
from fxst.data import manifest
from fxst.data.build import build
from fxst.data.manifest import Dataset
from fxst.errors import AudioError, FxstError, NothingMatchedError, SettingsError

SHARED = Path(__file__).parents[2] / "../shared"


def sing(path, seconds, *, sample_rate=24_000, level=0.1, seed=0):
    """A file that no other is like: noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = [seed, *os.fsencode(path)]
    x = level * np.random.default_rng(seed).standard_normal(round(seconds * sample_rate))
    # As bytes: soundfile takes no name that is not UTF-8, but audio.py does.
    soundfile.write(os.fsencode(path), x, sample_rate, format=path.suffix[1:])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve speakers of unequal length, at several rates."""
    folder = tmp_path_factory.mktemp("corpus")
    for speaker in range(12):
        rate = (24_000, 44_100, 22_050)[speaker % 3]
        for file in range(2):
            sing(folder / f"p{speaker}/{file}.flac", 1.2 + speaker % 4, sample_rate=rate)
    return folder


def config(source, output, **options):
    return DatasetConfig(sources=(source,), output=output, **({"workers": 2} | options))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(folder, name=manifest.MANIFEST):
    with open(folder / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(manifest, "SHARD_BYTES", 2 * 12_720 * 7)


def test_the_same_whatever_the_workers(corpus, tmp_path, small_shards):
    one = build(config(corpus, tmp_path / "one", clips=40, workers=1))
    two = build(config(corpus, tmp_path / "two", clips=40, workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert one.clips == two.clips
    assert sum(one.clips.values()) == 40
    build(config(corpus, tmp_path / "other", clips=40, seed=1))
    assert contents(tmp_path / "one")["clips-00000.npy"] != contents(tmp_path / "other")["clips-00000.npy"]


def test_the_manifest_is_true(corpus, tmp_path, small_shards):
    build(config(corpus, tmp_path / "data", clips=0))
    dataset = Dataset(tmp_path / "data")
    table = rows(tmp_path / "data")
    assert [int(row["clip"]) for row in table] == list(range(len(dataset)))
    audios = dataset.clips(np.arange(len(dataset)))
    places = set()
    for row, clip in zip(table, audios, strict=True):
        x, sample_rate = audio.read(corpus / row["source"])
        whole = audio.resample(audio.mono(x), source_rate=sample_rate, target_rate=24_000)[0]
        first = round(float(row["offset_seconds"]) * 24_000)
        expected = whole[first : first + 12_720]
        assert 20 * np.log10(np.abs(clip - expected).max() / np.abs(expected).max()) < -90
        assert float(row["rms_db"]) == pytest.approx(10 * np.log10(np.mean(expected**2)), abs=0.01)
        assert float(row["scale"]) == pytest.approx(np.abs(expected).max(), rel=1e-5)
        assert row["speaker"] == Path(row["source"]).parent.name
        assert first % 12_720 == 0
        places.add((row["source"], first))
    assert len(places) == len(table)
    # Every window of every file: none of this noise is silent.
    assert len(table) == sum(2 * int((1.2 + speaker % 4) / 0.53) for speaker in range(12))


def test_no_speaker_is_in_two_splits_at_any_length(corpus, tmp_path):
    def splits(folder):
        dataset = Dataset(folder)
        of = {split: set(dataset.speakers(split)) for split in ("train", "val", "test")}
        assert all(of.values())
        assert not of["train"] & of["val"] | of["train"] & of["test"] | of["val"] & of["test"]
        return of

    build(config(corpus, tmp_path / "short", clips=0))
    build(config(corpus, tmp_path / "long", clips=36, seconds=1.0))
    assert splits(tmp_path / "short") == splits(tmp_path / "long")


def test_clips_are_shared_out_evenly(corpus, tmp_path):
    build(config(corpus, tmp_path / "data", clips=60))
    speakers = [row["speaker"] for row in rows(tmp_path / "data")]
    counts = {speaker: speakers.count(speaker) for speaker in set(speakers)}
    # Three of the speakers have four clips in all; the others share what these leave, to a clip.
    assert sorted(counts.values())[:3] == [4, 4, 4]
    assert set(sorted(counts.values())[3:]) <= {5, 6}


def test_card_and_dataset_agree(corpus, tmp_path):
    summary = build(config(corpus, tmp_path / "data", clips=50, seed=5))
    card = json.loads((tmp_path / "data/dataset.json").read_text())
    dataset = Dataset(tmp_path / "data")
    assert (dataset.sample_rate, dataset.clip_samples, len(dataset)) == (24_000, 12_720, 50)
    assert card["seconds"] == summary.seconds == pytest.approx(50 * 0.53)
    assert set(card["settings"]) == {"sources", "clips", "seconds", "sample_rate", "seed"}
    for split in ("train", "val", "test"):
        by_speaker = dataset.indices_by_speaker(split)
        assert list(by_speaker) == dataset.speakers(split) == sorted(by_speaker)
        assert sum(map(len, by_speaker.values())) == card["clips"][split] == summary.clips[split]
        assert len(by_speaker) == card["speakers"][split] == summary.speakers[split]
    table = rows(tmp_path / "data")
    for speaker, indices in dataset.indices_by_speaker("train").items():
        assert all(table[i]["speaker"] == speaker and table[i]["split"] == "train" for i in indices)
    assert np.load(tmp_path / "data/clips-00000.npy", mmap_mode="r").shape == (50, 12_720)
    some = np.array([7, 3, 3, 49])
    assert np.array_equal(dataset.clips(some), dataset.clips(np.arange(50))[some])
    assert dataset.clips(np.zeros(0, np.int64)).shape == (0, 12_720)


def test_more_asked_than_there_is(corpus, tmp_path):
    summary = build(config(corpus, tmp_path / "data", clips=5000))
    assert sum(summary.clips.values()) < 5000
    assert any("of the 5,000 requested clips" in note for note in summary.notes)


@pytest.mark.parametrize("clips", [20, 0])
def test_progress_reaches_its_end(corpus, tmp_path, clips):
    calls = []
    build(config(corpus, tmp_path / "data", clips=clips), progress=lambda *call: calls.append(call))
    done, total = zip(*calls, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("everybody", [True, False])
def test_an_interrupted_build_says_so_in_a_sentence(corpus, tmp_path, number, code, everybody):
    program = (
        "import signal, sys; from fxst.data import manifest; manifest.SHARD_BYTES = 9600\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background job ignores
        "from fxst.cli import main; main()"
    )
    options = ["--clips", "0", "--seconds", "0.05", "--workers", "2", "-o", tmp_path / "data"]
    with subprocess.Popen(
        [sys.executable, "-c", program, "dataset", "build", corpus, *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not (tmp_path / "data/unfinished/00000.json").exists():  # its workers are at work
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        (os.killpg if everybody else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (code, "fxst: interrupted\n")


def test_a_killed_build_goes_on_to_the_same_bytes(corpus, tmp_path, monkeypatch):
    shard_bytes = 2 * 1200 * 9
    monkeypatch.setattr(manifest, "SHARD_BYTES", shard_bytes)
    build(config(corpus, tmp_path / "whole", clips=900, seconds=0.05))
    code = (
        f"import sys; from fxst.data import manifest; manifest.SHARD_BYTES = {shard_bytes}; "
        "from fxst.cli import main; main()"
    )
    options = ["--clips", "900", "--seconds", "0.05", "--workers", "2", "-o", tmp_path / "killed"]
    process = subprocess.Popen([sys.executable, "-c", code, "dataset", "build", corpus, *options])
    try:
        deadline = time.monotonic() + 300
        while not (tmp_path / "killed/unfinished/00002.json").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed/dataset.json").exists()
    with pytest.raises(NothingMatchedError, match="no finished dataset"):
        Dataset(tmp_path / "killed")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("clips-0000[0-2].npy")}
    assert len(kept) == 3
    # Other settings must not be mixed in.
    with pytest.raises(SettingsError, match="other settings"):
        build(config(corpus, tmp_path / "killed", clips=5))
    build(config(corpus, tmp_path / "killed", clips=900, seconds=0.05))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("lost", [1, 3])
def test_any_finished_shards_are_enough_to_go_on(corpus, tmp_path, small_shards, monkeypatch, lost):
    """Stop after each shard in turn; silent and damaged files make several rounds."""
    source = tmp_path / "in"
    source.mkdir()
    for speaker in range(4):
        (source / f"p{speaker}").symlink_to(corpus / f"p{speaker}")
        # Half of it silence, so that a round does not give what was drawn.
        x = np.zeros(24_000 * 6)
        x[:: 24_000 // 4] = 0.9
        x[24_000 * 2 :] = 0
        soundfile.write(source / f"quiet{speaker}.wav", x, 24_000)
    sing(source / "bad/x.flac", 4)
    (source / "bad/x.flac").write_bytes((source / "bad/x.flac").read_bytes()[:40_000])
    settings = {"clips": 60}
    build(config(source, tmp_path / "whole", **settings))

    class StopHere(BaseException):
        pass

    from fxst.data.shards import Shards

    finish = Shards._finish_shard

    def stop(self, position):
        finish(self, position)
        if self._finished == lost:
            raise StopHere

    monkeypatch.setattr(Shards, "_finish_shard", stop)
    with pytest.raises(StopHere):
        build(config(source, tmp_path / "again", **settings))
    monkeypatch.undo()
    monkeypatch.setattr(manifest, "SHARD_BYTES", 2 * 12_720 * 7)
    build(config(source, tmp_path / "again", **settings))
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    assert [Path(row["file"]).name for row in rows(tmp_path / "whole", "report.csv")] == ["x.flac"]


def test_a_finished_dataset_is_left_alone(corpus, tmp_path):
    build(config(corpus, tmp_path / "data", clips=20))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    (tmp_path / "data/unfinished").mkdir()
    summary = build(config(corpus, tmp_path / "data", clips=20, workers=1))
    assert summary.was_finished
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == before


def test_other_folders_are_refused_and_untouched(corpus, tmp_path):
    build(config(corpus, tmp_path / "data", clips=20))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("work")
    (tmp_path / "file").write_text("work")
    before = contents(tmp_path / "data")
    for output, options, message in [
        ("data", {"clips": 21}, r"other settings \(clips\)"),
        ("data", {"clips": 20, "seconds": 0.5, "seed": 3}, r"\(seconds, seed\)"),
        ("mine", {}, "not empty"),
        ("file", {}, "not empty"),
    ]:
        with pytest.raises(SettingsError, match=message):
            build(config(corpus, tmp_path / output, **options))
    assert contents(tmp_path / "data") == before
    assert contents(tmp_path / "mine") == {"thesis.txt": b"work"}
    with pytest.raises(SettingsError, match="not empty"):
        build(config(corpus, corpus))


def test_recordings_that_change_meanwhile_are_noticed(tmp_path, small_shards, monkeypatch):
    for speaker in "abc":
        sing(tmp_path / f"in/{speaker}/x.wav", 4)

    def stop(*_):
        raise KeyboardInterrupt

    from fxst.data.build import _Build

    with monkeypatch.context() as patch:
        patch.setattr(_Build, "_write_tables", stop)
        with pytest.raises(KeyboardInterrupt):
            build(config(tmp_path / "in", tmp_path / "data", clips=0))
    sing(tmp_path / "in/d/x.wav", 4)
    with pytest.raises(SettingsError, match="other recordings"):
        build(config(tmp_path / "in", tmp_path / "data", clips=0))
    (tmp_path / "in/d/x.wav").unlink()
    assert sum(build(config(tmp_path / "in", tmp_path / "data", clips=0)).clips.values()) == 21


def test_damaged_files_are_reported_and_the_rest_is_used(corpus, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for speaker in range(4):
        (source / f"p{speaker}").symlink_to(corpus / f"p{speaker}")
    (source / "bad").mkdir()
    (source / "bad/empty.wav").touch()
    (source / "bad/text.wav").write_text("hello")
    (source / "bad/gone.wav").symlink_to("nowhere")
    os.mkfifo(source / "bad/fifo.wav")
    x = np.full((50_000, 1), 0.1, np.float32)
    x[30_000] = np.nan
    soundfile.write(source / "bad/nan.wav", x, 24_000, subtype="FLOAT")
    (source / "bad/half.flac").write_bytes((corpus / "p3/0.flac").read_bytes()[:30_000])
    sing(source / "bad/half.wav", 4)
    (source / "bad/half.wav").write_bytes((source / "bad/half.wav").read_bytes()[:100_000])
    summary = build(config(source, tmp_path / "data", clips=0))
    report = rows(tmp_path / "data", "report.csv")
    names = ["empty.wav", "fifo.wav", "gone.wav", "half.flac", "half.wav", "nan.wav", "text.wav"]
    assert [Path(row["file"]).name for row in report] == names
    assert all(row["problem"] for row in report)
    assert summary.damaged_files == len(names)
    used = {row["source"] for row in rows(tmp_path / "data")}
    assert {name for name in used if name.startswith("bad/")} == {"bad/half.wav"}
    assert np.isfinite(Dataset(tmp_path / "data").clips(np.arange(sum(summary.clips.values())))).all()


def test_nothing_to_cut_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 24_000)
    (tmp_path / "bad.wav").write_text("hello")
    for source, message in [
        ("empty", "No recordings"),
        ("silence.wav", "No clip of .* with sound in it"),
        ("bad.wav", "damaged"),
    ]:
        with pytest.raises(AudioError, match=message):
            build(config(tmp_path / source, tmp_path / "data"))
        assert not (tmp_path / "data").exists()
    with pytest.raises(SettingsError, match="seconds"):
        build(config(tmp_path / "silence.wav", tmp_path / "data", seconds=float("inf")))


def test_fewer_than_three_speakers(tmp_path):
    for file in range(5):
        sing(tmp_path / f"two/a/{file}.wav", 2)
    sing(tmp_path / "two/b/x.wav", 2)
    summary = build(config(tmp_path / "two", tmp_path / "by file", clips=0))
    assert all(summary.clips.values())
    assert any("split by file" in note for note in summary.notes)
    summary = build(config(tmp_path / "two/b/x.wav", tmp_path / "one", clips=0))
    assert summary.clips == {"train": 3, "val": 0, "test": 0}
    assert any("all clips are in train" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (
            (16_000, 24_000, 48_000, 11_025),
            "2 of 4 recordings have a sample rate below 24000 Hz (the lowest: 11025 Hz)",
        ),
        ((8_000, 8_000, 16_000), "All recordings have a sample rate below 24000 Hz (the lowest: 8000 Hz)"),
        ((24_000, 44_100, 48_000), None),
    ],
)
def test_recordings_below_the_datasets_rate_are_told(rates, words, tmp_path, fxst):
    for number, rate in enumerate(rates):
        sing(tmp_path / f"in/p{number}/a.wav", 2, sample_rate=rate)
    code, _, err = fxst("dataset", "build", tmp_path / "in", "-o", tmp_path / "data", "-n", "8", "--workers", "1")
    assert code == 0
    assert (" ".join(err.split()).count(words) if words else err.count("sample rate")) == bool(words)
    notes = [note for note in manifest.read_card(tmp_path / "data")["notes"] if "sample rate" in note]
    assert bool(notes) == bool(words)
    assert not words or f"build with --sample-rate {min(rates)}" in notes[0]


def test_training_repeats_what_the_build_has_found(tmp_path, fxst):
    import torch  # noqa: F401

    for number in range(3):
        sing(tmp_path / f"in/p{number}/a.wav", 2, sample_rate=16_000)
    build(config(tmp_path / "in", tmp_path / "data", clips=8, workers=1))
    for command in (("style", "train"), ("proxy", "train", "--effect", "none")):
        code, _, err = fxst(*command, tmp_path / "data", "-o", tmp_path / "run", "--chain", "none")
        assert code == 2
        assert f"of the dataset '{tmp_path / 'data'}': All recordings have a sample rate below 24000 Hz" in err


def test_names_of_any_kind(tmp_path):
    for name in ('sp ace, "q"\n日本', os.fsdecode(b"\xff\xfe"), "plain"):
        sing(tmp_path / "in" / name / "x.wav", 1)
    build(config(tmp_path / "in", tmp_path / "data", clips=0))
    dataset = Dataset(tmp_path / "data")
    names = {name for split in ("train", "val", "test") for name in dataset.speakers(split)}
    assert names == {'sp ace, "q"\n日本', os.fsdecode(b"\xff\xfe"), "plain"}


def die(_):
    os._exit(9)


def test_a_worker_that_dies_does_not_hang_the_build(monkeypatch, corpus, tmp_path):
    with workers.WorkerPool(2) as pool, pytest.raises(FxstError, match="run the same command again"):
        list(pool.map(die, range(20)))


def test_workers_do_not_import_torch():
    code = "import sys; import fxst.data.cutting, fxst.data.build; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestDataset:
    def test_what_is_no_dataset_is_named(self, tmp_path):
        with pytest.raises(NothingMatchedError, match="fxst dataset build"):
            Dataset(tmp_path)
        (tmp_path / "file").write_text("")
        with pytest.raises(NothingMatchedError, match="fxst dataset build"):
            Dataset(tmp_path / "file")
        (tmp_path / "dataset.json").write_text("[]")
        with pytest.raises(SettingsError, match="describe"):
            Dataset(tmp_path)
        (tmp_path / "dataset.json").write_text('{"format": "fxst-dataset", "format_version": 99}')
        with pytest.raises(SettingsError, match="another version"):
            Dataset(tmp_path)

    def test_damage_is_named(self, corpus, tmp_path):
        folder = tmp_path / "data"
        build(config(corpus, folder, clips=10))
        whole = contents(folder)
        for name, data in [
            ("clips-00000.npy", whole["clips-00000.npy"][:-1000]),
            ("clips-00000.npy", b"junk"),
            ("manifest.csv", whole["manifest.csv"][:-40]),
            ("manifest.csv", b""),
        ]:
            (folder / name).write_bytes(data)
            with pytest.raises(AudioError, match=name):
                Dataset(folder).clips(np.arange(10))
            (folder / name).write_bytes(whole[name])
        (folder / "clips-00000.npy").unlink()
        with pytest.raises(AudioError, match="clips-00000"):
            Dataset(folder).clips(np.arange(10))


def test_shared_speech(tmp_path):
    if not (SHARED / "audio/speech").is_dir():
        pytest.skip("../shared/audio is not here")
    summary = build(config(SHARED / "audio/speech", tmp_path / "data", clips=200))
    assert sum(summary.clips.values()) == 200
    assert summary.damaged_files == 0
    assert all(summary.clips.values())
    levels = [float(row["rms_db"]) for row in rows(tmp_path / "data")]
    assert min(levels) > -50
    assert -35 < np.median(levels) < -15
