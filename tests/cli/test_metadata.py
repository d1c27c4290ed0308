"""What a file holds besides its sound travels with it, through the real command."""

import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen import flac, id3

from fxst import audio
from fxst.audio import chunks
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

STUDIO = CHAINS["studio"]
NOTHING = Table(STUDIO, STUDIO.at_amount(STUDIO.defaults(), 0.0))
RATE = 44_100
FRAMES = 3 * RATE // 2
TEXTS = {
    "TITLE": "Folge 3: Über uns 日本", "ARTIST": "Zoë", "ALBUM": "Hörspiel", "DATE": "2024-05-01", "COMMENT": "Ça va",
    "ISRC": "DEX012300001", "TRACKNUMBER": "3", "TRACKTOTAL": "9",
}  # fmt: skip
COVER = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
CUE = struct.pack("<II I4s4sIII", 1, 1, 0, b"data", b"    ", 0, 0, 0)[:8] + struct.pack(
    "<I4sIII", 0, b"data", 0, 0, 777
)
BEXT = b"Scene 12".ljust(256, b"\0") + b"Recorder".ljust(32, b"\0") + bytes(58) + struct.pack("<H", 1) + bytes(254)
NAMED = {b"bext": BEXT, b"iXML": b"<BWFXML><SCENE>12</SCENE></BWFXML>", b"cue ": struct.pack("<I", 1) + CUE[4:]}
INFO = b"INFO" + b"INAM\x06\0\0\0\xc3\x9cber\0" + b"ICMT\x05\0\0\0Ca va"[:13] + b"\0"
ADTL = b"adtl" + b"labl\x0a\0\0\0" + struct.pack("<I", 1) + b"start\0"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with a table that changes nothing."""
    monkeypatch.chdir(tmp_path)
    table_files.write(NOTHING, Path("t.json"))


def sound(channels=2, frames=FRAMES):
    return 0.1 * np.random.default_rng(0).standard_normal((frames, channels))


def apply(fxst, source, output, *options):
    code, _, err = fxst("apply", source, "-p", "t.json", "-o", output, *options)
    assert code == 0, err
    return err


def tagged(name, **options):
    """Write a file with texts, a cover and chapters, by mutagen alone."""
    soundfile.write(name, sound(), RATE, **options)
    file = mutagen.File(name)
    if file.tags is None:
        file.add_tags()
    picture = flac.Picture()
    picture.data, picture.mime, picture.type = COVER, "image/png", 3
    if isinstance(file.tags, id3.ID3):
        for frame in (
            id3.TIT2(text=TEXTS["TITLE"]), id3.TPE1(text=TEXTS["ARTIST"]), id3.TALB(text=TEXTS["ALBUM"]),
            id3.TDRC(text=TEXTS["DATE"]), id3.COMM(text=TEXTS["COMMENT"]), id3.TSRC(text=TEXTS["ISRC"]),
            id3.TRCK(text="3/9"), id3.APIC(mime="image/png", type=3, data=COVER),
            id3.CTOC(element_id="toc", flags=3, child_element_ids=["a"], sub_frames=[]),
            id3.CHAP(element_id="a", start_time=500, end_time=1500, sub_frames=[id3.TIT2(text="Größe")]),
        ):  # fmt: skip
            file.tags.add(frame)
    else:
        file.tags.update({**TEXTS, "CHAPTER000": "00:00:00.500", "CHAPTER000NAME": "Größe"})
        if isinstance(file, flac.FLAC):
            file.add_picture(picture)
        else:
            import base64

            file.tags["METADATA_BLOCK_PICTURE"] = base64.b64encode(picture.write()).decode()
    file.save()
    return name


def with_chunks(name, added, **options):
    """Write a WAV or AIFF with chunks before its audio."""
    soundfile.write(name, sound(), RATE, **options)
    data = Path(name).read_bytes()
    order = ">" if data[:4] == b"FORM" else "<"
    parts = b"".join(
        key + struct.pack(order + "I", len(content)) + content + bytes(len(content) % 2) for key, content in added
    )
    size = struct.unpack(order + "I", data[4:8])[0] + len(parts)
    Path(name).write_bytes(data[:4] + struct.pack(order + "I", size) + data[8:12] + parts + data[12:])
    return name


def chunks_of(name):
    data = Path(name).read_bytes()
    found = chunks.chunks(lambda size, at: data[at : at + size], 0, len(data))
    return [(one.name, data[one.start : one.start + one.size]) for one in found]


def tags_of(name):
    with audio.Reader(Path(name)) as reader:
        assert reader.metadata.problem == ""
        return reader.metadata.tags


SOURCES = {
    "a.mp3": {}, "a.flac": {}, "a.ogg": {}, "a.opus": {"format": "OGG", "subtype": "OPUS"}, "a.wav": {}, "a.aiff": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "output"),
    [*((name, f"out{Path(name).suffix}") for name in SOURCES if name != "a.opus"),
     ("a.mp3", "out.flac"), ("a.flac", "out.mp3"), ("a.ogg", "out.wav"), ("a.wav", "out.opus"), ("a.aiff", "out.ogg")],
)  # fmt: skip
def test_texts_cover_and_chapters_go_from_any_format_to_any(fxst, source, output):
    assert "does not hold" not in apply(fxst, tagged(source, **SOURCES[source]), output)
    tags = tags_of(output)
    assert {name: " ".join(text) for name, text in tags.texts.items()} == TEXTS
    assert [(picture.data, picture.mime, picture.kind) for picture in tags.pictures] == [(COVER, "image/png", 3)]
    assert [(chapter.start, chapter.title) for chapter in tags.chapters] == [(0.5, "Größe")]
    other = mutagen.File(output)  # which reads what it likes, and knows nothing of our names
    assert other.tags is not None


def test_what_a_caf_and_a_w64_do_not_hold_is_told(fxst):
    assert "does not hold pictures, chapters" in apply(fxst, tagged("a.flac"), "out.caf")
    assert tags_of("out.caf").texts == {name: (text,) for name, text in TEXTS.items()}
    assert "does not hold texts such as the title, pictures, chapters" in apply(fxst, "a.flac", "out.w64")


def test_replay_gain_is_left_out_and_told(fxst):
    tagged("a.flac")
    file = flac.FLAC("a.flac")
    file["REPLAYGAIN_TRACK_GAIN"] = "-7.2 dB"
    file.save()
    assert "ReplayGain, since the level changes" in apply(fxst, "a.flac", "out.flac")
    assert "REPLAYGAIN_TRACK_GAIN" not in tags_of("out.flac").texts


@pytest.mark.parametrize("container", ["WAV", "RF64"])
def test_chunks_of_a_broadcast_wav_are_copied_byte_for_byte(fxst, container):
    added = [*NAMED.items(), (b"LIST", INFO), (b"LIST", ADTL), *([(b"zzzz", b"odd")] if container == "WAV" else [])]
    with_chunks("a.wav", added, subtype="PCM_24")
    if container == "RF64":
        with audio.Reader(Path("a.wav")) as reader, audio.Writer(
            Path("b.wav"), sample_rate=RATE, channels=2, subtype="PCM_24", format="RF64", metadata=reader.metadata
        ) as writer:  # fmt: skip
            writer.write(reader.read())
        shutil.move("b.wav", "a.wav")
    assert apply(fxst, "a.wav", "out.wav") == ""
    assert [one for one in chunks_of("out.wav") if one in added] == added
    assert audio.probe(Path("out.wav")).format == container
    assert Path("out.wav").stat().st_size == Path("a.wav").stat().st_size
    np.testing.assert_array_equal(*(soundfile.read(name, dtype="int32")[0] for name in ("a.wav", "out.wav")))
    assert soundfile.SoundFile("out.wav").copy_metadata()["title"] == "Über"


def test_markers_of_an_aiff_are_copied_byte_for_byte(fxst):
    mark = struct.pack(">HHI", 1, 1, 777) + b"\x05start"
    added = [(b"MARK", mark), (b"NAME", b"Demo"), (b"INST", bytes(20))]
    assert apply(fxst, with_chunks("a.aiff", added), "out.aiff") == ""
    assert [one for one in chunks_of("out.aiff") if one in added] == added
    assert "markers (MARK)" in apply(fxst, "a.aiff", "out.flac")
    assert tags_of("out.flac").texts == {"TITLE": ("Demo",)}


@pytest.mark.parametrize(
    ("output", "options", "left"),
    [
        ("out.flac", (), ("timecode (bext)", "iXML", "cue points", "labels of cue points")),
        ("out.mp3", (), ("timecode (bext)", "iXML", "cue points")),
        ("out.wav", ("--rate", "48000"), ("timecode (bext)", "iXML", "cue points", "labels of cue points")),
    ],
)
def test_chunks_that_would_be_wrong_are_left_out_and_told(fxst, output, options, left):
    with_chunks("a.wav", [*NAMED.items(), (b"LIST", INFO), (b"LIST", ADTL)])
    told = apply(fxst, "a.wav", output, *options)
    assert all(name in told for name in left)
    assert tags_of(output).texts["TITLE"] == ("Über",)
    assert not {b"bext", b"iXML", b"cue "} & {name for name, _ in chunks_of(output)}


def test_a_measured_loudness_is_taken_out_of_a_bext_chunk(fxst):
    measured = bytearray(BEXT)
    measured[346:348] = struct.pack("<H", 2)
    measured[412:422] = struct.pack("<5h", -2300, 500, -100, -1800, -2000)
    with_chunks("a.wav", [(b"bext", bytes(measured))])
    assert "the measured loudness (bext)" in apply(fxst, "a.wav", "out.wav")
    kept = dict(chunks_of("out.wav"))[b"bext"]
    assert kept[:412] + kept[422:] == bytes(measured[:412] + measured[422:])
    assert struct.unpack("<5h", kept[412:422]) == (0x7FFF,) * 5


BOMB = zlib.compress(bytes(1 << 28))


def id3_tag(frame, content, flags=b"\0\0"):
    head = frame + struct.pack(">I", len(content)) + flags
    size = len(head) + len(content)
    return b"ID3\x03\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + head + content


@pytest.mark.parametrize(
    "hostile",
    [
        id3_tag(b"APIC", struct.pack(">I", 1 << 28) + BOMB, flags=b"\0\x80"),
        id3_tag(b"TIT2", b"\1\xff\xfe\0"),
        id3_tag(b"CHAP", b"x"),
        id3_tag(b"TIT2", b"\3" + b"x" * 3_000_000),
        b"ID3\x04\0\xef" + b"\x00\x00\x10\x00" + bytes(2048),
    ],
    ids=["a bomb", "half a letter", "half a chapter", "a long text", "impossible flags"],
)
@pytest.mark.parametrize("container", ["mp3", "wav"])
def test_hostile_tags_never_cost_the_sound(fxst, hostile, container):
    if container == "mp3":
        soundfile.write("a.mp3", sound(), RATE)
        Path("a.mp3").write_bytes(hostile + Path("a.mp3").read_bytes())
    else:
        with_chunks("a.wav", [(b"id3 ", hostile)])
    apply(fxst, f"a.{container}", f"out.{container}")
    assert audio.probe(Path(f"out.{container}")).frames == FRAMES
    if hostile.endswith(BOMB):
        assert tags_of(f"out.{container}").pictures == ()


@pytest.mark.parametrize("at", [20, 40, -1000])
@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_damage_in_tags_is_told_or_repaired_but_never_a_crash(fxst, name, at):
    tagged(name)
    data = bytearray(Path(name).read_bytes())
    place = data.find(COVER[:8] if name != "a.ogg" else b"METADATA")
    data[place - at : place - at + 8] = b"\xff" * 8
    Path(name).write_bytes(data)
    code, _, err = fxst("apply", name, "-p", "t.json", "-o", f"out{Path(name).suffix}")
    assert code in (0, 1)
    assert "Traceback" not in err
    if code == 0:
        assert audio.probe(Path(f"out{Path(name).suffix}")).frames == FRAMES


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp3", {"compression_level": 0.0, "bitrate_mode": "CONSTANT"}),
        ("a.mp3", {"compression_level": 0.8, "bitrate_mode": "CONSTANT"}),
        ("a.ogg", {"compression_level": 0.1}),
        ("a.ogg", {"compression_level": 0.9}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS", "compression_level": 0.3}),
    ],
)
def test_a_lossy_output_has_about_the_bit_rate_of_its_input(fxst, name, options):
    rate = 48_000 if name.endswith("opus") else RATE
    soundfile.write(name, sound(frames=4 * rate), rate, **options)
    apply(fxst, name, f"out{Path(name).suffix}")
    before, after = (Path(one).stat().st_size for one in (name, f"out{Path(name).suffix}"))
    assert after == pytest.approx(before, rel=0.15)


@pytest.mark.parametrize(("quality", "least", "most"), [("64k", 55, 75), ("256k", 235, 275), ("0", 10, 130)])
@pytest.mark.parametrize("output", ["out.mp3", "out.ogg", "out.opus"])
def test_quality_is_a_bit_rate_or_a_grade(fxst, output, quality, least, most):
    soundfile.write("a.wav", sound(frames=4 * 48_000), 48_000)
    apply(fxst, "a.wav", output, "--quality", quality)
    assert least <= audio.probe(Path(output)).bit_rate / 1000 <= most


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("-o", "out.wav", "--quality", "5"), "--quality is for .mp3, .ogg, .oga, .opus outputs"),
        (("-o", "out.mp3", "--quality", "11"), "give a quality from 0 to 10, or a bit rate as 192k"),
        (("-o", "out.mp3", "--quality", "5000k"), "give a quality from 0 to 10, or a bit rate as 192k"),
        (("-o", "out.wav", "--to", "flac"), "'out.wav' is no .flac file: rename it, or leave out --to"),
        (("-o", "out", "--to", "flac", "--name", "{stem}.wav"), "which is no .flac file"),
    ],
)
def test_what_cannot_be_done_is_refused(fxst, command, told):
    soundfile.write("a.wav", sound(), RATE)
    code, _, err = fxst("apply", "a.wav", "-p", "t.json", *command)
    assert code == 2
    assert told in " ".join(err.split())
    assert not list(Path().glob("out*"))


def test_to_and_rate_choose_the_format_of_all_outputs(fxst):
    Path("in").mkdir()
    for name in ("a.wav", "b.flac"):
        soundfile.write(f"in/{name}", sound(), RATE, "PCM_16")
    code, _, err = fxst("apply", "in", "-p", "t.json", "-o", "out", "--to", "flac", "--rate", "48000")
    assert (code, err) == (0, "")
    for name in ("a.flac", "b.flac"):
        info = audio.probe(Path("out", name))
        assert (info.format, info.subtype, info.sample_rate, info.frames) == ("FLAC", "PCM_16", 48_000, 72_000)
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.flac", "b.flac", "fxst-manifest.jsonl"]


def test_a_new_rate_changes_neither_loudness_nor_pitch(fxst):
    x = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE)
    soundfile.write("a.wav", x, RATE, "FLOAT")
    apply(fxst, "a.wav", "out.wav", "--rate", "96000", "--loudness", "-14")
    y, rate = soundfile.read("out.wav")
    assert (rate, len(y)) == (96_000, 192_000)
    assert np.abs(np.fft.rfft(y)).argmax() == 2000
    assert audio.loudness(y[None].astype(np.float32), sample_rate=rate) == pytest.approx(-14, abs=0.05)


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not here")
def test_one_recording_in_all_formats(fxst):
    Path("in").mkdir()
    soundfile.write("s.wav", sound(), RATE, "PCM_24")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-frames:v", "1", "c.png")
    texts = {"title": TEXTS["TITLE"], "artist": TEXTS["ARTIST"], "album": TEXTS["ALBUM"]}
    tags = [part for name, text in texts.items() for part in ("-metadata", f"{name}={text}")]
    cover = ["-i", "c.png", "-map", "0:a", "-map", "1:v", "-disposition:v", "attached_pic", "-c:v", "copy"]
    covered = {"e.flac": [], "h.mp3": ["-b:a", "192k"], "k.m4a": ["-c:a", "aac"], "l.m4a": ["-c:a", "alac"]}
    plain = {
        "a.wav": ["pcm_s16le"], "b.wav": ["pcm_s24le"], "c.wav": ["pcm_f32le"], "d.wav": ["pcm_f64le"],
        "f.aiff": ["pcm_s16be", "-write_id3v2", "1"], "g.caf": ["pcm_s16le"], "i.ogg": ["libvorbis"],
        "m.webm": ["libopus"], "n.wma": ["wmav2"], "o.wv": ["wavpack"],
    }  # fmt: skip
    for name, codec in covered.items():
        ffmpeg("-i", "s.wav", *cover, *tags, *codec, f"in/{name}")
    for name, codec in plain.items():
        ffmpeg("-i", "s.wav", *tags, "-c:a", *codec, f"in/{name}")
    ffmpeg("-i", "s.wav", *tags, "-ar", "48000", "-c:a", "libopus", "in/j.opus")
    ffmpeg("-i", "s.wav", "-f", "lavfi", "-i", "testsrc=d=1:s=64x64", *tags, "-c:a", "aac", "in/p.mp4")
    code, _, _ = fxst("apply", "in", "-p", "t.json", "-o", "out")
    assert code == 0
    sources = sorted(Path("in").iterdir())
    assert len(sources) == 16
    for source in sources:
        own = Path("out", source.name)
        output = own if own.exists() else own.with_name(own.name + ".wav")
        with audio.Reader(source) as before, audio.Reader(output) as after:
            assert after.read().shape == before.read().shape, source
            assert after.read().shape[1] / after.info.sample_rate == pytest.approx(1.5, abs=0.06), source
            kept = after.metadata.tags
        assert {name: " ".join(kept.texts[name]) for name in ("TITLE", "ARTIST", "ALBUM")} == {
            name.upper(): text for name, text in texts.items()
        }, source
        assert [picture.data for picture in kept.pictures] == (
            [Path("c.png").read_bytes()] if source.name in covered else []
        ), source
        if before.info.bit_rate and output.suffix != ".wav":
            assert after.info.bit_rate == pytest.approx(before.info.bit_rate, rel=0.25), source


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not here")
@pytest.mark.parametrize("decoder", ["PyAV", "ffmpeg"])
def test_chapters_of_matroska_are_kept_and_its_pictures_are_told(fxst, monkeypatch, decoder):
    if decoder == "PyAV":
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    soundfile.write("s.wav", sound(), RATE, "PCM_24")
    titles = {3.25: "Ending: a = b", 0.0: "Opening"}
    chapters = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={1000 * start:.0f}\nEND=9000\ntitle={title.replace('=', chr(92) + '=')}\n"
        for start, title in sorted(titles.items())
    )
    Path("m.txt").write_text(f";FFMETADATA1\ntitle=Show\n{chapters}")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-frames:v", "1", "c.png")
    of_file = "-map_metadata", "1", "-map_chapters", "1", "-metadata:s:a", "title=the track"
    cover = "-attach", "c.png", "-metadata:s:t", "mimetype=image/png", "-metadata:s:t", "filename=cover.png"
    ffmpeg("-i", "s.wav", "-i", "m.txt", *of_file, *cover, "-c:a", "libopus", "a.mka")
    ffmpeg("-i", "s.wav", "-i", "m.txt", *of_file, "-c:a", "libopus", "b.webm")
    assert "'a.mka': its pictures cannot be read, and were left out" in apply(fxst, "a.mka", "a.flac")
    assert "left out" not in apply(fxst, "b.webm", "b.flac")
    for name in ("a.flac", "b.flac"):
        tags = tags_of(name)
        assert {chapter.start: chapter.title for chapter in tags.chapters} == titles
        assert tags.texts["TITLE"] == ("Show",)


def crc(data, polynomial, bits):
    value = 0
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> bits - 1 else 0)) & (1 << bits) - 1
    return value


def verbatim_flac(x, bits):
    """Encode whole numbers without compression: a FLAC of 12 or 20 bits, which few encoders write."""
    depth = {12: 2, 20: 5}[bits]
    numbers = 48_000 << 44 | (len(x) - 1) << 41 | (bits - 1) << 36 | x.shape[1]
    comment = b"\4\0\0\0test\1\0\0\0\x0c\0\0\0TITLE=Zw\xc3\xb6lf"
    out = b"fLaC\0\0\0\x22" + struct.pack(">HH", 1024, 1024) + bytes(6) + numbers.to_bytes(8, "big") + bytes(16)
    out += b"\x84" + len(comment).to_bytes(3, "big") + comment
    for number in range(x.shape[1] // 1024):
        head = bytes([0xFF, 0xF8, 0xAA, (len(x) - 1) << 4 | depth << 1, number])
        head += bytes([crc(head, 0x07, 8)])
        text = "".join(
            "00000010" + "".join(f"{int(one) & (1 << bits) - 1:0{bits}b}" for one in row)
            for row in x[:, 1024 * number : 1024 * (number + 1)]
        )
        text += "0" * (-len(text) % 8)
        frame = head + int(text, 2).to_bytes(len(text) // 8, "big")
        out += frame + crc(frame, 0x8005, 16).to_bytes(2, "big")
    return out


@pytest.mark.parametrize("bits", [12, 20])
@pytest.mark.parametrize("output", ["out.flac", "out.wav"])
def test_a_flac_of_12_or_20_bits_keeps_every_bit_and_its_tags(fxst, bits, output):
    from fxst.audio import ffmpeg

    if not ffmpeg.is_there():
        pytest.skip("neither PyAV nor the program ffmpeg is here")
    x = np.random.default_rng(0).integers(-(1 << bits - 3), 1 << bits - 3, (2, 8192))
    Path("a.flac").write_bytes(verbatim_flac(x, bits))
    assert apply(fxst, "a.flac", output) == ""
    y, rate = soundfile.read(output, dtype="int32")
    assert rate == 48_000
    np.testing.assert_array_equal(y.T >> 32 - bits, x)
    assert tags_of(output).texts == {"TITLE": ("Zwölf",)}
