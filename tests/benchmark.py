"""Print what fxst takes on this machine, beside its targets: `python tests/benchmark.py`.

CPU seconds and peak megabytes are those of whole processes, children included. What is compared runs in turn, so that
a machine that slows down slows all alike; each figure is the median. Wall times mean something on an idle machine only.
All rows take about ten minutes; name some to print only these.
"""

# ruff: noqa: T201  (what it prints is what it is for)

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

EXAMPLES = Path(__file__).parent / "examples"
VOICE, RADIO = EXAMPLES / "voice.wav", EXAMPLES / "radio.wav"

HUNG_SECONDS = 1800
"""No program takes so long, however busy the machine is."""

# A small program between: at a fork a child's peak memory begins with its parent's.
LAUNCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, wall]))
"""

BARE = """
import sys
from pedalboard import Compressor, HighShelfFilter, LowShelfFilter, Pedalboard, PeakFilter
from pedalboard.io import AudioFile

peaks = [PeakFilter(f0, 3, 0.7071) for f0 in (45.36, 102.9, 233.3, 529.1)]
eq = [LowShelfFilter(20, 3, 0.7071), *peaks, HighShelfFilter(1200, 3, 0.7071)]
board = Pedalboard([*eq, Compressor(-10, 4, 1, 100)])
with AudioFile(sys.argv[1]) as file:
  with AudioFile(sys.argv[2], "w", file.samplerate, file.num_channels, bit_depth=16) as out:
    while file.tell() < file.frames:
        out.write(board(file.read(1 << 16), file.samplerate, reset=False))
"""

MATCHERING = """
import sys, matchering
matchering.process(sys.argv[1], sys.argv[2], results=[matchering.pcm16(sys.argv[3])])
"""


def measured(*command):
    """Run a program; return its CPU seconds, its peak memory in MB, and its seconds on the clock."""
    launched = [sys.executable, "-c", LAUNCH, *map(str, command)]
    return json.loads(subprocess.run(launched, check=True, capture_output=True, timeout=HUNG_SECONDS).stdout)


def in_turn(runs, **commands):
    """Run programs in turn; return the medians of each by name."""
    rows = [{name: measured(*command) for name, command in commands.items()} for _ in range(runs)]
    return {
        name: [statistics.median(values) for values in zip(*(row[name] for row in rows), strict=True)]
        for name in commands
    }


def fxst(*arguments):
    return (sys.executable, "-m", "fxst", *arguments)


def told(what, figure, target=""):
    print(f"{what:62} {figure:>16}" + (f"   target {target}" if target else ""), flush=True)


class Rows:
    """The rows, each a method that prints its figures.

    Args:
        folder: Where the sounds are made.
        matchering: The Python that Matchering is installed for.
    """

    def __init__(self, folder, matchering):
        self.folder, self.matchering, self.out = folder, matchering, folder / "out.wav"

    def sound(self, name, seconds, *, voice=VOICE, channels=2, rate=44_100):
        """Write a voice that is repeated for so long; the second channel is softer."""
        voice, its_rate = soundfile.read(voice, dtype="float32")
        voice = np.stack([voice, 0.7 * voice], axis=1)[:, :channels]
        voice = soxr.resample(voice, its_rate, rate).reshape(-1, channels)
        path = self.folder / f"{name}.wav"
        with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
            while file.frames < seconds * rate:
                file.write(voice[: round(seconds * rate) - file.frames])
        return path

    def apply(self, path, *options):
        return fxst("apply", path, *(options or ("--ref", RADIO)), "-o", self.out, "--overwrite")

    def beside_matchering(self, path, reference, runs, target, **others):
        """Print how `apply` compares with Matchering; return the figures of all that ran."""
        has = (self.matchering, "-c", "import matchering")
        if subprocess.run(has, capture_output=True, timeout=HUNG_SECONDS, check=False).returncode:
            told("against Matchering, CPU", "skipped", f"{target}: not installed (--matchering PYTHON)")
        else:
            others["matchering"] = (self.matchering, "-c", MATCHERING, path, reference, self.folder / "m.wav")
        found = in_turn(runs, fxst=self.apply(path, "--ref", reference), **others)
        if "matchering" in found:
            ratio = found["fxst"][0] / found["matchering"][0]
            told(f"against Matchering ({found['matchering'][0]:.2f} CPU s)", f"{ratio:.2f} x", target)
        return found

    def help(self):
        """`fxst --help`."""
        told("fxst --help", f"{in_turn(5, help=fxst('--help'))['help'][0]:.2f} CPU s", "0.15")

    def params(self):
        """`apply --params`, 10 s."""
        path, table = self.sound("10", 10, channels=1), self.folder / "out.params.json"
        measured(*self.apply(path))
        cpu, peak, _ = in_turn(5, it=self.apply(path, "--params", table))["it"]
        told("apply --params, 10 s mono", f"{cpu:.2f} s, {peak:.0f} MB", "0.45 s, 70 MB")

    def cold(self):
        """`apply` with a model, 10 s and 30 s."""
        short, longer = self.sound("10", 10, channels=1), self.sound("30", 30)
        for what, path, target in (("10 s mono", short, "0.9 s, 200 MB"), ("30 s stereo", longer, "1.5 s, 220 MB")):
            cpu, peak, _ = in_turn(5, it=self.apply(path))["it"]
            told(f"apply, {what}, cold", f"{cpu:.2f} s, {peak:.0f} MB", target)

    def minute(self):
        """One minute of stereo beside Matchering."""
        path, reference = self.sound("1", 60), self.sound("ref", 60, voice=RADIO)
        cpu, peak, _ = self.beside_matchering(path, reference, 5, "0.5 x")["fxst"]
        told("apply, 1 min stereo", f"{cpu:.2f} s, {peak:.0f} MB")

    def ten_minutes(self):
        """Ten minutes of stereo beside pedalboard and Matchering."""
        path, reference = self.sound("ten", 600), self.sound("ref", 60, voice=RADIO)
        bare = (sys.executable, "-c", BARE, path, self.folder / "bare.wav")
        found = self.beside_matchering(path, reference, 3, "0.25 x", bare=bare)
        told("apply, 10 min stereo", f"{found['fxst'][0]:.2f} s, {found['fxst'][1]:.0f} MB")
        ratio = found["fxst"][0] / found["bare"][0]
        told(f"against bare pedalboard ({found['bare'][0]:.2f} CPU s)", f"{ratio:.2f} x", "2.0 x")

    def memory(self):
        """The memory that an hour takes."""
        hour, minute = (measured(*self.apply(self.sound(name, 60 * int(name))))[1] for name in ("60", "1"))
        told("peak memory, 60 min against 1 min", f"{hour:.0f}, {minute:.0f} MB", "flat, 250 MB")

    def batch(self):
        """Short files in one call."""
        voice, rate = soundfile.read(VOICE)
        for count in (2, 52, 100):
            (self.folder / f"in{count}").mkdir()
            for number in range(count):
                clip = np.roll(voice, -number * len(voice) // count)[: 3 * rate]
                soundfile.write(self.folder / f"in{count}" / f"{number}.wav", clip, rate)

        def run(files, jobs):
            out = ("-o", self.folder / "made", "--overwrite", "--no-resume", "--jobs", jobs)
            return fxst("apply", self.folder / f"in{files}", "--ref", RADIO, *out)

        found = in_turn(3, two=run(2, 1), many=run(52, 1), workers=run(2, 2))
        (two, _, _), (many, _, _), (workers, _, _) = found.values()
        told("warm, per 3 s file in one call", f"{1000 * (many - two) / 50:.0f} CPU ms", "45 ms")
        told("start-up of one more worker", f"{workers - two:.2f} CPU s", "1 s")
        found = in_turn(3, one=run(100, 1), both=run(100, 2))
        speed = found["one"][2] / found["both"][2]
        told("100 files of 3 s, two jobs against one, on the clock", f"{speed:.2f} x", "1.85 x on an idle machine")

    def archive(self):
        """Files of a minute in one call, as `docs/scale.md` counts with them."""
        path = self.sound("minute", 60)
        for count in (2, 8):
            (self.folder / f"minutes{count}").mkdir()
            for number in range(count):
                (self.folder / f"minutes{count}" / f"{number}.wav").hardlink_to(path)

        def run(files, *style):
            out = ("-o", self.folder / "minutes", "--overwrite", "--no-resume")
            return fxst("apply", self.folder / f"minutes{files}", *style, *out)

        for what, style in (("model", ("--ref", RADIO)), ("table", ("--params", self.folder / "out.params.json"))):
            measured(*self.apply(path))
            (two, _, _), (many, _, _) = in_turn(3, two=run(2, *style), many=run(8, *style)).values()
            told(f"warm, per 60 s stereo file in one call, {what}", f"{(many - two) / 6:.2f} CPU s")

    def ray(self):
        """A thousand short files on a Ray cluster of this machine beside two worker processes, on the clock."""
        if importlib.util.find_spec("ray") is None:
            told("fxst apply --engine ray", "skipped", "the extra ray is not installed")
            return
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # as worker processes have it
        from ray.cluster_utils import Cluster

        voice, rate = soundfile.read(VOICE)
        (self.folder / "thousand").mkdir()
        for number in range(1000):
            clip = np.roll(voice, -number * len(voice) // 1000)[: 3 * rate]
            soundfile.write(self.folder / "thousand" / f"{number}.wav", clip, rate)
        node = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            command = ("apply", self.folder / "thousand", "--ref", RADIO, "--overwrite", "--no-resume")
            engine = ("--engine", "ray", "--address", cluster.address, "-o", self.folder / "by-ray")
            found = in_turn(
                1, jobs=fxst(*command, "--jobs", 2, "-o", self.folder / "by-jobs"), ray=fxst(*command, *engine)
            )
        finally:
            cluster.shutdown()
        (_, _, jobs), (_, _, ray) = found.values()
        told(
            f"1,000 files of 3 s, Ray ({ray:.0f} s) against --jobs 2",
            f"{ray / jobs:.3f} x",
            "1.10 x on an idle machine",
        )

    def disk(self):
        """What the base installation takes on the disk."""
        waiting, found = ["fxst"], {}
        while waiting:
            name = waiting.pop()
            try:
                package = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:  # for another system
                continue
            if package.metadata["Name"] not in found:
                paths = {Path(package.locate_file(file)) for file in package.files or ()}
                found[package.metadata["Name"]] = sum(path.stat().st_size for path in paths if path.is_file())
                needed = [line for line in package.requires or () if "extra" not in line.partition(";")[2]]
                waiting += [re.match(r"[\w.-]+", line)[0] for line in needed]
        code = Path(importlib.util.find_spec("fxst").origin).parent
        found["fxst"] = sum(path.stat().st_size for path in code.rglob("*") if path.is_file())
        largest = sorted(found, key=found.get)[:-4:-1]
        words = ", ".join(f"{name} {found[name] / 1e6:.0f}" for name in largest)
        told(f"base installation (MB; {words})", f"{sum(found.values()) / 1e6:.0f} MB", "450 MB")

    def ui(self):
        """The page of `fxst ui`, as its script asks the server, with the server warm."""
        if importlib.util.find_spec("uvicorn") is None:
            told("fxst ui", "skipped", "the extra ui is not installed")
            return
        path, reference = self.sound("30", 30), self.sound("ref", 30, voice=RADIO)
        command = fxst("ui", "--no-browser")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            address = server.stdout.readline().removeprefix("fxst ui: ").strip()
            origin = {"Origin": address[: address.index("/", 7)]}

            def ask(path, content=None):
                request = urllib.request.Request(address + path, content, origin)
                return urllib.request.urlopen(request, timeout=HUNG_SECONDS).read()

            def spent():
                return sum(map(int, Path(f"/proc/{server.pid}/stat").read_text().split()[13:15])) / os.sysconf(
                    "SC_CLK_TCK"
                )

            def drop():
                tab = f"tabs/{json.loads(ask('tabs', b''))['tab']}"
                sent = [f"{tab}/files/{role}?name=x.wav" for role in ("input", "reference")]
                with ThreadPoolExecutor() as pool:  # both at once, as the page sends what is dropped
                    list(pool.map(ask, sent, [file.read_bytes() for file in (path, reference)]))
                ask(f"{tab}/choose", b"{}")
                render(tab)
                ask(f"{tab}/sounds/input"), ask(f"{tab}/sounds/reference")
                return tab

            def render(tab, **wanted):
                ask(f"{tab}/render", json.dumps(wanted).encode())
                ask(f"{tab}/sounds/output")

            def knob(**wanted):
                for threshold in np.linspace(-30, -20, 10):
                    render(tab, values={"compressor": {"threshold_db": threshold}}, **wanted)

            tab = drop()
            for what, run, count, target in (
                ("fxst ui, from drop to sound, 30 s stereo", drop, 1, "3 s"),
                ("fxst ui, from knob to sound, the model's effects", knob, 10, "300 ms"),
                ("fxst ui, from knob to sound, all effects", lambda: knob(bypassed=[]), 10, "300 ms"),
            ):
                start, cpu = time.perf_counter(), spent()
                tab = run() or tab
                wall, cpu = ((end - begin) / count for end, begin in ((time.perf_counter(), start), (spent(), cpu)))
                told(what, f"{1000 * wall:.0f} ms", f"{target}; {1000 * cpu:.0f} ms of it CPU")
            server.terminate()

    def training(self):
        """The parts of a training."""
        if importlib.util.find_spec("torch") is None:
            told("training", "skipped", "torch is not installed")
            return
        import benchmark_training
        import torch

        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        for what, ms, target in benchmark_training.entries():
            told(what, f"{ms:.1f} ms", f"{target:.0f} ms" if target else "")


ROWS = (
    *("help", "params", "cold", "minute", "ten_minutes", "batch", "archive", "ray", "memory", "disk", "ui", "training"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("rows", nargs="*", help=f"{', '.join(ROWS)}; by default all")
    parser.add_argument("--matchering", default=sys.executable, metavar="PYTHON", help="the Python that has Matchering")
    chosen = parser.parse_args()
    if unknown := set(chosen.rows) - set(ROWS):
        parser.error(f"there is no row {', '.join(sorted(unknown))}: choose from {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = Rows(Path(folder), chosen.matchering)
        for name in chosen.rows or ROWS:
            getattr(rows, name)()


if __name__ == "__main__":
    main()
