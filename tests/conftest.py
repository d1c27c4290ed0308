"""What tests share: real recordings, where they are, and how to measure a difference."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest

from fxst import audio

SHARED_AUDIO = Path(__file__).parents[1] / "../shared/audio"
EXAMPLES = Path(__file__).parent / "examples"

# The same examples on every run: a failure is then a change in the code, and never luck.
hypothesis.settings.register_profile("fxst", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fxst")


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
