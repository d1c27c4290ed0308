"""Selection of clips, as evenly over the speakers as possible."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Candidates"]

Integers = npt.NDArray[np.int64]


class Candidates:
    """All possible clips of all recordings, by number, drawn evenly over the speakers.

    Whether a clip is silent is known only once it is cut. So clips are drawn in rounds: each round draws as many as are
    still missing, and `accept` reports what it yielded before the next.

    Args:
        speakers: The speaker of each recording; recordings of one speaker are consecutive.
        windows: Number of possible clips of each recording.
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

    def draw(self, count: int | None) -> tuple[Integers, Integers]:
        """Draw a round of clips, up to `count`; all for None.

        Args:
            count: Number of clips.

        Returns:
            The recording of each clip, and its number in the recording, sorted.
        """
        available = np.array([len(left) for left in self._left], np.int64)
        shares = available if count is None else self._shares(count, available)
        drawn = [left[:share] for left, share in zip(self._left, shares, strict=True)]
        self._left = [left[share:] for left, share in zip(self._left, shares, strict=True)]
        numbers = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
        recordings = np.searchsorted(self._first, numbers, side="right") - 1
        return recordings, numbers - self._first[recordings]

    def accept(self, recording: int, clips: int) -> None:
        """Report how many clips a recording yielded.

        Args:
            recording: Number of the recording.
            clips: Number of clips.
        """
        self.accepted[self._speaker_of[recording]] += clips

    def drop(self, recordings: Iterable[int]) -> None:
        """Exclude recordings from further rounds.

        Args:
            recordings: Their numbers.
        """
        for recording in recordings:
            speaker = self._speaker_of[recording]
            left = self._left[speaker]
            self._left[speaker] = left[(left < self._first[recording]) | (left >= self._first[recording + 1])]

    def _shares(self, count: int, available: Integers) -> Integers:
        # Fill up to a common level of clips a speaker, found by bisection.
        low, high = 0, int((self.accepted + available).max(initial=0))
        while low < high:
            middle = (low + high + 1) // 2
            if np.clip(middle - self.accepted, 0, available).sum() <= count:
                low = middle
            else:
                high = middle - 1
        shares = np.clip(low - self.accepted, 0, available)
        more = (self.accepted <= low) & (shares < available)
        lucky = [speaker for speaker in self._turns if more[speaker]][: count - int(shares.sum())]
        shares[lucky] += 1
        return shares


def _generator(seed: str) -> np.random.Generator:
    digest = hashlib.sha256(seed.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
