import os
import signal

import pytest

from fxst.training.progress import Monitor, Progress, StoppedError

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def answered():
    """Signals that reach whoever answered them before."""
    numbers = []
    before = {number: signal.signal(number, lambda number, _: numbers.append(number)) for number in NUMBERS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_waits_for_the_end_of_a_step_and_a_second_one_does_not(number, answered):
    with Monitor(None) as monitor:
        monitor.check()
        os.kill(os.getpid(), number)
        assert (monitor.signal, answered) == (number, [])
        with pytest.raises(StoppedError):
            monitor.check()
        os.kill(os.getpid(), number)
        assert answered == [number]
    os.kill(os.getpid(), number)
    assert answered == [number] * 2


def test_a_job_in_the_background_is_not_stopped_by_what_it_ignores(answered):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Monitor(None) as monitor:
        os.kill(os.getpid(), signal.SIGINT)
        monitor.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_what_is_reported_last_is_known():
    seen = []
    monitor = Monitor(seen.append)
    for step in (1, 2):
        monitor.report(Progress("any", step, 2, {"loss": 0.5}))
    assert monitor.last == seen[-1] == Progress("any", 2, 2, {"loss": 0.5})
