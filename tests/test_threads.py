import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from fxst.threads import side_by_side

with suppress(ImportError):  # the extra train
    import torch


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_calls_from_threads_that_run_at_the_same_time(two_threads):
    together = threading.Barrier(2, timeout=10)

    def work(index, seconds):
        together.wait()
        time.sleep(seconds)
        return index, threading.current_thread().name

    results = side_by_side(work, [(0, 0.1), (1, 0.0)])
    assert [index for index, _ in results] == [0, 1]
    assert len({name for _, name in results}) == 2


def test_each_thread_has_torch_to_itself_and_records_no_gradient(two_threads):
    def work(_):
        return torch.get_num_threads(), torch.is_grad_enabled()

    for calls in ([(0,)], [(0,)] * 4):
        results = side_by_side(work, calls)
        assert {enabled for _, enabled in results} == {False}
    assert {count for count, _ in results} == {1}
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()


def test_where_torch_has_one_thread_all_is_done_on_the_callers(two_threads):
    torch.set_num_threads(1)
    assert set(side_by_side(threading.get_ident, [()] * 4)) == {threading.get_ident()}


def test_what_goes_wrong_on_a_thread_is_raised(two_threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda x: 1 / x, [(1,), (0,), (1,)])


def test_no_calls_are_no_results(two_threads):
    assert side_by_side(abs, []) == []


@pytest.mark.parametrize(
    ("line", "given", "expected"),
    [
        ("import fxst.configs", {}, None),
        ("main()", {}, "1"),
        ("main()", {"OPENBLAS_NUM_THREADS": "3"}, "3"),
        ("main()", {"OMP_NUM_THREADS": "3"}, None),
        ("sys.argv = ['fxst', 'style', 'train', '--help']; main()", {}, None),
    ],
)
def test_only_the_command_line_limits_the_threads_of_numpy(line, given, expected):
    code = f"""if True:
        import os, sys
        from fxst.cli import main
        sys.argv = ["fxst", "--version"]
        try:
            {line}
        except SystemExit:
            pass
        assert "numpy" not in sys.modules
        print(os.environ.get("OPENBLAS_NUM_THREADS"))
    """
    unset = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(expected)
