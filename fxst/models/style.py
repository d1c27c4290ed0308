"""The style model of the recipe `clips`: it analyses an input and a reference, and decides on the knobs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fxst.dsp.arrays import AnyArray
from fxst.models.controller import Controller
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.layers import Part
from fxst.models.network import Decision, StyleNetwork
from fxst.models.sizes import from_plain

__all__ = ["ClipsNetwork", "StyleModelConfig"]

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


class ClipsNetwork(StyleNetwork, Part):
    """One encoder for both recordings, and a controller that sets the knobs.

    It knows how many knobs there are and nothing else of the chain.

    Args:
        config: The sizes.
        mel: The encoder's mel filters where they are known, else they are made.
    """

    def __init__(self, config: StyleModelConfig, mel: AnyArray | None = None) -> None:
        super().__init__()
        self.config: StyleModelConfig = config
        self.encoder: Any = self.part(Encoder, config.encoder, mel)
        self.controller: Any = self.part(Controller, self.encoder.size, config.n_knobs, config.hidden)

    @classmethod
    def from_plain(cls, sizes: Any, state: Mapping[str, AnyArray]) -> "ClipsNetwork":
        """Make a network for the sizes that a card holds and the weights beside it.

        Raises:
            ValueError: The sizes are not a style model's.
        """
        config = StyleModelConfig.from_dict(sizes)
        mel = state["encoder.mel"]  # which the encoder takes as it is
        if mel.shape != (Encoder.n_fft // 2 + 1, config.encoder.n_mels) or np.asarray(mel).dtype != np.float32:
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

    def analyse(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        return self.statistics(windows)

    def embed(self, statistics: AnyArray) -> AnyArray:
        """Return the features of statistics: (B, D) to (B, features)."""
        return self.encoder.features(statistics)

    def decide(self, input: AnyArray, reference: AnyArray, matched: AnyArray) -> Decision:  # noqa: A002
        """Decide on the knobs that bring inputs to references, from the statistics of both.

        Shape:
            input, reference: (B, D); matched: (B, 0).
        """
        return Decision(self.controls(input, reference))

    def statistics(self, windows: AnyArray) -> AnyArray:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        return self.encoder(windows)

    def controls(self, input: AnyArray, reference: AnyArray) -> AnyArray:  # noqa: A002
        """Set the knobs that bring an input to a reference, from the statistics of both.

        Shape:
            input, reference: (B, D); result: (B, n_knobs), on [0, 1].
        """
        return self.controller(self.encoder.features(input), self.encoder.features(reference))
