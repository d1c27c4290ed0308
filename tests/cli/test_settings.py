"""Options from presets and settings files: what takes precedence, what is refused, and what a stranger's may not do."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import typer

from fxst import audio
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.cli.app import app
from fxst.cli.settings import _NEVER_FROM_A_PROJECT, _WRITTEN, commands, key_of
from fxst.configs import PRESETS
from fxst.dsp.loudness import loudness


@pytest.fixture
def project(tmp_path, monkeypatch, examples):
    """A project's folder to work in with a recording and a table, and a configuration folder of the user's own."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "voice.wav").write_bytes((examples / "voice.wav").read_bytes())
    table_files.write(Table(CHAINS["eq"], CHAINS["eq"].defaults()), folder / "t.json")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config/fxst").mkdir(parents=True)
    return folder


@pytest.fixture
def user(project, tmp_path):
    return tmp_path / "config/fxst/fxst.toml"


APPLY = ("apply", "voice.wav", "-p", "t.json", "-o", "out.wav", "--overwrite")


def lufs(path="out.wav"):
    x, sample_rate = audio.read(Path(path))
    return loudness(x, sample_rate=sample_rate)


def shown(fxst, command="apply"):
    code, out, err = fxst("config", "show", *command.split(), "--json")
    assert code == 0, err
    return json.loads(out)["commands"][command]


@pytest.mark.parametrize(
    ("project_file", "user_file", "words", "expected"),
    [
        (None, None, (), None),
        ("loudness = -30", None, (), -30),
        ("loudness = -30", "loudness = -33", (), -30),
        (None, "loudness = -33", (), -33),
        ("loudness = -30", "loudness = -33", ("--loudness", "-26"), -26),
        ('preset = "broadcast"', "loudness = -33", (), -23),
        ('preset = "broadcast"\nloudness = -30', None, (), -30),
        ("loudness = -30", 'preset = "broadcast"', (), -30),
        ("loudness = -30", None, ("--preset", "broadcast"), -23),
        ('preset = "podcast"', None, ("--preset", "broadcast", "--loudness", "-27"), -27),
        ('preset = "broadcast"', None, ("--preset", "none"), None),
    ],
)
def test_the_nearest_to_the_command_takes_precedence(project_file, user_file, words, expected, project, user, fxst):
    if project_file:
        (project / "fxst.toml").write_text(f"[apply]\n{project_file}\n")
    if user_file:
        user.write_text(f"[apply]\n{user_file}\n")
    assert fxst(*APPLY, *words)[0] == 0
    assert lufs() == pytest.approx(lufs("voice.wav") if expected is None else expected, abs=0.1)


def written(options):
    return [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def test_a_preset_is_what_its_options_are(project, fxst):
    rows = [replace(row, value=15.0) if "gain" in row.parameter else row for row in CHAINS["eq"].defaults()]
    table_files.write(Table(CHAINS["eq"], tuple(rows)), project / "t.json")
    for name, options in PRESETS.items():
        code, _, err = fxst(*APPLY, "--preset", name)
        assert code == 0, err
        by_preset = Path("out.wav").read_bytes()
        of_tables = {key: value for key, value in options.items() if "noise" not in key}
        assert fxst(*APPLY, *written(of_tables))[0] == 0
        assert Path("out.wav").read_bytes() == by_preset
        assert fxst(*APPLY, "--preset", name, "--max-boost", "0")[0] == 0
        assert Path("out.wav").read_bytes() != by_preset
    assert len({tuple(options.values()) for options in PRESETS.values()}) == len(PRESETS)


def test_a_preset_guards_the_noise_unless_told_otherwise(project, fxst):
    def table(*words):
        code, _, err = fxst("apply", "voice.wav", "--ref", "voice.wav", "-o", "out.wav", "--overwrite", *words)
        assert code == 0, err
        return json.loads(Path("out.params.json").read_text(encoding="utf-8"))

    by_preset = table("--preset", "podcast")
    assert by_preset["chain"]["name"].endswith("-guarded")
    assert by_preset["chain"] == table(*written(PRESETS["podcast"]))["chain"]
    # What is given beside a preset takes precedence, even if it is the default.
    assert not table("--preset", "podcast", "--noise", "keep")["chain"]["name"].endswith("-guarded")


def test_a_batch_does_not_depend_on_where_its_options_stand(project, fxst):
    (project / "in").mkdir()
    (project / "voice.wav").rename(project / "in/voice.wav")
    assert fxst("apply", "in", "-p", "t.json", "-o", "out", "--preset", "broadcast")[0] == 0
    (project / "fxst.toml").write_text('[apply]\nloudness = -23\nmax-boost = 9\nparams = "t.json"\n')
    code, out, _ = fxst("apply", "in", "-o", "out", "--format", "json")
    assert code == 0
    assert json.loads(out)["counts"]["finished"] == 1


def test_show_names_the_source_of_every_value(project, user, fxst, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    (project / "fxst.toml").write_text('[apply]\npreset = "podcast"\njobs = 3\n[style.train]\nrecipe = "passages"\n')
    user.write_text('[apply]\nceiling = -2\nref = "house.wav:2"\nexport = "sox"\noverwrite = true\nlist = "~/a.txt"\n')
    values = shown(fxst)
    found = {key: (entry["value"], entry["source"], entry["preset"]) for key, entry in values.items()}
    assert found["jobs"] == (3, "project", None)
    assert found["loudness"] == ("-16", "project", "podcast")
    assert found["ceiling"] == ("-1", "project", "podcast")
    assert found["ref"] == ([str(user.parent / "house.wav:2")], "user", None)
    assert found["export"] == (["sox"], "user", None)
    assert found["overwrite"] == (True, "user", None)
    assert found["list"][0] == str(Path.home() / "a.txt")
    assert found["tail"] == ("0", "default", None)
    assert shown(fxst, "style train")["recipe"]["value"] == "passages"
    code, out, _ = fxst("config", "show", "apply")
    assert code == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line.startswith("--")}
    assert lines["--jobs"] == "3 fxst.toml"
    assert lines["--loudness"] == "-16 preset podcast, in fxst.toml"
    assert lines["--overwrite"].startswith("true ")
    assert lines["--tail"] == "0 default"
    assert lines.keys() == {f"--{key}" for key in values}
    code, out, _ = fxst("config", "show", "--json")
    assert set(json.loads(out)["commands"]) >= {"apply", "eval", "dataset build", "style train", "proxy train", "ui"}
    code, _, err = fxst("config", "show", "aply")
    assert code == 2
    assert "did you mean 'apply'?" in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[apply]\nloudnes = -16", "[apply]: there is no option 'loudnes' (did you mean 'loudness'?)"),
        ("[aply]\njobs = 1", "there is no command 'aply' (did you mean 'apply'?)"),
        ("[style.trian]\nbatch = 4", "did you mean 'style.train'?"),
        ("jobs = 2", "there is no table 'jobs'; options stand in the table of their command, such as [apply]"),
        ("[style]\ntrain = 3", "style.train is a command: write [style.train]"),
        ('[apply]\njobs = "two"', "[apply]: jobs must be a whole number from 0, and is 'two'"),
        ("[apply]\njobs = 1.5", "jobs must be a whole number from 0, and is 1.5"),
        ("[apply]\njobs = -1", "jobs must be a whole number from 0, and is -1"),
        ("[apply]\njobs = true", "jobs must be a whole number"),
        ("[apply]\nlink = 1", "link must be true or false, and is 1"),
        ("[apply]\nloudness = [1]", "loudness must be a number or a text in quotes, and is [1]"),
        ("[apply]\nloudness = inf", "loudness must be"),
        ('[apply]\nformat = "jsno"', "format must be one of table, json, jsonl, quiet (did you mean 'json'?)"),
        ('[apply]\nexport = ["sox", "sux"]', "export must be one of"),
        ("[apply]\nmodel = 3", "model must be a text in quotes, and is 3"),
        ("[style.train]\nlearning-rate = -1", "[style.train]: learning-rate must be a number from 0, and is -1"),
        ("[proxy.train]\nbatch = 0", "[proxy.train]: batch must be a whole number from 1"),
        ('[apply]\ninputs = ["a"]', "inputs is no option: name it on the command line"),
        ("[apply]\nreport-items = 2\nreport_items = 3", "report_items is set twice"),
        ("[apply]\njobs = 1\njobs = 2", "(at line 3, column 9)"),
        ("[apply\n", "is not valid TOML"),
        ('effects = "x.py"', "effects is not taken from a file, for it names programs"),
    ],
)
@pytest.mark.parametrize("owner", ["project", "user"])
def test_a_fault_is_one_sentence_with_its_place(text, words, owner, project, user, fxst):
    path = user if owner == "user" else Path("fxst.toml")
    path.write_text(text)
    code, out, err = fxst("chains")
    assert (code, out) == (2, "")
    assert str(path) in err
    assert words in err
    assert len(err.splitlines()) == 1
    assert fxst("chains", "--help")[0] == 0
    assert fxst("--no-config", "chains")[0] == 0


def test_what_is_no_text_file_is_told(project, fxst):
    path = project / "fxst.toml"
    for make, words in (
        (lambda: path.write_bytes(b"[apply]\nmodel = '\xff'"), "is not valid TOML"),
        (lambda: path.write_bytes(b"#" * (1 << 20) + b"\n"), "is too large"),
        (lambda: os.mkfifo(path), "is not a file"),
        (path.mkdir, "is not a file"),
    ):
        make()
        code, _, err = fxst("chains")
        assert code == 2
        assert f"'fxst.toml' {words}" in err
        path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(b"\xef\xbb\xbf[apply]\r\nloudness = -30\r\n")  # as editors for Windows write it
    assert shown(fxst)["loudness"]["value"] == "-30"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("overwrite = true", "overwrite is not taken from the current folder"),
        ('address = "192.0.2.1:6379"', "address is not taken from the current folder"),
        ('engine = "ray"', "engine is not taken from the current folder"),
        ('output = "../out.wav"', "output leads out of this folder, to '../out.wav'"),
        ('report = "/tmp/x.html"', "report leads out of this folder"),
        ('plot = "link/x.svg"', "plot leads out of this folder"),
        ('params = "../t.csv"', "params leads out of this folder"),
    ],
)
def test_a_file_of_the_current_folder_writes_and_replaces_nothing_elsewhere(line, words, project, user, fxst):
    (project / "link").symlink_to("/tmp")
    (project / "fxst.toml").write_text(f"[apply]\n{line}\n")
    code, _, err = fxst(*APPLY)
    assert code == 2
    assert words in err
    assert not Path("out.wav").exists()
    (project / "fxst.toml").rename(user)
    assert fxst("config", "show", "apply")[0] == 0


def test_each_option_that_names_a_file_is_known_to_write_or_not_to(fxst):
    """So that a new option for an output is not left open to a stranger's file."""
    read = {
        "dataset", "also", "proxies", "params_dir", "list_file", "data", "pairs", "outputs", "responses",
    }  # fmt: skip
    fxst("--version")  # which registers the commands
    found = {
        field
        for _, command in commands(typer.main.get_command(app))
        for field, (item, hint) in command.declared.items()
        if not item.metadata.get("argument") and Path in {hint, *get_args(hint)}
    }
    assert found <= read | set(_WRITTEN), found - read - set(_WRITTEN)
    assert "overwrite" in _NEVER_FROM_A_PROJECT


def test_every_option_of_every_command_can_be_set(project, fxst):
    """The defaults, written as a file, are taken and change nothing but the source."""
    fxst("--version")  # which registers the commands
    lines = []
    for name, command in commands(typer.main.get_command(app)):
        lines.append(f"[{name.replace(' ', '.')}]")
        for field, declared in command.declared.items():
            value = declared.item.default
            is_option = not declared.item.metadata.get("argument") and field not in _NEVER_FROM_A_PROJECT
            if is_option and isinstance(value, str | bool | int | float):
                lines.append(f"{key_of(declared)} = {json.dumps(value)}")
    (project / "fxst.toml").write_text("\n".join(lines))
    assert len(lines) > 80
    values = shown(fxst)
    assert values["report-items"] == {"value": 10, "source": "project", "preset": None}
    assert fxst(*APPLY)[0] == 0


def test_what_the_current_folders_file_sets_is_told_and_the_users_is_not(project, user, fxst):
    user.write_text("[apply]\ntail = 1\n")
    assert "sets" not in fxst(*APPLY)[2]
    (project / "fxst.toml").write_text('[apply]\npreset = "broadcast"\nreport-items = 3\n[eval]\nlimit = 3\n')
    code, _, err = fxst(*APPLY, "--ceiling", "-2")
    assert code == 0  # report-items has no report to be for, and is for other commands
    told = "--preset, --report-items, --loudness, --noise, --max-noise, --max-boost"
    assert f"'fxst.toml' in this folder sets {told}: see `fxst config show`." in err
    assert "sets" not in fxst("chains")[2]


def test_a_table_on_the_command_line_is_applied_and_never_written_for_a_reference_of_a_file(project, fxst):
    (project / "fxst.toml").write_text(
        '[apply]\nref = "voice.wav"\nmodel = "eq"\nloudness = "reference"\nname = "{ref}"\n'
    )
    before = Path("t.json").read_bytes()
    code, _, err = fxst("apply", "voice.wav", "--params", "t.json", "-o", "out.wav")
    assert code == 0, err
    assert Path("t.json").read_bytes() == before
    assert lufs() == pytest.approx(lufs("voice.wav"), abs=0.1)
    code, _, err = fxst("apply", "voice.wav", "--params", "csv", "-o", "by-ref.wav")
    assert code == 0, err
    assert Path("by-ref.params.csv").is_file()


@pytest.mark.parametrize("home", ["none", "unsearchable", "relative"])
def test_fxst_works_without_a_configuration_folder(home, project, fxst, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if home == "none":
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    elif home == "unsearchable":
        monkeypatch.setattr(os, "access", lambda path, mode: "config" not in str(path))
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".config").mkdir()
    else:
        monkeypatch.setenv("XDG_CONFIG_HOME", "here")
        monkeypatch.setenv("HOME", str(tmp_path))
        Path("here/fxst").mkdir(parents=True)
        Path("here/fxst/fxst.toml").write_text("[apply]\noverwrite = true\n")
    assert shown(fxst)["overwrite"] == {"value": False, "source": "default", "preset": None}
    assert fxst(*APPLY)[0] == 0
