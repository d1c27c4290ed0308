"""Where speech is: what is steady never is, and what comes and goes above a background is."""

import numpy as np
import pytest

from fxst import audio
from fxst.dsp.voice_activity import FRAME_SECONDS, pause_frames, speech_frames

RATES = (16_000, 24_000, 48_000)


def pink(samples, generator):
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    x = np.fft.irfft(spectrum, samples)
    return x / x.std()


def time(seconds, sample_rate):
    return np.arange(round(seconds * sample_rate)) / sample_rate


STEADY = {
    "silence": lambda t, rng: np.zeros(len(t)),
    "white noise": lambda t, rng: 0.03 * rng.standard_normal(len(t)),
    "pink noise": lambda t, rng: 0.03 * pink(len(t), rng),
    "soft noise": lambda t, rng: 3e-5 * rng.standard_normal(len(t)),
    "tone": lambda t, rng: 0.3 * np.sin(2 * np.pi * 440 * t),
    "low tone": lambda t, rng: 0.3 * np.sin(2 * np.pi * 60 * t),
    "chord": lambda t, rng: sum(0.1 * np.sin(2 * np.pi * hz * t) for hz in (220, 277.2, 329.6, 440)),
    "hum and noise": lambda t, rng: 0.1 * np.sign(np.sin(2 * np.pi * 50 * t)) + 0.003 * rng.standard_normal(len(t)),
    "tone on an offset": lambda t, rng: 0.2 + 0.1 * np.sin(2 * np.pi * 1000 * t),
}


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("make", STEADY.values(), ids=STEADY)
def test_what_is_steady_is_no_speech_and_has_no_pauses(make, sample_rate):
    x = make(time(12, sample_rate), np.random.default_rng(0))[None].astype(np.float32)
    assert speech_frames(x, sample_rate=sample_rate).mean() < 0.01
    assert not pause_frames(x, sample_rate=sample_rate).any()


def voice_with_pauses(files, seconds=1.0):
    """Return a voice between pauses of digital silence, its rate, and the frames surely in speech or in pauses."""
    x, rate = audio.read(files)
    x = x[:1, : 8 * rate]
    pause = np.zeros((1, round(seconds * rate)), np.float32)
    half = x.shape[1] // 2
    x = np.concatenate([pause, x[:, :half], pause, x[:, half:], pause], axis=1)
    length = round(FRAME_SECONDS * rate)
    powers = np.square(x[:, : x.shape[1] // length * length].reshape(-1, length)).mean(axis=1)
    levels_db = 10 * np.log10(powers + 1e-12)
    top_db = np.percentile(levels_db, 95)
    return x, rate, levels_db > top_db - 25, levels_db < top_db - 45


@pytest.mark.parametrize(
    ("snr_db", "hits", "all_hits"), [(40, 0.99, 0.97), (20, 0.98, 0.93), (10, 0.93, 0.85), (5, 0.8, 0.7)]
)
@pytest.mark.parametrize("kind", ["white", "pink"])
def test_speech_is_found_in_noise_and_pauses_are_not_speech(shared_audio, snr_db, hits, all_hits, kind):
    rng = np.random.default_rng(0)
    found = []
    for corpus in sorted(folder for folder in (shared_audio / "speech").iterdir() if folder.is_dir())[:6]:
        x, rate, speech, pauses = voice_with_pauses(min(path for path in corpus.rglob("*") if path.is_file()))
        hiss = rng.standard_normal(x.shape[1]) if kind == "white" else pink(x.shape[1], rng)
        level = np.sqrt(np.square(x[x != 0]).mean())
        noisy = (x + level * 10 ** (-snr_db / 20) * hiss).astype(np.float32)
        marks = speech_frames(noisy, sample_rate=rate)
        found.append((marks[speech].mean(), marks[pauses].mean()))
    of_speech, of_pauses = np.array(found).T
    assert of_speech.mean() > hits
    assert of_speech.min() > all_hits
    assert of_pauses.mean() < 0.1


@pytest.mark.parametrize("gain_db", [0, -40])
def test_the_level_and_the_number_of_channels_do_not_matter(examples, gain_db):
    x, rate, *_ = voice_with_pauses(examples / "voice.wav")
    x = x + 1e-3 * np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    marks = speech_frames(x, sample_rate=rate)
    assert 0.2 < marks.mean() < 0.9
    louder = (x * 10 ** (gain_db / 20)).repeat(2, axis=0)
    np.testing.assert_array_equal(speech_frames(louder, sample_rate=rate), marks)


def test_pauses_are_found_by_the_noise_in_them(examples):
    x, rate, speech, pauses = voice_with_pauses(examples / "voice.wav")
    noise = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    found = pause_frames(x + 1e-3 * noise, sample_rate=rate)
    assert found[pauses].mean() > 0.85
    assert found[speech].mean() < 0.02
    assert not pause_frames(x + 0.3 * noise, sample_rate=rate).any()  # who can tell?
    silent = pause_frames(x, sample_rate=rate)
    length = round(FRAME_SECONDS * rate)
    digital = ~x[0, : len(silent) * length].reshape(-1, length).any(axis=1)
    assert not silent[digital].any()  # which tells of no noise


def test_music_is_not_taken_for_pauses(shared_audio):
    lost = {}
    for path in sorted((shared_audio / "music").rglob("*.flac")):
        x, rate = audio.read(path, frames=20 * audio.probe(path).sample_rate)
        if x.shape[1] < 3 * rate:
            continue
        marks = pause_frames(x, sample_rate=rate)
        length = round(FRAME_SECONDS * rate)
        powers = np.square(x[:, : len(marks) * length].reshape(len(x), -1, length), dtype=float).mean(axis=(0, 2))
        lost[path.name] = powers[marks].sum() / powers.sum()
    assert len(lost) > 20
    assert max(lost.values()) < 0.05, lost


@pytest.mark.parametrize("samples", [0, 1, 100, 2400])
def test_next_to_nothing_is_no_speech(samples):
    x = np.random.default_rng(0).standard_normal((1, samples)).astype(np.float32)
    assert not speech_frames(x, sample_rate=24_000).any()
    assert not pause_frames(x, sample_rate=24_000).any()
