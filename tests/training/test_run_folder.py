"""What a run's folder remembers, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fxst.configs import ClipsConfig, ProxyConfig
from fxst.errors import ModelError, OutputError, SettingsError
from fxst.training.run_folder import begin, read_config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--batch", "8"], "leave out --batch."),
        (["--proxy", "x"], "leave out --proxy."),
        (["--recipe", "passages"], "leave out --recipe."),
        (["--also", "x", "-o", "y"], "leave out --output, --also."),
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
