"""Print how fast fxst is on this machine, beside its targets: `python tests/benchmark.py`.

Best run while nothing else does. Every figure is the median of 20 runs after two to warm up; of programs, of 3 or 5.
"""

# ruff: noqa: T201  (what it prints is what it is for)

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from fxst.batch.run import apply_files
from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_autodiff
from fxst.configs import ApplyConfig, ClipsConfig, DatasetConfig
from fxst.data.build import build
from fxst.data.examples import draw
from fxst.data.manifest import Dataset
from fxst.data.training_pairs import draw_pairs
from fxst.gradients import METHODS, AutodiffRenderer, MethodOptions, make_renderer
from fxst.models.encoder import EncoderConfig
from fxst.models.studio import StudioModel
from fxst.models.style import StyleModel, StyleModelConfig
from fxst.training.cached_examples import CachedExamples, PairBatch
from fxst.training.losses import StyleLoss
from fxst.training.runs import keep_freed_memory
from fxst.training.studio import StudioLoss, studio_config
from fxst.training.style import StyleModule

SAMPLE_RATE = 24_000
CLIP = 12_720


def median_ms(run, *, runs=20, warm_up=2, clock=time.perf_counter):
    times = []
    for _ in range(warm_up + runs):
        start = clock()
        run()
        times.append(clock() - start)
    return 1000 * statistics.median(times[warm_up:])


def forward_and_backward(chain, batch, samples):
    """Time a training step's rendering: through the chain, and back to audio and knobs."""
    generator = torch.manual_seed(0)
    renderer = AutodiffRenderer(CHAINS[chain])
    x = (0.1 * torch.randn(batch, 1, samples, generator=generator)).requires_grad_()
    knobs = torch.rand(batch, len(CHAINS[chain].knobs), generator=generator).requires_grad_()

    def step():
        renderer(x, knobs, sample_rate=SAMPLE_RATE).square().sum().backward()
        x.grad = knobs.grad = None

    return median_ms(step)


def training_step(method, *, directions=1):
    """Time a full step of `fxst style train` on eq-comp, but for drawing the data and writing the logs."""
    chain = CHAINS["eq-comp"]
    generator = torch.manual_seed(0)
    config = ClipsConfig(Path("nowhere"), gradient=method)
    model = StyleModel(StyleModelConfig(len(chain.knobs), EncoderConfig(sample_rate=SAMPLE_RATE, window_samples=CLIP)))
    renderer = make_renderer(method, chain, sample_rate=SAMPLE_RATE, options=MethodOptions(directions=directions))
    module = StyleModule(model, renderer, config)
    optimiser = module.configure_optimizers()["optimizer"]
    dry, reference = (0.1 * torch.randn(32, config.listen_clips, CLIP, generator=generator) for _ in range(2))
    hidden = torch.rand(32, len(chain.knobs), generator=generator)

    def step():
        losses = module.measure((dry, reference, hidden))
        optimiser.zero_grad()
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return median_ms(step)


def loss_ms(measure, batch, samples):
    """Time a loss and its gradient, on all threads together."""
    generator = torch.manual_seed(0)
    target, error = 0.05 * torch.randn(2, batch, samples, generator=generator)
    output = (0.8 * target + 0.2 * error).requires_grad_()

    def step():
        measure(output, target).backward()
        output.grad = None

    return median_ms(step, clock=time.process_time)


def losses():
    of_clips = StyleLoss(windows=ClipsConfig.stft_windows, hop=ClipsConfig.stft_hop, mae_weight=1.0)
    of_passages = StudioLoss()
    ms = loss_ms(lambda output, target: sum(of_clips(output[:, None], target[:, None])), 32, CLIP)
    yield f"loss and gradient of clips, CPU, 32 x {CLIP:,}", ms, None
    ms = loss_ms(lambda *x: of_passages(*x, sample_rate=SAMPLE_RATE)["loss"], 24, SAMPLE_RATE)
    yield f"loss and gradient of passages, CPU, 24 x {SAMPLE_RATE:,}", ms, None


def drawing(folder):
    """Time what gives a training step its batch: clips and their renders, or a cached batch of passages."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((20, 24 * SAMPLE_RATE))
    (folder / "voices").mkdir()
    for voice, x in enumerate(noise):
        soundfile.write(folder / "voices" / f"{voice}.wav", x, SAMPLE_RATE)

    def dataset(name, seconds):
        build(DatasetConfig((folder / "voices",), folder / name, clips=0, seconds=seconds, workers=1))
        return Dataset.open(folder / name)

    clips, passages = dataset("clips", CLIP / SAMPLE_RATE), dataset("passages", 1.365)
    chain = CHAINS["eq-comp"]

    def draw_clips():
        drawn = draw(clips, "train", n_knobs=len(chain.knobs), batch=32, clips=4, seed=0, step=0)
        for x in (drawn.input[:, :1], drawn.reference):
            render_autodiff(chain, torch.from_numpy(x), torch.from_numpy(drawn.knobs), sample_rate=SAMPLE_RATE)

    def draw_passages(split, number):
        rng = np.random.default_rng(number)
        options = {"styles": "published", "passages": 6, "clips": 4, "augment": True, "rng": rng}
        return PairBatch.of(draw_pairs([passages], "train", CHAINS["studio"], **options), rng)

    model = StudioModel(studio_config(CHAINS["studio"], 1.365))
    cache = CachedExamples(folder, model, draw_passages, "cached", 1)
    yield "batch of 32 clips, drawn and rendered, CPU", median_ms(draw_clips, clock=time.process_time), None
    yield "batch of 24 cached examples, CPU", median_ms(lambda: cache[0], clock=time.process_time), None


def program(*arguments):
    command = [sys.executable, *arguments]
    return median_ms(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), runs=5)


def entries():
    """What is measured: (what, milliseconds, target in milliseconds or None)."""
    for batch, samples in ((32, 12_720), (6, 65_536)):
        for chain, target in (("eq-comp", 40), ("fx", None)):
            what = f"{chain} autodiff, forward and backward, {batch} x {samples:,}"
            yield what, forward_and_backward(chain, batch, samples), target
    steps = {method: training_step(method) for method in METHODS}
    targets = {"autodiff": 180, "spsa": 1.5 * steps["autodiff"]}
    steps["spsa, 4 directions"] = training_step("spsa", directions=4)
    for method, ms in steps.items():
        yield f"eq-comp {method}, full training step, 32 x {CLIP:,}", ms, targets.get(method)
    yield from losses()
    with tempfile.TemporaryDirectory() as folder:
        yield from drawing(Path(folder))
    yield "import fxst", program("-c", "import fxst"), None
    yield "fxst --help", program("-m", "fxst", "--help"), 250


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


# A small program between: at a fork, a child's peak memory begins with its parent's, and this one holds torch.
LAUNCH = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run([sys.executable, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def measured(*arguments):
    """Run a program; return its seconds and its peak memory in MB."""
    command = [sys.executable, "-c", LAUNCH, *map(str, arguments)]
    seconds, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(megabytes)


def compare_apply(folder, runs=3):
    """Time `apply` on ten minutes beside a bare pedalboard script that streams the same chain over the same file."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((44_100 * 60, 2))
    for name, minutes in (("ten", 10), ("one", 1), ("ref", 1)):
        with soundfile.SoundFile(folder / f"{name}.wav", "w", 44_100, 2, "PCM_16") as file:
            for _ in range(minutes):
                file.write(noise)

    def apply(name):
        return ("-m", "fxst", "apply", folder / f"{name}.wav", "--ref", folder / "ref.wav", "-o", folder / "out.wav")

    bare = ("-c", BARE, folder / "ten.wav", folder / "out.wav")
    # In turn, so that a machine that slows down slows both.
    pairs = [(measured(*bare), measured(*apply("ten"))) for _ in range(runs)]
    (bare_s, _), (ten_s, ten_mb) = (
        tuple(map(statistics.median, zip(*rows, strict=True))) for rows in zip(*pairs, strict=True)
    )
    _, one_mb = measured(*apply("one"))
    print(
        f"apply, 10 min of 44.1 kHz stereo: {ten_s:.2f} s; bare pedalboard {bare_s:.2f} s (target {3 + bare_s:.2f} s)"
    )
    print(f"peak memory: 10 min {ten_mb:.0f} MB, 1 min {one_mb:.0f} MB (target: within 30 MB)")


def compare_jobs(folder, files=100, seconds=3):
    """Time a hundred short files in one call, with one worker process and with two."""
    examples = Path(__file__).parent / "examples"
    voice, rate = soundfile.read(examples / "voice.wav")
    rng = np.random.default_rng(0)
    for number in range(files):
        first = int(rng.integers(0, len(voice)))
        clip = np.roll(voice, -first, axis=0)[: seconds * rate]
        soundfile.write(folder / "many" / f"{number}.wav", clip, rate)
    speeds = {jobs: files_a_second(folder, examples / "radio.wav", jobs) for jobs in (1, 2)}
    rest = f"{seconds} s of {rate / 1000:g} kHz each, in one call"
    print(f"apply, {files} files, {rest}: {speeds[1]:.1f} files a second (target 10)")
    print(f"with --jobs 2: {speeds[2]:.1f} a second, {speeds[2] / speeds[1]:.2f} times as fast (target 1.7)")


def files_a_second(folder, reference, jobs):
    """Tell how many files a second a batch makes, when all workers have loaded the model."""
    config = ApplyConfig((folder / "many",), folder / f"made{jobs}", (str(reference),), jobs=jobs)
    times = [time.perf_counter() for result in apply_files(config) if not result.error]
    begun = len(times) // 5  # by then each of them is at work
    return (len(times) - 1 - begun) / (times[-1] - times[begun])


def main():
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    keep_freed_memory()  # as training does
    for what, ms, target in entries():
        print(f"{what:58} {ms:8.1f} ms" + (f"   (target {target:.0f} ms)" if target else ""))
    with tempfile.TemporaryDirectory() as folder:
        compare_apply(Path(folder))
        (Path(folder) / "many").mkdir()
        compare_jobs(Path(folder))


if __name__ == "__main__":
    main()
