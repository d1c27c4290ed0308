"""What fxst reads from the command line by itself is what Typer would have read."""

import shlex
import sys

import pytest
from typer.main import get_command

from fxst.cli import commands
from fxst.cli.app import app
from fxst.cli.program import main

LINES = [
    "apply a.wav -o out",
    "apply a.wav b/ 'c*.flac' -r x.wav --ref z:2 -o out -j 3 --amount 50 --amount eq=10 --no-link --clip float",
    "apply - -o - --params json --tail auto --link --dry-run -v --report-items 007 --device cuda --model=one",
    "apply --list list.txt --include '*.wav' --exclude '' --no-resume -o ''",
    "chains",
    "doctor --format json",
    "eval --data x --model studio -m other --baseline none --limit 5 --protocol chain --require a<=1 --seed 9",
    "models info studio",
    "models verify",
    "dataset build source -o target --workers 2",
    "proxy train data --effect reverb -o run",
    "style train data -o run --steps 10 --recipe passages --warmup-steps 5",
    "style save a.wav -o style.json",
]

WRONG = [
    "apply a.wav",
    "apply a.wav -o out --format xml",
    "apply a.wav -o out -j 1_0",
    "apply a.wav -o out -j -1",
    "apply a.wav -o out --report-items 0",
    "apply a.wav -o out --device tpu",
    "models info",
    "style train data -o run --steps many",
    "style train data -o run --recipe none",
]


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fxst", "--version"])
        with pytest.raises(SystemExit):
            main()


def parsed(line):
    """Parse a command line; returns its values, or the message of the error."""
    command, context, name, rest = get_command(app), None, "fxst", shlex.split(line)
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "commands"):
                break
            name, *rest = [*context._protected_args, *context.args]
            command = command.commands[name]
    except Exception as error:
        return type(error), error.format_message()
    return {key: (list(v) if isinstance(v, tuple) else v, type(v) is bool) for key, v in context.params.items()}


@pytest.mark.parametrize("line", [*LINES, *WRONG])
def test_values_and_errors_are_typers(line, monkeypatch):
    ours = parsed(line)
    monkeypatch.setattr(commands, "_lighten", lambda parameter, read: None)
    theirs = parsed(line)
    assert ours == theirs
    assert isinstance(ours, tuple) == (line in WRONG), ours


def test_typer_reads_few_values(monkeypatch):
    def read(self, *_):
        pytest.fail(f"{self.name} is read by Typer")

    monkeypatch.setattr("typer.core.TyperOption.process_value", read)
    monkeypatch.setattr("typer.core.TyperArgument.process_value", read)
    for line in LINES[:3]:
        parsed(line)
    with pytest.raises(pytest.fail.Exception):
        parsed("apply a.wav -o out --format xml")
