"""Print how fast fxst is on this machine, beside its targets: `python tests/benchmark.py`.

Best run while nothing else does. Every figure is the median of 20 runs after two to warm up; of programs, of 5.
"""

import statistics
import subprocess
import sys
import time

import torch

from fxst.chain import CHAINS
from fxst.gradients import AutodiffRenderer

SAMPLE_RATE = 24_000


def median_ms(run, *, runs=20, warm_up=2):
    times = []
    for _ in range(warm_up + runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
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


def program(*arguments):
    command = [sys.executable, *arguments]
    return median_ms(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), runs=5)


def entries():
    """What is measured: (what, milliseconds, target in milliseconds or None)."""
    for batch, samples in ((32, 12_720), (6, 65_536)):
        for chain, target in (("eq-comp", 40), ("fx", None)):
            what = f"{chain} autodiff, forward and backward, {batch} x {samples:,}"
            yield what, forward_and_backward(chain, batch, samples), target
    yield "import fxst", program("-c", "import fxst"), None
    yield "fxst --help", program("-m", "fxst", "--help"), 250


def main():
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")  # noqa: T201
    for what, ms, target in entries():
        print(f"{what:58} {ms:8.1f} ms" + (f"   (target {target} ms)" if target else ""))  # noqa: T201


if __name__ == "__main__":
    main()
