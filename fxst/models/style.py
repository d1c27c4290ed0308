"""The style model of the recipe `clips`: it analyses an input and a reference, and decides on the knobs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from fxst.models.controller import Controller
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.network import Decision, StyleNetwork
from fxst.models.sizes import from_plain

__all__ = ["StyleModel", "StyleModelConfig"]

LONGEST_WINDOW: Final = 1 << 20
"""The longest analysis window, in samples."""


@dataclass(frozen=True)
class StyleModelConfig:
    """Sizes of a style model; written into every model file.

    Args:
        n_knobs: Knobs that it sets: those of the chain that it was made for.
        encoder: Sizes of the encoder.
        hidden: Widths of the controller's hidden layers.
    """

    n_knobs: int
    encoder: EncoderConfig
    hidden: tuple[int, ...] = (512, 512, 256)

    def to_dict(self) -> dict[str, Any]:
        """Write the sizes as plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Any) -> "StyleModelConfig":
        """Read the sizes back from plain data.

        Raises:
            ValueError: They are not a style model's.
        """
        config = from_plain(StyleModelConfig, data)
        if not Encoder.spectrum_fft <= config.encoder.window_samples <= LONGEST_WINDOW:
            raise ValueError(f"window_samples is not between {Encoder.spectrum_fft} and {LONGEST_WINDOW}")
        return config


class StyleModel(StyleNetwork):
    """One encoder for both recordings, and a controller that sets the knobs.

    It knows how many knobs there are and nothing else of the chain.

    Args:
        config: The sizes.
        mel: The encoder's mel filters where they are known, else they are made.
    """

    def __init__(self, config: StyleModelConfig, mel: Tensor | None = None) -> None:
        super().__init__()
        self.config: StyleModelConfig = config
        self.encoder = Encoder(config.encoder, mel)
        self.controller = Controller(self.encoder.size, config.n_knobs, config.hidden)

    @classmethod
    def from_plain(cls, sizes: Any, state: Mapping[str, Tensor]) -> "StyleModel":
        """Make a network for the sizes that a card holds and the weights beside it.

        Raises:
            ValueError: The sizes are not a style model's.
        """
        config = StyleModelConfig.from_dict(sizes)
        mel = state["encoder.mel"]  # which the encoder takes as it is
        if mel.shape != (Encoder.n_fft // 2 + 1, config.encoder.n_mels) or mel.dtype != torch.float32:
            raise ValueError("its mel filters do not have the sizes that its card states")
        return cls(config, mel)

    def agrees(self, *, effects: int, sample_rate: int) -> bool:
        """Return whether its encoder has the analysis rate of a card."""
        return self.config.encoder.sample_rate == sample_rate

    @property
    def window_samples(self) -> int:
        """Length of one analysis window, at the encoder's sample rate."""
        return self.config.encoder.window_samples

    def analysis_rate(self, sample_rate: int) -> int:
        """Return the sample rate at which a recording is analysed: always the encoder's."""
        return self.config.encoder.sample_rate

    def window_at(self, sample_rate: int) -> int:
        """Return the length of an analysis window, in samples at the analysis rate."""
        return self.window_samples

    def analyse(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        return self.statistics(windows)

    def embed(self, statistics: Tensor) -> Tensor:
        """Return the features of statistics: (B, D) to (B, features)."""
        result: Tensor = self.encoder.features(statistics)
        return result

    def decide(self, input: Tensor, reference: Tensor, matched: Tensor) -> Decision:  # noqa: A002
        """Decide on the knobs that bring inputs to references, from the statistics of both.

        Shape:
            input, reference: (B, D); matched: (B, 0).
        """
        return Decision(self.controls(input, reference))

    def statistics(self, windows: Tensor) -> Tensor:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        result: Tensor = self.encoder(windows)
        return result

    def controls(self, input: Tensor, reference: Tensor) -> Tensor:  # noqa: A002
        """Set the knobs that bring an input to a reference, from the statistics of both.

        Shape:
            input, reference: (B, D); result: (B, n_knobs), on [0, 1].
        """
        result: Tensor = self.controller(self.encoder.features(input), self.encoder.features(reference))
        return result

    def forward(self, input: Tensor, reference: Tensor) -> Tensor:  # noqa: A002
        """Set the knobs, each recording analysed by its windows.

        Shape:
            input, reference: (B, windows, window_samples); result: (B, n_knobs), on [0, 1].
        """
        analysed = [self.statistics(x.flatten(0, 1)).view(*x.shape[:2], -1).mean(1) for x in (input, reference)]
        return self.controls(*analysed)
