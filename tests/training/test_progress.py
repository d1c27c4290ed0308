import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fxst import interrupts
from fxst.training.progress import Monitor, Progress, StoppedError, leave_signals

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", NUMBERS)
def test_signals_wait_for_the_end_of_a_step_and_end_nothing_that_follows(number):
    handlers = [signal.getsignal(each) for each in NUMBERS]
    with Monitor(None) as monitor:
        monitor.check()
        assert monitor.signal is None
        for _ in range(2):  # `timeout` sends two
            os.kill(os.getpid(), number)
        assert monitor.signal == number
        with pytest.raises(StoppedError):
            monitor.check()
    assert monitor.signal == number
    assert [signal.getsignal(each) for each in NUMBERS] == handlers
    interrupts.check()


@pytest.mark.parametrize("number", NUMBERS)
def test_whoever_answers_signals_already_goes_on_to(number):
    answered = []
    before = signal.signal(number, lambda number, _: answered.append(number))
    try:
        with Monitor(None) as monitor:
            os.kill(os.getpid(), number)
            monitor.check()
        assert answered == [number]
    finally:
        signal.signal(number, before)


def test_a_job_in_the_background_is_not_stopped_by_what_it_ignores():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Monitor(None) as monitor:
            os.kill(os.getpid(), signal.SIGINT)
            monitor.check()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_reported_last_is_known():
    seen = []
    monitor = Monitor(seen.append)
    for step in (1, 2):
        monitor.report(Progress("any", step, 2, {"loss": 0.5}))
    assert monitor.last == seen[-1] == Progress("any", 2, 2, {"loss": 0.5})


def is_pending(number, pid):
    """Tell whether a signal to a process has not been taken yet; only Linux says."""
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return any(int(line.split()[1], 16) >> (number - 1) & 1 for line in lines if line.startswith("ShdPnd"))


def echo(pipe):
    leave_signals(0)
    while True:
        pipe.send(pipe.recv())


def test_a_loader_leaves_signals_to_the_main_process_and_ends_where_that_one_ends_it():
    ours, theirs = multiprocessing.Pipe()
    loader = multiprocessing.get_context("fork").Process(target=echo, args=(theirs,), daemon=True)
    loader.start()
    for number in ("INT", "TERM"):
        ours.send(number)
        assert ours.recv() == number
        subprocess.run(["kill", f"-{number}", str(loader.pid)], check=True)
    ours.send("still here")
    assert ours.recv() == "still here"
    while is_pending(signal.SIGTERM, loader.pid):  # a second one would count as the same
        time.sleep(0.01)
    loader.terminate()
    loader.join(60)
    assert loader.exitcode == 0
