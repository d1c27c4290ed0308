"""The law of reading: as much is written as another decoder finds in the input, or the file is refused by its name.

Headers lie, estimates miss, and files are joined, cut and tagged by programs that know nothing of their formats. One
batch renders them all; outputs are WAV whatever the inputs are, for what is inside is told by content.
"""

import io
import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

RATE = 44_100
FRAME = 1152
"""How long an MP3's frame is; a joint costs up to two more of silence."""

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def noise(frames, channels=1, level=0.3):
    return level * np.random.default_rng(frames).uniform(-1, 1, (frames, channels)).astype(np.float32)


def sine(frames, rate=RATE):
    return (0.01 * np.sin(2 * np.pi * 440 * np.arange(frames) / rate)).astype(np.float32)[:, None]


A, B = noise(40_000), noise(30_001)


def ffmpeg(x, *options, rate=RATE):
    """Encode into a pipe, where no encoder can go back to its header."""
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", str(rate), "-ac", str(x.shape[1]), "-i", "-"]
    return subprocess.run([*command, *options, "-"], input=x.tobytes(), stdout=subprocess.PIPE, check=True).stdout


def file(x, container, subtype=None, rate=RATE):
    made = io.BytesIO()
    soundfile.write(made, x, rate, format=container, subtype=subtype)
    return made.getvalue()


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def id3v2(size):
    return b"ID3\x03\0\0" + bytes(size >> 7 * place & 127 for place in (3, 2, 1, 0)) + bytes(size)


ID3V1 = b"TAG" + b"x" * 125


def ape(size):
    item = size.to_bytes(4, "little") + bytes(4) + b"Title\0" + b"x" * size
    numbers = b"APETAGEX" + struct.pack("<3I", 2000, len(item) + 32, 1)
    return numbers + struct.pack("<I8x", 0xA0000000) + item + numbers + struct.pack("<I8x", 0x80000000)


JUNK = np.random.default_rng(3).bytes(3000).replace(b"\xff", b"\0")


def mpegs():
    vbr = ("-q:a", "4", "-f", "mp3")
    plain = ("-b:a", "128k", "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3")
    mp3, other = file(A, "MP3"), file(B, "MP3")
    bare = ffmpeg(A, *plain)
    sound = np.concatenate([noise(3 * RATE), sine(57 * RATE)])
    yield "quiet behind noise, vbr without a count", ffmpeg(sound, *vbr), None
    yield "noise behind quiet, vbr without a count", ffmpeg(sound[::-1].copy(), *vbr), None
    yield "mpeg 2", ffmpeg(np.concatenate([A, sine(90_000)]), *vbr, rate=22_050), None
    yield "mpeg 2.5", ffmpeg(np.concatenate([A, sine(90_000)]), *vbr, rate=11_025), None
    yield "constant rate without a count", bare, None
    yield "stereo without a count", ffmpeg(noise(50_000, 2), *vbr), None
    yield "layer 2", ffmpeg(A, "-f", "mp2"), None
    yield "ordinary", mp3, len(A)
    both, with_stereo = len(A) + len(B), len(A) + 30_000
    # What is joined is converted to the highest rate.
    at_48_khz = len(A) * 48_000 // RATE + len(B)
    yield "two joined", mp3 + other, (both, both + 3 * FRAME)
    yield (
        "three joined with tags between",
        mp3 + ID3V1 + id3v2(900) + other + ape(300) + mp3,
        (
            both + len(A),
            both + len(A) + 6 * FRAME,
        ),
    )
    yield "two of layer 2 joined", ffmpeg(A, "-f", "mp2") + ffmpeg(B, "-f", "mp2"), None
    yield "two without a count joined", bare + ffmpeg(B, *plain), None
    xing = mp3.index(b"Xing" if b"Xing" in mp3 else b"Info")
    count = int.from_bytes(mp3[xing + 8 : xing + 12], "big")
    yield "a count too small", patched(mp3, xing + 8, (count // 2).to_bytes(4, "big")), len(A)
    yield "a count of nothing", patched(mp3, xing + 8, bytes(4)), len(A)
    yield "a count too large", patched(mp3, xing + 8, (2 * count).to_bytes(4, "big")), "ends early"
    yield "cut", bare[:5000], "ends early"
    yield "another rate joined", bare + ffmpeg(B, *plain, rate=48_000), (at_48_khz, at_48_khz + 6 * FRAME)
    yield "stereo joined to mono", mp3 + file(noise(30_000, 2), "MP3"), (with_stereo, with_stereo + 3 * FRAME)
    yield "mono joined to stereo", file(noise(30_000, 2), "MP3") + mp3, (with_stereo, with_stereo + 3 * FRAME)
    yield "layer 2 joined to layer 3", bare + ffmpeg(B, "-f", "mp2"), (both, both + 6 * FRAME)
    yield "zeros before", bytes(700) + mp3, len(A)
    yield "many zeros before", bytes(100_000) + mp3, len(A)
    yield "half a frame before", bare[300:], None
    yield "junk before", JUNK + bare, None
    yield "two tags before", id3v2(500) + id3v2(7000) + mp3, len(A)
    yield "tag and zeros before", id3v2(500) + bytes(3000) + mp3, len(A)
    yield "tags behind", mp3 + ape(3000) + ID3V1, len(A)
    yield "tags behind, without a count", bare + ape(3000) + ID3V1, None
    yield "a hole", bare[:5000] + bytes(9000) + bare[5000:], "damaged near 0.3"
    yield "mp3 in wav", ffmpeg(A, "-c:a", "libmp3lame", "-f", "wav"), None
    yield "mp2 in wav", ffmpeg(A, "-c:a", "mp2", "-f", "wav"), None


def flacs():
    flac, other = file(A, "FLAC"), file(B, "FLAC")
    both, at_48_khz = len(A) + len(B), len(A) * 48_000 // RATE + len(B)
    yield "two flacs joined", flac + other, both
    yield "a long flac behind a short one", other + flac, both
    yield "one flac twice", flac + flac, 2 * len(A)
    yield "two flacs joined with a tag between", flac + id3v2(900) + other, both
    yield "another rate of flac joined", flac + file(B, "FLAC", rate=48_000), (at_48_khz, at_48_khz + 1)
    yield "stereo flac joined", flac + file(noise(30_000, 2), "FLAC"), len(A) + 30_000
    yield "flac of unknown length", patched(flac, 21, bytes([flac[21] & 0xF0, 0, 0, 0, 0])), len(A)
    yield "flac that counts too little", patched(flac, 22, (1000).to_bytes(4, "big")), len(A)
    yield "flac that counts too much", patched(flac, 22, (90_000).to_bytes(4, "big")), "ends early"
    yield "flac with id3v1", flac + ID3V1, len(A)
    yield "flac with ape and id3v1", flac + ape(5000) + ID3V1, len(A)
    yield "flac with id3v2", id3v2(5000) + flac, len(A)
    first = flac.index(b"\xff\xf8", flac.index(b"vorbis") if b"vorbis" in flac else 42)
    yield "flac that begins at a frame", flac[first:], len(A)
    in_ogg, other_in_ogg = (ffmpeg(x, "-c:a", "flac", "-f", "ogg") for x in (A, B))
    yield "flac in ogg", in_ogg, len(A)
    yield "two flacs in ogg joined", in_ogg + other_in_ogg, both
    yield "flac in ogg, damaged", patched(in_ogg, in_ogg.rindex(b"OggS"), b"oops"), "damaged"


def oggs():
    vorbis, opus = file(A, "OGG", "VORBIS"), file(A, "OGG", "OPUS", 48_000)
    yield "two vorbis joined", vorbis + file(B, "OGG", "VORBIS"), len(A) + len(B)
    yield "one vorbis thrice", 3 * vorbis, 3 * len(A)
    yield "two opus joined", opus + file(B, "OGG", "OPUS", 48_000), len(A) + len(B)
    at_48_khz = len(A) * 48_000 // RATE + len(B)
    yield "another rate of vorbis joined", vorbis + file(B, "OGG", "VORBIS", 48_000), (at_48_khz, at_48_khz + 1)
    yield "stereo opus joined", opus + file(noise(30_000, 2), "OGG", "OPUS", 48_000), len(A) + 30_000
    yield "vorbis without its beginning", vorbis[vorbis.index(b"OggS", 1) :], "lacks the beginning"
    yield "vorbis with id3v1", vorbis + ID3V1, len(A)
    yield "vorbis with id3v2", id3v2(700) + vorbis, len(A)


def sized(container, at, byte_order, width, *, more=0, magic=b"data"):
    """Files whose header counts another size: not known, too much, too little, nothing."""
    data = file(A, container, "PCM_16")
    place = data.index(magic) + at

    def counting(size):
        return patched(data, place, (size + more).to_bytes(width, byte_order))

    present = 2 * len(A)
    unknown = patched(data, place, b"\xff" * width)
    return (
        counting(2 * present),
        counting(present // 2),
        patched(data, place, more.to_bytes(width, byte_order)),
        unknown,
    )


def chunks():
    wav = file(A, "WAV", "PCM_16")
    sound = wav[wav.index(b"data") :]
    for container, place in (
        ("WAV", (4, "little", 4)),
        ("RF64", (16, "little", 8)),
        ("CAF", (4, "big", 8)),
        ("W64", (16, "little", 8)),
        ("AIFF", (4, "big", 4)),
    ):
        extra = {"RF64": {"magic": b"ds64"}, "CAF": {"more": 4}, "W64": {"more": 24}}.get(container, {})
        extra |= {"magic": b"SSND", "more": 8} if container == "AIFF" else {}
        large, small, nothing, unknown = sized(container, *place, **extra)
        yield f"{container} that counts too much", large, "ends early"
        yield f"{container} that counts too little", small, "bytes after"
        if container not in ("AIFF", "RF64"):
            yield f"{container} that counts nothing", nothing, "states no audio"
        if container != "RF64":
            yield f"{container} of unknown length", unknown, len(A)
    for program, size in (("SoX", 0x7FFFF000), ("LAME", 0x7FFFFFFF), ("opusdec", 0x7FFFFFD3)):
        written = patched(wav, wav.index(b"data") + 4, size.to_bytes(4, "little"))
        yield f"written into a pipe by {program}", written, len(A)
    large, small, nothing, unknown = sized("AU", 8, "big", 4, magic=b".snd")
    yield "AU that counts too much", large, "ends early"
    for name, data in (("too little", small), ("nothing", nothing), ("no length", unknown)):
        yield f"AU that counts {name}", data, len(A)
    yield "two stretches of sound", wav + sound, "2 recordings"
    for container in ("WAV", "AIFF", "W64"):
        yield f"two of {container} joined", 2 * file(A, container, "PCM_16"), "2 recordings"
    yield "two of AU joined", 2 * file(A, "AU", "PCM_16"), "joined"
    yield "two of CAF joined", 2 * file(A, "CAF", "PCM_16"), "bytes after"
    aiff = file(A, "AIFF", "PCM_16")
    yield "aiff that counts few frames", patched(aiff, aiff.index(b"COMM") + 10, (9).to_bytes(4, "big")), len(A)
    yield "riff size of nothing", patched(wav, 4, bytes(4)), len(A)
    yield "riff size too small", patched(wav, 4, (9000).to_bytes(4, "little")), len(A)
    yield "other chunks behind", wav + b"LIST\x04\0\0\0INFO" + b"odd!\x03\0\0\0abc\0", len(A)
    yield "padding behind", wav + bytes(2000), len(A)
    yield "wav with id3v2", id3v2(700) + wav, len(A)
    yield "wav with tags behind", wav + ape(800) + ID3V1, len(A)


def encodings():
    """Every encoding of the containers that the program reads."""
    for container in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "OGG", "MP3"):
        for subtype in soundfile.available_subtypes(container):
            rate = 48_000 if subtype == "OPUS" else 8000
            try:
                data = file(A[:20_000], container, subtype, rate)
            except soundfile.SoundFileError:
                continue
            # Codecs that go by blocks fill the last one; ffmpeg does not know the blocks of some.
            blocks = "ADPCM" in subtype or subtype.startswith(("GSM", "G72", "DWVW"))
            yield f"{container} {subtype}", data, (20_000, 20_600) if blocks else 20_000


def others():
    """What FFmpeg decodes: whole, or refused where it says that a packet is broken, as the last one in a pipe is."""
    for codec, container in (
        ("libspeex", "ogg"), ("aac", "adts"), ("libmp3lame", "matroska"), ("wavpack", "wv"), ("libmp3lame", "avi"),
    ):  # fmt: skip
        data = ffmpeg(noise(32_000), "-c:a", codec, "-f", container, rate=16_000)
        yield f"{codec} in {container}", data, (32_000, 32_000 + 3 * FRAME)
    for codec in ("ac3", "wmav2"):
        data = ffmpeg(noise(32_000), "-c:a", codec, "-f", "wav", rate=16_000)
        yield f"{codec} in wav", data, "corrupt input packet"


CASES = (mpegs, flacs, oggs, chunks, encodings, others)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Everything rendered in one call: name of the case -> (what is expected, its row, its path)."""
    folder = tmp_path_factory.mktemp("lengths")
    (folder / "in").mkdir()
    table_files.write(Table(CHAINS["eq-comp"], CHAINS["eq-comp"].defaults()), folder / "house.json")
    expected = {}
    for made in CASES:
        for name, data, wanted in made():
            assert name not in expected
            expected[name] = (made.__name__, wanted)
            (folder / "in" / f"{name}.wav").write_bytes(data)
    command = ["-m", "fxst", "apply", "in", "--params", "house.json", "-o", "out", "--format", "jsonl"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    rows = {row["input"][3:-4]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1, done.stderr
    assert rows.keys() == expected.keys()
    assert "Xing" not in done.stderr  # libsndfile's decoder warns of lengths that it does not need
    return folder, expected, rows


def frames_by_ffmpeg(path):
    command = ["ffmpeg", "-v", "quiet", "-i", path, "-f", "f32le", "-"]
    channels = 2 if "stereo" in path.stem else 1
    return len(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) // 4 // channels


@pytest.mark.parametrize("group", CASES, ids=lambda case: case.__name__)
def test_what_is_there_is_written_or_refused_by_its_name(rendered, group):
    folder, expected, rows = rendered
    wrong = []
    for name, (made, wanted) in expected.items():
        if made != group.__name__:
            continue
        row = rows[name]
        if isinstance(wanted, str) and wanted != "ends early":
            if row["status"] != "failed" or wanted not in row["error"] or name not in row["error"]:
                wrong.append((name, wanted, row["error"], row["status"]))
            continue
        if row["status"] != "written":
            wrong.append((name, wanted, row["error"]))
            continue
        early = any("ends early" in warning for warning in row["warnings"])
        found = len(soundfile.read(folder / row["output"])[0])
        if wanted == "ends early":
            right = early and found > 0
        else:
            low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
            if wanted is None:
                low = high = frames_by_ffmpeg(folder / row["input"])
            right = not early and 0 < low <= found <= high
        if not right:
            wrong.append((name, wanted, found, row["warnings"]))
    assert not wrong


def test_every_failure_is_one_line(rendered):
    _, _, rows = rendered
    errors = [row["error"] for row in rows.values() if row["status"] == "failed"]
    assert errors
    assert not [error for error in errors if "\n" in error or "does not exist" in error or "internal" in error.lower()]
