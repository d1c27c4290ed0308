import math

import numpy as np
import pytest

from fxst.errors import AudioError
from fxst.evaluation.items import Item
from fxst.evaluation.scores import score


class Items:
    """Two items, the second of which cannot be had."""

    names = ("good", "bad")

    def __getitem__(self, index):
        if index:
            raise AudioError("The file is damaged.")
        x = np.random.default_rng(0).standard_normal((1, 40_000)).astype(np.float32)
        return Item(x, x, x, 24_000, 24_000)


def by_place(**systems):
    return {(s.item, s.system): s for s in score(Items(), systems)}


def crash(index, item):
    raise ZeroDivisionError("by nothing")


@pytest.mark.parametrize(
    ("system", "error"),
    [
        (crash, "ZeroDivisionError: by nothing"),
        (lambda _, item: item.input * np.nan, "not finite"),
        (lambda _, item: item.input[:, 1:], "shape"),
        (lambda _, item: None, "shape"),
    ],
)
def test_a_system_that_fails_is_missing_and_the_others_go_on(system, error):
    found = by_place(broken=system, perfect=lambda _, item: item.input)
    assert all(math.isnan(value) for value in found["good", "broken"].values.values())
    assert error in found["good", "broken"].error
    assert set(found["good", "perfect"].values.values()) == {0.0}
    assert found["good", "perfect"].error == ""


def test_an_item_that_cannot_be_had_is_missing_for_all():
    found = by_place(one=lambda _, item: item.input, two=lambda _, item: item.input)
    for system in ("one", "two"):
        assert found["bad", system].error == "The file is damaged."
        assert all(math.isnan(value) for value in found["bad", system].values.values())


def test_an_interrupt_ends_it():
    def interrupted(index, item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        by_place(one=interrupted)


def test_progress_is_told():
    told = []
    score(Items(), {"one": lambda _, item: item.input}, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
