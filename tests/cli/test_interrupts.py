"""Ctrl-C and SIGTERM in every command, at moments seen from outside: one sentence, one code, and nothing left."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from fxst import staging
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in "abc":
        soundfile.write(f"in/{name}.wav", noise(44_100, 1, 2.0).T, 44_100)
    table_files.write(Table(CHAINS["eq-comp"], CHAINS["eq-comp"].defaults()), Path("house.json"))
    Path("pairs.csv").write_text("input,reference\nin/a.wav,in/b.wav\n")


def strike(number, module, *arguments, everybody):
    """Send a signal once a module is loaded; give exit code, what was said, and what it was said to."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "fxst", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts a job in the background would ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        for line in process.stderr:
            if re.fullmatch(rf"import time:.*\| +{re.escape(module)}\n", line):
                break
        else:
            pytest.fail(f"{module} was not loaded")
        (os.killpg if everybody else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=120)
    return process.returncode, "".join(line for line in err.splitlines(True) if not line.startswith("import time:"))


@SIGNALS
@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("typer.main", "chains"),  # the command line itself is being loaded
        ("soundfile", "apply in/a.wav -p house.json -o out.wav"),
        ("multiprocessing.spawn", "apply in -p house.json -o out -j 2"),  # its workers are being started
        ("concurrent.futures.process", "dataset build in -o data"),
        ("fxst.models.layers", "style save in/a.wav -m eq -o style.json"),
        ("fxst.evaluation.evaluate", "eval --pairs pairs.csv --baseline none -m eq -o eval"),
        ("torch._C", "style train in -o run"),
        ("torch._C", "proxy train in --effect compressor -o run"),
        ("fxst.doctor", "doctor"),
    ],
)
def test_every_command_ends_with_its_code_and_a_sentence(number, code, module, command):
    if module == "torch._C":
        import torch  # noqa: F401
    ended, err = strike(number, module, *command.split(), everybody=number == signal.SIGINT)
    assert (ended, err.count("\n")) == (code, 1), err
    assert err.startswith("fxst: interrupted")
    assert not [path for path in Path().rglob("*") if path.name.startswith(".fxst-")]


def test_an_interrupt_in_code_that_is_made_from_text_has_its_code_too():
    Path("own.py").write_text('exec("import signal, time; signal.raise_signal(signal.SIGINT); time.sleep(60)")')
    done = subprocess.run(
        [sys.executable, "-m", "fxst", "--effects", "own.py", "chains"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "fxst: interrupted while 'own.py' ran\n")


@SIGNALS
@pytest.mark.parametrize(
    "command",
    [
        "apply in/a.wav -p house.json -o out.wav",
        "apply in/a.wav -p house.json -o out.wav --plot out.svg",
        "apply in/a.wav -p house.json -o out.wav --report out.html",
        "apply in/a.wav -p house.json -o out.wav --export sox",
    ],
)
def test_an_interrupt_at_the_very_making_of_a_file_leaves_none(fxst, monkeypatch, command, number, code):
    before = sorted(Path().rglob("*"))
    opened = os.open
    last = {"--plot": "out.svg", "--report": "out.html"}.get(command.split()[-2], "out.wav")

    def interrupted(path, flags, *more, **options):
        fd = opened(path, flags, *more, **options)
        # The files before the last one are let through.
        if ".fxst-" in str(path) and flags & os.O_CREAT and (last == "out.wav" or Path("out.wav").exists()):
            signal.raise_signal(number)
        return fd

    monkeypatch.setattr(signal, "default_int_handler", signal.getsignal(signal.SIGINT))
    monkeypatch.setattr(os, "open", interrupted)
    ended, _, err = fxst(*command.split())
    assert (ended, err) == (code, "fxst: interrupted\n")
    assert sorted({*Path().rglob("*")} - {Path("out.wav")} if last != "out.wav" else Path().rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        "apply in/a.wav -p house.json -o new/out.wav",
        "apply in/a.wav in/b.wav -p house.json -o new -j 1",
        "apply in/a.wav -p house.json -o out.wav --plot new/out.svg",
        "apply in/a.wav -p house.json -o out.wav --report new/out.html",
    ],
)
def test_what_a_dead_process_left_is_gone_after_the_next(fxst, command):
    Path("new").mkdir()
    left = [Path(f"new/.fxst-{number:016x}.tmp") for number in range(2)]
    for path in left:
        path.write_bytes(b"half of it")
    hidden, fd = staging.begin(Path("new/other"))  # somebody lives
    left[0].write_bytes(b"half of it")
    staging._swept.clear()  # as in a new process
    assert fxst(*command.split())[0] == 0
    assert not [path for path in left if path.exists()]
    assert hidden.exists()
    staging.discard(hidden, fd)


def test_an_interrupt_that_is_lost_in_a_callback_comes_again(fxst, monkeypatch):
    class Lost:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def build(*_, **__):
        lost = Lost()
        del lost  # Python tells of what is raised here, and goes on
        signal.pause()

    monkeypatch.setattr("fxst.data.build.build", build)
    assert fxst("dataset", "build", "in", "-o", "data")[::2] == (143, "fxst: interrupted\n")


@SIGNALS
def test_a_second_interrupt_ends_even_work_that_defers_them(number, code):
    program = """
import os, signal, sys
from fxst import interrupts
from fxst.cli import interrupts as commands

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
with commands.terminable(), interrupts.deferred():
    for now in (10.0, 10.1, 20.0):
        commands.monotonic = lambda: now
        os.kill(os.getpid(), int(sys.argv[1]))
        print(now, flush=True)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(int(number))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    # The first two come together, as those of `timeout` do.
    assert (done.returncode, done.stdout, done.stderr) == (code, "10.0\n10.1\n", "fxst: interrupted\n")


@SIGNALS
@pytest.mark.parametrize("loaded", ["nothing", "types.ModuleType('fxst.staging')"])
def test_an_interrupt_while_the_program_is_loaded_has_its_code(number, code, loaded):
    program = f"""
import os, sys, types
from fxst.cli import interrupts

interrupts.begin()
nothing = None
sys.modules["fxst.staging"] = {loaded}  # as it is before, and while, it is loaded
os.kill(os.getpid(), int(sys.argv[1]))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(int(number))]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (code, "fxst: interrupted\n")
