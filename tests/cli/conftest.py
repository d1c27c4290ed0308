"""What tests of the command line share."""

import sys

import pytest

from fxst.cli.program import main


@pytest.fixture
def fxst(monkeypatch, capsys):
    """Run the program in this process: `fxst(*arguments)` gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fxst", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run
