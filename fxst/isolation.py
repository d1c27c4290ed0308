"""Keep code and settings of the current folder from being loaded: what lies there is data.

Users run fxst in folders that others have filled. Python, the loader of shared libraries and some packages search the
current folder for code and settings.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fxst.errors import SettingsError

__all__ = ["elsewhere", "guard", "safe_children"]

_SAFE_PATH: Final = "PYTHONSAFEPATH"
"""Keeps Python from searching the current folder for modules, as it does with `-c`."""

_ABSOLUTE: Final = (
    "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "MATPLOTLIBRC",
)  # fmt: skip
"""Variables with folders of settings and caches; a relative path would lead into the current folder."""

_READS_CURRENT_FOLDER: Final = frozenset({"torch", "numba.core.config", "matplotlib"})
"""Modules that search the current folder while they are loaded.

torch has a library whose search path has an empty element (libcusparseLt, for `libcuda.so.1`), numba reads
`.numba_config.yaml`, which can name a cache of pickles, and matplotlib reads `matplotlibrc`, which can run LaTeX.
"""


def guard() -> None:
    """Load nothing from the current folder from now on, in this process and in those that it starts.

    Modules that Python imported before this call are not checked.
    """
    os.environ[_SAFE_PATH] = "1"
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(folder).is_absolute()]
    os.environ["PATH"] = os.pathsep.join(folders) or os.defpath
    if modules := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, modules.split(os.pathsep))))
    for name in _ABSOLUTE:
        if not Path(os.environ.get(name, os.sep)).is_absolute():
            del os.environ[name]
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """Keep Python processes that the block starts from importing from the current folder, also without `guard`."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


class _Finder:
    """Loads modules that search the current folder from another folder."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _READS_CURRENT_FOLDER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_elsewhere(module: Any) -> None:
            if fullname == "numba.core.config":
                _check_cache()
            with elsewhere():
                execute(module)
            if fullname == "numba.core.config":  # which reads its file again at each compilation
                module._config_fname = os.devnull

        loader.exec_module = execute_elsewhere
        return spec


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """Change to the root folder for the block, where no other user may write."""
    try:
        here = os.open(os.curdir, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it cannot be entered, so nothing is loaded from it
        yield
        return
    try:
        os.chdir(os.sep)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def _check_cache() -> None:
    """Check that no other user may write to numba's cache, since its content is run.

    Raises:
        SettingsError: Another user may.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    if not named:
        return
    folder = Path(named)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:  # numba reports it
        return
    if found.st_uid not in (0, os.getuid()) or found.st_mode & stat.S_IWOTH:
        raise SettingsError(
            f"NUMBA_CACHE_DIR is {named!r}, where other users may write code that fxst would run: name a folder of "
            "your own, or unset the variable."
        )
