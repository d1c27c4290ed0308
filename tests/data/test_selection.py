import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fxst.data.selection import Candidates


def drawn_by_speaker(candidates, wanted, speakers):
    recordings, windows = candidates.draw(wanted)
    pairs = list(zip(recordings.tolist(), windows.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    for recording, _ in pairs:
        candidates.accept(recording, 1)
    names = np.array(speakers)[recordings]
    return {name: int((names == name).sum()) for name in dict.fromkeys(speakers)}, pairs


def test_a_big_speaker_does_not_drown_the_others():
    speakers = ["big", "big", "poor", "small"]
    candidates = Candidates(speakers, [900, 100, 3, 20], seed=0)
    shares, _ = drawn_by_speaker(candidates, 43, speakers)
    assert shares == {"big": 20, "poor": 3, "small": 20}


def test_what_silence_took_is_made_up_for_in_the_next_round():
    speakers = ["a", "b"]
    candidates = Candidates(speakers, [50, 50], seed=0)
    recordings, _ = candidates.draw(20)
    assert np.bincount(recordings).tolist() == [10, 10]
    candidates.accept(0, 10)
    candidates.accept(1, 4)
    assert np.bincount(candidates.draw(6)[0], minlength=2).tolist() == [0, 6]


def test_rounds_never_repeat_and_end():
    candidates = Candidates(["a", "b"], [5, 7], seed=0)
    seen = []
    while len((drawn := candidates.draw(5))[0]):
        seen += zip(*map(np.ndarray.tolist, drawn), strict=True)
    assert sorted(seen) == [(0, i) for i in range(5)] + [(1, i) for i in range(7)]


def test_all_are_drawn_when_no_number_is_given():
    recordings, windows = Candidates(["a", "b", "b"], [2, 0, 3], seed=0).draw(None)
    assert recordings.tolist() == [0, 0, 2, 2, 2]
    assert windows.tolist() == [0, 1, 0, 1, 2]


def test_dropped_recordings_are_not_drawn():
    candidates = Candidates(["a", "a", "b"], [5, 5, 5], seed=0)
    candidates.drop([0, 2])
    assert set(candidates.draw(None)[0].tolist()) == {1}


def test_the_seed_decides():
    def draw(seed):
        return Candidates(["a"], [1000], seed=seed).draw(10)[1].tolist()

    assert draw(1) == draw(1) != draw(2)
    assert draw(-1) == draw(-1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), min_size=1, max_size=8), st.integers(0, 100))
def test_shares_are_level(stock, wanted):
    speakers = [f"p{i}" for i in range(len(stock))]
    candidates = Candidates(speakers, [count for count, _ in stock], seed=0)
    for speaker, (_, had) in enumerate(stock):
        candidates.accept(speaker, had)
    before = candidates.accepted.copy()
    shares, _ = drawn_by_speaker(candidates, wanted, speakers)
    assert sum(shares.values()) == min(wanted, sum(count for count, _ in stock))
    after = candidates.accepted
    # Who got a clip is at most one above anyone who could have had another.
    could = [i for i, (count, _) in enumerate(stock) if after[i] - before[i] < count]
    got = [i for i in range(len(stock)) if after[i] > before[i]]
    assert all(after[i] <= after[j] + 1 for i in got for j in could)
