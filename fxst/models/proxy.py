"""A neural proxy: a network that has learned from examples how one effect sounds, at every setting of its knobs."""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.dsp.filters import fast_fft_size
from fxst.models.sizes import from_plain

__all__ = ["ProxyModel", "ProxyModelConfig"]

QUIET = 1e-4
"""Amplitude (-80 dBFS) under which one silence is like another to the part that follows levels."""

RINGING_SAMPLES = 4096
"""Length of a tone curve's kernel; it is made at twice the length, so that what rings longer does not fold back."""

MOST_LAYERS = 12
"""With so many dilated layers, each three times as wide as the one before, a second of sound is long passed."""


@dataclass(frozen=True)
class ProxyModelConfig:
    """Sizes of a proxy; written into every proxy's file. A part of no size is left out.

    Args:
        n_knobs: Knobs of the effect.
        sample_rate: Rate that it was trained at, in Hz.
        hidden: Width of the network that reads the knobs.
        tone_bands: Points of the tone curve, equally spaced in octaves.
        echo_samples: Length of the learned echoes.
        echo_kernels: How many learned echoes the knobs mix.
        gain_channels: Channels of the convolutions that follow the level.
        gain_layers: How many of them there are, each three times as dilated as the one before; 0: samples
            alone count.
        gain_holds: Peak meters that they also see.
        gain_hop: Samples in a step of these convolutions.
        gain_head: Channels of the last layers, which work at every sample; 0 leaves the gain at 1.
    """

    n_knobs: int
    sample_rate: int
    hidden: int = 64
    tone_bands: int = 64
    echo_samples: int = 12_720
    echo_kernels: int = 16
    gain_channels: int = 24
    gain_layers: int = 3
    gain_holds: int = 4
    gain_hop: int = 16
    gain_head: int = 8

    def to_dict(self) -> dict[str, Any]:
        """Write the sizes as plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Any) -> "ProxyModelConfig":
        """Read the sizes back from plain data.

        Raises:
            ValueError: They are not a proxy's.
        """
        config = from_plain(ProxyModelConfig, data)
        if config.gain_layers > MOST_LAYERS:
            raise ValueError(f"gain_layers is above {MOST_LAYERS}")
        return config


class ProxyModel(nn.Module):
    """A network of convolutions whose kernels and gains depend on the knobs: y = gain(x, knobs) (h(knobs) * x).

    Nothing in it is of a particular effect. The kernel h is a tone curve times a mixture of learned echoes, convolved
    by FFT; the gain is a temporal convolutional network's, conditioned on the knobs by feature-wise scales and
    shifts, that sees the logarithm of the signal's absolute value. It begins all but as a wire: what comes in goes out.

    Args:
        config: The sizes.

    Source:
        E. Perez et al., "FiLM: visual reasoning with a general conditioning layer", AAAI 2018, for the conditioning.
    """

    def __init__(self, config: ProxyModelConfig) -> None:
        super().__init__()
        self.config = config
        self.read = nn.Sequential(
            nn.Linear(config.n_knobs, config.hidden), nn.SiLU(), nn.Linear(config.hidden, config.hidden), nn.SiLU()
        )
        width = config.hidden + config.n_knobs
        self.tone = _Tone(config, width) if config.tone_bands else None
        self.echoes = _Echoes(config, width) if config.echo_kernels else None
        self.gain = _Gain(config, width) if config.gain_head else None

    def forward(self, x: Tensor, knobs: Tensor) -> Tensor:
        """Imitate the effect; each channel by itself.

        Shape:
            x: (B, C, T); knobs: (B, P), on [0, 1]; result: (B, C, T).
        """
        centred = 2 * knobs - 1
        style = torch.cat((centred, self.read(centred)), 1)
        y = self._filter(x, style) if self.tone or self.echoes else x
        return y if self.gain is None else y * self.gain(x, style)

    def _filter(self, x: Tensor, style: Tensor) -> Tensor:
        time = x.shape[-1]
        # No tap reaches further than the signal is long; what is left must not run into its own beginning.
        ringing = min(time, RINGING_SAMPLES) if self.tone else 0
        echoing = min(time, self.config.echo_samples) if self.echoes else 0
        n_fft = fast_fft_size(time + ringing + echoing)
        response: Any = 1
        if self.tone:
            response = torch.fft.rfft(self.tone(style)[:, :ringing], n_fft)
        if self.echoes:
            response = response * self.echoes(style, echoing, n_fft)
        y: Tensor = torch.fft.irfft(torch.fft.rfft(x, n_fft) * response[:, None], n_fft)[..., :time]
        return y


class _Tone(nn.Module):
    """A curve over log frequency, and the one causal filter of that curve that keeps its energy earliest."""

    def __init__(self, config: ProxyModelConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.curve = _silent(nn.Linear(width, config.tone_bands))

    def forward(self, style: Tensor) -> Tensor:
        """Give the kernel of each row: (B, width) to (B, RINGING_SAMPLES)."""
        basis = _tone_basis(self.config.tone_bands, style.dtype, style.device, sample_rate=self.config.sample_rate)
        log_response = torch.view_as_complex((self.curve(style) @ basis).view(style.shape[0], -1, 2))
        kernel: Tensor = torch.fft.irfft(log_response.exp())[:, :RINGING_SAMPLES]
        return kernel


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept may be trained with later
def _tone_basis(bands: int, dtype: torch.dtype, device: torch.device, *, sample_rate: int) -> Tensor:
    """Return the log response of a triangle around each band's frequency, (bands, 2F): real and imaginary parts.

    Source:
        A. V. Oppenheim and R. W. Schafer, "Discrete-time signal processing": the phase of a minimum-phase filter is the
        Hilbert transform of its log magnitude, taken by folding the cepstrum.
    """
    n_fft, lowest_hz = 2 * RINGING_SAMPLES, 10.0
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64).clamp_min(lowest_hz)
    place = torch.log(frequencies / lowest_hz) / math.log(sample_rate / 2 / lowest_hz) * (bands - 1)
    triangles = (1 - (place - torch.arange(bands, dtype=torch.float64)[:, None]).abs()).clamp_min(0)
    cepstrum = torch.fft.irfft(triangles, n_fft)
    cepstrum[:, 1 : n_fft // 2] *= 2
    cepstrum[:, n_fft // 2 + 1 :] = 0
    return torch.view_as_real(torch.fft.rfft(cepstrum)).flatten(1).to(dtype=dtype, device=device)


class _Echoes(nn.Module):
    """The direct sound, and learned echoes that the knobs mix.

    The echoes are kept by their spectra: an optimiser that scales its step to each weight's gradients then learns the
    treble, of which recordings have little, as fast as the bass.
    """

    def __init__(self, config: ProxyModelConfig, width: int) -> None:
        super().__init__()
        self.samples = config.echo_samples
        self.spectra = nn.Parameter(0.01 * torch.randn(config.echo_kernels, config.echo_samples // 2 + 1, 2))
        self.direct = _silent(nn.Linear(width, 1))
        self.mix = nn.Linear(width, config.echo_kernels)

    def forward(self, style: Tensor, echoing: int, n_fft: int) -> Tensor:
        """Give the response of each row, of so many samples of echo: (B, width) to (B, F), complex."""
        kernels = torch.fft.irfft(torch.view_as_complex(self.spectra), self.samples)[:, :echoing]
        responses = torch.view_as_real(torch.fft.rfft(kernels, n_fft)).flatten(1)
        mixed = torch.view_as_complex((self.mix(style) @ responses).view(style.shape[0], -1, 2))
        response: Tensor = 1 + self.direct(style) + mixed
        return response


class _Gain(nn.Module):
    """A gain at every sample, from the sample's level and what was before: what turns levels down, or bends waves.

    Inside, channels come last: on a processor the convolutions are then plain matrix products, several times as fast.
    """

    def __init__(self, config: ProxyModelConfig, width: int) -> None:
        super().__init__()
        channels, head, hop = config.gain_channels, config.gain_head, config.gain_hop
        self.hop = hop
        self.frames = nn.Linear(2 * hop + config.gain_holds, channels) if config.gain_layers else None
        self.holds = _Holds(config.gain_holds, hop) if config.gain_layers and config.gain_holds else None
        self.layers = nn.ModuleList(_Layer(channels, 3**index, width) for index in range(config.gain_layers))
        self.spread = nn.Linear(channels, hop * head) if config.gain_layers else None
        self.sample = nn.Linear(1, head)
        self.film = _Film(head, width)
        self.mix = nn.Linear(head, head)
        self.log_gain = _silent(nn.Linear(head, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Give the gain: (B, C, T) and (B, width) to (B, C, T)."""
        batch, channels, time = x.shape
        rows = batch * channels
        style = style.repeat_interleave(channels, 0)[:, None]
        level = ((x.reshape(rows, time).abs() + QUIET).log() + 4) / 3
        y = self.sample(level[..., None])
        if self.frames is not None and self.spread is not None:
            silence = (math.log(QUIET) + 4) / 3
            steps = F.pad(level, (self.hop, -time % self.hop), value=silence).view(rows, -1, self.hop)
            seen = [steps[:, :-1], steps[:, 1:]]
            if self.holds is not None:
                seen.append(self.holds(seen[0].amax(-1)))
            h = self.frames(torch.cat(seen, -1))
            for layer in self.layers:
                h = layer(h, style)
            y = y + self.spread(h).view(rows, -1, y.shape[-1])[:, :time]
        y = F.silu(self.film(y, style))
        log_gain: Tensor = self.log_gain(F.silu(self.mix(y)))
        return log_gain.exp().view(batch, channels, time)


class _Holds(nn.Module):
    """Peak meters that fall at rates of their own: what is still seen of the loudest moments before."""

    def __init__(self, count: int, hop: int) -> None:
        super().__init__()
        # From 2 to 0.02 decibels a sample or so, on the scale of levels.
        self.log_fall = nn.Parameter(torch.linspace(math.log(0.2), math.log(0.0005), count) + math.log(hop / 3))

    def forward(self, level: Tensor) -> Tensor:
        """Hold each level: (B, T) to (B, T, count)."""
        fall = self.log_fall.exp()
        held = level[..., None].expand(-1, -1, fall.shape[0])
        step = 1
        while step < level.shape[1]:
            held = torch.cat((held[:, :step], torch.maximum(held[:, step:], held[:, :-step] - step * fall)), 1)
            step *= 2
        return held


class _Layer(nn.Module):
    """A causal convolution of three taps, the knobs' say, and a way around."""

    def __init__(self, channels: int, dilation: int, width: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(torch.empty(3, channels, channels).uniform_(-1, 1) / math.sqrt(3 * channels))
        self.scale_and_shift = nn.Linear(width, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(style).chunk(2, -1)
        # Scaling the taps of each row costs less than scaling all that comes out of them.
        taps = self.taps[:, None] * (1 + scale)
        # What was before the beginning is what was at the beginning.
        longer = torch.cat((x[:, :1].expand(-1, 2 * self.dilation, -1), x), 1)
        y = shift
        for tap, start in zip(taps, (0, self.dilation, 2 * self.dilation), strict=True):
            y = torch.baddbmm(y, longer[:, start : start + x.shape[1]], tap)
        return x + F.silu(y)


class _Film(nn.Module):
    """Scales and shifts each channel as the knobs say."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.scale_and_shift = nn.Linear(width, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(style).chunk(2, -1)
        return torch.addcmul(shift, x, 1 + scale)


def _silent(layer: Any) -> Any:
    """Make a layer begin with zeros, so that the proxy begins as a wire."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
