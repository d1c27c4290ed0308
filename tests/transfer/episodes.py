"""Twelve episodes as podcasters send them in, one produced voice, and the producer's chain that made it.

The chain is written here with other equations than those of `fxst.effects`: Butterworth and shelving filters of SciPy,
a feed-forward compressor with a soft knee that measures decibels, and a limiter that looks ahead.

    python tests/transfer/episodes.py FOLDER

writes the episodes and the reference to `FOLDER/episodes` and `FOLDER/reference.wav`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import butter, fftconvolve, sosfilt, sosfiltfilt

from fxst import audio
from fxst.audio import LoudnessMeter
from fxst.transfer.descriptors import Excerpt, active_level_db

SECONDS = 12.0
DELIVERY_LUFS = -16.0
GAIN_STAGE_LUFS = -23.0
CEILING_DB = -1.5
FRAME_SECONDS = 0.05
DETECTOR_SECONDS = 0.001
LEAST_LEVEL = 1e-5

REFERENCE = ("Rhasspy-Nathalie", "Nathalie")


def loudness(x, rate):
    """The integrated loudness of a recording in LUFS."""
    meter = LoudnessMeter(sample_rate=rate, channels=len(x))
    meter.process(x.astype(np.float32))
    return meter.integrated()


def at_loudness(x, rate, lufs):
    """A recording, turned to a loudness and nothing else."""
    return x * 10 ** ((lufs - loudness(x, rate)) / 20)


def _second_order(b, a):
    return np.array([[*b, *a]]) / a[0]


def _bell(x, rate, hz, gain_db, q):
    """A bell in the form of Zölzer (DAFX, 2nd edition, table 2.4), boost and cut apart."""
    k, v = np.tan(np.pi * hz / rate), 10 ** (abs(gain_db) / 20)
    wide, narrow = (
        (1 + v * k / q + k * k, 2 * (k * k - 1), 1 - v * k / q + k * k),
        (
            1 + k / q + k * k,
            2 * (k * k - 1),
            1 - k / q + k * k,
        ),
    )
    return sosfilt(_second_order(wide, narrow) if gain_db > 0 else _second_order(narrow, wide), x)


def _high_shelf(x, rate, hz, gain_db):
    """A high shelf of first order: what passes a Butterworth high-pass is added."""
    above = sosfilt(butter(1, hz, "highpass", fs=rate, output="sos"), x)
    return x + (10 ** (gain_db / 20) - 1) * above


def _compressed(x, rate, *, threshold_db, ratio, knee_db, attack, release):
    """A feed-forward compressor that smooths its gain in decibels, after a root mean square of 10 ms."""
    step = round(DETECTOR_SECONDS * rate)
    power = uniform_filter1d(np.square(x).max(axis=0), 10 * step)[::step]
    over = 10 * np.log10(power + 1e-12) - threshold_db
    knee = np.clip(over + knee_db / 2, 0, knee_db) ** 2 / (2 * knee_db)
    wanted = (1 / ratio - 1) * np.where(over > knee_db / 2, over, knee)
    falls, rises = (1 - np.exp(-DETECTOR_SECONDS / seconds) for seconds in (attack, release))
    gain_db, now = np.empty_like(wanted), 0.0
    for index, db in enumerate(wanted.tolist()):
        now += (falls if db < now else rises) * (db - now)
        gain_db[index] = now
    places = np.arange(x.shape[1]) / step
    return x * 10 ** (np.interp(places, np.arange(len(gain_db)), gain_db) / 20)


def _limited(x, rate, ceiling_db):
    """A limiter that lowers the gain before a peak, and raises it over 50 ms."""
    needed = np.minimum(1, 10 ** (ceiling_db / 20) / np.maximum(np.abs(x).max(axis=0), 1e-9))
    ahead = round(0.005 * rate)
    held = -maximum_filter1d(-needed, 2 * ahead + 1)
    return x * uniform_filter1d(held, ahead)


def produced(x, rate):
    """What the producer makes of a recording: rumble out, mud out, presence, air, compression, delivery at -16 LUFS."""
    x = at_loudness(np.asarray(x, np.float64), rate, GAIN_STAGE_LUFS)
    x = sosfilt(butter(2, 80, "highpass", fs=rate, output="sos"), x)
    x = _bell(x, rate, 250, -3.0, 0.9)
    x = _bell(x, rate, min(3500, 0.4 * rate), 4.0, 0.8)
    x = _high_shelf(x, rate, min(7000, 0.42 * rate), 3.0)
    x = _compressed(x, rate, threshold_db=-30.0, ratio=3.0, knee_db=6.0, attack=0.008, release=0.15)
    for _ in range(2):  # what the limiter takes of the loudness is made up for once
        x = _limited(at_loudness(x, rate, DELIVERY_LUFS), rate, CEILING_DB)
    return x.astype(np.float32)


def pauses_db(x, rate):
    """The level of the softest tenth of all frames of a recording, relative to its active signal."""
    excerpt = Excerpt(np.asarray(x, np.float32), rate)
    powers = np.sort(excerpt.frame_powers)
    softest = powers[: max(1, len(powers) // 10)].mean()
    return 10 * np.log10(softest + 1e-10) - active_level_db(excerpt)


@dataclass(frozen=True)
class Episode:
    """An episode: who speaks, into what, and the file that is sent in.

    Args:
        name: Its file's name.
        voice: Corpus and speaker.
        rate: The file's sample rate.
        subtype: The file's encoding, as soundfile names it; None for the container's own.
        fault: What happened to the voice: a function of the audio, its rate and the folder of recordings.
        channels: 2 for the same on both sides.
    """

    name: str
    voice: tuple[str, str]
    rate: int
    subtype: str | None
    fault: Callable
    channels: int = 1


def _nothing(x, rate, recordings):
    return x


def _quiet(x, rate, recordings):
    return 0.03 * x


def _clipped(x, rate, recordings):
    return np.clip(4 * x, -0.8, 0.8)


def _phone(x, rate, recordings):
    return 0.5 * sosfiltfilt(butter(6, (300, 3400), "bandpass", fs=rate, output="sos"), x)


def _hum(x, rate, recordings):
    time = np.arange(x.shape[1]) / rate
    tones = sum(np.sin(2 * np.pi * 50 * n * time + n) / n for n in (1, 2, 3, 5, 7))
    return x + np.std(x) * 10 ** (-25 / 20) * tones / np.std(tones)


def _hiss(x, rate, recordings):
    return 0.2 * (x + np.std(x) * 10 ** (-38 / 20) * np.random.default_rng(5).standard_normal(x.shape))


def _room(response, wet):
    def fault(x, rate, recordings):
        file = recordings / "rir" / "web-audio-samples_IRs" / response
        (heard, at) = audio.read(file)
        heard = audio.resample(heard[:1], source_rate=at, target_rate=rate)
        heard = heard / np.sqrt(np.square(heard).sum())
        return x + wet * fftconvolve(x, heard, axes=-1)[:, : x.shape[1]]

    return fault


def _music_bed(file):
    def fault(x, rate, recordings):
        bed = _take(recordings / "music" / file, rate, x.shape[1])
        return x + bed * (np.std(x) * 10 ** (-18 / 20) / np.std(bed))

    return fault


EPISODES = (
    Episode("quiet.wav", ("LibriTTS", "LibriTTS-112"), 44_100, "PCM_16", _quiet),
    Episode("clipped.wav", ("Rhasspy-Flemishguy", "Flemishguy"), 48_000, "PCM_24", _clipped),
    Episode("phone.flac", ("LJSpeech", "LJSpeech-LJ"), 48_000, "PCM_16", _phone),
    Episode("hum.ogg", ("Rhasspy-Kathleen", "Kathleen"), 48_000, None, _hum),
    Episode("room.wav", ("LibriTTS", "LibriTTS-14"), 44_100, "FLOAT", _room("kitchen-true-stereo.flac", 0.7)),
    Episode("music-bed.mp3", ("LJSpeech", "LJSpeech-LJ"), 44_100, None, _music_bed("MDN_examples/outfoxing.flac")),
    Episode("plain.mp3", ("LibriTTS", "LibriTTS-1859"), 44_100, None, _nothing),
    Episode("hiss.wav", ("Rhasspy-Kathleen", "Kathleen"), 44_100, "PCM_24", _hiss),
    Episode("both-sides.flac", ("LibriTTS", "LibriTTS-16"), 48_000, "PCM_24", _quiet, channels=2),
    Episode("dull.ogg", ("Rhasspy-Kerstin", "Kerstin"), 48_000, None, _nothing),
    Episode("hall.wav", ("Rhasspy-Flemishguy", "Flemishguy"), 24_000, "PCM_16", _room("omni-7-4.flac", 0.4)),
    Episode(
        "bed-both-sides.wav",
        ("LibriTTS", "LibriTTS-119"),
        48_000,
        "FLOAT",
        _music_bed("Slakh2100_redux_mix/slakh_mix_Track00001..flac"),
        channels=2,
    ),
)


def _take(file, rate, frames):
    """So much of a piece of music from its tenth second on, as mono."""
    source = audio.probe(file).sample_rate
    x, _ = audio.read(file, start=10 * source, frames=round((frames / rate + 1) * source))
    x = audio.resample(x.mean(axis=0, keepdims=True), source_rate=source, target_rate=rate)
    return x[:, :frames].astype(np.float64)


def voice(recordings, corpus, speaker, rate, *, skip=0):
    """Some seconds of a speaker at a level of -20 dB, one utterance after the other."""
    files = sorted(path for path in (recordings / "speech" / corpus / speaker).iterdir() if path.is_file())
    spoken, seconds = [], 0.0
    for file in files[skip:] + files[:skip]:
        x, at = audio.read(file)
        x = audio.resample(x.mean(axis=0, keepdims=True), source_rate=at, target_rate=rate)[0].astype(np.float64)
        spoken.append(x / (np.std(x) + 1e-9))
        seconds += len(x) / rate
        if seconds >= SECONDS:
            break
    fade = round(0.02 * rate)
    ramp = np.linspace(0, 1, fade)
    whole = spoken[0]
    for _, x in pairwise(spoken):  # crossfaded, so that no join clicks
        whole = np.concatenate([whole[:-fade], whole[-fade:] * ramp[::-1] + x[:fade] * ramp, x[fade:]])
    whole = whole[: round(SECONDS * rate)]
    return 0.1 * whole[None] / np.std(whole)


def make_reference(recordings, path, *, of=REFERENCE, rate=48_000):
    """Write the produced voice."""
    x = produced(voice(recordings, *of, rate, skip=3), rate)
    soundfile.write(path, x.T, rate, subtype="PCM_24")
    return path


def make_episodes(recordings, folder):
    """Write the twelve episodes; return their files."""
    folder.mkdir(parents=True)
    files = []
    for episode in EPISODES:
        x = voice(recordings, *episode.voice, episode.rate)
        x = np.repeat(episode.fault(x, episode.rate, recordings), episode.channels, axis=0)
        x = np.clip(x, -1, 1)
        soundfile.write(folder / episode.name, x.T, episode.rate, subtype=episode.subtype)
        files.append(folder / episode.name)
    return files


if __name__ == "__main__":
    RECORDINGS = Path(__file__).resolve().parents[2] / "../shared/audio"
    make_reference(RECORDINGS, Path(sys.argv[1]) / "reference.wav")
    make_episodes(RECORDINGS, Path(sys.argv[1]) / "episodes")
