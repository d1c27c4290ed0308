"""What tests of exports share: random settings, and the real programs."""

import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.io import wavfile

from fxst import exports
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.transfer import style_transfer


@pytest.fixture(scope="session")
def draw():
    """Give `draw(seed, *effects, chain="studio", linked=True)`: random settings, of these effects only, or of all."""

    def table(seed, *effects, chain="studio", linked=True):
        generator = np.random.default_rng(seed)
        chain = CHAINS[chain].linked(linked)
        rows = list(chain.defaults())
        parameters = [p for effect in chain.effects for p in effect.parameters]
        # Other programs have no upward compressor, and not all a stereo width: what is drawn of the others does not
        # depend on them.
        last = ["upward_compressor", "stereo_width"]
        for index in sorted(range(len(rows)), key=lambda index: rows[index].effect in last):
            value = float(f"{parameters[index].to_value(generator.uniform()):.7g}")
            rows[index] = dataclasses.replace(rows[index], value=value)
        settings = Table(chain, tuple(rows))
        away = zip(chain.labels, chain.effects, strict=True)
        return settings.with_values({label: e.transparent() for label, e in away if effects and label not in effects})

    return table


@pytest.fixture
def exported(tmp_path):
    """Give `exported(name, table, sample_rate=..., channels=...)`: the file's path, beside others of this name."""

    def write(name, table, *, sample_rate, channels):
        files = exports.export_files([name], tmp_path / "voice")
        with exports.staged(files, table, sample_rate=sample_rate, channels=channels):
            pass
        return next(file.path for file in files if file.format == name)

    return write


@pytest.fixture
def played(tmp_path):
    """Give `played(command, x, sample_rate, FILE)`: run a command of a file's, in its folder, on a recording."""

    def run(command, x, sample_rate, file, output="made.wav"):
        wavfile.write(tmp_path / "given.wav", sample_rate, x.T)
        words = {"INPUT": "given.wav", "OUTPUT": output, "FILE": f"'{file.name}'"}
        line = re.sub("INPUT|OUTPUT|FILE", lambda word: words[word[0]], command)
        done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        rate, y = wavfile.read(tmp_path / "made.wav")
        assert rate == sample_rate
        assert y.dtype == np.float64
        return np.atleast_2d(y.T)

    return run


@pytest.fixture(scope="session")
def ffmpeg_version():
    """The first number of the program's version; skips where it is not."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("the program ffmpeg is not here")
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    version = int(re.search(r"version \D*(\d+)", said)[1])
    if version < 5:
        pytest.skip("this ffmpeg is too old for the graph")
    return version


@pytest.fixture
def by_ffmpeg(ffmpeg_version, exported, played):
    """Give `by_ffmpeg(table, x, sample_rate)`: what the program makes of it, by the command that the file tells."""

    def render(table, x, sample_rate):
        file = exported("ffmpeg", table, sample_rate=sample_rate, channels=len(x))
        text = file.read_text(encoding="utf-8")
        if "irnorm" in text and ffmpeg_version < 7:
            if ffmpeg_version != 5:
                pytest.skip("nobody has told how this ffmpeg convolves")
            replaced, by = re.search(r"replace (\S+) by (\S+)$", text, re.MULTILINE).groups()
            file.write_text(text.replace(f"afir={replaced}", f"afir={by}"), encoding="utf-8")
        command = next(line for line in text.splitlines() if "-i INPUT" in line).partition("ffmpeg -i")
        return played("ffmpeg -v error -y -i" + command[2], x, sample_rate, file, "-c:a pcm_f64le made.wav")

    return render


@pytest.fixture
def by_sox(exported, played):
    """Give `by_sox(table, x, sample_rate)`: what the program makes of it, by the command that the file is."""
    if shutil.which("sox") is None:
        pytest.skip("the program sox is not here")

    def render(table, x, sample_rate):
        file = exported("sox", table, sample_rate=sample_rate, channels=len(x))
        # Into 64 bits: SoX writes 32-bit floats with a step of 2^-24 at any level.
        text = file.read_text(encoding="utf-8").replace('"$input" ', '-D "$input" -b 64 -e float ')
        file.write_text(text, encoding="utf-8")
        return played("sh FILE INPUT OUTPUT", x, sample_rate, file)

    return render


@pytest.fixture(scope="session")
def exact():
    """Give `exact(table, x, sample_rate)`: what fxst makes of it."""
    return lambda table, x, sample_rate: style_transfer.render(x, table, sample_rate=sample_rate)


@pytest.fixture(scope="session")
def passages(speech, noise):
    """Give `passages(sample_rate, channels)`: speech, and noise that swells."""

    def make(sample_rate, channels):
        hiss = noise(sample_rate, channels, 1.0)
        hiss *= 4 * np.sin(np.linspace(0, 9, hiss.shape[1], dtype=np.float32)) ** 4
        return [speech(sample_rate, channels, 1.0), hiss]

    return make
