"""Make the recordings in tests/examples, which nobody has to be asked for.

A dry voice and one on the radio, for `fxst apply`; and in voices/ some that are long enough for `fxst eval`.

    python tests/make_examples.py

Needs the program espeak-ng (Debian package `espeak-ng`), which speaks all sentences.
"""

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from fxst import audio
from fxst.chains.named import CHAINS

FOLDER = Path(__file__).parent / "examples"
SAMPLE_RATE = 24_000
PEAK = 0.7

SENTENCES = {
    "voice": "The north wind and the sun were disputing which was the stronger, when a traveller came along.",
    "radio": "Here is the forecast for shipping: southwest five to seven, rain later, mainly good.",
}

# Voices of espeak-ng, and how many words a minute they say: as different as it has them.
VOICES = {
    "alto": ("en-gb+f3", 165),
    "bass": ("en-us+m7", 140),
    "soprano": ("en-gb-scotland+f5", 175),
    "tenor": ("en-us+m2", 155),
}
STORY = (
    "The north wind and the sun were disputing which was the stronger, when a traveller came along, wrapped in a warm "
    "cloak. They agreed that the one who first made the traveller take his cloak off should be thought the stronger. "
    "Then the north wind blew as hard as he could; but the more he blew, the closer did the traveller fold his cloak."
)
VOICE_SECONDS = 12

# A small loudspeaker: no bass, a bump below 1 kHz, and hardly any dynamics.
RADIO = {
    "low_shelf_gain_db": -20.0,
    "peak1_gain_db": -20.0,
    "peak2_gain_db": -20.0,
    "peak3_gain_db": -16.0,
    "peak4_gain_db": 15.0,
    "high_shelf_gain_db": 8.0,
    "threshold_db": -20.0,
    "ratio": 6.0,
}


def speak(sentence, voice="en-us", words_a_minute=160):
    """Synthesise a sentence, at the examples' rate and peak: (1, time)."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-s", str(words_a_minute), "-w", spoken, sentence], check=True)
        x, rate = audio.read(spoken)
    x = audio.resample(x, source_rate=rate, target_rate=SAMPLE_RATE)
    return (x * (PEAK / np.abs(x).max())).astype(np.float32)


def on_the_radio(x):
    """Put a recording through the strong setting of `eq-comp`."""
    chain = CHAINS["eq-comp"]
    table = [replace(row, value=RADIO.get(row.parameter, row.value)) for row in chain.defaults()]
    return chain.exact(table, sample_rate=SAMPLE_RATE, channels=1)(x)


def write(path, x, container):
    """Write 16 bits, and tell what became of them."""
    with audio.Writer(path, sample_rate=SAMPLE_RATE, channels=1, subtype="PCM_16", format=container) as writer:
        writer.write(x)
    seconds, peak = x.shape[1] / SAMPLE_RATE, np.abs(x).max()
    print(f"{path.name}: {seconds:.1f} s, peak {peak:.2f}, {writer.clipped} samples clipped")  # noqa: T201


def main():
    (FOLDER / "voices").mkdir(parents=True, exist_ok=True)
    for name, sentence in SENTENCES.items():
        x = speak(sentence)
        if name == "radio":
            x = on_the_radio(x)
        write(FOLDER / f"{name}.wav", x, "WAV")
    for name, (voice, words_a_minute) in VOICES.items():
        x = speak(STORY, voice, words_a_minute)
        write(FOLDER / "voices" / f"{name}.flac", x[:, : VOICE_SECONDS * SAMPLE_RATE], "FLAC")


if __name__ == "__main__":
    main()
