import copy
import csv
import io
import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from fxst.chains.named import CHAINS
from fxst.checkpoints.card import STYLE_FORMATS
from fxst.checkpoints.checkpoint import NETWORKS
from fxst.cli.program import main
from fxst.configs import DatasetConfig
from fxst.data.build import build
from fxst.effects import EFFECTS
from fxst.effects.declarations import declared_in
from fxst.training.declarations import DATASETS, LOSSES


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Run torch on one thread: tensors are small here, and threads that wait for each other take most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def environment():
    """The environment of a process that trains to the same numbers."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"}


REGISTRIES = (EFFECTS, CHAINS, NETWORKS, STYLE_FORMATS, LOSSES, DATASETS, declared_in)


@contextmanager
def undeclared():
    """Undo what is declared in the block, as the end of a process does."""
    before = list(map(copy.copy, REGISTRIES))
    try:
        yield
    finally:
        for registry, names in zip(REGISTRIES, before, strict=True):
            registry.clear()
            (registry.update if isinstance(registry, dict) else registry.extend)(names)


@pytest.fixture
def nothing_declared():
    """Nothing that the test declares is known after it."""
    with undeclared():
        yield


@pytest.fixture(scope="session")
def program():
    """Run the program in this process as in a new one, which knows nothing of the user's own.

    `program(*arguments, cwd=None)` gives `returncode`, `stdout` and `stderr`. A process that imports torch takes four
    seconds to begin.
    """

    def run(*arguments, cwd=None):
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, undeclared():
            patch.setenv("COLUMNS", "200")
            patch.chdir(cwd or Path.cwd())
            patch.setattr(sys, "argv", ["fxst", *map(str, arguments)])
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory):
    """Clips of ten speakers who only hiss, each in a spectrum of their own."""
    source, output = tmp_path_factory.mktemp("voices"), tmp_path_factory.mktemp("built") / "data"
    for speaker in range(10):
        (source / f"p{speaker}").mkdir()
        noise = np.random.default_rng(speaker).standard_normal(24_000 * 4)
        coloured = np.convolve(noise, np.exp(-np.arange(64) / (1 + 2 * speaker)), mode="same")
        soundfile.write(source / f"p{speaker}/a.wav", 0.5 * coloured / np.abs(coloured).max(), 24_000)
    build(DatasetConfig(sources=(source,), output=output, clips=0, workers=1))
    return output


@pytest.fixture(scope="session")
def passage_datasets(tmp_path_factory, noise):
    """Ten voices that hiss, at two sample rates, in clips that passages can be made of."""
    folder = tmp_path_factory.mktemp("studio")
    built = []
    for rate in (24_000, 44_100):
        for voice in range(10):
            (folder / f"{rate}" / f"p{voice}").mkdir(parents=True)
            soundfile.write(folder / f"{rate}/p{voice}/a.wav", noise(rate, 1 + voice % 2, 6).T, rate)
        built.append(folder / f"data-{rate}")
        config = DatasetConfig(
            sources=(folder / f"{rate}",), output=built[-1], clips=0, seconds=0.75, sample_rate=rate, workers=1
        )
        build(config)
    return built


@pytest.fixture(scope="session")
def losses():
    """Give `losses(folder)`: what must not depend on when a run was cut, every column but the time it took."""

    def read(folder):
        with open(folder / "losses.csv", encoding="utf-8", newline="") as file:
            return [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def stopping():
    """Give `stopping(stage, step, signal)`: a report that sends this process a signal once a stage has come so far."""

    def make(stage, step, number):
        def report(progress):
            if (progress.stage, progress.step) == (stage, step):
                os.kill(os.getpid(), number)

        return report

    return make


@pytest.fixture(scope="session")
def options():
    """The options of a run of five steps, the last of which has a validation of its own."""
    words = "--steps 5 --validate-every 2 --batch 2 --validation-examples 2 --chain eq --listen-clips 3 --device cpu"
    return words.split()


@pytest.fixture(scope="session")
def unbroken(tiny_dataset, tmp_path_factory, options, trap):
    """A run through the real command, from its first step to its last, in a folder of which it may run nothing."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("COLUMNS", "200")
        done = trap.run("style", "train", tiny_dataset, "-o", folder, *options, timeout=None)
    trap.check()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
    *stages, result = done.stderr.splitlines()
    assert stages == ["training: steps to 5"]  # and no word of Lightning's
    assert result.startswith("Training finished after 5 steps. Best at step ")
    return folder
