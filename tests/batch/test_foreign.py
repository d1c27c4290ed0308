"""Recordings in any format: all that a file holds comes out, through the command, or it is refused in a sentence."""

import random
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

import fxst.audio.ffmpeg
from fxst import audio
from fxst.audio import mp4
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table

RATE = 48_000
FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not here")


@pytest.fixture
def here(tmp_path, monkeypatch, speech):
    """A folder to work in, with a flat table and a voice."""
    monkeypatch.chdir(tmp_path)
    chain = CHAINS["eq"]
    table_files.write(Table(chain, chain.defaults()), Path("flat.json"))
    soundfile.write("voice.wav", speech(RATE, 1, 1.0).T, RATE, subtype="PCM_24")
    soundfile.write("other.wav", 0.5 * speech(RATE, 2, 0.8)[::-1].T, RATE, subtype="PCM_24")
    return tmp_path


@pytest.fixture(params=["PyAV", "ffmpeg"])
def decoder(request, monkeypatch):
    """What decodes: each of the two that is here."""
    if request.param == "PyAV" and find_spec("av") is None:
        pytest.skip("PyAV is not here")
    if request.param == "ffmpeg":
        monkeypatch.setitem(sys.modules, "av", None)
    return request.param


@pytest.fixture
def apply(here, fxst):
    """Apply the flat table to a file: `apply(name)` gives code, sound, rate and messages; no sound if it failed."""

    def run(name):
        code, out, err = fxst("apply", "--params", "flat.json", "-o", "out.wav", "--overwrite", "--", name)
        if code:
            assert not Path("out.wav").exists()
            assert err.count("\n") == 1
            assert Path(name).name in err
            return code, None, None, err
        y, rate = audio.read(Path("out.wav"))
        Path("out.wav").unlink()
        assert np.isfinite(y).all()
        return code, y, rate, out + err

    return run


def encode(*arguments):
    subprocess.run([FFMPEG, "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


def joined(name, *parts):
    Path(name).write_bytes(b"".join(Path(part).read_bytes() for part in parts))


def written(name, channels, rate, seconds, noise, **options):
    """Write noise to a file; return it as it is read back."""
    soundfile.write(name, 0.3 * noise(rate, channels, seconds).T, rate, **options)
    return audio.read(Path(name))[0]


def same(y, x, level=1e-4):
    assert y.shape == x.shape
    assert np.abs(y - x).max() < level


def in_step(y, x):
    """Check that a recording from a lossy codec is like the original, and neither early nor late."""
    y, x = y[0, : x.shape[1]], x[0, : y.shape[1]]
    lags = range(-40, 41, 4)
    found = [np.dot(np.roll(y, lag), x) for lag in lags]
    assert lags[int(np.argmax(found))] == 0
    assert max(found) > 0.8 * np.linalg.norm(y) * np.linalg.norm(x)


class TestJoined:
    @pytest.mark.parametrize(
        ("kinds", "expected"),
        [
            ((("a.mp3", 1, 44_100), ("b.mp3", 2, 44_100)), (2, 44_100)),
            ((("a.mp3", 2, 22_050), ("b.mp3", 2, 48_000)), (2, 48_000)),
            ((("a.mp3", 1, 48_000), ("b.mp3", 2, 44_100), ("c.mp3", 1, 32_000)), (2, 48_000)),
            ((("a.ogg", 1, 48_000), ("b.ogg", 2, 24_000)), (2, 48_000)),
            ((("a.oga", 2, 48_000), ("b.ogg", 1, 44_100)), (2, 48_000)),
            ((("a.flac", 2, 16_000), ("b.flac", 1, 48_000)), (2, 48_000)),
        ],
    )
    def test_parts_of_different_formats_come_out_whole(self, apply, noise, kinds, expected):
        parts = []
        for name, channels, rate in kinds:
            options = {"format": "OGG", "subtype": "OPUS"} if name == "a.oga" else {}
            x = written(name, channels, rate, 0.7, noise, **options)
            x = audio.resample(x, source_rate=rate, target_rate=expected[1])
            parts.append(np.repeat(x, expected[0] // channels, axis=0))
        name = "joined" + Path(kinds[0][0]).suffix
        joined(name, *(kind[0] for kind in kinds))
        code, y, rate, said = apply(name)
        assert code == 0
        assert rate == expected[1]
        same(y, np.concatenate(parts, axis=1))
        assert "sample rate changes" in said or "is mono" in said

    def test_any_window_of_them_is_a_part_of_the_whole(self, here, noise):
        written("a.mp3", 1, 32_000, 0.5, noise)
        written("b.mp3", 2, 48_000, 0.5, noise)
        joined("ab.mp3", "a.mp3", "b.mp3", "a.mp3")
        whole, _ = audio.read(Path("ab.mp3"))
        with audio.Reader(Path("ab.mp3")) as reader:
            for start in (30_000, 100, 23_900, 60_000, 0):
                same(reader.read(start=start, frames=3000), whole[:, start : start + 3000])

    def test_surround_after_stereo_is_refused(self, apply, noise):
        written("a.flac", 2, 48_000, 0.3, noise)
        written("b.flac", 6, 48_000, 0.3, noise)
        joined("ab.flac", "a.flac", "b.flac")
        assert apply("ab.flac")[0] == 1

    @needs_ffmpeg
    @pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".wma", ".webm", ".tta", ".flv", ".spx", ".wv"])
    def test_what_players_would_stop_after_is_refused(self, apply, suffix):
        for name in ("voice", "other"):
            encode("-i", f"{name}.wav", "-ar", 16_000 if suffix == ".spx" else 48_000, "-ac", 1, f"{name}{suffix}")
        joined(f"both{suffix}", f"voice{suffix}", f"other{suffix}")
        assert apply(f"both{suffix}")[0] == 1

    @needs_ffmpeg
    def test_streams_that_can_be_joined_come_out_whole(self, apply, decoder):
        for name in ("voice", "other"):
            encode("-i", f"{name}.wav", "-ac", 1, f"{name}.aac")
        joined("both.aac", "voice.aac", "other.aac")
        lengths = [apply(f"{name}.aac")[1].shape[1] for name in ("voice", "other", "both")]
        assert lengths[2] >= lengths[0] + lengths[1]


class TestReadable:
    @pytest.fixture
    def x(self, here):
        return audio.read(Path("voice.wav"))[0]

    @pytest.mark.parametrize("size", [0, 2**31 - 1, 2**32 - 1])
    def test_a_wav_whose_outer_size_is_wrong(self, apply, x, size):
        data = bytearray(Path("voice.wav").read_bytes())
        data[4:8] = struct.pack("<I", size)
        Path("odd.wav").write_bytes(data)
        same(apply("odd.wav")[1], x)

    def test_a_wav_whose_length_was_unknown(self, apply, x):
        data = bytearray(Path("voice.wav").read_bytes())
        at = data.index(b"data") + 4
        data[at : at + 4] = b"\xff" * 4
        Path("odd.wav").write_bytes(data)
        same(apply("odd.wav")[1], x)

    @pytest.mark.parametrize("before", [bytes(3000), b"\xff" * 700, b"junk" * 200, b"ID3\4\0\0\0\0\1\0" + bytes(128)])
    def test_an_mp3_after_something_else(self, apply, noise, before):
        x = written("a.mp3", 2, 44_100, 0.6, noise)
        Path("odd.mp3").write_bytes(before + Path("a.mp3").read_bytes())
        same(apply("odd.mp3")[1], x)

    def test_a_flac_that_holds_more_than_it_states(self, apply, noise):
        x = written("odd.flac", 2, 44_100, 0.6, noise)
        data = bytearray(Path("odd.flac").read_bytes())
        data[22:26] = struct.pack(">I", 5000)
        Path("odd.flac").write_bytes(data)
        same(apply("odd.flac")[1], x)

    @pytest.mark.parametrize("high", [False, True])
    def test_24_bits_in_32_that_the_header_does_not_explain(self, apply, x, high):
        values = np.zeros(x.shape[1] + 40_000, np.int32)  # in the silence before it libsndfile finds nothing
        values[40_000:] = np.rint(x[0] * 2**23)
        data = (values << 8 if high else values & 0xFFFFFF).astype("<i4").tobytes()
        form = struct.pack("<HHIIHH", 1, 1, RATE, 4 * RATE, 4, 24)
        chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
        Path("odd.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
        same(apply("odd.wav")[1][:, 40_000:], x)

    @pytest.mark.parametrize(("format", "subtype"), [("WAV", "GSM610"), ("AIFF", "GSM610"), ("W64", "GSM610")])
    def test_gsm(self, apply, noise, format, subtype):  # noqa: A002
        x = written("gsm.bin", 1, 8000, 1.0, noise, format=format, subtype=subtype)
        y = apply("gsm.bin")[1]
        assert y.shape == x.shape
        same(y[:, :7500], x[:, :7500])  # the rest of the last block is loud, and the ceiling holds it down

    @needs_ffmpeg
    @pytest.mark.parametrize("codec", ["libmp3lame", "mp2"])
    def test_mpeg_audio_in_wav(self, apply, x, codec):
        encode("-i", "voice.wav", "-c:a", codec, "-b:a", "128k", "-f", "wav", "in.wav")
        assert apply("in.wav")[1].shape[1] >= x.shape[1]

    @needs_ffmpeg
    @pytest.mark.parametrize("codec", ["ac3", "wmav2", "dca"])
    def test_other_codecs_in_wav(self, apply, decoder, codec):
        encode("-i", "voice.wav", "-strict", -2, "-c:a", codec, "-f", "wav", "in.wav")
        encode("-i", "in.wav", "by-ffmpeg.wav")
        assert apply("in.wav")[1].shape == audio.read(Path("by-ffmpeg.wav"))[0].shape


class TestForeign:
    @needs_ffmpeg
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("a.m4a", ["-c:a", "aac"]),
            ("a.mov", ["-c:a", "aac"]),
            ("mp3.mp4", ["-c:a", "libmp3lame"]),
            ("film.mp4", ["-f", "lavfi", "-i", "color=black:s=64x64:d=2", "-c:a", "aac"]),
            ("opus.webm", ["-c:a", "libopus"]),
            ("alac.m4a", ["-c:a", "alac"]),
            ("a.wv", []),
            ("a.tta", []),
            ("flac.mka", ["-c:a", "flac"]),
            ("pcm.avi", ["-c:a", "pcm_s16le"]),
        ],
    )
    def test_it_comes_out_as_long_as_it_was_recorded(self, apply, decoder, name, arguments):
        encode("-i", "voice.wav", *arguments, name)
        x, _ = audio.read(Path("voice.wav"))
        code, y, rate, _ = apply(name)
        assert code == 0
        assert rate == RATE
        assert y.shape == x.shape
        in_step(y, x)

    @needs_ffmpeg
    @pytest.mark.parametrize("name", ["a.wma", "a.ac3", "a.spx", "a.mka"])
    def test_without_a_stated_length_it_is_as_long_as_its_decoder_says(self, apply, decoder, name):
        encode("-i", "voice.wav", "-ar", 32_000, name)
        encode("-i", name, "-c:a", "pcm_f32le", "by-ffmpeg.wav")
        assert apply(name)[1].shape == audio.read(Path("by-ffmpeg.wav"))[0].shape

    @needs_ffmpeg
    def test_a_folder_of_them_comes_out_whole(self, here, fxst):
        Path("in").mkdir()
        for name in ("memo.m4a", "call.webm", "take.wv"):
            encode("-i", "voice.wav", Path("in", name))
        code, _, err = fxst("apply", "in", "--params", "flat.json", "-o", "out", "-j", 2)
        assert code == 0
        assert {path.name for path in Path("out").glob("*.wav")} == {"memo.m4a.wav", "call.webm.wav", "take.wv.wav"}
        assert "a .m4a file cannot be written, so the output is memo.m4a.wav" in err
        assert len({audio.read(path)[0].shape for path in Path("out").glob("*.wav")}) == 1

    def test_its_name_is_the_stem_of_a_template(self, here, fxst):
        Path("memo.m4a").write_bytes(b"")
        _, out, _ = fxst(
            "apply", "memo.m4a", "voice.wav", "--params", "flat.json", "-o", "out", "--name", "{stem}-x", "--dry-run"
        )
        assert "memo-x.wav" in out
        assert "memo.m4a-x" not in out

    @pytest.mark.parametrize(
        ("name", "head", "codec"),
        [
            ("memo.m4a", b"\0\0\0\x20ftypM4A " + bytes(40), "MP4"),
            ("take.wv", b"wvpk" + bytes(60), "WavPack"),
            ("talk.webm", b"\x1a\x45\xdf\xa3" + bytes(60), "WebM"),
            ("old.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(60), "Windows Media"),
            ("phone.amr", b"#!AMR\n" + bytes(60), "AMR"),
        ],
    )
    def test_without_a_decoder_it_is_named_with_what_to_install(self, here, fxst, monkeypatch, name, head, codec):
        monkeypatch.setitem(sys.modules, "av", None)
        monkeypatch.setenv("PATH", str(here))
        Path("in").mkdir()
        Path("in", name).write_bytes(head)
        code, _, err = fxst("apply", "in", "--params", "flat.json", "-o", "out")
        assert code == 1
        assert f"'in/{name}' holds " in err
        assert codec in err
        assert 'pip install "fxst[av]"' in err

    @needs_ffmpeg
    @pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.wma", "a.wv", "a.aac", "a.tta", "a.mp4", "a.mka"])
    def test_half_of_one_is_never_taken_for_a_whole_one(self, apply, decoder, name):
        encode("-i", "voice.wav", name)
        data = Path(name).read_bytes()
        Path(name).write_bytes(data[: len(data) // 2])
        code, _, _, said = apply(name)
        assert code == 1 or "ends early" in said

    @needs_ffmpeg
    def test_other_sound_tracks_are_told(self, apply, decoder):
        encode("-i", "voice.wav", "-i", "other.wav", "-map", 0, "-map", 1, "two.mka")
        code, _, _, said = apply("two.mka")
        assert code == 0
        assert "the first of 2 sound tracks is used" in said

    @needs_ffmpeg
    def test_a_film_without_sound_is_refused(self, apply, decoder):
        encode("-f", "lavfi", "-i", "color=black:s=64x64:d=1", "mute.mp4")
        assert apply("mute.mp4")[0] == 1

    def test_an_output_that_can_only_be_read_is_refused(self, here, fxst):
        code, _, err = fxst("apply", "voice.wav", "--params", "flat.json", "-o", "out.m4a")
        assert code == 2
        assert "is a .m4a file, which can only be read: use one of" in err


class TestHostile:
    @needs_ffmpeg
    @pytest.mark.parametrize("name", ["-i.m4a", "%d.m4a", "concat:a|b.m4a", "http:x.m4a", "a\nb.m4a"])
    def test_a_name_is_only_a_name(self, apply, name):
        encode("-i", "voice.wav", "a.m4a")
        Path("a.m4a").rename(name)
        assert apply(f"./{name}" if name.startswith("-") else name)[0] == 0

    @needs_ffmpeg
    @pytest.mark.parametrize(
        "text",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.aac\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile secret.aac\n",
            "[playlist]\nFile1=secret.aac\n",
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        ],
    )
    def test_a_playlist_opens_no_other_file(self, apply, decoder, text):
        encode("-i", "voice.wav", "secret.aac")
        Path("list.m4a").write_text(text.replace("secret", str(Path("secret").absolute())))
        assert apply("list.m4a")[0] == 1

    def test_a_decoder_that_makes_no_progress_is_ended(self, apply, monkeypatch):
        monkeypatch.setattr(fxst.audio.ffmpeg, "_STALL_SECONDS", 1)
        monkeypatch.setattr(fxst.audio.ffmpeg, "_command", lambda: ["/bin/cat"])
        monkeypatch.setattr(fxst.audio.ffmpeg, "_arguments", lambda command, fd: ["/bin/sleep", "1000"])
        Path("stuck.wv").write_bytes(b"wvpk" + bytes(60))
        code, _, _, said = apply("stuck.wv")
        assert code == 1
        assert "made no progress" in said

    def test_a_decoder_that_dies_fails_one_file(self, apply, monkeypatch):
        head = b".snd" + struct.pack(">5I", 24, 2**32 - 1, 6, RATE, 1)
        Path("head").write_bytes(head + bytes(40_000))
        script = f"cat {Path('head').absolute()}; kill -9 $$"
        monkeypatch.setattr(fxst.audio.ffmpeg, "_command", lambda: ["/bin/sh"])
        monkeypatch.setattr(fxst.audio.ffmpeg, "_arguments", lambda command, fd: ["/bin/sh", "-c", script])
        Path("fatal.wv").write_bytes(b"wvpk" + bytes(60))
        code, _, _, said = apply("fatal.wv")
        assert code == 1
        assert "is damaged near 0.2" in said

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("a.mp4", b"\0\0\0\1free" + b"\xff" * 8),
            ("a.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + b"\xff" * 99),
            ("a.mkv", b"\x1a\x45\xdf\xa3" + b"\xff" * 99),
            ("a.wv", b"wvpk" + b"\xff" * 99),
        ],
    )
    def test_sizes_beyond_all_files_are_refused(self, apply, name, data):
        Path(name).write_bytes(data)
        assert apply(name)[0] == 1

    @needs_ffmpeg
    def test_no_index_of_an_mp4_breaks_its_reader(self, here):
        encode("-i", "voice.wav", "a.m4a")
        data = Path("a.m4a").read_bytes()
        at = data.index(b"moov")
        picked = random.Random(0)
        for _ in range(300):
            odd = bytearray(data)
            for _ in range(picked.randrange(1, 6)):
                odd[picked.randrange(at, len(odd))] = picked.choice((0, 1, 127, 128, 255))
            odd = odd[: picked.randrange(at, len(odd))]
            mp4.describe(lambda size, place, odd=odd: bytes(odd[place : place + size]), len(odd))
