import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, threading, torch
from fxst.chains.named import CHAINS
from fxst.chains.rendering import render_exact

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
render_exact(CHAINS["eq"], torch.zeros(16, 1, 1000), torch.rand(16, 6), sample_rate=24_000)
print(sum(thread.name.startswith("render") for thread in threading.enumerate()))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be held to a processor here")
def test_it_renders_with_no_more_threads_than_it_has_processors():
    """`taskset` and containers give a process fewer than the machine has."""
    import torch  # noqa: F401

    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
