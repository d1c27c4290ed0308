"""Training on several processes: to the losses of one, stopped and resumed like one, and refused before one waits."""

import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from fxst import data_parallel, threads
from fxst.chains import rendering
from fxst.chains.named import CHAINS
from fxst.configs import ClipsConfig, PassagesConfig
from fxst.data.manifest import Dataset
from fxst.data.training_pairs import draw_pairs
from fxst.errors import SettingsError
from fxst.gradients.spsa import SPSARenderer
from fxst.models.controller import Controller
from fxst.models.trainable import StudioModel, trainable
from fxst.training import launch
from fxst.training.cached_examples import CachedExamples, Examples, PairBatch, analyse
from fxst.training.progress import Monitor, StoppedError
from fxst.training.run_folder import read_config
from fxst.training.studio import StudioModule, studio_config
from fxst.training.style import StyleModule, train

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="this torch has no gloo"
)

STUDIO = CHAINS["studio"].predicted
OF_LAUNCHERS = (
    "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
)  # fmt: skip

STOPPED_BY_THE_SECOND = """
import os, signal
from fxst.cli.program import main
from fxst.training.style import StyleModule

measure = StyleModule.measure

def stopped(module, batch):
    if module.training and module.global_step == 2 and module.global_rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return measure(module, batch)

StyleModule.measure = stopped
main()
"""


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """Leave out what a launcher of the tests themselves may have set."""
    for name in [name for name in os.environ if name in OF_LAUNCHERS or name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


def alike(found, expected):
    """Compare the losses of two runs."""
    assert len(found) == len(expected)
    for row, same in zip(found, expected, strict=True):
        assert row.keys() == same.keys()
        for name in row:
            assert float(row[name]) == pytest.approx(float(same[name]), rel=1e-5), name


def test_two_processes_come_to_the_losses_of_one(unbroken, tiny_dataset, tmp_path, losses, options, environment):
    command = [sys.executable, "-m", "fxst", "style", "train", tiny_dataset, "-o", tmp_path / "run", *options]
    done = subprocess.run([*command, "--devices", "2"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'run'}\n"), done.stderr
    first, result = done.stderr.splitlines()  # neither the second process nor Lightning says a word
    assert (first, result.split(".")[0]) == ("training: steps to 5", "Training finished after 5 steps")
    alike(losses(tmp_path / "run"), losses(unbroken))
    places = [
        sorted(str(path.relative_to(folder).parent) for path in folder.rglob("*"))
        for folder in (tmp_path / "run", unbroken)
    ]
    assert places[0] == places[1]  # one process writes, and what was there between them is gone


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_signal_to_one_node_stops_all_after_one_step_and_one_process_goes_on(
    unbroken, tiny_dataset, tmp_path, losses, options, environment
):
    (tmp_path / "stopped.py").write_text(STOPPED_BY_THE_SECOND)
    folder = tmp_path / "run"
    command = [sys.executable, tmp_path / "stopped.py", "style", "train", tiny_dataset, "-o", folder, *options]
    there = environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    nodes = [
        subprocess.Popen(
            [*command, "--nodes", "2"],
            env=there | {"NODE_RANK": node},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in "10"
    ]
    (silent, said), (out, err) = (node.communicate() for node in nodes)
    assert (nodes[0].returncode, silent, said) == (0, "", "")
    assert (nodes[1].returncode, out) == (143, f"{folder}\n"), err
    assert "Training interrupted after 3 steps." in err
    train(read_config(folder, [ClipsConfig], {"nodes": 1}), resume=True)
    alike(losses(folder), losses(unbroken))


@pytest.fixture
def config(tiny_dataset, tmp_path):
    return ClipsConfig(
        tiny_dataset, output=tmp_path / "run", chain="eq", steps=5, validate_every=2, batch=2, validation_examples=2,
        listen_clips=3, device="cpu",
    )  # fmt: skip


SRUN = {"SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7", "SLURM_NODEID": "1", "SLURM_LOCALID": "0", "SLURM_PROCID": "2"}
SRUN |= {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
BY_HAND = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"}


@pytest.mark.parametrize(
    ("there", "place"),
    [(SRUN, 2), (TORCHRUN, 3), (BY_HAND, 2), (BY_HAND | {"LOCAL_RANK": "1", "WORLD_SIZE": "4"}, 3)],
    ids=["srun", "torchrun", "main process of a node", "its second process"],
)
def test_each_process_knows_its_place(there, place, config, monkeypatch):
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    assert launch.check(replace(config, batch=4, nodes=2, devices=2)) == (place, 4)


def test_a_batch_script_of_slurms_is_one_process(config, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.setenv(name, "4")
    assert launch.check(config) == (0, 1)


@pytest.mark.parametrize(
    ("changes", "there", "words"),
    [
        ({"devices": 3}, {}, "--batch of 2 cannot be divided equally among 3 processes .* multiple of 3"),
        ({"devices": 2, "device": "cuda"}, {}, "asks for 2 CUDA devices, and torch can use 1 here"),
        ({}, {"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, and --nodes 1 and --devices 1 ask for 1"),
        ({"devices": 2}, {"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, and --nodes 1 and --devices 2 ask for 2"),
        ({"nodes": 2}, {"NODE_RANK": "0"}, "need MASTER_ADDR, MASTER_PORT on each"),
        ({"nodes": 2}, BY_HAND | {"NODE_RANK": "2"}, "NODE_RANK is '2', and must be a number from 0 to 1"),
        ({"devices": 2}, {"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x', and must be a number from 0 to 1"),
        ({}, SRUN, "SLURM_NTASKS is 4, .* ask for 1: start srun with --nodes=1 --ntasks-per-node=1"),
        ({"nodes": 2}, SRUN | {"SLURM_NTASKS": "2"}, "SLURM_NTASKS_PER_NODE is 2, .* ask for 1"),
        ({"nodes": 2}, SRUN | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": ""}, "SLURM_NTASKS_PER_NODE is not set"),
        ({"devices": 2}, TORCHRUN, "WORLD_SIZE is 4, .* start torchrun with --nnodes 1 --nproc-per-node 2"),
    ],
)
def test_what_is_not_there_is_refused_before_anyone_waits(changes, there, words, config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        train(replace(config, **changes))
    assert not config.output.exists()


def test_passages_that_cannot_be_divided_are_refused(passage_datasets, tmp_path):
    config = PassagesConfig(passage_datasets[0], output=tmp_path / "run", chain="studio", batch=6, devices=2)
    with pytest.raises(SettingsError, match="1 passages, which 2 processes cannot divide equally: use a multiple of 8"):
        train(config)


def test_a_job_that_slurm_ends_is_requeued_and_goes_on(
    unbroken, tiny_dataset, tmp_path, losses, options, fxst, monkeypatch
):
    asked = tmp_path / "asked"
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    command = "style", "train", tiny_dataset, "-o", tmp_path / "run", *options
    measure = StyleModule.measure

    def ending(module, batch):
        if module.global_step == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return measure(module, batch)

    with monkeypatch.context() as patch:
        patch.setattr(StyleModule, "measure", ending)
        code, _, err = fxst(*command)
    assert code == 128 + signal.SIGUSR1
    assert "Slurm runs the job again." in err
    assert asked.read_text() == "requeue 7\n"
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert fxst(*command)[0] == 2  # without a word of Slurm's it is another run
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert fxst(*command[:-1], "cpu", "--seed", "1")[0] == 2  # and so it is with other settings
    code, _, err = fxst(*command)
    assert code == 0, err
    assert losses(tmp_path / "run") == losses(unbroken)


def forked(work, folder, processes=2):
    """Run `work(rank)` in processes of one group, and return the exit codes and what each returned."""

    def run(rank):
        for pools in (threads, rendering):
            pools._threads.cache_clear()  # threads stay behind in the process that forks
        torch.set_num_threads(1)
        store = torch.distributed.FileStore(str(folder / f"store{processes}"), processes)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
        with data_parallel.together(rank, processes):
            torch.save(work(rank), folder / f"{rank}.pt")
        torch.distributed.barrier()

    started = [multiprocessing.get_context("fork").Process(target=run, args=(rank,)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    found = [folder / f"{rank}.pt" for rank in range(processes)]
    return [process.exitcode for process in started], [torch.load(path) if path.exists() else None for path in found]


def gradients(module, loss):
    """Return the gradient of each weight, averaged over the processes as distributed data parallel does."""
    loss.backward()
    found = {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}
    return {name: data_parallel.all_rows_mean(gradient) for name, gradient in found.items()}


def check_the_same(step, folder):
    """Compare what a step returns, named tensors, on two processes and on one."""
    (code,), (expected,) = forked(step, folder, processes=1)
    codes, found = forked(step, folder)
    assert [code, *codes] == [0, 0, 0]
    for of_process in found:
        assert of_process.keys() == expected.keys()
        for name, value in expected.items():
            scale = value.abs().max().item()
            assert scale > 0, f"{name} shows nothing"
            np.testing.assert_allclose(of_process[name], value, rtol=0, atol=1e-6 * scale + 1e-12, err_msg=name)


@pytest.fixture(scope="module")
def examples(passage_datasets):
    """Sixteen analysed examples of the chain's own styles, some without labels, and a model of few units."""
    torch.manual_seed(0)
    sizes = {"channels": (4, 8), "hidden": (16,), "rest_hidden": (16,), "fitter_width": 16, "band_channels": 8}
    model = StudioModel(studio_config(STUDIO, 0.75, **sizes))
    with torch.no_grad():  # new weights are 0 where a gradient would pass
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    rng = np.random.default_rng(0)
    pairs = draw_pairs(
        [Dataset(passage_datasets[0])], "train", STUDIO, styles="chain", passages=4, clips=2, augment=True, rng=rng
    )
    with torch.no_grad():
        analysed = analyse(model, PairBatch.of(pairs, "chain", rng))
    active, knobs = analysed.active.clone(), analysed.knobs.clone()
    active[9:, 0], knobs[3:] = torch.nan, torch.nan  # the second process has fewer labels, and of knobs none
    batch = analysed._replace(active=active, knobs=knobs)
    return model, Examples(*(x.double() if x.is_floating_point() else x for x in batch))


def test_a_step_of_a_studio_model_is_the_same_on_two_processes(examples, passage_datasets, tmp_path, monkeypatch):
    model, batch = examples
    monkeypatch.setattr(StudioModule, "global_step", 0)
    config = PassagesConfig(passage_datasets[0], chain="studio", batch=16)

    def step(rank):
        module = StudioModule(model, STUDIO, config).double()
        mine = data_parallel.part(batch, rank, data_parallel.processes())
        losses = module.train().measure(mine)
        validated = module.eval().measure(mine)
        return {
            **data_parallel.means(losses),
            **gradients(module, losses["loss"]),
            **{f"validated {name}": value for name, value in data_parallel.means(validated).items()},
            **{f"buffer {name}": value for name, value in model.named_buffers() if name.endswith(("mean", "square"))},
        }

    check_the_same(step, tmp_path)


def test_features_are_standardised_and_directions_drawn_over_all_rows(tmp_path):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, 5, generator=generator, dtype=torch.float64) * torch.arange(1, 6) + 3
    batch = *features, 0.1 * torch.randn(8, 1, 512, generator=generator)

    def step(rank):
        torch.manual_seed(1)
        controller = trainable(Controller)(5, len(CHAINS["eq"].knobs), (7,)).double().train()
        ours, theirs, clips = data_parallel.part(batch, rank, data_parallel.processes())
        rendered = SPSARenderer(CHAINS["eq"], directions=3, seed=1)(clips, controller(ours, theirs), sample_rate=24_000)
        return gradients(controller, rendered.square().mean()) | dict(controller.named_buffers())

    check_the_same(step, tmp_path)


def test_one_process_prepares_and_the_other_takes_it(tmp_path):
    made = tmp_path / "made"

    def prepare(rank):
        assert data_parallel.processes() == 1  # what prepares asks nobody
        with open(made, "a") as file:
            file.write(str(rank) if not made.stat().st_size else "")
            time.sleep(0.1)

    codes, _ = forked(
        lambda rank: launch.by_the_first(partial(prepare, rank), tmp_path / "run/prepared", Monitor(None)), tmp_path
    )
    assert codes == [0, 0]
    assert made.read_text() == "0"
    assert not (tmp_path / "run/prepared").exists()


def test_no_process_waits_for_one_that_was_killed(tmp_path):
    def prepare(rank):
        os.kill(os.getpid(), signal.SIGKILL)

    def work(rank):
        with pytest.raises(StoppedError):
            launch.by_the_first(partial(prepare, rank), tmp_path / "run/prepared", Monitor(None))
        os._exit(7)

    assert forked(work, tmp_path)[0] == [-signal.SIGKILL, 7]


@pytest.mark.parametrize("dies", [False, True], ids=["both live", "the first dies"])
def test_an_example_is_made_once_and_by_another_if_its_maker_dies(dies, examples, passage_datasets, tmp_path):
    model, batch = examples
    log = tmp_path / "log"

    class Cache(CachedExamples):
        def _keep(self, path, kept):
            with open(log, "a") as file:
                file.write("made\n")
            time.sleep(0.2)
            if dies and log.read_text() == "made\n":
                os.kill(os.getpid(), signal.SIGKILL)
            super()._keep(path, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fxst.training.cached_examples.analyse", lambda model, pairs: pairs)
        cache = Cache(tmp_path / "cache", model, lambda split, number: batch, "cached", 1)
        cache.prepare({})
        context = multiprocessing.get_context("fork")
        makers = [context.Process(target=cache.get, args=("val", 0)) for _ in range(2)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
    assert sorted(maker.exitcode for maker in makers) == ([-signal.SIGKILL, 0] if dies else [0, 0])
    assert log.read_text() == "made\n" * (1 + dies)
    assert torch.equal(cache.get("val", 0).input, batch.input)


def test_processes_that_differ_say_so(config, tmp_path):
    def work(rank):
        with pytest.raises(StoppedError if rank else SettingsError) as raised:
            launch.agree(replace(config, steps=5 + rank), resumed=False)
        return str(raised.value)

    codes, said = forked(work, tmp_path)
    assert codes == [0, 0]
    assert "The processes of this training differ in steps:" in said[0]
