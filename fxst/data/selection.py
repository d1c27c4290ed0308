"""Which clips are taken when there are more than asked for: as many of each speaker as can be."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Candidates"]

Integers = npt.NDArray[np.int64]


class Candidates:
    """Every stretch of every recording that may become a clip, as a number; drawn in turns, speaker by speaker.

    Whether a stretch is silence shows only when it is cut. So clips are drawn in rounds: each round draws as many
    as are still missing, and what it yields is told with `accept` before the next.

    Args:
        speakers: The speaker of each recording; recordings of one speaker stand together.
        windows: How many stretches each recording has.
        seed: Seed of the draw.
    """

    def __init__(self, speakers: Sequence[str], windows: Sequence[int], *, seed: int) -> None:
        self._first = np.concatenate([[0], np.cumsum(np.asarray(windows, np.int64))]).astype(np.int64)
        starts = [i for i in range(len(speakers)) if i == 0 or speakers[i] != speakers[i - 1]]
        self._speaker_of = np.repeat(np.arange(len(starts)), np.diff([*starts, len(speakers)]))
        self._left: list[Integers] = []
        for start, stop in zip(starts, [*starts[1:], len(speakers)], strict=True):
            numbers = np.arange(self._first[start], self._first[stop])
            self._left.append(_generator(f"{seed}/clips/{speakers[start]}").permutation(numbers))
        self._turns = _generator(f"{seed}/turns").permutation(len(starts))
        self.accepted = np.zeros(len(starts), np.int64)

    def __len__(self) -> int:
        return int(self._first[-1])

    def draw(self, wanted: int | None) -> tuple[Integers, Integers]:
        """Draw a round of stretches: `wanted` of them if there are, None for all.

        Args:
            wanted: How many.

        Returns:
            The recording of each, and which stretch of it, in order.
        """
        available = np.array([len(left) for left in self._left], np.int64)
        shares = available if wanted is None else self._shares(wanted, available)
        drawn = [left[:share] for left, share in zip(self._left, shares, strict=True)]
        self._left = [left[share:] for left, share in zip(self._left, shares, strict=True)]
        numbers = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
        recordings = np.searchsorted(self._first, numbers, side="right") - 1
        return recordings, numbers - self._first[recordings]

    def accept(self, recording: int, clips: int) -> None:
        """Note how many clips a recording has given.

        Args:
            recording: Its number.
            clips: How many.
        """
        self.accepted[self._speaker_of[recording]] += clips

    def drop(self, recordings: Iterable[int]) -> None:
        """Draw no more from these recordings.

        Args:
            recordings: Their numbers.
        """
        for recording in recordings:
            speaker = self._speaker_of[recording]
            left = self._left[speaker]
            self._left[speaker] = left[(left < self._first[recording]) | (left >= self._first[recording + 1])]

    def _shares(self, wanted: int, available: Integers) -> Integers:
        # Pour clips in until every speaker stands at the same level or has no more: find the level by bisection.
        low, high = 0, int((self.accepted + available).max(initial=0))
        while low < high:
            middle = (low + high + 1) // 2
            if np.clip(middle - self.accepted, 0, available).sum() <= wanted:
                low = middle
            else:
                high = middle - 1
        shares = np.clip(low - self.accepted, 0, available)
        more = (self.accepted <= low) & (shares < available)
        lucky = [speaker for speaker in self._turns if more[speaker]][: wanted - int(shares.sum())]
        shares[lucky] += 1
        return shares


def _generator(seed: str) -> np.random.Generator:
    digest = hashlib.sha256(seed.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
