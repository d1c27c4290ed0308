"""The style model: hears an input and a reference, and says where the knobs should be."""

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from torch import Tensor, nn

from fxst.models.controller import Controller
from fxst.models.encoder import Encoder, EncoderConfig
from fxst.models.sizes import from_plain

__all__ = ["Decision", "StyleModel", "StyleModelConfig"]

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


class Decision(NamedTuple):
    """What a model decides.

    Args:
        knobs: Where the knobs should be.
        wanted: How likely each effect of the chain is to be wanted, as logits; None where a model does not say.
        curve: What an equaliser should do to the input, in units of 20 dB; None likewise.

    Shape:
        knobs: (B, n_knobs), on [0, 1]; wanted: (B, n_effects); curve: (B, bands).
    """

    knobs: Tensor
    wanted: Tensor | None
    curve: Tensor | None


class StyleModel(nn.Module):
    """One encoder that hears both recordings, and a controller that sets the knobs.

    It knows how many knobs there are and nothing else of the chain.

    Args:
        config: The sizes.
        mel: The encoder's mel filters where they are known, else they are made.
    """

    def __init__(self, config: StyleModelConfig, mel: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder, mel)
        self.controller = Controller(self.encoder.size, config.n_knobs, config.hidden)

    @property
    def window_samples(self) -> int:
        """Length of one analysis window, at the encoder's sample rate."""
        return self.config.encoder.window_samples

    def listening_rate(self, sample_rate: int) -> int:
        """Tell at which rate a recording is heard: always the same."""
        return self.config.encoder.sample_rate

    def window_at(self, sample_rate: int) -> int:
        """Tell how long an analysis window is, in samples at the listening rate."""
        return self.window_samples

    def hear(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Listen to windows at the listening rate.

        Shape:
            windows: (N, window_samples); result: (N, D).
        """
        return self.statistics(windows)

    def decide(self, input: Tensor, reference: Tensor) -> Decision:  # noqa: A002
        """Set the knobs that bring an input to a reference, from the statistics of both.

        Shape:
            input, reference: (B, D).
        """
        return Decision(self.controls(input, reference), None, None)

    def statistics(self, windows: Tensor) -> Tensor:
        """Listen to windows; the statistics of a longer signal are the mean of its windows'.

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
        """Set the knobs, hearing each recording through its windows.

        Shape:
            input, reference: (B, windows, window_samples); result: (B, n_knobs), on [0, 1].
        """
        heard = [self.statistics(x.flatten(0, 1)).view(*x.shape[:2], -1).mean(1) for x in (input, reference)]
        return self.controls(*heard)
