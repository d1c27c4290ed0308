"""What every style model can do: analyse recordings, pair their frames, and decide on the knobs of a chain."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor, nn

__all__ = ["Decision", "StyleNetwork"]


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

    knobs: Tensor
    activation: Tensor | None = None
    curve: Tensor | None = None


class StyleNetwork(Protocol):
    """A network that `fxst.transfer` can use: it knows tensors and sizes, and nothing of effects, chains or files."""

    @property
    def refines(self) -> bool:
        """Whether it has an expectation of the result, towards which settings can be refined."""

    @property
    def uses_frames(self) -> bool:
        """Whether it compares short-time frames of two recordings."""

    @property
    def curve_knobs(self) -> slice:
        """Which knobs are those of the equaliser that a decision's curve is for; empty where it has no curve."""

    def analysis_rate(self, sample_rate: int) -> int:
        """Return the sample rate at which a recording is analysed."""

    def window_at(self, sample_rate: int) -> int:
        """Return the length of an analysis window, in samples at the analysis rate."""

    def analyse(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, window); result: (N, D).
        """

    def embed(self, statistics: Tensor) -> Tensor:
        """Return the features of statistics: numbers of one scale, which can be compared.

        Shape:
            statistics: (B, D); result: (B, features).
        """

    def frames(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Measure the levels of short-time frames, in dB by band; (0, 0) where `uses_frames` is False.

        Shape:
            windows: (N, window); result: (n, bands).
        """

    def match(self, input: Tensor, frames: Tensor, reference: Tensor, reference_frames: Tensor) -> Tensor:  # noqa: A002
        """Measure the difference of alike frames of two recordings; (0,) where `uses_frames` is False.

        Shape:
            input, reference: (D,); frames: (n, bands); reference_frames: (m, bands); result: (M,).
        """

    def decide(self, input: Tensor, reference: Tensor, matched: Tensor) -> Decision:  # noqa: A002
        """Decide on the knobs that bring inputs to references.

        Shape:
            input, reference: (B, D); matched: (B, M).
        """

    def curve_frequencies(self, sample_rate: int) -> Tensor:
        """Return the frequency of each band of a curve, in Hz; NaN for bands that the sample rate does not hold.

        Shape:
            result: (bands,).
        """

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the weights."""
