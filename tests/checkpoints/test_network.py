"""A network of a user's own: declared in a file, saved as a model, and used by the command."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
from fxst.checkpoints.checkpoint import declare_network
from fxst.errors import SettingsError

with suppress(ImportError):  # the extra train
    import torch

    from fxst.checkpoints import torch_models
    from fxst.models.trainable import StudioModel
    from fxst.training.studio import studio_config

MINE = '''
from dataclasses import dataclass

import torch
from fxst.checkpoints.checkpoint import declare_network
from fxst.models.network import Decision, StyleNetwork


@dataclass(frozen=True)
class Sizes:
    n_knobs: int

    def to_dict(self):
        return {"n_knobs": self.n_knobs}


@declare_network("mine")
class Louder(StyleNetwork, torch.nn.Module):
    """Turns all knobs up where the reference is the louder one."""

    def __init__(self, n_knobs):
        super().__init__()
        self.config = Sizes(n_knobs)
        self.slope = torch.nn.Parameter(torch.ones(n_knobs))

    @classmethod
    def from_plain(cls, sizes, state):
        return cls(sizes["n_knobs"])

    def analysis_rate(self, sample_rate):
        return 16_000

    def window_at(self, sample_rate):
        return 4000

    def analyse(self, windows, *, sample_rate):
        return windows.square().mean(1, keepdim=True)

    def decide(self, input, reference, matched):
        return Decision(torch.sigmoid((reference - input).sign() * self.slope))
'''

SAVE = """
from pathlib import Path
from fxst.chains.named import CHAINS
from fxst.checkpoints import checkpoint
checkpoint.save(Path("model"), Louder(len(CHAINS["eq"].knobs)), CHAINS["eq"], sample_rate=16_000, card={})
"""


def python(*arguments, cwd=None):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the file that declares the network, its model, and recordings."""
    import torch  # noqa: F401

    folder = tmp_path_factory.mktemp("network")
    (folder / "mine.py").write_text(MINE)
    done = python("-c", MINE + SAVE, cwd=folder)
    assert done.returncode == 0, done.stderr
    rng = np.random.default_rng(0)
    (folder / "in").mkdir()
    for name, level in (("in/a.wav", 0.01), ("in/b.wav", 0.02), ("loud.wav", 0.3)):
        soundfile.write(folder / name, level * rng.standard_normal((24_000, 1)), 24_000)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of it to work in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("source", "tables"), [("in/a.wav", ["a"]), ("in", ["a", "b"])])
def test_a_network_of_ones_own_sets_the_knobs_in_one_process_and_in_several(folder, source, tables):
    command = ("-m", "fxst", "--effects", "mine.py", "apply", source, "--ref", "loud.wav", "-m", "./model", "-o", "out")
    done = python(*command)
    assert done.returncode == 0, done.stderr
    for name in tables:
        table = table_files.read(Path(f"out/{name}.params.json"))
        gains = [row.value for row in table if row.parameter.endswith("_gain_db")]
        np.testing.assert_allclose(gains, 40 / (1 + np.exp(-1)) - 20, atol=1e-4)  # the sigmoid of 1, from -20 to 20 dB


def test_a_model_of_a_network_that_nobody_declared_is_refused_in_a_sentence(folder):
    done = python("-m", "fxst", "apply", "in/a.wav", "--ref", "loud.wav", "-m", "./model", "-o", "out.wav")
    assert done.returncode == 4
    assert "style model" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_format_is_declared_once():
    with pytest.raises(SettingsError, match="'fxst-studio' is already"):
        declare_network("fxst-studio")


def test_a_network_that_builds_on_one_of_fxsts_is_loaded_as_it_was_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "NETWORKS", dict(checkpoint.NETWORKS))
    monkeypatch.setattr(torch_models, "NETWORKS", checkpoint.NETWORKS)
    monkeypatch.setattr(checkpoint, "STYLE_FORMATS", [*checkpoint.STYLE_FORMATS])
    monkeypatch.setattr(torch_models, "STYLE_FORMATS", checkpoint.STYLE_FORMATS)

    @declare_network("scaled")
    class Scaled(StudioModel):
        def __init__(self, config):
            super().__init__(config)
            self.scale = torch.nn.Parameter(torch.full((1,), 2.0))

    chain = CHAINS["studio"]
    model = Scaled(studio_config(chain, 0.5, channels=(4,), hidden=(8,), rest_hidden=(8,), fitter_width=8))
    checkpoint.save(tmp_path / "model", model, chain, sample_rate=24_000, card={})
    assert torch_models.load_trainable(tmp_path / "model").model.scale.item() == 2
    assert checkpoint.load(tmp_path / "model").model.network.scale.item() == 2
