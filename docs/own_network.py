"""A network of one's own: `fxst --effects docs/own_network.py style train data --chain eq --network levels`."""

from dataclasses import asdict, dataclass

import torch

from fxst.checkpoints.checkpoint import declare_network
from fxst.models.network import Decision, StyleNetwork

BANDS = 32


@dataclass(frozen=True)
class Sizes:
    """What the card of a model holds of its network."""

    """What the card of a model holds of its network."""

    n_knobs: int
    sample_rate: int
    window_samples: int

    def to_dict(self):
        return asdict(self)


@declare_network("levels")
class Levels(StyleNetwork, torch.nn.Module):
    """Sets the knobs by how the levels of the two recordings differ in 32 bands of equal width."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(BANDS, 64), torch.nn.ReLU(), torch.nn.Linear(64, config.n_knobs), torch.nn.Sigmoid()
        )

    @classmethod
    def untrained(cls, n_knobs, *, sample_rate, window_samples):
        return cls(Sizes(n_knobs, sample_rate, window_samples))

    @classmethod
    def from_plain(cls, sizes, state):
        return cls(Sizes(**sizes))

    def analysis_rate(self, sample_rate):
        return self.config.sample_rate

    def window_at(self, sample_rate):
        return self.config.window_samples

    def analyse(self, windows, *, sample_rate):
        power = torch.fft.rfft(windows).abs().square()
        return torch.nn.functional.adaptive_avg_pool1d(power, BANDS)

    def decide(self, input, reference, matched):  # noqa: A002  # noqa: A002
        return Decision(self.layers((reference + 1e-6).log() - (input + 1e-6).log()))
