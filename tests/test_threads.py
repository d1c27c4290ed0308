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


def test_no_calls_are_no_results():
    assert side_by_side(abs, []) == []
