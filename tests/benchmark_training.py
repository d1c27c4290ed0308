"""The training rows of `tests/benchmark.py`, which need the extra `train`."""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_autodiff
from fxst.configs import ClipsConfig, DatasetConfig
from fxst.data.build import build
from fxst.data.examples import draw
from fxst.data.manifest import Dataset
from fxst.data.training_pairs import draw_pairs
from fxst.gradients import METHODS, AutodiffRenderer, MethodOptions, make_renderer
from fxst.memory import keep_freed_memory
from fxst.models.encoder import EncoderConfig
from fxst.models.style import StyleModelConfig
from fxst.models.trainable import StudioModel, StyleModel
from fxst.training.cached_examples import CachedExamples, PairBatch
from fxst.training.losses import StyleLoss
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
    module = StyleModule(model, renderer, config, sample_rate=SAMPLE_RATE)
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
        return Dataset(folder / name)

    clips, passages = dataset("clips", CLIP / SAMPLE_RATE), dataset("passages", 1.365)
    chain = CHAINS["eq-comp"]

    def draw_clips():
        drawn = draw(clips, "train", n_knobs=len(chain.knobs), batch=32, clips=4, seed=0, step=0)
        for x in (drawn.input[:, :1], drawn.reference):
            render_autodiff(chain, torch.from_numpy(x), torch.from_numpy(drawn.knobs), sample_rate=SAMPLE_RATE)

    def draw_passages(split, number):
        rng = np.random.default_rng(number)
        options = {"styles": "published", "passages": 6, "clips": 4, "augment": True, "rng": rng}
        return PairBatch.of(draw_pairs([passages], "train", CHAINS["studio"].predicted, **options), rng)

    model = StudioModel(studio_config(CHAINS["studio"], 1.365))
    cache = CachedExamples(folder, model, draw_passages, "cached", 1)
    yield "batch of 32 clips, drawn and rendered, CPU", median_ms(draw_clips, clock=time.process_time), None
    yield "batch of 24 cached examples, CPU", median_ms(lambda: cache[0], clock=time.process_time), None


def entries():
    """What is measured: (what, milliseconds, target in milliseconds or None)."""
    keep_freed_memory()  # as training does
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
