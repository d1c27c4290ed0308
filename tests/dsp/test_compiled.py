import errno
import os
import subprocess
import sys
import wave

import numba
import numpy as np
import pytest
from numba.core import caching

from fxst.chains import table_files
from fxst.chains.chain import Chain
from fxst.chains.table import Table
from fxst.dsp.compiled import Compiled, cache_folder
from fxst.effects import UpwardCompressor


def doubled(x):
    for n in range(len(x)):
        x[n] *= 2


def works(loop):
    x = np.arange(3.0)
    loop(x)
    return x.tolist() == [0.0, 2.0, 4.0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def kept(folder):
    return sorted(path.name for path in folder.rglob("*.nb?"))


def test_what_was_compiled_is_kept_for_the_next_program(folder):
    assert kept(folder) == []
    assert works(Compiled(doubled))
    assert len(kept(folder)) == 2  # an index and a loop
    assert cache_folder().parent == folder


@pytest.mark.parametrize("method", ["save", "load"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES])
def test_a_folder_that_fails_later_is_done_without(folder, monkeypatch, method, error):
    def fails(*_):
        raise OSError(error, "no")

    monkeypatch.setattr(caching.IndexDataCacheFile, method, fails)
    loop = Compiled(doubled)
    assert works(loop)
    assert works(loop)
    assert kept(folder) == []


# numba tries each folder with a temporary file: its own setting, the package's, the person's.
WITHOUT_ANY_FOLDER = """
import sys, tempfile

def refuse(*_, **__):
    raise PermissionError("read-only")

tempfile.TemporaryFile = refuse
from fxst.dsp import follower
from fxst.dsp.compiled import cache_folder
assert cache_folder() is None
follower.LOADING_PAYS = 0
from fxst.cli import main
sys.exit(main())
"""


def test_the_command_works_where_nothing_compiled_can_be_kept(tmp_path):
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((np.random.default_rng(0).standard_normal(4000) * 1000).astype("<i2").tobytes())
    chain = Chain("soft", (UpwardCompressor(),))
    table_files.write(Table(chain, chain.defaults()), tmp_path / "soft.json")
    command = ["-c", WITHOUT_ANY_FOLDER, "apply", "in.wav", "--params", "soft.json", "-o", "out.wav"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").stat().st_size > 8000


# The worst order: the index of the one, and the loop of the other under its name.
TOGETHER = """
import os
import sys
import time
from pathlib import Path
from numba.core import caching

folder, first = Path(os.environ["NUMBA_CACHE_DIR"]), sys.argv[1] == "float32"
save_index, save_data = (getattr(caching.IndexDataCacheFile, name) for name in ("_save_index", "_save_data"))


def await_other(word):
    for _ in range(40):
        if (folder / word).exists():
            break
        time.sleep(0.1)


def index(*arguments):
    (folder / sys.argv[1]).touch()
    await_other("float64" if first else "index of the first")
    save_index(*arguments)
    (folder / f"index of the {'first' if first else 'second'}").touch()


def data(*arguments):
    if first:
        await_other("data of the second")
    save_data(*arguments)
    if not first:
        (folder / "data of the second").touch()


caching.IndexDataCacheFile._save_index, caching.IndexDataCacheFile._save_data = index, data
"""
RACE = """
import sys
import numpy as np
from fxst.dsp.compiled import Compiled
from fxst.dsp.follower_loops import follow_rows

kind = np.dtype(sys.argv[1])
u, v = np.ones((1, 4), kind), np.empty((1, 4))
follow_rows(u, np.zeros(1), np.zeros(1), np.zeros(1), v)
assert v.tolist() == [[1.0] * 4]
"""


def test_processes_that_compile_one_loop_for_different_types_at_once_do_not_spoil_the_cache(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    kinds = ("float32", "float64")
    both = [subprocess.Popen([sys.executable, "-c", TOGETHER + RACE, kind], env=environment) for kind in kinds]
    assert [process.wait() for process in both] == [0, 0]
    for kind in kinds:
        subprocess.run([sys.executable, "-c", RACE, kind], env=environment, check=True)
    assert len(list(tmp_path.rglob("*follow_rows*.nbc"))) == 2
