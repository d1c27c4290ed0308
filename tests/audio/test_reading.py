import csv
import math
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.audio import flac
from fxst.audio.metadata import Metadata
from fxst.audio.tags import of_pairs
from fxst.dsp.loudness import _k_weighting
from fxst.errors import AudioError

SHARED = Path(__file__).parents[2] / "../shared"
BAD_AUDIO = sorted(path for path in (SHARED / "bad-audio").rglob("*") if path.is_file())

RNG = np.random.default_rng(0)
NOISE = (0.1 * RNG.standard_normal((2, 30_000))).astype(np.float32)


@pytest.fixture(autouse=True)
def _no_hang():
    """A reader that waits for ever (a pipe without a writer) must fail the test, not stop the run."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def save(path, x, *, sample_rate=44_100, **options):
    soundfile.write(path, x.T, sample_rate, **options)
    return path


def verdict(path):
    """What reading all of a file comes to: ok, truncated or refuse; and the message."""
    try:
        with audio.Reader(path) as reader:
            blocks = list(reader.blocks())
            assert all(np.isfinite(block).all() and block.dtype == np.float32 for block in blocks)
            assert sum(block.shape[1] for block in blocks) > 0
            return ("truncated" if reader.truncated else "ok"), ""
    except AudioError as error:
        return "refuse", str(error)


def test_the_bad_input_set_reads_as_it_says(tmp_path):
    maker = SHARED / "tools/make_bad_audio.py"
    if not maker.exists():
        pytest.skip("../shared/tools is not here")
    subprocess.run([sys.executable, maker, tmp_path / "bad"], check=True, stdout=subprocess.DEVNULL)
    with open(tmp_path / "bad/EXPECTED.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        found, message = verdict(tmp_path / "bad" / row["file"])
        expected = {"refuse": "refuse", "ok": "ok"}.get(row["outcome"])
        assert found == (expected or ("truncated" if row["class"] == "truncated" else "ok")), row
        if found == "refuse":
            # Newlines in a name must not break the one line, and the person must know which file.
            assert "\n" not in message
            assert row["file"].splitlines()[0][:3] in message
            assert ": " in message


@pytest.mark.parametrize("path", BAD_AUDIO, ids=lambda path: path.name)
def test_public_bad_files_read_right_or_are_refused(path):
    found, message = verdict(path)
    assert found != "refuse" or message.count("\n") == 0
    if path.name.endswith("early-eof.wav"):
        assert found == "truncated"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
def test_integer_samples_survive_bit_for_bit(tmp_path, subtype):
    bits = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24}[subtype]
    integers = RNG.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (50_000, 2))
    integers[:2] = [[-(2 ** (bits - 1)), 2 ** (bits - 1) - 1], [0, -1]]
    integers = (integers << (32 - bits)).astype(np.int32)
    soundfile.write(tmp_path / "in.wav", integers, 44_100, subtype=subtype)
    info = audio.probe(tmp_path / "in.wav")
    assert (info.subtype, info.sample_rate, info.frames, info.channels) == (subtype, 44_100, 50_000, 2)
    output = tmp_path / "out.wav"
    container, kept = audio.output_format(output, info)
    with audio.Writer(output, sample_rate=info.sample_rate, channels=2, subtype=kept, format=container) as writer:
        for block in audio.stream(tmp_path / "in.wav", block_frames=777):
            writer.write(block)
    assert writer.clipped == 0
    assert np.array_equal(soundfile.read(output, dtype="int32")[0], integers)
    assert audio.probe(output).subtype == subtype


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("x.wav", ("WAV", "PCM_24"), ("WAV", "PCM_24")),
        ("x.WAV", ("WAVEX", "FLOAT"), ("WAVEX", "FLOAT")),
        ("x.wav", ("RF64", "PCM_16"), ("RF64", "PCM_16")),
        ("x.wav", ("FLAC", "PCM_S8"), ("WAV", "PCM_U8")),
        ("x.wav", ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_24")),
        ("x.flac", ("WAV", "FLOAT"), ("FLAC", "PCM_24")),
        ("x.flac", ("WAV", "PCM_16"), ("FLAC", "PCM_16")),
        ("x.flac", ("WAV", "PCM_U8"), ("FLAC", "PCM_S8")),
        ("x.ogg", ("WAV", "PCM_16"), ("OGG", "VORBIS")),
        ("x.ogg", ("OGG", "OPUS"), ("OGG", "OPUS")),
        ("x.opus", ("OGG", "VORBIS"), ("OGG", "OPUS")),
        ("x.mp3", ("WAV", "FLOAT"), ("MP3", "MPEG_LAYER_III")),
        ("x.aiff", ("WAV", "PCM_24"), ("AIFF", "PCM_24")),
    ],
)
def test_output_format_keeps_what_fits(tmp_path, name, source, expected):
    info = audio.AudioInfo(Path("in"), 48_000, 2, 1000, *source)
    assert audio.output_format(Path(name), info) == expected
    with audio.Writer(
        tmp_path / name, sample_rate=48_000, channels=2, subtype=expected[1], format=expected[0]
    ) as writer:
        writer.write(NOISE)
    written = audio.probe(tmp_path / name)
    assert (written.format, written.subtype, written.sample_rate) == (*expected, 48_000)


def test_unknown_ending_names_the_known(tmp_path):
    info = audio.AudioInfo(Path("in"), 48_000, 2, 1000, "WAV", "PCM_16")
    with pytest.raises(AudioError, match=r"\.flac.*\.wav"):
        audio.output_format(tmp_path / "x.xyz", info)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_blocks_windows_and_the_whole_agree(tmp_path, extension):
    path = save(tmp_path / f"x.{extension}", NOISE)
    whole, sample_rate = audio.read(path)
    assert sample_rate == 44_100
    assert whole.shape == NOISE.shape
    assert np.array_equal(whole, np.concatenate(list(audio.stream(path, block_frames=999)), axis=1))
    with audio.Reader(path) as reader:
        assert np.array_equal(reader.read(start=20_000, frames=500), whole[:, 20_000:20_500])
        assert np.array_equal(reader.read(start=100, frames=500), whole[:, 100:600])
        assert reader.read(start=29_900).shape == (2, 100)
        assert reader.read(start=30_000).shape == (2, 0)
        assert not reader.truncated
        assert all(block.flags.c_contiguous for block in reader.blocks())


def test_windows_of_a_long_vorbis_file_are_where_they_should_be(tmp_path):
    # libsndfile itself fails this when it seeks in a file that it has read from.
    path = tmp_path / "x.ogg"
    with audio.Writer(path, sample_rate=24_000, channels=1, subtype="VORBIS", format="OGG") as writer:
        writer.write(np.tile(NOISE[:1], 20))
    whole, _ = audio.read(path)
    with audio.Reader(path) as reader:
        for start in RNG.integers(0, 600_000, 50):
            assert np.array_equal(reader.read(start=int(start), frames=5000), whole[:, start : start + 5000])


@pytest.mark.parametrize(
    ("extension", "options"),
    [
        ("wav", {}),
        ("wav", {"format": "WAVEX", "subtype": "PCM_24"}),
        ("rf64", {"format": "RF64"}),
        ("w64", {}),
        ("aiff", {}),
        ("au", {}),
        ("flac", {}),
        ("ogg", {}),
        ("mp3", {}),
    ],
)
def test_half_a_file_is_never_taken_for_a_whole_one(tmp_path, extension, options):
    path = save(tmp_path / f"x.{extension}", np.tile(NOISE, 4), **options)
    assert verdict(path)[0] == "ok"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert verdict(path)[0] in ("truncated", "refuse")


def test_flac_of_unknown_length_is_read_to_its_end(tmp_path):
    path = save(tmp_path / "x.flac", NOISE)
    data = bytearray(path.read_bytes())
    # The 36 bits of the total: the low half of byte 13 of STREAMINFO, which begins at 8, and four bytes more.
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    with audio.Reader(path) as reader:
        assert reader.read().shape == NOISE.shape
        assert not reader.truncated
    data[22:26] = (1000).to_bytes(4, "big")
    path.write_bytes(data)
    assert audio.read(path)[0].shape == NOISE.shape


@pytest.mark.parametrize("frames", [8192, 8193, 12_000, 30_000])
def test_flac_ending_is_found_in_any_length(tmp_path, frames):
    path = save(tmp_path / "x.flac", np.zeros((1, frames), np.float32), sample_rate=24_000)
    assert flac.ending(path.read_bytes()) == flac.Ending(frames, 24_000, 1, 16)


def test_truncated_pipe_output_is_not_an_alarm(tmp_path):
    path = save(tmp_path / "x.wav", NOISE)
    data = bytearray(path.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"  # what a program writes that cannot go back to its header
    path.write_bytes(data)
    assert verdict(path)[0] == "ok"


ID3V2 = b"ID3\x03\0\0\0\0\x07\x68" + bytes(1000)
ID3V1 = b"TAG" + b"x" * 125


@pytest.mark.parametrize(
    ("extension", "before", "behind"),
    [
        ("mp3", ID3V2 + ID3V2, ID3V1),
        ("mp3", bytes(700), b""),
        ("mp3", b"half a frame", ID3V1),
        ("flac", b"", ID3V1),
        ("flac", ID3V2, ID3V1),
        ("ogg", ID3V2, ID3V1),
        ("wav", ID3V2, ID3V1),
        ("aiff", ID3V2, ID3V1),
    ],
)
def test_what_stands_around_the_sound_is_not_heard(tmp_path, extension, before, behind):
    path = save(tmp_path / f"x.{extension}", NOISE)
    plain, _ = audio.read(path)
    path.write_bytes(before + path.read_bytes() + behind)
    found, _ = audio.read(path)
    assert np.array_equal(found, plain)
    with audio.Reader(path) as reader:
        assert np.array_equal(reader.read(start=20_000, frames=500), plain[:, 20_000:20_500])
        assert np.array_equal(reader.read(start=100, frames=500), plain[:, 100:600])


@pytest.mark.parametrize("extension", ["flac", "ogg"])
def test_joined_streams_sound_like_their_parts(tmp_path, extension):
    paths = [save(tmp_path / f"{part}.{extension}", NOISE[:, : 10_000 * (part + 1)]) for part in range(3)]
    parts = np.concatenate([audio.read(path)[0] for path in paths], axis=1)
    joined = tmp_path / f"x.{extension}"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    with audio.Reader(joined) as reader:
        assert reader.info.frames == parts.shape[1] == 60_000
        assert np.array_equal(reader.read(), parts)
        for start in (35_000, 9_000, 9_999, 10_000, 59_000, 0, 29_000):
            window = reader.read(start=start, frames=2_000)
            assert np.array_equal(window, parts[:, start : start + 2_000])
        assert not reader.truncated


def test_an_mp3_that_counts_too_little_sounds_as_before(tmp_path):
    path = save(tmp_path / "x.mp3", NOISE)
    plain, _ = audio.read(path)
    data = bytearray(path.read_bytes())
    count = max(data.find(b"Xing"), data.find(b"Info")) + 8
    data[count : count + 4] = (3).to_bytes(4, "big")
    path.write_bytes(data)
    assert np.array_equal(audio.read(path)[0], plain)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "GSM610"), ("AIFF", "GSM610"), ("AU", "G721_32"), ("AU", "G723_24"), ("AIFF", "DWVW_16")],
)
def test_what_can_only_be_played_on_is_read_from_any_place(tmp_path, container, subtype):
    path = save(tmp_path / "x", NOISE[:1], sample_rate=8000, format=container, subtype=subtype)
    whole, _ = audio.read(path)
    with audio.Reader(path) as reader:
        for start in (20_000, 100, 100, 29_000):
            assert np.array_equal(reader.read(start=start, frames=500), whole[:, start : start + 500])


def test_a_disk_that_fails_is_not_the_end_of_the_sound(tmp_path, monkeypatch):
    path = save(tmp_path / "x.flac", NOISE)
    path.write_bytes(ID3V2 + path.read_bytes())
    pread = os.pread

    def fails(fd, size, at):
        if at > 50_000:
            raise OSError(5, "Input/output error")
        return pread(fd, size, at)

    with audio.Reader(path) as reader:
        monkeypatch.setattr(os, "pread", fails)
        with pytest.raises(AudioError, match="input/output error"):
            reader.read()


class TestWriter:
    settings = {"sample_rate": 24_000, "channels": 2, "subtype": "PCM_16", "format": "WAV"}  # noqa: RUF012

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_an_exception_leaves_the_old_file_and_nothing_else(self, tmp_path, error):
        path = tmp_path / "x.wav"
        path.write_bytes(b"old")

        def fail():
            with audio.Writer(path, **self.settings) as writer:
                writer.write(NOISE)
                raise error

        with pytest.raises(error):
            fail()
        assert path.read_bytes() == b"old"
        assert [item.name for item in tmp_path.iterdir()] == ["x.wav"]

    def test_nothing_is_seen_before_the_end(self, tmp_path):
        with audio.Writer(tmp_path / "x.wav", **self.settings) as writer:
            writer.write(NOISE)
            assert not (tmp_path / "x.wav").exists()
        assert [item.name for item in tmp_path.iterdir()] == ["x.wav"]

    def test_permissions_are_those_of_any_new_file(self, tmp_path):
        (tmp_path / "plain").touch()
        with audio.Writer(tmp_path / "x.wav", **self.settings) as writer:
            writer.write(NOISE)
        assert stat.S_IMODE((tmp_path / "x.wav").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "real.wav").write_bytes(b"old")
        (tmp_path / "link.wav").symlink_to("real.wav")
        with audio.Writer(tmp_path / "link.wav", **self.settings) as writer:
            writer.write(NOISE)
        assert (tmp_path / "link.wav").is_symlink()
        assert audio.probe(tmp_path / "real.wav").frames == 30_000

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_refuses_what_is_not_finite(self, tmp_path, value):
        bad = NOISE.copy()
        bad[1, 77] = value
        with pytest.raises(AudioError, match="finite"), audio.Writer(tmp_path / "x.wav", **self.settings) as writer:
            writer.write(bad)
        assert not list(tmp_path.iterdir())

    def test_counts_clipped_samples_of_integer_encodings_only(self, tmp_path):
        loud = np.array([[1.5, 1.0, -1.0], [-1.01, 0.0, 3.0]], np.float32)
        with audio.Writer(tmp_path / "x.wav", **self.settings) as writer:
            writer.write(loud)
        assert writer.clipped == 3
        assert np.abs(audio.read(tmp_path / "x.wav")[0] - loud.clip(-1, 1)).max() <= 2**-15
        with audio.Writer(tmp_path / "y.wav", **(self.settings | {"subtype": "FLOAT"})) as writer:
            writer.write(loud)
        assert writer.clipped == 0
        assert np.array_equal(audio.read(tmp_path / "y.wav")[0], loud)

    def test_more_than_4_gib_becomes_rf64_or_fails_clearly(self, tmp_path, monkeypatch):
        monkeypatch.setattr(audio.writing, "_LARGEST_DATA_BYTES", 100_000)
        with audio.Writer(tmp_path / "known.wav", frames=30_000, **self.settings) as writer:
            writer.write(NOISE)
        assert audio.probe(tmp_path / "known.wav").format == "RF64"
        assert audio.probe(tmp_path / "known.wav").frames == 30_000
        with pytest.raises(AudioError, match="4 GiB"), audio.Writer(tmp_path / "x.wav", **self.settings) as writer:
            writer.write(NOISE)
        with audio.Writer(tmp_path / "short.wav", frames=20_000, **self.settings) as writer:
            writer.write(NOISE[:, :20_000])
        assert audio.probe(tmp_path / "short.wav").format == "WAV"
        assert sorted(item.name for item in tmp_path.iterdir()) == ["known.wav", "short.wav"]

    def test_the_same_audio_makes_the_same_bytes_at_any_time(self, tmp_path):
        floats = (("WAV", "FLOAT"), ("WAVEX", "DOUBLE"), ("AIFF", "FLOAT"), ("RF64", "FLOAT"), ("CAF", "FLOAT"))
        others = (("FLAC", "PCM_24"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS"))

        def write(turn, x):
            for container, subtype in floats + others:
                path = tmp_path / f"{turn}.{container}.{subtype}"
                options = {
                    "format": container,
                    "subtype": subtype,
                    "metadata": Metadata(of_pairs([("TITLE", "three")])),
                }
                with audio.Writer(path, **(self.settings | options)) as writer:
                    writer.write(x)
                yield path.read_bytes()

        first = list(write("first", NOISE))
        time.sleep(1.1)  # the time of day is noted in seconds
        assert list(write("again", NOISE)) == first
        serials = [data[14:18] for data in (*first[-2:], *list(write("other", -NOISE))[-2:])]
        assert len(set(serials)) == 4

    @pytest.mark.parametrize("length", [3000, 7000, 100_000])
    @pytest.mark.parametrize(
        ("container", "subtype"),
        [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("CAF", "PCM_16"), ("OGG", "VORBIS"),
         ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
    )  # fmt: skip
    def test_tags_of_any_length_leave_the_sound_whole(self, tmp_path, container, subtype, length):
        names = ("TITLE", "COPYRIGHT", "ARTIST", "COMMENT", "DATE", "ALBUM", "LICENSE", "TRACKNUMBER", "GENRE")
        metadata = Metadata(of_pairs((name, length * "x") for name in names))
        options = {"format": container, "subtype": subtype, "metadata": metadata}
        with audio.Writer(tmp_path / "x", **(self.settings | options)) as writer:
            writer.write(NOISE)
        with audio.Reader(tmp_path / "x") as reader:
            assert reader.read().shape[1] == NOISE.shape[1]
            kept = reader.metadata.tags.texts
        told = [name for name in names if f"its {name.lower()}, which is too long" in "".join(writer.remarks)]
        assert bool(told) == (container == "CAF" and length > 3000)
        assert kept == {name: text for name, text in metadata.tags.texts.items() if name not in told}

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    def test_what_is_taken_out_of_an_ogg_is_not_heard(self, tmp_path, subtype):
        x = np.tile(NOISE, 8)
        save(tmp_path / "plain.ogg", x, sample_rate=24_000, format="OGG", subtype=subtype)
        with audio.Writer(tmp_path / "x.ogg", **(self.settings | {"format": "OGG", "subtype": subtype})) as writer:
            writer.write(x)
        # libogg passes over pages whose check sum is wrong.
        np.testing.assert_array_equal(audio.read(tmp_path / "x.ogg")[0], audio.read(tmp_path / "plain.ogg")[0])
        assert audio.read(tmp_path / "x.ogg")[0].shape[1] == x.shape[1]

    def test_bad_places_are_named(self, tmp_path):
        (tmp_path / "folder.wav").mkdir()
        os.mkfifo(tmp_path / "fifo.wav")
        (tmp_path / "file").touch()
        for place in ("folder.wav", "fifo.wav", "nowhere/x.wav", "file/x.wav", "n" * 300 + ".wav", "nul\0.wav"):
            with pytest.raises(AudioError, match=r"^'.*: [a-z ]+\.$"):
                audio.Writer(tmp_path / place, **self.settings)
        assert len(list(tmp_path.iterdir())) == 3

    def test_impossible_formats_are_named(self, tmp_path):
        with pytest.raises(AudioError, match="FLAC"):
            audio.Writer(tmp_path / "x.flac", **(self.settings | {"format": "FLAC", "channels": 9}))
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_an_error_and_leaves_nothing(self, tmp_path):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        try:
            with (
                pytest.raises(AudioError, match="cannot be written"),
                audio.Writer(tmp_path / "x.wav", **self.settings) as writer,
            ):
                writer.write(NOISE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert not list(tmp_path.iterdir())

    def test_wrong_shape_is_a_programming_error(self, tmp_path):
        with pytest.raises(ValueError, match="time"), audio.Writer(tmp_path / "x.wav", **self.settings) as writer:
            writer.write(NOISE.T)


def test_mono_is_the_mean():
    assert np.allclose(audio.mono(NOISE), NOISE.mean(axis=0))
    assert audio.mono(NOISE[:1]).shape == (1, 30_000)


@pytest.mark.parametrize(("source_rate", "target_rate"), [(44_100, 24_000), (22_050, 24_000), (48_000, 24_000)])
def test_resampling_keeps_a_tone_and_streams_exactly(source_rate, target_rate):
    time = np.arange(source_rate) / source_rate
    x = np.stack([np.sin(2 * np.pi * 1000 * time), np.cos(2 * np.pi * 3000 * time)]).astype(np.float32)
    whole = audio.resample(x, source_rate=source_rate, target_rate=target_rate)
    assert whole.shape == (2, target_rate)
    time = np.arange(target_rate) / target_rate
    middle = slice(2000, -2000)
    assert np.abs(whole[0] - np.sin(2 * np.pi * 1000 * time))[middle].max() < 1e-5
    assert np.abs(whole[1] - np.cos(2 * np.pi * 3000 * time))[middle].max() < 1e-5
    resampler = audio.Resampler(source_rate=source_rate, target_rate=target_rate, channels=2)
    pieces = [resampler.process(x[:, i : i + 1234], last=i + 1234 >= source_rate) for i in range(0, source_rate, 1234)]
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)


def test_same_rate_is_the_identity():
    assert np.array_equal(audio.resample(NOISE, source_rate=24_000, target_rate=24_000), NOISE)


def sine(seconds, *, sample_rate, level_db=0.0):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * 997 * time)).astype(np.float32)[None]


class TestLoudness:
    @pytest.mark.parametrize("sample_rate", [24_000, 44_100, 48_000, 96_000])
    def test_the_standards_calibration(self, sample_rate):
        tone = sine(5, sample_rate=sample_rate)
        assert audio.loudness(tone, sample_rate=sample_rate) == pytest.approx(-3.01, abs=0.03)
        both = np.concatenate([tone, tone]) * np.float32(10 ** (-20 / 20))
        assert audio.loudness(both, sample_rate=sample_rate) == pytest.approx(-20, abs=0.03)

    def test_the_standards_filter_table(self):
        assert _k_weighting(48_000) == pytest.approx(
            np.array(
                [
                    [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585],
                    [1, -2, 1, 1, -1.99004745483398, 0.99007225036621],
                ]
            ),
            abs=1e-10,
        )

    def test_pauses_and_faint_passages_do_not_count(self):
        loud, faint = (sine(10, sample_rate=24_000, level_db=level) for level in (-20, -60))
        alone = audio.loudness(loud, sample_rate=24_000)
        for other in (faint, np.zeros_like(loud)):
            mixed = audio.loudness(np.concatenate([loud, other], axis=1), sample_rate=24_000)
            assert mixed == pytest.approx(alone, abs=0.15)

    def test_agrees_with_pyloudnorm(self):
        pyloudnorm = pytest.importorskip("pyloudnorm")
        envelope = np.abs(np.sin(np.arange(48_000 * 10) / 48_000))
        x = (0.1 * envelope * RNG.standard_normal((2, 48_000 * 10))).astype(np.float32)
        expected = pyloudnorm.Meter(48_000).integrated_loudness(x.T.astype(np.float64))
        assert audio.loudness(x, sample_rate=48_000) == pytest.approx(expected, abs=0.1)

    def test_silence_shortness_and_nothing(self):
        assert audio.loudness(np.zeros((2, 48_000), np.float32), sample_rate=48_000) == -math.inf
        assert audio.loudness(np.zeros((2, 0), np.float32), sample_rate=48_000) == -math.inf
        short = audio.loudness(sine(0.1, sample_rate=48_000), sample_rate=48_000)
        assert short == pytest.approx(-3.01, abs=0.3)

    def test_blocks_do_not_matter(self):
        meter = audio.LoudnessMeter(sample_rate=44_100, channels=2)
        for first in range(0, NOISE.shape[1], 1001):
            meter.process(NOISE[:, first : first + 1001])
        assert meter.integrated() == pytest.approx(audio.loudness(NOISE, sample_rate=44_100), abs=1e-9)

    def test_surround_counts_more_and_the_low_frequency_channel_not(self):
        tone = sine(2, sample_rate=48_000)
        x = np.zeros((6, tone.shape[1]), np.float32)
        x[3] = tone
        assert audio.loudness(x, sample_rate=48_000) == -math.inf
        x[3], x[4] = 0, tone
        assert audio.loudness(x, sample_rate=48_000) == pytest.approx(-3.01 + 10 * math.log10(1.41), abs=0.03)


def test_reads_every_shared_recording_it_is_offered():
    recordings = sorted((SHARED / "audio").rglob("*.flac"))[::10] + sorted((SHARED / "audio").rglob("*.ogg"))[::100]
    if not recordings:
        pytest.skip("../shared/audio is not here")
    for path in recordings:
        assert verdict(path)[0] == "ok", path
