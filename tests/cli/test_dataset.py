import subprocess
import sys

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import fxst.cli.dataset  # noqa: F401  (registers the command)
from fxst.cli.app import app
from fxst.errors import SettingsError


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    for speaker in range(4):
        (folder / f"p{speaker}").mkdir()
        soundfile.write(folder / f"p{speaker}/x.wav", 0.1 * rng.standard_normal(48_000), 24_000)
    return folder


def program(*arguments):
    return subprocess.run([sys.executable, "-m", "fxst", *arguments], capture_output=True, text=True, check=False)


def test_the_program_builds_and_says_what(voices, tmp_path):
    done = program("dataset", "build", voices, "-o", tmp_path / "data", "-n", "10", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "10 clips of 0.53 s" in done.stdout
    assert "times real time" in done.stdout
    assert str(tmp_path / "data") in done.stdout
    assert done.stderr == ""  # no progress bar where nobody looks
    assert (tmp_path / "data/manifest.csv").read_text().count("\n") == 11
    assert not list(tmp_path.glob("data/unfinished"))


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_disk_without_room_is_told_and_no_dataset_is_called_finished(voices, tmp_path, size):
    resource = pytest.importorskip("resource")
    build = (sys.executable, "-m", "fxst", "dataset", "build", voices, "-o", tmp_path / "data", "-n", "4")
    done = subprocess.run(
        [*build, "--workers", "1"],
        capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    assert done.returncode == 5
    assert "data' cannot be written (file too large): free space" in done.stderr
    assert not (tmp_path / "data/dataset.json").exists()
    assert not (tmp_path / "data/manifest.csv").exists()


def test_a_damaged_file_fails_the_command_and_the_rest_is_kept(voices, tmp_path):
    (tmp_path / "bad.wav").write_text("hello")
    arguments = ["dataset", "build", str(voices), str(tmp_path / "bad.wav"), "-o", str(tmp_path / "data"), "-n", "0"]
    for _ in range(2):  # a second run, which finds it finished, must not call it good
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        assert "1 recording is damaged" in result.stderr
    assert "bad.wav" in (tmp_path / "data/report.csv").read_text()
    assert (tmp_path / "data/dataset.json").exists()


def test_wrong_usage_and_errors(voices, tmp_path):
    runner = CliRunner()
    assert runner.invoke(app, ["dataset", "build"]).exit_code == 2
    assert runner.invoke(app, ["dataset", "build", str(voices), "--clips", "-1"]).exit_code == 2
    assert runner.invoke(app, ["dataset", "build", str(voices), "--seconds", "0"]).exit_code == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x").touch()
    result = runner.invoke(app, ["dataset", "build", str(voices), "-o", str(tmp_path / "mine")])
    assert isinstance(result.exception, SettingsError)
    done = program("dataset", "build", tmp_path / "nowhere", "-o", tmp_path / "data")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr


def test_a_second_run_finds_it_finished(voices, tmp_path):
    runner = CliRunner()
    arguments = ["dataset", "build", str(voices), "-o", str(tmp_path / "data"), "-n", "5", "--workers", "1"]
    assert runner.invoke(app, arguments).exit_code == 0
    again = runner.invoke(app, arguments)
    assert again.exit_code == 0
    assert "already finished" in again.output
