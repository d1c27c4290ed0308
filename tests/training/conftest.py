import numpy as np
import pytest
import soundfile

from fxst.configs import DatasetConfig
from fxst.data.build import build


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory):
    """Clips of ten speakers who only hiss, each in a colour of their own."""
    source, output = tmp_path_factory.mktemp("voices"), tmp_path_factory.mktemp("built") / "data"
    for speaker in range(10):
        (source / f"p{speaker}").mkdir()
        noise = np.random.default_rng(speaker).standard_normal(24_000 * 4)
        coloured = np.convolve(noise, np.exp(-np.arange(64) / (1 + 2 * speaker)), mode="same")
        soundfile.write(source / f"p{speaker}/a.wav", 0.5 * coloured / np.abs(coloured).max(), 24_000)
    build(DatasetConfig(sources=(source,), output=output, clips=0, workers=1))
    return output
