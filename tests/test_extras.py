"""What only an extra installs: who may need it, and what a person is told who does not have it."""

import ast
import re
import sys
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fxst.extras
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.checkpoints import catalogue
from fxst.checkpoints.card import IN_REPOSITORY, find, pretrained_folder, write_files
from fxst.cli.program import main
from fxst.errors import ModelError, SettingsError
from fxst.models.mel import mel_filters

sys.path.insert(0, str(Path(__file__).parent))
import extras

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME = re.compile(r"[\w-]+")

NEEDS_AN_EXTRA = [
    "chains.rendering",
    "checkpoints.proxy_file",
    "checkpoints.torch_models",
    "data.renders",
    "data_parallel",
    "dsp.ballistics",
    "dsp.biquads",
    "dsp.compiled",
    "dsp.filters",
    "dsp.follower_loops",
    "gradients",
    "models.proxy",
    "models.torch_layers",
    "models.trainable",
    "training",
    "ui",
]
"""The modules and packages that cannot be imported in a base installation."""


def test_no_other_module_needs_an_extra_to_be_imported():
    found = set()
    for path in (ROOT / "fxst").rglob("*.py"):
        if extras.needed(path):
            module = ".".join(path.relative_to(ROOT / "fxst").with_suffix("").parts).removesuffix(".__init__")
            found.add(next((name for name in NEEDS_AN_EXTRA if f"{module}.".startswith(f"{name}.")), module))
    assert found == set(NEEDS_AN_EXTRA)


def test_a_base_installation_leaves_out_no_more_tests_than_are_listed():
    files = {path for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py" and extras.needed(path)}
    listed = extras.listed()
    assert {path.relative_to(ROOT).as_posix() for path in files} == {name for name in listed if "::" not in name}
    for name in listed:
        file, _, test = name.partition("::")
        defined = {node.name for node in ast.walk(extras.tree(ROOT / file)) if isinstance(node, ast.FunctionDef)}
        assert not test or test in defined, name


def test_the_extras_are_those_of_the_project():
    declared = PROJECT["project"]["optional-dependencies"]

    def packages(extra):
        for text in declared[extra]:
            inner = re.fullmatch(r"fxst\[(\w+)\]", text)
            yield from packages(inner[1]) if inner else [NAME.match(text)[0]]

    for extra, names in fxst.extras.EXTRAS.items():
        assert set(names) <= set(packages(extra)), extra
    assert set(fxst.extras.EXTRAS["train"]) | {"numba"} == set(packages("train"))
    base = {NAME.match(text)[0] for text in PROJECT["project"]["dependencies"]}
    assert not base & {name for names in fxst.extras.EXTRAS.values() for name in names}


def test_a_module_that_is_not_installed_is_asked_for_and_a_broken_one_is_to_be_installed_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sounds.py").write_text("")
    (tmp_path / "cracked.py").write_text("raise OSError('libcudart.so.13:\\n no such file')")
    (tmp_path / "half.py").write_text("import its_other_half")
    fxst.extras.need("--this", "sounds")
    for module, words in (
        ("nosuch", '--this needs nosuch: install it with: pip install "fxst[plots]"'),
        ("cracked", "does not load (OSError: libcudart.so.13: no such file): install it again with: pip install "),
        ("half", "does not load (ModuleNotFoundError: No module named 'its_other_half')"),
    ):
        with pytest.raises(SettingsError, match=re.escape(words)):
            fxst.extras.need("--this", "sounds", module, extra="plots")
    (tmp_path / "large.py").write_text("raise ImportError('failed to map segment from shared object')")
    with pytest.raises(ImportError, match="failed to map"):  # the program says that there is too little memory
        fxst.extras.need("--this", "large")
    assert "'torch" in fxst.extras.reinstall("torchaudio")


class Without:
    """Finds none of some packages."""

    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide(monkeypatch, *packages):
    for name in list(sys.modules):
        if name.split(".")[0] in packages:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(packages), *sys.meta_path])


@pytest.fixture
def base(monkeypatch):
    """Let this process be one of a base installation."""
    hide(monkeypatch, *extras.OPTIONAL)
    version = fxst.extras.version
    monkeypatch.setattr("fxst.extras.version", lambda name: "" if name in extras.OPTIONAL else version(name))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = 0.1 * np.random.default_rng(0).standard_normal(48_000)
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, noise, 24_000)
    table_files.write(Table(CHAINS["eq"], CHAINS["eq"].defaults()), Path("eq.json"))
    Path("pairs.csv").write_text("input,reference,target\na.wav,b.wav,b.wav\n")
    Path("loss.py").write_text("import torch\n")
    return tmp_path


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("command", "what", "extra"),
    [
        ("style train data -o run", "fxst style train needs PyTorch: ", "train"),
        ("style train run --resume", "fxst style train needs PyTorch: ", "train"),
        ("proxy train data --effect reverb -o run", "fxst proxy train needs PyTorch: ", "train"),
        ("apply a.wav --ref b.wav -o out.wav -m eq --device cuda", "The device cuda needs PyTorch: ", "train"),
        ("apply a.wav --ref b.wav -o out --device cuda --dry-run", "The device cuda needs PyTorch: ", "train"),
        ("style save b.wav -o s.json -m eq --device cuda", "The device cuda needs PyTorch: ", "train"),
        ("eval --pairs pairs.csv -m eq --device cuda", "The device cuda needs PyTorch: ", "train"),
        ("eval --pairs pairs.csv --baseline oracle-chain", "oracle-chain needs PyTorch: ", "train"),
        ("eval --pairs pairs.csv -m eq --through-proxies", "--through-proxies needs PyTorch: ", "train"),
        ("--effects loss.py chains", "'loss.py', line 1: ModuleNotFoundError: No module named 'torch'; ", "train"),
        ("ui --no-browser", "fxst ui needs starlette: ", "ui"),
        ("apply a.wav -p eq.json -o out.wav --plot p.png", "--plot as .png needs matplotlib: ", "plots"),
        ("apply a.wav -p eq.json -o out.wav --plot p.PDF", "--plot as .PDF needs matplotlib: ", "plots"),
    ],
)
def test_what_needs_an_extra_says_so_before_it_does_anything(here, monkeypatch, capsys, command, what, extra):
    before = sorted(here.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["fxst", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f'fxst: {what}install it with: pip install "fxst[{extra}]"\n')
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "what", "missing"),
    [
        ("style train data -o run", "fxst style train", "array-api-compat"),
        ("style train data -o run --chain eq-comp", "fxst style train", "numba"),
        ("apply a.wav --ref b.wav -o out.wav -m eq --device cuda", "The device cuda", "array-api-compat"),
        ("eval --pairs pairs.csv --baseline oracle-chain", "oracle-chain", "array-api-compat"),
        ("eval --pairs pairs.csv --baseline oracle-chain", "oracle-chain", "auraloss"),
        ("eval --pairs pairs.csv -m eq --through-proxies", "--through-proxies", "array-api-compat"),
        ("eval --pairs pairs.csv -m eq --through-proxies", "--through-proxies", "numba"),
    ],
)
def test_beside_torch_each_other_package_of_the_extra_is_asked_for(here, monkeypatch, capsys, command, what, missing):
    import torch  # noqa: F401  (without it, it is what is asked for)

    before = sorted(here.rglob("*"))
    hide(monkeypatch, missing.replace("-", "_"))
    monkeypatch.setattr(sys, "argv", ["fxst", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f'fxst: {what} needs {missing}: install it with: pip install "fxst[train]"\n')
    assert sorted(here.rglob("*")) == before


@pytest.mark.usefixtures("base")
def test_mel_filters_of_a_new_model_ask_for_torchaudio():
    with pytest.raises(SettingsError, match=r"needs torchaudio: install it with: .*fxst\[train\]"):
        mel_filters(n_fft=1024, n_mels=8, minimum_hz=20.0, sample_rate=24_000)


@pytest.mark.usefixtures("base")
def test_the_python_api_says_so_too():
    with pytest.raises(SettingsError, match=r"Rendering with gradients needs PyTorch: .*fxst\[train\]"):
        fxst.render(
            np.zeros((1, 100), np.float32),
            Table(CHAINS["eq"], CHAINS["eq"].defaults()),
            sample_rate=24_000,
            gradients=True,
        )


@pytest.mark.usefixtures("base")
def test_a_proxys_files_are_verified_without_torch(tmp_path):
    folder = pretrained_folder() / "proxy/distortion"
    assert catalogue.verify(folder).kind == "proxy"
    card = catalogue.describe(folder).card
    weights = (folder / "model.safetensors").read_bytes()
    for content, words in ((weights[:-4], "damaged"), (weights[:-4] + b"\x00\x00\xc0\x7f", "not finite")):
        head = {name: card[name] for name in ("sample_rate", "chain", "model")}
        write_files(tmp_path / "proxy", card["format"], head, {}, content)
        with pytest.raises(ModelError, match=words):
            catalogue.verify(tmp_path / "proxy")
    (tmp_path / "proxy/model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="do not match its hash"):
        catalogue.verify(tmp_path / "proxy")


def test_every_model_is_in_the_package_or_known_to_be_in_the_repository(tmp_path, monkeypatch):
    inside = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(f"fxst/{source}" == target for source, target in inside.items())
    styles = {Path(path).name for path in inside if path.startswith("pretrained/style/")}
    there = {card.parent.name for card in (ROOT / "pretrained/style").glob("*/card.json")}
    assert there in (styles, styles | set(IN_REPOSITORY))  # a source distribution has those of the package
    assert not styles & set(IN_REPOSITORY)
    assert "pretrained/proxy" in inside
    monkeypatch.setattr("fxst.checkpoints.card.pretrained_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match=r"is not in the installed package: .* pretrained/style/eq-proxy"):
        find("eq-proxy", "style")


def test_nothing_is_hidden_from_the_other_tests():
    assert not any(isinstance(finder, Without) for finder in sys.meta_path)
    assert PathFinder in sys.meta_path
