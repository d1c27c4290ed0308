import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from fxst.dsp.ballistics import envelope
from fxst.dsp.follower_loops import LANES


def by_its_equation(u, attack, release, begin=(0.0,) * 100):
    """v[n] = u[n] + c (v[n-1] - u[n]), row by row."""
    result = np.zeros(u.shape)
    for b, c in np.ndindex(*u.shape[:2]):
        v = begin[b]
        for n, sample in enumerate(u[b, c]):
            v = sample + (attack[b] if sample > v else release[b]) * (v - sample)
            result[b, c, n] = v
    return result


def signal(batch, channels, time, dtype=torch.float64):
    return torch.rand(batch, channels, time, dtype=dtype, generator=torch.manual_seed(0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_it_is_its_equation_with_a_coefficient_of_its_own_for_each_row(dtype, tolerance):
    u = signal(3, 2, 500, dtype)
    attack, release = torch.tensor([0.3, 0.9, 0.0], dtype=dtype), torch.tensor([0.999, 0.5, 0.95], dtype=dtype)
    begin = torch.tensor([0.0, 0.7, 1.5], dtype=dtype)
    v = envelope(u, attack, release, begin)
    assert v.dtype == dtype
    expected = by_its_equation(u.numpy(), attack.numpy(), release.numpy(), begin.numpy())
    np.testing.assert_allclose(v.numpy(), expected, atol=tolerance)
    assert torch.equal(envelope(u, attack, release), envelope(u, attack, release, torch.zeros(3)))


def test_rows_that_are_followed_side_by_side_do_not_hear_each_other():
    rows = 2 * LANES + 3
    u = signal(rows, 1, 200)
    attack, release = torch.rand(2, rows, dtype=torch.float64, generator=torch.manual_seed(1))
    begin = torch.rand(rows, dtype=torch.float64, generator=torch.manual_seed(2))
    expected = by_its_equation(u.numpy(), attack.numpy(), release.numpy(), begin.numpy())
    np.testing.assert_allclose(envelope(u, attack, release, begin).numpy(), expected, atol=1e-14)


def test_without_coefficients_it_is_the_signal():
    u = signal(2, 2, 50)
    assert torch.equal(envelope(u, torch.zeros(2), torch.zeros(2)), u)


def test_a_step_rises_and_falls_exponentially():
    attack, release, time = 0.99, 0.999, 2000
    u = torch.cat([torch.ones(time), torch.zeros(time)]).double().view(1, 1, -1)
    v = envelope(u, torch.tensor([attack]), torch.tensor([release]))[0, 0]
    n = torch.arange(1, time + 1, dtype=torch.float64)
    torch.testing.assert_close(v[:time], 1 - attack**n, atol=1e-4, rtol=0)
    torch.testing.assert_close(v[time:], v[time - 1] * release**n, atol=1e-4, rtol=0)
    assert int((v >= 1 - math.exp(-1)).nonzero()[0]) + 1 == math.ceil(-1 / math.log(attack))


def test_its_gradients_are_right():
    u = signal(2, 2, 60).requires_grad_()
    attack = torch.tensor([0.2, 0.8], dtype=torch.float64, requires_grad=True)
    release = torch.tensor([0.9, 0.5], dtype=torch.float64, requires_grad=True)
    begin = torch.tensor([0.1, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(envelope, (u, attack, release, begin))


def test_a_gradient_that_is_no_plain_tensor_is_right_too():
    u = signal(1, 2, 40).requires_grad_()
    attack, release = torch.tensor([0.3]).double(), torch.tensor([0.9]).double()
    envelope(u, attack, release).sum().backward()  # the gradient of a sum is one number, expanded
    expanded, u.grad = u.grad, None
    (envelope(u, attack, release) * torch.ones(1, 2, 40).double()).sum().backward()
    torch.testing.assert_close(u.grad, expanded)
    strided = signal(1, 40, 2).mT  # nor need the signal lie in order
    torch.testing.assert_close(envelope(strided, attack, release), envelope(strided.contiguous(), attack, release))


ON_A_SIMULATED_DEVICE = """
import threading
import numpy as np
from numba import cuda
from fxst.dsp import ballistics as b
from fxst.dsp import ballistics
from fxst.dsp import follower_loops

class Block:
    x = property(lambda self: threading.current_thread().blockIdx.x)

cuda.blockIdx = Block()  # the simulator puts its own only where it finds `cuda` among a kernel's globals
u = np.random.default_rng(0).random((3, 40))
attack, release, begin = np.array([0.3, 0.9, 0.1]), np.array([0.99, 0.5, 0.95]), np.array([0.2, 0.0, 0.4])
results = []
for run in ("device", "processor"):
    level, v, grad_u, grad = begin.copy(), np.zeros_like(u), np.zeros_like(u), np.zeros((3, 3))
    follow = (u, attack, release, level, v)
    adjoin = (np.cos(u), u, v, attack, release, begin, grad_u, grad)
    if run == "device":
        ballistics._cuda_follow()[3, 1](*follow)
        ballistics._cuda_adjoin()[3, 1](*adjoin)
    else:
        follower_loops.follow_rows(*follow)
        follower_loops.adjoin_rows(*adjoin)
    results.append((level, v, grad_u, grad))
for device, processor in zip(*results, strict=True):
    np.testing.assert_allclose(device, processor, rtol=1e-12)
    assert device.all()
"""


def test_the_cuda_kernels_do_on_numbas_simulator_what_the_processor_does():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_SIMULATED_DEVICE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
