"""What a base installation leaves out of the tests: files that need a package of an extra, and tests that do."""

import ast
import functools
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OPTIONAL = (
    *("torch", "torchaudio", "array_api_compat", "lightning", "auraloss", "tensorboard", "matplotlib", "numba"),
    *("starlette", "uvicorn"),
)
"""The packages of the extras that tests import."""

MISSING = frozenset(name for name in OPTIONAL if importlib.util.find_spec(name) is None)


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def _allows_failure(node):
    """Return whether a `with` or `try` is there because its imports may fail."""
    if isinstance(node, ast.With):
        return any(ast.unparse(item.context_expr) == "suppress(ImportError)" for item in node.items)
    return isinstance(node, ast.Try) and any("ImportError" in ast.unparse(h.type or node) for h in node.handlers)


def imports(body):
    """Yield the modules, and names in modules, that statements import when a file is imported itself."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
            yield from imports([*node.body, *node.orelse])
        elif isinstance(node, ast.With | ast.Try) and not _allows_failure(node):
            yield from imports(node.body)


def _files(name):
    """Return the files of ours that importing a name runs: its module, and the packages around it."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        path = ROOT.joinpath(*parts[:count])
        yield from (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file())


@functools.cache
def needed(path):
    """Return the optional packages without which a file cannot be imported, by way of our own modules too."""
    found, seen, left = set(), set(), [path]
    if path.is_relative_to(ROOT / "fxst"):
        left += _files(".".join(path.relative_to(ROOT).with_suffix("").parts))
    left += [folder / "conftest.py" for folder in path.parents if (folder / "conftest.py").is_file()]
    while left:
        file = left.pop()
        if file not in seen:
            seen.add(file)
            for name in imports(tree(file).body):
                found |= {name.split(".")[0]} & set(OPTIONAL)
                left += _files(name) if name.startswith("fxst.") else ()
    return frozenset(found)


@functools.cache
def suppressed(path):
    """Return the names that a test file imports where that may fail."""
    names = set()
    for node in tree(path).body:
        if isinstance(node, ast.With) and _allows_failure(node):
            for item in node.body:
                names |= {alias.asname or alias.name.split(".")[0] for alias in item.names}
    return frozenset(names)


def listed():
    """Return what a base installation may leave out: files, and single tests as `file::test`."""
    return frozenset((ROOT / "tests/left_out.txt").read_text(encoding="utf-8").split())


LEFT_OUT = set()
"""What this run has left out for want of an extra: paths of files, and names of tests."""


def left_out(path, name=""):
    if path.is_relative_to(ROOT / "tests"):
        LEFT_OUT.add(path.relative_to(ROOT).as_posix() + name)


def pytest_ignore_collect(collection_path):
    """Leave out the files, and the folders with a conftest, that cannot be imported without an extra."""
    conftest = collection_path / "conftest.py"
    file = conftest if conftest.is_file() else collection_path
    if file.suffix == ".py" and needed(file) & MISSING:
        for path in [collection_path] if file is collection_path else collection_path.glob("test_*.py"):
            left_out(path)
        return True
    return None


def _skipping(item):
    """Skip a test that itself uses what an extra installs; the program may not use it."""
    try:
        return (yield)
    except (ModuleNotFoundError, NameError) as error:
        last = error.__traceback__
        while last.tb_next:
            last = last.tb_next
        file = Path(last.tb_frame.f_code.co_filename)
        name = str(error.name).split(".")[0]
        if file.is_relative_to(ROOT / "tests") and name in MISSING | suppressed(file):
            left_out(item.path, f"::{item.originalname}")
            pytest.skip(f"it uses {name}, which an extra installs")
        raise


if MISSING:

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(item):
        return (yield from _skipping(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(item):
        return (yield from _skipping(item))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take what a worker has left out."""
    LEFT_OUT.update(getattr(node, "workeroutput", {}).get("left_out", ()))


def pytest_sessionfinish(session):
    """Fail where more was left out than `tests/left_out.txt` lists."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = sorted(LEFT_OUT)
    elif LEFT_OUT - listed():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Name what should not have been left out."""
    for name in sorted(LEFT_OUT - listed()):
        terminalreporter.write_line(f"left out for want of an extra, and not in tests/left_out.txt: {name}")
