"""Network drives refuse what disks do, and recordings grow while they are read."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
import soundfile

from fxst.audio import Reader
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

TABLE = ("-p", "house.json")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("voice.wav", "ref.wav", "in/a.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        soundfile.write(name, noise(24_000, 1, 2).T, 24_000)
    table_files.write(Table(CHAINS["fx"], CHAINS["fx"].defaults()), Path("house.json"))
    return tmp_path


COMMANDS = {
    "one": ("apply", "voice.wav", "-o", "out.wav", *TABLE, "--export", "all"),
    "batch": ("apply", "in", "-o", "out", *TABLE, "--report", "page.html"),
    "profile": ("style", "save", "ref.wav", "-o", "style.json", "-m", "eq"),
    "dataset": ("dataset", "build", "in", "-o", "data", "--seconds", "0.2", "--workers", "1"),
}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS], ids=errno.errorcode.get)
@pytest.mark.parametrize("command", [COMMANDS[name] for name in ("one", "batch", "profile")])
def test_a_drive_without_fsync_is_no_failure(fxst, monkeypatch, command, number):
    def refuse(fd):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    code, _, err = fxst(*command)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_drive_without_locks_is_no_failure(fxst, monkeypatch, command):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    code, _, err = fxst(*command)
    assert code == 0, err


def test_a_disk_that_fails_in_fsync_is_a_failure(fxst, monkeypatch):
    def fail(fd):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = fxst(*COMMANDS["one"])
    assert code == 5
    assert "check the disk" in err
    assert not Path("out.wav").exists()


def grow(path):
    with open(path, "ab") as file:
        file.write(bytes(1000))


def replace(path):
    shutil.copy("ref.wav", "new.wav")
    Path("new.wav").replace(path)


CHANGES = {
    "grows": grow,
    "is cut": lambda path: os.truncate(path, 30_000),
    "is replaced": replace,
    "is written again": lambda path: os.utime(path, (1, 1)),
    "is removed": lambda path: Path(path).unlink(),
}


@pytest.fixture
def changing(monkeypatch):
    """Give `changing(path, change)`: change a file once, when its first block has been read."""

    def begin(path, change):
        blocks, left = Reader.blocks, [change]

        def changed(self, **options):
            for block in blocks(self, **options):
                yield block
                if left and self.info.path.samefile(path):
                    left.pop()(path)

        monkeypatch.setattr(Reader, "blocks", changed)

    return begin


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("options", [(), ("--loudness", "-20")], ids=["once", "twice"])
def test_a_recording_that_changes_while_it_is_read_is_told(fxst, changing, change, options):
    changing("voice.wav", change)
    code, out, err = fxst("apply", "voice.wav", "-o", "out.wav", *TABLE, *options)
    assert (code, out) == (1, "")
    assert err == (
        "fxst: 'voice.wav' changed while it was read: wait until it is complete, and run the command again.\n"
    )
    assert not list(Path().glob("*out*"))


def test_it_is_not_marked_done(fxst, changing, monkeypatch):
    with monkeypatch.context() as patch:
        blocks = Reader.blocks
        changing("in/a.wav", grow)
        assert fxst("apply", "in", "-o", "out", *TABLE)[0] == 1
        assert not Path("out").exists()
        patch.setattr(Reader, "blocks", blocks)
        shutil.copy("voice.wav", "in/a.wav")
        code, out, err = fxst("apply", "in", "-o", "out", *TABLE)
        assert (code, err) == (0, "")
        assert "wrote 'out/a.wav'" in out


@pytest.mark.parametrize(
    "command", [("apply", "voice.wav", "--ref", "ref.wav", "-o", "x.wav"), COMMANDS["profile"][:5]]
)
def test_a_reference_that_changes_is_told(fxst, changing, command):
    changing("ref.wav", grow)
    code, _, err = fxst(*command, "-m", "eq")
    assert code == 1
    assert "'ref.wav' changed while it was read" in err
    assert not [path for name in ("x.*", "style.json") for path in Path().glob(name)]
