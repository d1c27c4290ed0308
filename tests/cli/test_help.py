"""`fxst --help` has words for every command."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from fxst.cli.app import app
from fxst.cli.program import main
from fxst.version import __version__


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "fxst", *arguments], capture_output=True, text=True, check=False)


def leaves(command, path=()):
    """Every command that can be run, by its words."""
    for name, sub in getattr(command, "commands", {}).items():
        yield from leaves(sub, (*path, name))
    if not getattr(command, "commands", None):
        yield path


@pytest.fixture(scope="module")
def commands():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fxst", "--version"])
        with pytest.raises(SystemExit):
            main()  # which registers the commands
    return list(leaves(get_command(app)))


def test_help_names_every_command(commands):
    words = run("--help").stdout
    assert commands
    for path in commands:
        assert path[0] in words


def test_every_command_has_help_with_words_for_each_option(commands):
    group = get_command(app)
    for path in commands:
        command = group
        for name in path:
            command = command.commands[name]
        assert command.help, path
        for parameter in command.params:
            if parameter.name != "help":
                assert getattr(parameter, "help", None), f"{path}: {parameter.name}"


def test_the_options_of_apply_are_in_groups():
    words = run("apply", "--help").stdout
    for group in ("Output", "Reference", "Level", "Batch", "Reports"):
        assert f"\n{group}:\n" in words


@pytest.mark.parametrize("arguments", [(), ("models",)])
def test_a_group_without_a_command_shows_its_help(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "\nCommands:\n" in done.stdout
    assert done.stderr == ""


def test_version():
    assert run("--version").stdout.strip() == f"fxst {__version__}"


@pytest.mark.parametrize("columns", [40, 51, 52, 80])
def test_help_is_no_wider_than_the_terminal(commands, fxst, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for path in [(), *commands]:
        code, out, _ = fxst(*path, "--help")
        assert code == 0
        for line in out.splitlines():
            assert len(line) <= columns or len(line.split()) == 2, line  # an option and its choices stay one word


def test_a_wrong_choice_is_told_in_words_for_people(fxst):
    code, _, err = fxst("apply", "a.wav", "--ref", "b.wav", "-o", "out.wav", "--device", "auto")
    assert code == 2
    assert err.endswith("Error: Invalid value for '--device': 'auto' is not one of 'cpu', 'cuda'.\n")


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("apply", "--nonsense")])
def test_wrong_usage_exits_with_2(arguments):
    assert run(*arguments).returncode == 2


def test_an_interrupt_is_told_in_a_word_and_a_code(monkeypatch, capsys, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fxst.data.build.build", interrupted)
    monkeypatch.setattr(sys, "argv", ["fxst", "dataset", "build", str(tmp_path), "-o", str(tmp_path / "data")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "fxst: interrupted\n"


def printed_commands():
    """The commands that cards and docs tell people to run, by where they stand."""
    root = Path(__file__).parents[2]
    for card in sorted(root.glob("pretrained/*/*/card.json")):
        training = json.loads(card.read_text(encoding="utf-8"))["training"]
        yield card.parent.name, training["command"]
        for line in training.get("history", []):
            if "fxst style" in line:
                yield card.parent.name, line[line.index("fxst style") :]
    for page in [root / "README.md", root / "CONTRIBUTING.md", *sorted(root.glob("docs/*.md"))]:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
            for part in re.split(r"\s*(?:\n|&&|\||>)\s*", block.replace("\\\n", " ")):
                if part.startswith("fxst "):
                    yield page.name, part


@pytest.mark.parametrize(("where", "line"), list(printed_commands()))
def test_a_printed_command_has_options_that_there_are(where, line, commands):
    command, context = get_command(app), None
    _, *rest = shlex.split(line, comments=True)
    name = "fxst"
    while True:
        context = command.make_context(name, rest, parent=context)
        if not getattr(command, "commands", None):
            break
        name, *rest = [*context._protected_args, *context.args]
        command = command.commands[name]
    if not where.endswith(".md"):
        assert not context.params.get("resume")  # a card tells how a model is trained from the first step
