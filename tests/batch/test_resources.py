"""Where a machine has too little, one line says of what, and what to do about it."""

import sys
import tempfile
from pathlib import Path

import pytest

from fxst import shortage
from fxst.cli.program import main

resource = pytest.importorskip("resource")


def limited(kind, soft, hard=None):
    return lambda: resource.setrlimit(kind, (soft, hard or soft))


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of this name counts elsewhere")
@pytest.mark.parametrize(
    ("megabytes", "command"),
    [
        (100, "apply in/0.wav -p house.json -o out.wav"),
        (200, "apply in/0.wav --ref in/1.wav -m eq -o out.wav"),
        (200, "apply in --ref in/1.wav -m eq -o out"),
        (200, "style save in/0.wav -m eq -o style.json"),
        (600, "proxy train in --effect compressor -o run"),
    ],
)
def test_little_address_space(batch, megabytes, command):
    if "train" in command:
        import torch  # noqa: F401

    code, _, err = batch.run(*command.split(), preexec_fn=limited(resource.RLIMIT_AS, megabytes << 20))
    assert code == 1
    assert "There is not enough memory" in err
    assert err.count("\n") == 1, err
    assert not Path("out.wav").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of this name counts elsewhere")
@pytest.mark.parametrize("command", ["in/0.wav -p house.json -o out.wav", "in -p house.json -o out -j 2"])
@pytest.mark.parametrize("megabytes", [257, 265, 273, 281])
def test_address_space_that_ends_at_any_step(batch, megabytes, command):
    # Where it ends depends on the machine: while a library is loaded, a thread is begun, or a file is read.
    code, _, err = batch.run("apply", *command.split(), preexec_fn=limited(resource.RLIMIT_AS, megabytes << 20))
    assert code in (0, 1)
    for line in err.splitlines():
        assert "memory" in line or "failed." in line, err


@pytest.mark.parametrize("files", [20, 40])
def test_few_open_files(batch, files):
    batch.recordings(40, seconds=0.01)
    command = ("apply", "in", "-p", "house.json", "-o", "out", "-j", 40)
    code, _, err = batch.run(*command, preexec_fn=limited(resource.RLIMIT_NOFILE, files))
    assert (code, err.count("\n")) == (1, 1), err
    assert "Too many files are open" in err
    assert "`ulimit -n`" in err


def test_a_soft_limit_of_open_files_is_raised(batch):
    batch.recordings(12, seconds=0.01)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = ("apply", "in", "-p", "house.json", "-o", "out", "-j", 12)
    code, _, err = batch.run(*command, preexec_fn=limited(resource.RLIMIT_NOFILE, 24, most))
    assert code == 0, err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: of 9 bytes"),
            "not enough memory",
        ),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory"),
        (OSError(12, "Cannot allocate memory"), "not enough memory"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "No other process"),
        (OSError(24, "Too many open files"), "Too many files"),
        (OSError(23, "Too many open files in system"), "Too many files"),
        (ValueError("of its own"), None),
    ],
    ids=repr,
)
def test_what_there_is_too_little_of_is_told_from_faults(error, words):
    wrapped = ImportError("initialization failed")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        told = shortage.remedy(one)
        assert (told is None) if words is None else (words in told)


def test_no_traceback_reaches_a_person(batch, monkeypatch, capsys):
    def fail(*_, **__):
        raise ZeroDivisionError("of all\nthings")

    monkeypatch.setattr("fxst.data.build.build", fail)
    monkeypatch.setattr(sys, "argv", ["fxst", "dataset", "build", "in", "-o", "data"])
    monkeypatch.setattr(tempfile, "tempdir", str(Path.cwd()))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (report,) = Path().glob("fxst-*.txt")
    assert capsys.readouterr().err == (
        "fxst: Unexpected error (ZeroDivisionError: of all things): please report it with the file "
        f"{str(report.resolve())!r}, which has the details.\n"
    )
    assert "in fail" in report.read_text()
