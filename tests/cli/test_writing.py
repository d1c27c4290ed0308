"""What is written is whole, or it is not there and the exit code says so: through the real command."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxst import audio
from fxst.chains import table_files
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.dsp.loudness import true_peak

resource = pytest.importorskip("resource")

RATE = 48_000
EQ = CHAINS["eq"]

# Each call that changes a file in the folder `vault` counts, and one of them fails.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int fault_at, fault_seen, fault_errno;
char fault_kind[16];
static int ours(const char *path) { return path && strstr(path, "/vault/"); }
static int fails(const char *kind) {
  if (++fault_seen != fault_at) return 0;
  strcpy(fault_kind, kind);
  errno = fault_errno;
  return 1;
}
static int strikes(int fd, const char *kind) {
  char name[64], path[4096];
  int before = errno;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(name, path, sizeof path - 1);
  errno = before;
  if (length < 0) return 0;
  path[length] = 0;
  return ours(path) && fails(kind);
}
#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  return strikes(fd, "write") ? -1 : real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL(pwrite);
  return strikes(fd, "pwrite") ? -1 : real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REAL(pwrite64);
  return strikes(fd, "pwrite") ? -1 : real(fd, data, size, at);
}
int ftruncate(int fd, off_t size) {
  REAL(ftruncate);
  return strikes(fd, "ftruncate") ? -1 : real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
  REAL(ftruncate64);
  return strikes(fd, "ftruncate") ? -1 : real(fd, size);
}
int fsync(int fd) {
  REAL(fsync);
  return strikes(fd, "fsync") ? -1 : real(fd);
}
int close(int fd) {
  REAL(close);
  int struck = strikes(fd, "close"), number = errno, result = real(fd);
  if (struck) errno = number;
  return struck ? -1 : result;
}
int rename(const char *from, const char *to) {
  REAL(rename);
  return ours(to) && fails("rename") ? -1 : real(from, to);
}
"""

DRIVER = r"""
import contextlib, ctypes, errno, io, json, os, shutil, sys
from pathlib import Path
from fxst.cli import main

shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
number = lambda name: ctypes.c_int.in_dll(shim, name)
kinds = (ctypes.c_char * 16).in_dll(shim, "fault_kind")

def attempt(at, arguments):
    shutil.rmtree("vault", ignore_errors=True)
    Path("vault").mkdir()
    number("fault_seen").value, number("fault_at").value = 0, at
    number("fault_errno").value = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)[at % 4]
    sys.argv = ["fxst", *arguments]
    code = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    number("fault_at").value = 0
    return code, err.getvalue(), {path.name: path.stat().st_size for path in Path("vault").iterdir()}

for arguments in json.load(sys.stdin):
    code, err, whole = attempt(0, arguments)
    assert code == 0, err
    for at in range(1, number("fault_seen").value + 1):
        code, err, left = attempt(at, arguments)
        there = [name for name, size in left.items() if size]
        print(json.dumps([arguments, kinds.value.decode(), at, code, err, there, left == whole]))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder to work in, with a table that changes nothing."""
    monkeypatch.chdir(tmp_path)
    table_files.write(Table(EQ, EQ.defaults()), Path("t.json"))
    return tmp_path


def noise(seconds=0.1, channels=1, rate=RATE, level=0.1):
    x = level * np.random.default_rng(0).standard_normal((channels, round(seconds * rate)))
    return x.astype(np.float32)


def save(name, x, rate=RATE, subtype="FLOAT"):
    Path(name).parent.mkdir(exist_ok=True)
    soundfile.write(name, x.T, rate, subtype=subtype)
    return name


@pytest.fixture
def faults(tmp_path):
    """Run commands again and again in a process of their own, and let each call that writes into `vault` fail once."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/proc/self/fd").is_dir():
        pytest.skip("no C compiler, or no Linux")
    Path("shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"], check=True)

    def run(*commands):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LD_PRELOAD": str(tmp_path / "shim.so")}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER], env=environment, input=json.dumps(commands), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize(
    ("subtype", "endings"),
    [
        ("PCM_16", ("wav", "rf64", "w64", "aiff", "au", "caf", "flac", "opus", "mp3")),
        ("PCM_24", ("wav", "flac")),
        ("FLOAT", ("wav", "aiff", "ogg")),
    ],
)
def test_each_call_that_fails_while_a_recording_is_written_leaves_nothing(faults, subtype, endings):
    save("a.wav", noise(), subtype=subtype)
    save("loud.wav", noise(0.1, 2, level=2.0))
    inputs = [(ending, "loud.wav" if ending == "ogg" else "a.wav") for ending in endings]
    results = faults(*(["apply", name, "-p", "t.json", "-o", f"vault/o.{ending}"] for ending, name in inputs))
    for arguments, kind, at, code, err, left, _ in results:
        assert (code, left) == (5, []), (arguments[-1], kind, at, err)
        assert "cannot be written" in err
        assert "Traceback" not in err
    # A loud recording is encoded more than once, and the time in the header of floating-point samples is taken out.
    struck = {kind for _, kind, *_ in results}
    assert struck >= {"write", "fsync", "close", "rename"}
    assert struck >= {"pwrite", "ftruncate"} or "ogg" not in endings


def test_each_call_that_fails_while_more_than_a_recording_is_written_leaves_nothing(faults):
    save("in/a.wav", noise())
    results = faults(["apply", "in", "-p", "t.json", "-o", "vault", "--export", "ffmpeg"])
    last = max(at for _, kind, at, *_ in results if kind == "rename")
    for _, kind, at, code, err, left, whole in results:
        # Behind the last rename and the close that follows, all is on the disk, each row included.
        fine = (code == 0 and whole) if at > last + 1 else (code, left) == (5, [])
        assert fine, (kind, at, code, err, left)
        assert "Traceback" not in err


@pytest.mark.parametrize("what", [["--report", "vault/report.html"], ["--plot", "vault/plot.svg"]])
def test_each_call_that_fails_while_a_page_or_a_picture_is_written_leaves_none(faults, what):
    save("a.wav", noise())
    for _, kind, at, code, err, left, _ in faults(["apply", "a.wav", "-p", "t.json", "-o", "o.wav", *what]):
        assert (code, left) == (5, []), (kind, at, err)
        assert f"{what[1]}' cannot be written" in err


@pytest.fixture
def limit():
    """Give `limit(size)`: in the block, no file gets larger, as on a disk that has no more room."""

    @contextlib.contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.mark.parametrize("ending", ["ogg", "opus", "flac", "mp3", "wav", "aiff", "caf"])
def test_an_output_that_is_a_little_larger_than_what_may_be_written_is_not_cut(fxst, limit, ending):
    # The last pages of an Ogg, the last frame of a FLAC and MP3's table of its frames are written when the file is
    # closed, and libsndfile heeds no error there.
    save("in/a.wav", noise(0.5, 2), subtype="PCM_16")
    command = ("apply", "in", "-p", "t.json", "-o", "out", "--name", f"{{stem}}.{ending}")
    assert fxst(*command)[0] == 0
    output = Path(f"out/a.{ending}")
    whole = output.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 0):
        shutil.rmtree("out")
        with limit(size):
            code, _, err = fxst(*command)
        assert code == 5
        assert f"cannot be written ({os.strerror(errno.EFBIG).lower()}): free space or choose another folder." in err
        assert not Path("out").exists()
        assert fxst(*command)[0] == 0
        assert output.read_bytes() == whole


@pytest.mark.parametrize(
    ("channels", "rate", "output", "told"),
    [
        (1, 200_001, "o.ogg", "200001 Hz (Ogg Vorbis goes up to 200000 Hz)"),
        (1, 384_000, "o.oga", "384000 Hz (Ogg Vorbis goes up to 200000 Hz)"),
        (256, 8_000, "o.ogg", "256 channels (Ogg Vorbis has at most 255)"),
        (1024, 8_000, "o.ogg", "1024 channels (Ogg Vorbis has at most 255)"),
        (256, 48_000, "o.opus", "256 channels (Opus has at most 255)"),
        (3, 48_000, "o.mp3", "3 channels (MP3 has at most 2)"),
        (9, 48_000, "o.flac", "9 channels (FLAC has at most 8)"),
        (1, 705_600, "o.flac", "705600 Hz (FLAC goes up to 655350 Hz)"),
        (1, 88_201, "o.flac", "88201 Hz (above 65535 Hz, FLAC has only multiples of 10)"),
    ],
)  # fmt: skip
def test_what_a_format_has_no_room_for_is_one_line(fxst, channels, rate, output, told):
    save("a.wav", noise(0.02, channels, rate), rate)
    code, _, err = fxst("apply", "a.wav", "-p", "t.json", "-o", output)
    assert code == 5
    assert f"'{output}' cannot hold {told}" in err
    assert err.rstrip().endswith(": name it .wav.")
    assert not Path(output).exists()
    assert fxst("apply", "a.wav", "-p", "t.json", "-o", "o.wav")[0] == 0


@pytest.mark.parametrize(
    ("rate", "output", "told"),
    [
        (44_100, "o.opus", "44100 Hz (Opus has only 8000, 12000, 16000, 24000 and 48000 Hz)"),
        (96_000, "o.mp3", "96000 Hz (MP3 has only 8000, 11025"),
        (88_201, "o.flac", "88201 Hz (above 65535 Hz"),
    ],
)
def test_a_rate_that_a_format_lacks_is_refused_where_it_is_asked_for(fxst, rate, output, told):
    save("a.wav", noise(0.02, 1, 48_000), 48_000)
    code, _, err = fxst("apply", "a.wav", "-p", "t.json", "-o", output, "--rate", rate)
    assert code == 5
    assert f"'{output}' cannot hold {told}" in err
    assert not Path(output).exists()


@pytest.mark.parametrize(
    ("rate", "output", "chosen"),
    [(44_100, "o.opus", 48_000), (22_050, "o.opus", 24_000), (96_000, "o.mp3", 48_000), (30_000, "o.mp3", 32_000)],
)
def test_the_next_rate_is_taken_where_a_lossy_format_lacks_that_of_the_input(fxst, rate, output, chosen):
    save("a.wav", noise(0.5, 1, rate), rate)
    code, _, err = fxst("apply", "a.wav", "-p", "t.json", "-o", output)
    assert code == 0
    assert f"no sample rate of {rate} Hz, so the output is at {chosen} Hz" in err
    info = audio.probe(Path(output))
    assert (info.sample_rate, info.frames) == (chosen, chosen // 2)


@pytest.mark.parametrize(
    ("channels", "rate", "output"),
    [(255, 8_000, "o.ogg"), (1, 200_000, "o.ogg"), (9, 48_000, "o.opus"), (8, 192_000, "o.flac")],
)
def test_what_a_format_has_just_room_for_is_written(fxst, channels, rate, output):
    save("a.wav", noise(0.02, channels, rate), rate)
    assert fxst("apply", "a.wav", "-p", "t.json", "-o", output)[0] == 0
    info = audio.probe(Path(output))
    assert (info.channels, info.sample_rate) == (channels, rate)


@pytest.mark.parametrize(
    ("name", "subtype", "kept"),
    [
        ("a.wav", "IMA_ADPCM", "PCM_16"),
        ("a.wav", "MS_ADPCM", "PCM_16"),
        ("a.w64", "IMA_ADPCM", "PCM_16"),
        ("a.aiff", "IMA_ADPCM", "PCM_16"),
        ("a.aiff", "PCM_S8", "PCM_16"),
        ("a.aiff", "ULAW", "PCM_24"),
        ("a.caf", "ALAC_24", "PCM_24"),
        ("a.caf", "ALAC_16", "PCM_16"),
        ("a.au", "ULAW", "ULAW"),
        ("a.wav", "ALAW", "ALAW"),
        ("a.wav", "PCM_U8", "PCM_U8"),
    ],
)
def test_an_output_is_as_long_as_its_input_whatever_its_encoding(fxst, name, subtype, kept):
    frames = 9001
    save(name, noise()[:, :1].repeat(frames, axis=1), 44_100, subtype=subtype)
    given = audio.read(Path(name))[0].shape[1]
    assert fxst("apply", name, "-p", "t.json", "-o", f"o{Path(name).suffix}")[0] == 0
    assert audio.read(Path(f"o{Path(name).suffix}"))[0].shape[1] == given
    assert audio.probe(Path(f"o{Path(name).suffix}")).subtype == kept


@pytest.mark.parametrize("output", ["o.ogg", "o.opus", "o.mp3", "o.wav", "o.au"])
@pytest.mark.parametrize("ceiling", [-1.0, -9.0])
def test_a_lossy_output_keeps_the_ceiling_too(fxst, speech, output, ceiling):
    x = 12 * speech(RATE, 1, 2)
    save("a.wav", x, RATE, subtype="FLOAT" if output not in ("o.wav", "o.au") else "ULAW")
    code, _, err = fxst("apply", "a.wav", "-p", "t.json", "-o", output, "--ceiling", ceiling)
    assert code == 0
    y, rate = audio.read(Path(output))
    peak = true_peak(y, sample_rate=rate)
    assert peak <= ceiling or f"{peak - ceiling:.2f} dB above the ceiling" in err
    assert peak > ceiling - 3
    assert f"under the ceiling of {ceiling:g} dBTP" in err


def test_an_encoder_that_passes_the_ceiling_every_time_is_told(fxst, speech, monkeypatch):
    monkeypatch.setattr("fxst.transfer.finishing._MOST_ENCODINGS", 1)
    save("a.wav", 12 * speech(RATE, 1, 2))
    code, _, err = fxst("apply", "a.wav", "-p", "t.json", "-o", "o.ogg")
    over = true_peak(audio.read(Path("o.ogg"))[0], sample_rate=RATE) + 1.0
    assert code == 0
    assert over > 0
    assert f"the encoded output peaks {over:.2f} dB above the ceiling of -1 dBTP: lower --ceiling" in err
