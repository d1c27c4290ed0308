"""What tests share: recordings, how to measure a difference, models as they are used, and a folder that is a trap."""

import os
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

# The tensors of the tests are small: threads would wait for each other, and for those of other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest

from fxst import audio
from fxst.checkpoints.checkpoint import NETWORKS
from fxst.cli.program import main
from fxst.models import layers
from fxst.models.layers import made_of

sys.path.insert(0, str(Path(__file__).parent))
import extras

SHARED_AUDIO = Path(__file__).parents[1] / "../shared/audio"
EXAMPLES = Path(__file__).parent / "examples"
BROWSERS = ("chromium", "google-chrome", "chromium-browser")

# The same examples on every run: a failure is then a change in the code, and never luck.
hypothesis.settings.register_profile("fxst", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fxst")


def pytest_configure(config):
    config.pluginmanager.register(extras)  # its hooks are for the package's doctests, too
    # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory):
    """Keep the record of what fxst has made out of the user's folders, and the user's settings out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def shared_audio():
    """The folder of real recordings; skips where it is not."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("../shared/audio is not here")
    return SHARED_AUDIO.resolve()


@pytest.fixture(scope="session")
def examples():
    """The folder of the two recordings that travel with the project."""
    return EXAMPLES


@pytest.fixture(scope="session")
def speech():
    """Give `speech(sample_rate, channels, seconds)`, float32 (channels, time), a different voice a channel.

    Real voices where ../shared/audio is, else the synthesised ones.
    """
    files = [EXAMPLES / "voice.wav", EXAMPLES / "radio.wav"]
    if SHARED_AUDIO.is_dir():
        corpora = [SHARED_AUDIO / "speech" / corpus for corpus in ("LibriTTS", "Rhasspy-Kathleen")]
        files = [min(path for path in corpus.rglob("*") if path.is_file()) for corpus in corpora]
    voices = [audio.read(file) for file in files]

    def make(sample_rate, channels=1, seconds=0.5):
        rows = []
        for channel in range(channels):
            x, rate = voices[channel % len(voices)]
            x = np.roll(x[:1], -(rate + 1000 * channel), axis=-1)  # from the second second on: nobody waits there
            x = audio.resample(x[:, : round(seconds * rate)], source_rate=rate, target_rate=sample_rate)
            rows.append(x[0] * (0.5 / np.abs(x).max()))
        return np.ascontiguousarray(rows, dtype=np.float32)

    return make


@pytest.fixture(scope="session")
def noise():
    """Give `noise(sample_rate, channels, seconds)`, like `speech`: the same white noise each time."""

    def make(sample_rate, channels=1, seconds=0.5):
        generator = np.random.default_rng(channels)
        return (0.1 * generator.standard_normal((channels, round(seconds * sample_rate)))).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def null_db():
    """Give `null_db(y, exact)`: power of the difference over power of the exact signal, in dB."""

    def measure(y, exact):
        y, exact = np.asarray(y, np.float64), np.asarray(exact, np.float64)
        assert y.shape == exact.shape
        assert np.isfinite(y).all()
        return 10 * np.log10(max(np.sum((y - exact) ** 2) / np.sum(exact**2), 1e-30))

    return measure


@pytest.fixture(scope="session")
def in_numpy():
    """Give `in_numpy(model)`: the NumPy network of a torch one's weights, which is what is used of a model."""

    def make(model):
        state = {name: weights.detach().numpy() for name, weights in model.state_dict().items()}
        kind = next(network for network in NETWORKS.values() if isinstance(model, network))
        made = made_of(kind, layers).from_plain(model.config.to_dict(), state)
        made.load_state_dict(state)
        return made

    return make


@pytest.fixture(scope="module")
def browser():
    """An installed Chromium, driven by playwright; skips where one of the two is not."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def fxst(monkeypatch, capsys):
    """Run the program in this process: `fxst(*arguments)` gives exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fxst", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


class Trap:
    """A folder as a stranger may hand one over: whatever of it were run would leave a word in `sprung`.

    Args:
        folder: It is filled.
    """

    def __init__(self, folder):
        self.folder = folder
        self.sprung = folder.with_name(f"{folder.name}.sprung")
        folder.mkdir()
        for name in {"fxst", "sitecustomize", *sys.stdlib_module_names, *metadata.packages_distributions()}:
            # Not a word more than is built in: what is imported from here falls into the next trap.
            if name.isidentifier():
                code = f"open({str(self.sprung)!r}, 'a').write('module {name}\\n')\nraise SystemExit(9)\n"
                (folder / f"{name}.py").write_text(code)
        for name in ("ffmpeg", "sox", "uname", "gcc", "latex"):
            (folder / name).write_text(f"#!/bin/sh\necho program {name} >> {self.sprung}\n")
            (folder / name).chmod(0o755)
        (folder / "matplotlibrc").write_text("text.usetex: True\nno.such.setting: here\n")
        (folder / ".numba_config.yaml").write_text(f"cache_dir: {folder}/cache\n")
        if compiler := shutil.which("cc"):
            source = folder.with_name(f"{folder.name}.c")
            source.write_text(
                "#include <stdio.h>\n__attribute__((constructor)) static void spring(void) "
                f'{{ FILE *file = fopen("{self.sprung}", "a"); fputs("library\\n", file); fclose(file); }}\n'
            )
            library = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", folder / "libcuda.so.1", source]
            subprocess.run([compiler, *library], check=True)

    def run(self, *arguments, **options):
        """Run the installed program in the folder, with a PATH that an empty element leads into it."""
        launcher = self.folder.with_name(f"{self.folder.name}.launcher") / "fxst"
        launcher.parent.mkdir(exist_ok=True)
        launcher.write_text("from fxst.cli import main\nif __name__ == '__main__':\n    main()\n")
        environment = os.environ | {
            "PATH": f":.:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "XDG_CACHE_HOME": "cache",
        }
        command = [sys.executable, launcher, *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, **options)

    def check(self):
        """Fail where anything was run, or kept as if it were a person's own cache."""
        assert not self.sprung.exists(), self.sprung.read_text()
        assert not (self.folder / "cache").exists()


@pytest.fixture(scope="session")
def trap(tmp_path_factory):
    """A folder full of what a program may take for its own."""
    return Trap(tmp_path_factory.mktemp("stranger") / "folder")
