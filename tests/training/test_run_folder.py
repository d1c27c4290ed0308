"""What a run's folder remembers, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fxst.configs import ClipsConfig, DatasetConfig, PassagesConfig, ProxyConfig
from fxst.data.build import build
from fxst.errors import ModelError, NothingMatchedError, OutputError, SettingsError
from fxst.training.run_folder import begin, change, read_config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--batch", "8"], "leave out --batch."),
        (["--proxy", "x"], "leave out --proxy."),
        (["--recipe", "passages"], "leave out --recipe."),
        (["--also", "x"], "leave out --also."),
        (["-o", "y"], "'y' holds no run to resume"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings_only(changes, words, unbroken, fxst):
    code, out, err = fxst("style", "train", unbroken, "--resume", *changes)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_only_a_run_can_be_resumed_and_by_its_own_command(unbroken, tiny_dataset, fxst):
    for arguments, words in (
        (("style", "train", tiny_dataset, "--resume"), "holds no run to resume"),
        (("proxy", "train", unbroken, "--resume"), "from the other training command"),
    ):
        code, out, err = fxst(*arguments)
        assert (code, out) == (2, "")
        assert words in err


def test_a_folder_that_will_not_do_is_told_by_its_exit_code(tiny_dataset, tmp_path, fxst, options):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/song.wav").write_text("")
    for folder, code, words in (
        (tmp_path / "full", SettingsError.exit_code, "is not empty: choose another with -o"),
        (tiny_dataset / "manifest.csv", OutputError.exit_code, "cannot be written (not a directory)"),
        (Path("/proc/none/run"), OutputError.exit_code, "cannot be written"),
    ):
        ended, out, err = fxst("style", "train", tiny_dataset, "-o", folder, *options)
        assert (ended, out) == (code, "")
        assert words in err
        assert len(err.splitlines()) == 1


def test_a_run_is_not_begun_where_another_is(unbroken, tiny_dataset):
    with pytest.raises(SettingsError, match="give it with --resume instead of the dataset"):
        begin(ClipsConfig(tiny_dataset), unbroken)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record | {"config": []},
        lambda record: record | {"config": record["config"] | {"steps": "many"}},
        lambda record: record | {"config": record["config"] | {"gradient": "none"}},
        lambda record: record | {"config": record["config"] | {"nonsense": 1}},
        lambda record: record | {"config": {}},
        lambda record: [record],
    ],
)
def test_settings_that_are_damaged_are_refused(change, unbroken, tmp_path):
    record = json.loads((unbroken / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert read_config(tmp_path, [ProxyConfig, ClipsConfig], {}).steps == 5
    (tmp_path / "config.json").write_text(json.dumps(change(record)))
    with pytest.raises(ModelError, match=r"config.json' is damaged"):
        read_config(tmp_path, [ClipsConfig], {})


def test_paths_are_remembered_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin(ClipsConfig(Path("data"), proxies=(Path("a"), Path("b"))), Path("run"))
    monkeypatch.chdir("/")
    config = read_config(tmp_path / "run", [ClipsConfig], {"device": "cpu"})
    expected = ClipsConfig(
        tmp_path / "data", proxies=(tmp_path / "a", tmp_path / "b"), output=tmp_path / "run", device="cpu"
    )
    assert config == expected
    assert config != replace(expected, steps=1)


@pytest.fixture
def moved(unbroken, tiny_dataset, tmp_path):
    """A run whose dataset was moved, and where it is now."""
    run, data = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(unbroken, run)
    shutil.copytree(tiny_dataset, data)
    record = json.loads((run / "config.json").read_text())
    record["config"]["dataset"] = str(tmp_path / "before")
    (run / "config.json").write_text(json.dumps(record))
    return run, data


def test_a_dataset_that_is_gone_is_asked_for_with_the_command(moved, fxst):
    run, _ = moved
    code, out, err = fxst("style", "train", run, "--resume")
    assert (code, out) == (NothingMatchedError.exit_code, "")
    assert f"the run '{run}' is no longer there" in err
    assert f"`fxst style train DATASET -o {run} --resume`" in err


def spoil_clips(data):
    with open(data / "clips-00000.npy", "r+b") as file:
        file.seek(5000)
        file.write(b"spoilt")


def take_a_speaker_for_another(data):
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("p1", "p2"))


def build_again(data):
    settings = json.loads((data / "dataset.json").read_text())["settings"]
    shutil.rmtree(data)
    build(DatasetConfig(sources=tuple(map(Path, settings["sources"])), output=data, clips=20, workers=1))


@pytest.mark.parametrize("spoil", [spoil_clips, take_a_speaker_for_another, build_again])
def test_a_dataset_that_has_changed_is_refused(spoil, moved, fxst):
    run, data = moved
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    spoil(data)
    code, out, err = fxst("style", "train", data, "-o", run, "--resume", "--steps", "9")
    assert (code, out) == (2, "")
    assert f"The dataset '{data}' is not the one that the run '{run}' was begun with" in err
    assert "or start a new run with another -o" in err
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_dataset_is_known_wherever_it_lies_and_whatever_else_is_there(moved):
    run, data = moved
    (data / "notes.txt").write_text("mine")
    (data / "report.csv").unlink()
    config = read_config(run, [ClipsConfig], {"dataset": data, "steps": 9, "batch": 2})
    assert (config.dataset, config.steps, config.batch) == (data, 9, 2)
    change(config, run)
    assert read_config(run, [ClipsConfig], {}) == replace(config, dataset=data.absolute())


def test_a_run_of_an_earlier_version_knows_no_content(moved):
    run, data = moved
    record = json.loads((run / "config.json").read_text())
    del record["contents"]
    (run / "config.json").write_text(json.dumps(record))
    spoil_clips(data)
    assert read_config(run, [ClipsConfig], {"dataset": data}).dataset == data


def test_a_proxys_dataset_is_known_alike(tiny_dataset, tmp_path, fxst):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(tiny_dataset, data)
    begin(ProxyConfig(data, effect="compressor"), run)
    data.rename(tmp_path / "moved")
    code, _, err = fxst("proxy", "train", run, "--resume")
    assert code == NothingMatchedError.exit_code
    assert f"`fxst proxy train DATASET -o {run} --resume`" in err
    given = {"dataset": tmp_path / "moved", "effect": "compressor"}
    assert read_config(run, [ProxyConfig], given).dataset == tmp_path / "moved"
    spoil_clips(tmp_path / "moved")
    code, _, err = fxst("proxy", "train", tmp_path / "moved", "-o", run, "--resume", "--steps", "3000")
    assert code == 2
    assert "is not the one that the run" in err


def test_each_dataset_of_a_run_is_known(passage_datasets, tmp_path):
    run = tmp_path / "run"
    begin(PassagesConfig(passage_datasets[0], also=(passage_datasets[1],)), run)
    assert read_config(run, [PassagesConfig], {}).also == (passage_datasets[1],)
    moved = tmp_path / "songs"
    shutil.copytree(passage_datasets[1], moved)
    assert read_config(run, [PassagesConfig], {"also": (moved,)}).also == (moved,)
    for also in ((), (moved, moved)):
        with pytest.raises(SettingsError, match="leave out --also"):
            read_config(run, [PassagesConfig], {"also": also})
    with pytest.raises(SettingsError, match="is not the one"):
        read_config(run, [PassagesConfig], {"also": (passage_datasets[0],)})
