"""The processes that train together: what was asked for is checked against what is there, before one waits for another.

Torch's distributed data parallel, through Lightning: one process for each device, started by this command itself, by
srun, or by torchrun.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from fxst import data_parallel, interrupts, staging
from fxst.configs import TrainingConfig
from fxst.errors import FxstError, SettingsError
from fxst.training.progress import Monitor, StoppedError
from fxst.version import __version__

__all__ = ["agree", "by_the_first", "check", "is_requeued", "joined", "options", "requeue", "wait_for"]

DONE: Final = b"done"

FOLDER_SECONDS: Final = 1800
"""How long a process waits for the folder that the first one makes, once it has read all of the data."""

_PARENT: Final = "FXST_TRAINS_FOR"
"""Variable with the process that started this one to train with it."""

_OF_LIGHTNING: Final = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", _PARENT)
"""Variables by which a process and those that it starts find each other."""


def check(config: TrainingConfig) -> tuple[int, int]:
    """Check that there is what was asked for, before any process waits for another.

    Returns:
        The number of this process, from 0, and how many train together.

    Raises:
        SettingsError: Something is missing, or differs.
    """
    processes = config.nodes * config.devices
    asked = f"--nodes {config.nodes} and --devices {config.devices}"
    _check_devices(config)
    if config.batch % processes:
        raise SettingsError(
            f"A --batch of {config.batch} cannot be divided equally among {processes} processes ({asked}): use a "
            f"multiple of {processes}."
        )
    if _elastic():
        started = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": config.devices}
        remedy = f"start torchrun with --nnodes {config.nodes} --nproc-per-node {config.devices}"
    elif _srun():
        started = {"SLURM_NTASKS": processes, "SLURM_NNODES": config.nodes}
        if processes > 1:
            started["SLURM_NTASKS_PER_NODE"] = config.devices
        remedy = f"start srun with --nodes={config.nodes} --ntasks-per-node={config.devices}"
    else:
        started = {"WORLD_SIZE": processes} if "WORLD_SIZE" in os.environ else {}
        remedy = "unset it, or change the options"
        if processes > 1:
            _check_nodes(config)
    for name, expected in started.items():
        if (value := os.environ.get(name)) != str(expected):
            said = f"is {value}" if value else "is not set"
            raise SettingsError(f"{name} {said}, and {asked} ask for {expected}: {remedy}.")
    if processes == 1:
        return 0, 1
    found = _environment()
    if _elastic() or _srun():
        return found.global_rank(), processes
    return found.node_rank() * config.devices + found.local_rank(), processes


def _check_devices(config: TrainingConfig) -> None:
    if config.nodes * config.devices == 1:
        return
    on_gpus = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if on_gpus and torch.cuda.device_count() < config.devices:
        raise SettingsError(
            f"--devices asks for {config.devices} CUDA devices, and torch can use {torch.cuda.device_count()} here: "
            "use fewer, or --device cpu."
        )
    backend = "nccl" if on_gpus else "gloo"
    if not torch.distributed.is_available() or not getattr(torch.distributed, f"is_{backend}_available")():
        raise SettingsError(f"This torch has no {backend}, through which processes train together: use one device.")


def _check_nodes(config: TrainingConfig) -> None:
    """Check what says which of the nodes this is, where neither torchrun nor Slurm has started the process."""
    if config.nodes > 1:
        needed = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
        if missing := [name for name in needed if not os.environ.get(name)]:
            raise SettingsError(
                f"Several --nodes need {', '.join(missing)} on each: start them with srun or torchrun, or set the "
                "first node's address, a free port of it, and the node's number from 0."
            )
    for name, count in (("NODE_RANK", config.nodes), ("LOCAL_RANK", config.devices)):
        number = os.environ.get(name, "0")
        if not number.isdecimal() or int(number) >= count:
            raise SettingsError(f"{name} is {number!r}, and must be a number from 0 to {count - 1}.")


def _elastic() -> bool:
    """Whether torchrun has started this process."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def _srun() -> bool:
    """Whether srun has started this process, and no shell that a person types in.

    A batch script has Slurm's other variables, too, but is one process.
    """
    return "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _environment() -> ClusterEnvironment:
    if _elastic():
        return TorchElasticEnvironment()
    if _srun():
        # The run requeues its job itself, after the end of a step.
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def options(config: TrainingConfig) -> dict[str, Any]:
    """Return the trainer's options for the processes."""
    return {
        "accelerator": config.device,
        "devices": config.devices,
        "num_nodes": config.nodes,
        "strategy": _Together() if config.nodes * config.devices > 1 else "auto",
        "plugins": [_environment()],
        "use_distributed_sampler": False,  # a batch has the same examples however many processes there are
    }


class _Together(DDPStrategy):
    """Distributed data parallel, whose start can be interrupted."""

    def setup_environment(self) -> None:
        # To wait for the others is one call of torch's, which no handler in Python can interrupt.
        with _ended_by_signals(), torch.random.fork_rng(devices=[]):
            try:
                super().setup_environment()
            except torch.distributed.DistError as error:
                reason = str(error).splitlines()[0].rstrip(".")
                raise FxstError(
                    f"The {self.world_size} processes could not meet at {os.environ['MASTER_ADDR']}:"
                    f"{os.environ['MASTER_PORT']} ({reason}): start the same command on every node, with a free port."
                ) from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end this process at once during the block; there is nothing to keep yet."""
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def joined(rank: int, processes: int) -> Iterator[None]:
    """Train with the other processes during the block, and leave nothing behind for a later training.

    Raises:
        FxstError: Another process has ended.
        StoppedError: It has, and this is not the first one, which speaks for all.
    """
    if processes == 1:
        yield
        return
    before = {name: os.environ.get(name) for name in _OF_LIGHTNING}
    if os.environ.get(_PARENT) == str(os.getppid()):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    os.environ[_PARENT] = str(os.getpid())
    try:
        with data_parallel.together(rank, processes):
            yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        if rank:
            raise StoppedError from error
        raise FxstError(
            "Another process of this training has ended: see its own message, and resume the run with --resume."
        ) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    """End this process soon after the one that started it, which may have been killed before they met."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def wait_for(path: Path) -> None:
    """Wait for a file of the first process's.

    Raises:
        SettingsError: It does not come.
    """
    end = time.monotonic() + FOLDER_SECONDS
    while not path.is_file():
        if time.monotonic() > end:
            raise SettingsError(
                f"{str(path)!r} has not come from the first process: use a folder that all nodes share, and see that "
                "process's message."
            )
        interrupts.check()
        time.sleep(0.2)


def by_the_first(work: Callable[[], None], mark: Path, monitor: Monitor) -> None:
    """Let the first process do a work whose result lies on the disk, and others take it from there when it is done.

    Args:
        work: Does what is not done yet, and takes the result.
        mark: A file that is there meanwhile, locked by the first process: the lock ends with it, however it ends.
        monitor: Says whether the training is to end.

    Raises:
        StoppedError: The training was asked to end, or the first process has ended.
    """
    rank, processes = data_parallel.rank(), data_parallel.processes()
    if processes == 1:
        work()
        return
    if rank == 0:
        mark.parent.mkdir(exist_ok=True)
        with open(mark, "wb") as file:
            staging.lock(file.fileno())
            torch.distributed.barrier()
            with data_parallel.together(0, 1):
                work()
            file.write(DONE)
    else:
        torch.distributed.barrier()
        _wait_until_done(mark, monitor)
        with data_parallel.together(0, 1):
            work()
    torch.distributed.barrier()
    if rank == 0:
        mark.unlink()


def _wait_until_done(mark: Path, monitor: Monitor) -> None:
    while True:
        with open(mark, "rb+") as file:
            free = staging.lock(file.fileno())
            if file.read() == DONE:
                return
        if free:
            raise StoppedError
        monitor.check()
        time.sleep(0.2)


def agree(config: TrainingConfig, *, resumed: bool) -> None:
    """Check that all processes train the same, lest one waits for another.

    Args:
        config: The settings of this process.
        resumed: Whether it begins with a checkpoint.

    Raises:
        SettingsError: They do not.
        StoppedError: They do not, and this is not the first one, which says so.
    """
    if data_parallel.processes() == 1:
        return
    mine = {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}
    mine |= {"version": __version__, "checkpoint": resumed}
    found: list[Any] = [None] * data_parallel.processes()
    torch.distributed.all_gather_object(found, mine)
    others = sorted({name for other in found for name in mine if other.get(name) != found[0][name]})
    if not others:
        return
    if data_parallel.rank():
        raise StoppedError
    raise SettingsError(
        f"The processes of this training differ in {', '.join(others)}: start the same command on every node, with one "
        "version of fxst and one run folder."
    )


def is_requeued() -> bool:
    """Return whether Slurm has started this job again."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


def requeue() -> bool:
    """Ask Slurm to start this job again; return whether it will."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        return subprocess.run(["scontrol", "requeue", job], check=False).returncode == 0
    except OSError:
        return False
