import dataclasses

import numpy as np
import pytest
import torch

from fxst.chains.chain import Chain
from fxst.chains.named import CHAINS
from fxst.chains.table import Table
from fxst.effects import Compressor, ParametricEQ
from fxst.evaluation import metrics, oracle
from fxst.evaluation.oracle import STEPS, optimise
from fxst.evaluation.sound import EvaluatedSound

RATE = 24_000
FREE = Chain("free", (ParametricEQ(), Compressor()))


def mrstft(output, target):
    return metrics.mrstft(EvaluatedSound(output, sample_rate=RATE), EvaluatedSound(target, sample_rate=RATE))


def rendered(x, table):
    return table.chain.exact(table.rows, sample_rate=RATE, channels=len(x))(x)


def drawn(chain, seed):
    knobs = np.random.default_rng(seed).uniform(0.2, 0.8, len(chain.knobs))
    return Table(chain, chain.settings(torch.from_numpy(knobs)))


@pytest.mark.parametrize(("chain", "seed", "steps"), [("eq", 0, 40), ("eq-comp", 1, STEPS), ("eq-comp", 2, STEPS)])
def test_a_target_of_the_chain_is_reached(speech, chain, seed, steps):
    x = speech(RATE, 1, 1.4)
    target = rendered(x, drawn(CHAINS[chain], seed))
    table, output = optimise(x, target, chain=CHAINS[chain], sample_rate=RATE, steps=steps)
    assert np.array_equal(output, rendered(x, table))
    assert mrstft(output, target) < 0.1 * mrstft(x, target)


def test_where_nothing_is_to_be_done_nothing_is(speech):
    x = speech(RATE, 1, 1.4)
    _, output = optimise(x, x, chain=CHAINS["eq"], sample_rate=RATE, steps=3)
    assert np.array_equal(output, x)
    _, output = optimise(x, x, chain=CHAINS["eq-comp"], sample_rate=RATE)
    assert mrstft(output, x) < 0.02


def test_the_result_is_no_worse_than_any_start(speech):
    x = speech(RATE, 1, 1.4)
    start = drawn(FREE, 3)
    target = rendered(x, start)
    # The answer itself, and a rate of learning that leaves it at once.
    table, output = optimise(
        x, target, chain=FREE, sample_rate=RATE, steps=2, learning_rate=50.0, starts=[drawn(FREE, 4), start]
    )
    assert table == start
    assert np.array_equal(output, target)


def test_a_start_of_another_chain_is_passed_over(speech):
    x = speech(RATE, 1, 1.4)
    with_start, _ = optimise(x, 2 * x, chain=FREE, sample_rate=RATE, steps=2, starts=[drawn(CHAINS["eq"], 0)])
    without, _ = optimise(x, 2 * x, chain=FREE, sample_rate=RATE, steps=2)
    assert with_start == without


def test_it_gives_the_same_again_and_leaves_what_it_is_given(speech):
    x = speech(RATE, 2, 2.0)
    target = rendered(x, drawn(FREE, 5))
    before = x.copy(), target.copy()
    torch.manual_seed(1)
    first = optimise(x, target, chain=FREE, sample_rate=RATE, steps=8)
    torch.manual_seed(2)
    second = optimise(x, target, chain=FREE, sample_rate=RATE, steps=8)
    assert first[0] == second[0]
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(x, before[0])
    assert np.array_equal(target, before[1])


def test_its_distance_is_the_metric(speech):
    x, y = speech(RATE, 2, 1.4)[:, None]
    measure = oracle._Distance(torch.from_numpy(y)[None])
    found = measure(torch.from_numpy(np.stack([x, y])))
    wanted = mrstft(x, y) + oracle.MAE_WEIGHT * np.abs(x - y).mean()
    assert found[0].item() == pytest.approx(wanted, rel=1e-4)
    assert found[1].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("chain", [Chain("comp", (Compressor(),)), CHAINS["fx"]])
def test_any_chain_and_short_stereo_will_do(speech, chain):
    x = speech(RATE, 2, 0.1)
    table, output = optimise(x, rendered(x, drawn(chain, 6)), chain=chain, sample_rate=RATE, steps=3)
    assert table.chain == chain
    assert output.shape == x.shape
    assert np.isfinite(output).all()


def test_a_chain_of_constants_has_one_result(speech):
    x = speech(RATE, 1, 1.0)
    fixed = {p.name: p.default for p in Compressor().parameters}
    chain = Chain("fixed", (dataclasses.replace(Compressor()).restrict(**fixed),))
    table, _ = optimise(x, 2 * x, chain=chain, sample_rate=RATE)
    assert table == Table(chain, chain.defaults())


def test_silence_is_no_reason_to_fail():
    x = np.zeros((1, RATE), np.float32)
    _, output = optimise(x, x, chain=FREE, sample_rate=RATE, steps=2)
    assert not output.any()
