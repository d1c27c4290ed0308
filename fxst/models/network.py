"""What every style model can do: analyse recordings, pair their frames, and decide on the knobs of a chain."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fxst.dsp import Array
from fxst.dsp.arrays import AnyArray, array_namespace

__all__ = ["Decision", "LongTerm", "Sizes", "StyleNetwork"]


class Decision(NamedTuple):
    """What a model decides for a batch of recordings.

    Args:
        knobs: The knobs of the chain.
        activation: A logit for each effect: whether it should be active. None where a model does not say, and all of
            its knobs are to be taken as they are.
        curve: The response of the equaliser, in units of 20 dB; None where a model sets its bands alone.

    Shape:
        knobs: (B, n_knobs), on [0, 1]; activation: (B, n_effects); curve: (B, bands).
    """

    knobs: AnyArray
    activation: AnyArray | None = None
    curve: AnyArray | None = None


class LongTerm(NamedTuple):
    """The long-term spectrum of a recording, in the bands of a curve.

    Args:
        levels_db: The power per hertz.
        held: Whether the sample rate holds the band.
        sound_hz: The lowest and the highest frequency at which there is sound, and not only a floor.

    Shape:
        levels_db, held: (bands,).
    """

    levels_db: Array
    held: npt.NDArray[np.bool_]
    sound_hz: tuple[float, float]


class Sizes(Protocol):
    """The sizes of a network, which its card holds."""

    @property
    def n_knobs(self) -> int: ...
    def to_dict(self) -> dict[str, Any]: ...


class StyleNetwork:
    """A network that `fxst.transfer` can use: it knows arrays and sizes, and nothing of effects, chains or files.

    A network of your own is a `torch.nn.Module` as well; its methods take and return torch tensors. It defines what is
    abstract here. The rest is for networks that compare short-time frames, or decide on an equaliser's curve.
    """

    config: Sizes
    uses_frames: bool = False
    """Whether it compares short-time frames of two recordings."""

    @classmethod
    @abstractmethod
    def from_plain(cls, sizes: Any, state: Mapping[str, AnyArray]) -> "StyleNetwork":
        """Make a network for the sizes that a card holds and the weights beside it, without loading these.

        Raises:
            ValueError: The sizes are not this network's.
        """

    @classmethod
    def untrained(cls, n_knobs: int, *, sample_rate: int, window_samples: int) -> "StyleNetwork":
        """Make a network with random weights, which `fxst style train --network` trains.

        Args:
            n_knobs: The knobs that it sets.
            sample_rate: The rate of the dataset in Hz. The network must analyse it at this rate.
            window_samples: The length of the dataset's clips. The network's windows must have it, too.
        """
        raise NotImplementedError("it defines no `untrained`")

    @abstractmethod
    def analysis_rate(self, sample_rate: int) -> int:
        """Return the sample rate at which a recording is analysed."""

    @abstractmethod
    def window_at(self, sample_rate: int) -> int:
        """Return the length of an analysis window, in samples at the analysis rate."""

    @abstractmethod
    def analyse(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, window); result: (N, D).
        """

    @abstractmethod
    def decide(self, input: AnyArray, reference: AnyArray, matched: AnyArray) -> Decision:  # noqa: A002
        """Decide on the knobs that bring inputs to references, from the statistics of both.

        Shape:
            input, reference: (B, D); matched: (B, M), what `match` returns.
        """

    def knobs_of_windows(self, input: AnyArray, reference: AnyArray, *, sample_rate: int) -> AnyArray:  # noqa: A002
        """Set the knobs, each recording analysed by its windows and no frames compared.

        Shape:
            input, reference: (B, windows, window); result: (B, n_knobs), on [0, 1].
        """
        xp = array_namespace(input)
        analysed = []
        for x in (input, reference):
            statistics = self.analyse(xp.reshape(x, (-1, x.shape[2])), sample_rate=sample_rate)
            analysed.append(xp.mean(xp.reshape(statistics, (*x.shape[:2], -1)), axis=1))
        ours, theirs = analysed
        return self.decide(ours, theirs, ours[:, :0]).knobs

    def embed(self, statistics: AnyArray) -> AnyArray:
        """Return the features of statistics: numbers of one scale, which can be compared.

        Shape:
            statistics: (B, D); result: (B, features).
        """
        return statistics

    def agrees(self, *, effects: int, sample_rate: int) -> bool:
        """Return whether it fits a chain of so many effects, and the analysis rate of a card."""
        return True

    def frames(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure the levels of short-time frames, in dB by band; there are none unless `uses_frames`.

        Shape:
            windows: (N, window); result: (n, bands).
        """
        return array_namespace(windows).zeros((0, 0), dtype=windows.dtype, device=windows.device)

    def match(
        self,
        input: AnyArray,  # noqa: A002
        frames: AnyArray,
        reference: AnyArray,
        reference_frames: AnyArray,
    ) -> AnyArray:
        """Measure the difference of alike frames of two recordings; nothing unless `uses_frames`.

        Shape:
            input, reference: (D,); frames: (n, bands); reference_frames: (m, bands); result: (M,).
        """
        return input[:0]

    @property
    def curve_knobs(self) -> slice:
        """The knobs of the equaliser that a decision's curve is for; empty where there is no curve."""
        return slice(0, 0)

    def curve_frequencies(self, sample_rate: int) -> Array:
        """Return the frequency of each band of a curve, in Hz; NaN for bands that the sample rate does not hold.

        Shape:
            result: (bands,).
        """
        raise NotImplementedError

    def long_term(self, statistics: AnyArray) -> LongTerm | None:
        """Return the long-term spectrum of a recording; None for a network that does not decide on a curve.

        Shape:
            statistics: (D,), an array of NumPy's.
        """
        return None
