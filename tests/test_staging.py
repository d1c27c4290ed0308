import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fxst import staging
from fxst.errors import OutputError

HOLDER = """
import sys, time
from pathlib import Path
from fxst import staging
print(staging.begin(Path(sys.argv[1]))[0], flush=True)
time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def staged(path, text="new"):
    hidden, fd = staging.begin(path)
    os.write(fd, text.encode())
    staging.finish(hidden, fd, path)


def raised():
    try:
        raise KeyError
    except KeyError:
        return sys.exc_info()


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    hidden, fd = staging.begin(tmp_path / "x")
    assert names(tmp_path) == [hidden.name]
    assert hidden.name.startswith(".")
    staging.finish(hidden, fd, tmp_path / "x")
    assert names(tmp_path) == ["x"]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


@pytest.mark.parametrize("call", ["fsync", "write", "close", "replace"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_what_the_system_fails_to_write_does_not_appear(tmp_path, monkeypatch, call, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(OutputError, match="x' cannot be written"):
            staging.write(tmp_path / "x", b"new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_drive_that_cannot_synchronise_is_written_to(tmp_path, monkeypatch, number):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    staging.write(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


def test_nothing_that_was_finished_together_stays_where_one_cannot_get_its_name(tmp_path):
    (tmp_path / "b").mkdir()
    taken_back = []

    def both():
        with staging.together(lambda _: lambda: taken_back.append(True)):
            staged(tmp_path / "a")
            staged(tmp_path / "b")

    with pytest.raises(OutputError):
        both()
    assert names(tmp_path) == ["b"]
    assert taken_back


def test_what_is_protected_against_writing_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("mine")
    staged(tmp_path / "x")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # as for anybody but root
    with pytest.raises(PermissionError):
        staged(tmp_path / "x", "newer")
    with pytest.raises(OutputError, match=r"x' cannot be written \(permission denied\)"):
        staging.write(tmp_path / "x", b"newer")
    assert (tmp_path / "x").read_text() == "new"
    assert names(tmp_path) == ["x"]


def test_what_is_finished_together_appears_together(tmp_path):
    seen = {}

    def vouch(hidden):
        seen.update({target.name: path.read_text() for target, path in hidden.items()})
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()

    with staging.together(vouch):
        staged(tmp_path / "a", "1")
        staged(tmp_path / "b", "2")
        assert not {"a", "b"} & set(names(tmp_path))
    assert seen == {"a": "1", "b": "2"}
    assert names(tmp_path) == ["a", "b"]


def refuse(_):
    raise KeyboardInterrupt


def test_nothing_appears_when_the_block_fails(tmp_path):
    def fail():
        with staging.together():
            staged(tmp_path / "a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [staged, lambda path: staging.write(path, b"new")])
def test_a_failure_takes_no_folder_from_others_that_write_there(tmp_path, write):
    place = tmp_path / "a" / "b"
    fails = staging.folder(place)
    fails.__enter__()
    with staging.folder(place):
        assert not fails.__exit__(*raised())  # as in another process, between the folder's making and the file's
        assert names(tmp_path) == []
        write(place / "x")
    assert names(place) == ["x"]


def test_a_folder_that_nobody_made_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        staging.begin(tmp_path / "a" / "x")
    assert names(tmp_path) == []


def test_nothing_appears_that_nobody_vouches_for(tmp_path):
    with pytest.raises(KeyboardInterrupt), staging.together(refuse):
        staged(tmp_path / "a")
    assert names(tmp_path) == []


def test_a_name_that_cannot_be_had_is_told(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match=r"'.*b' cannot be written"), staging.together():
        staged(tmp_path / "b")
    assert names(tmp_path) == ["b"]


def test_an_interrupted_process_leaves_nothing(tmp_path):
    staging.begin(tmp_path / "x")
    hidden, fd = staging.begin(tmp_path / "y")
    staging.finish(hidden, fd, tmp_path / "y")
    staging.abandon()
    assert names(tmp_path) == ["y"]


def test_what_a_dead_process_left_is_swept_away_and_nothing_else(tmp_path):
    (tmp_path / "deep").mkdir()
    others = [".fxst-1.tmp", ".fxst-0123456789abcdef.tmp.wav", "fxst-0123456789abcdef.tmp", "voice.wav"]
    for name in others:
        (tmp_path / "deep" / name).write_bytes(b"")
    kept, fd = staging.begin(tmp_path / "mine")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "deep/x"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        left = Path(process.stdout.readline().strip())
        staging.sweep(tmp_path, deep=True)
        assert left.exists()  # its process lives
        process.kill()
    staging.sweep(tmp_path, deep=False)
    assert left.exists()
    staging.sweep(tmp_path, deep=True)
    assert names(tmp_path / "deep") == sorted(others)
    assert kept.exists()
    staging.discard(kept, fd)
    staging.sweep(tmp_path / "nowhere", deep=True)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".fxst-0123456789abcdef.tmp").symlink_to("precious")
    staging.sweep(tmp_path, deep=True)
    assert (tmp_path / "precious").exists()
