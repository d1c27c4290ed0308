"""In a poor environment the program works, or says in one line what it needs; a traceback reaches nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

ROOT = Path(__file__).parents[2]
APPLY = ("apply", "voice.wav", "-o", "out.wav", "-p", "house.json")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    soundfile.write("voice.wav", noise(8000, 1, 0.5).T, 8000)
    table_files.write(Table(CHAINS["eq"], CHAINS["eq"].defaults()), Path("house.json"))
    return tmp_path


def run(*arguments, code="from fxst.cli import main; main()", before="", **options):
    """Run the installed program's function after some code; give its exit code, stdout and stderr."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])} | options.pop("env", {})
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['fxst', *sys.argv[1:]]; {before}\n{code}", *arguments],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


ENVIRONMENTS = {
    "no home": {"HOME": "/nonexistent", "XDG_STATE_HOME": None, "XDG_CACHE_HOME": None},
    "no home at all": {"HOME": None, "USER": None, "LOGNAME": None, "XDG_STATE_HOME": None},
    "no folder for temporary files": {"TMPDIR": "/nonexistent", "TEMP": "/nonexistent", "TMP": "/nonexistent"},
    "an old encoding": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    "no variable but PATH": dict.fromkeys(os.environ.keys() - {"PATH", "PYTHONPATH"}),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_it_works_in(environment):
    code, _, err = run(*APPLY, env=environment)
    assert (code, err) == (0, "")
    assert Path("out.wav").exists()


def test_a_name_that_the_terminals_encoding_lacks_is_told():
    code, _, err = run("apply", "vo\u00efce\u2014.wav", *APPLY[2:], env=ENVIRONMENTS["an old encoding"])
    assert code == 1
    assert err.endswith(".wav' does not exist: check the name.\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_stream_that_is_closed_leads_nowhere(descriptor):
    code, _, err = run(*APPLY, preexec_fn=lambda: os.close(descriptor))
    assert (code, err) == (0, "")
    assert Path("out.wav").exists()


def test_a_working_folder_that_is_gone_is_told(tmp_path):
    Path("gone").mkdir()
    code, _, err = run(*APPLY, before="import os; os.chdir('gone'); os.rmdir('../gone')")
    assert (code, err) == (1, "fxst: The working folder no longer exists: change to another one.\n")


FAULTS = {
    "while it starts": "import fxst.isolation; fxst.isolation.guard = lambda: 1 / 0",
    "in a module": "sys.modules['typer'] = None",
    "in a command": "import fxst.batch.run; fxst.batch.run.apply_files = lambda *_, **__: 1 / 0",
    "that is no Exception": (
        "import fxst.batch.run; Panic = type('Panic', (BaseException,), {})\n"
        "def panic(*_, **__): raise Panic('from a library')\n"
        "fxst.batch.run.apply_files = panic"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_unexpected_error_is_a_sentence_and_a_file(fault, tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    code, out, err = run(*APPLY, before=fault, env={"TMPDIR": str(reports)})
    assert (code, out) == (1, "")
    (report,) = reports.iterdir()
    assert err.startswith("fxst: Unexpected error (")
    assert err.endswith(f"): please report it with the file {str(report)!r}, which has the details.\n")
    assert "Traceback" in report.read_text()


def test_an_error_of_a_thread_is_a_sentence_and_a_file(tmp_path):
    fault = "import threading; from fxst.cli import last_resort"
    code = "last_resort.begin(); t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()"
    code, _, err = run(before=fault, code=code, env={"TMPDIR": str(tmp_path)})
    assert code == 0
    assert err.count("\n") == 1
    assert "ZeroDivisionError" in err
    assert "Traceback" in next(tmp_path.glob("fxst-*.txt")).read_text()


@pytest.mark.parametrize("command", [APPLY, ("models", "list"), ("chains",)], ids=["apply", "models", "chains"])
@pytest.mark.parametrize("megabytes", [200, 300, 450])
def test_with_little_memory_it_works_or_says_so(command, megabytes):
    resource = pytest.importorskip("resource")
    limit = megabytes << 20
    code, _, err = run(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert "Traceback" not in err
    assert (code, err) == (0, "") or (code == 1 and "There is not enough memory for this" in err)
