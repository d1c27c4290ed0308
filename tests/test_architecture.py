"""The house, held by what its files say: which way imports run, and where outside packages live."""

import ast
import functools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

import fxst
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.layers import LAYERS

PACKAGE = Path(fxst.__file__).parent

HOMES = {  # outside packages, and the modules or folders that may import them
    "auraloss": {"dsp.stft"},
    "av": {"audio"},
    "jinja2": {"report.page"},
    "lightning": {"training"},
    "matchering": {"evaluation.matchering"},
    "matplotlib": {"report.plot", "training"},
    "mutagen": {"audio.tags"},
    "numba": {"dsp.compiled", "dsp.ballistics"},
    "obstore": {"storage.objects"},
    "pedalboard": {"effects"},
    "pesq": {"evaluation"},
    "pyloudnorm": set(),
    "ray": {"coordination.cluster"},
    "rich": {"cli"},
    "soundfile": {"audio"},
    "starlette": {"ui.server"},
    "soxr": {"audio"},
    "torchaudio": {"models.mel"},
    "typer": {"cli"},
    "uvicorn": {"ui.server"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def dotted(path):
    """Name a module of the package without the package: `effects.reverb`; a folder's `__init__` is the folder."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {dotted(path): path for path in FILES}


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    """Every module that a file imports, at any depth and in any branch; `import_module("x")` too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield ast.literal_eval(node.args[0])


def own_imports(path):
    """The first part of each module of ours that a file imports: `effects` for `fxst.effects.reverb`."""
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "fxst" and len(parts) > 1 and (part := parts[1]) in {m.split(".")[0] for m in MODULES}:
            yield part


def part_of(module):
    return module.split(".")[0]


def layer(part):
    if part in ("__init__", "__main__", "layers"):  # the package itself, and what describes it
        return len(LAYERS)
    for height, parts in enumerate(LAYERS):
        if part in parts:
            return height
    pytest.fail(f"fxst.{part} has no place in fxst.layers: give it one")


def test_every_part_has_its_place():
    assert {part_of(module) for module in MODULES} - {"__init__", "__main__", "layers"} == set().union(*LAYERS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    for part in own_imports(MODULES[module]):
        assert layer(part) <= layer(part_of(module)), f"{module} imports {part}, which stands above it"


def target_of(name):
    """The module of ours that an imported name lies in: `effects.reverb` for `fxst.effects.reverb.Reverb`."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts)


def at_import(path):
    """The names that a file imports while it is imported itself: not in functions, nor for type checkers alone."""

    def walk(body):
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
                yield from walk([*node.body, *node.orelse])
            elif isinstance(node, ast.Try):
                yield from walk([*node.body, *(item for handler in node.handlers for item in handler.body)])

    return walk(tree(path).body)


def circles(needs):
    """What is left of a graph once everything that needs nothing is taken away, again and again."""
    while free := {module for module, wanted in needs.items() if not wanted & needs.keys()}:
        needs = {module: wanted for module, wanted in needs.items() if module not in free}
    return sorted(needs)


def test_parts_import_each_other_in_no_circle():
    needs = {}
    for module, path in MODULES.items():
        if layer(part_of(module)) < len(LAYERS):  # the package itself opens what is asked for, when it is asked for
            needs.setdefault(part_of(module), set()).update(set(own_imports(path)) - {part_of(module)})
    assert not circles(needs)


def test_modules_import_each_other_in_no_circle():
    needs = {}
    for module, path in MODULES.items():
        found = {target_of(name) for name in at_import(path) if name.startswith("fxst.")} - {module, ""}
        # A package imports its modules, and they each other by name.
        needs[module] = {name for name in found if not module.startswith(f"{name}.")}
    assert not circles(needs)


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_one_class_name_is_one_class():
    homes = {}
    for module, path in MODULES.items():
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_stay_at_home(module):
    for name in imported(MODULES[module]):
        homes = HOMES.get(name.split(".")[0])
        if homes is not None:
            assert any(module == home or module.startswith(f"{home}.") for home in homes), f"{module} imports {name}"


def defaults(path):
    """Every name in a signature, or field of a class, that has a default: (line, name, default)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            positional = [*node.args.posonlyargs, *node.args.args]
            given = zip(reversed(positional), reversed(node.args.defaults), strict=False)
            by_name = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            yield from ((arg.lineno, arg.arg, default) for arg, default in [*given, *by_name] if default)
        elif isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and item.value]
            yield from ((item.lineno, ast.unparse(item.target), item.value) for item in fields)


def test_only_the_configurations_know_a_default_sample_rate():
    for module, path in MODULES.items():
        for line, name, default in defaults(path):
            # A `reference_sample_rate` of None is the other signal's, which is no rate that anybody wrote down.
            another_ones = name.endswith("_sample_rate") and ast.unparse(default) == "None"
            known = name.endswith("sample_rate") and not another_ones
            assert not known or module == "configs", f"{module}, line {line}"


def test_sample_rates_are_given_by_name():
    for module, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and part_of(module) in {"effects", "chains", "gradients"}:
                names = [arg.arg for arg in [*node.args.posonlyargs, *node.args.args]]
                assert "sample_rate" not in names, f"{module}.{node.name}"


def test_no_module_is_named_after_nothing():
    nothing = re.compile(r"(utils?|common|misc|helpers?|base_?utils?|tools|stuff)\d*")
    assert not [module for module in MODULES if nothing.fullmatch(module.split(".")[-1])]


def test_only_the_command_line_prints():
    for module, path in MODULES.items():
        if part_of(module) != "cli":
            calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
            assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), module


HEAVY = {
    *("auraloss", "torch", "lightning", "pedalboard", "scipy", "numba", "torchaudio", "matplotlib"),
    *("numpy.f2py", "pydantic", "ray", "rich", "jinja2", "starlette", "uvicorn"),
}
LIGHT = {"pedalboard", "scipy"}
"""What `fxst apply` loads of them; of SciPy, only the package itself and two compiled modules."""


def modules_after(code):
    """Run Python and return the modules that it has loaded at its end."""
    report = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


def running(*arguments):
    return f"import sys; sys.argv = ['fxst', *{arguments!r}]; from fxst.cli import main; main()"


def loaded(*arguments):
    """Run Python and tell which heavy packages it loads."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "enum" in modules
    parts = {name.split(".")[0] for name in modules} | {".".join(name.split(".")[:2]) for name in modules}
    public = {f"scipy.{part}" for part in ("fft", "linalg", "optimize", "signal", "sparse", "special", "stats")}
    return parts & (HEAVY | public)


@pytest.mark.parametrize(
    "code",
    [
        "import fxst",
        "import fxst, fxst.configs, fxst.errors, fxst.effects.parameters",
        "import fxst.chains.named; fxst.chains.named.CHAINS",
        running("--help"),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    assert loaded("-c", code) == set()


@pytest.mark.parametrize("arguments", [("models", "list"), ("models", "info", "studio"), ("chains",)])
def test_a_list_loads_what_prints_it(arguments):
    assert loaded("-c", running(*arguments)) == {"rich"}


@pytest.mark.parametrize(
    ("arguments", "most"),
    [(["--version"], 200), (["--help"], 380), (["apply", "--help"], 480), (["models", "list"], 480)],
)
def test_a_command_that_computes_nothing_starts_with_few_modules(arguments, most):
    """What it loads is what a person waits for; unlike the time, it is the same on every machine."""
    loaded = modules_after(running(*arguments))
    assert len(loaded) <= most
    assert "numpy" not in loaded or arguments == ["models", "list"]


def test_what_is_loaded_is_seen():
    assert loaded("-c", "import jinja2, rich") == {"jinja2", "rich"}


@pytest.mark.parametrize("arguments", [("--help",), ("apply", "--help"), ("--version",)])
def test_help_loads_nothing_heavy(arguments):
    assert loaded("-m", "fxst", *arguments) == set()


@pytest.fixture
def apply_table(tmp_path, noise):
    """Apply a table of every effect, some of them bypassed; returns what is loaded for it."""
    soundfile.write(tmp_path / "in.wav", noise(16_000, 1, 0.5).T, 16_000)
    chain = CHAINS["studio"]

    def apply(*bypassed):
        rows = tuple(replace(row, bypass=row.effect in bypassed) for row in chain.defaults())
        table = Table(chain, rows).with_values({"parametric_eq": {"peak1_gain_db": 3.0}})
        table_files.write(table, tmp_path / "table.json")
        arguments = ("apply", tmp_path / "in.wav", "-p", tmp_path / "table.json", "-o", tmp_path / "out.wav")
        return loaded("-m", "fxst", *arguments, "--overwrite")

    return apply


def test_applying_a_table_loads_only_what_renders_it(apply_table):
    assert apply_table("upward_compressor") == LIGHT


def test_an_upward_compressor_of_a_short_recording_loads_no_compiler(apply_table):
    assert apply_table() == LIGHT


def test_the_public_names_are_there():
    assert fxst.__version__
    assert all(hasattr(fxst, name) for name in fxst.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fxst.nonsense
