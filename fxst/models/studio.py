"""The studio's model: hears recordings of any sample rate, compares them, and sets a whole chain of effects."""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.models.style import Decision

__all__ = ["BANDWIDTH", "CENTRE_HZ", "Fitter", "StudioModel", "StudioModelConfig", "centred", "octave_centres"]

FLOOR: Final = 1e-10
"""Power under which everything is equally silent: -100 dB."""

HIGHEST_HZ: Final = 20_000.0
LOWEST_HZ: Final = 30.0
DROPPED: Final = 0.1
"""Which share of features a controller does without, at random, while it learns."""

CENTRE_HZ: Final = (80.0, 10_000.0)
"""Over these frequencies an equaliser's curve leaves the level as it is on average."""

BANDWIDTH: Final = 0.95
"""Of half the sample rate: what is above this is not there to be heard, whatever it may have been."""

QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.97)

LEVELS_DB: Final = tuple(range(-98, 2, 4))
"""Levels at which a band's distribution is sampled."""

CHANGES_DB: Final = tuple(range(-30, 34, 4))
"""Changes of level at which their distribution is sampled."""


@dataclass(frozen=True)
class StudioModelConfig:
    """Sizes of a studio model; written into every model file.

    Args:
        n_knobs: Knobs that it sets: those of the chain that it was made for.
        n_effects: Effects of that chain, of each of which it says whether it is wanted.
        n_curve_knobs: How many knobs, the first, are those of an equaliser.
        gain_knob: Which knob is a gain behind the equaliser.
        gain_db: By how much it turns the level at most, up or down.
        window_seconds: Length of one analysis window.
        picture_bands: Bands of the picture that the CNN sees.
        spectrum_bands: Bands of the long-term spectrum, equally wide in octaves.
        channels: Channels of the CNN's layers.
        hidden: Widths of the controller's hidden layers.
        fitter_width: Width of the layers that fit an equaliser to a curve.
    """

    n_knobs: int
    n_effects: int
    n_curve_knobs: int
    gain_knob: int
    gain_db: float
    window_seconds: float
    picture_bands: int = 80
    spectrum_bands: int = 96
    channels: tuple[int, ...] = (16, 32, 48, 64)
    hidden: tuple[int, ...] = (512, 384, 256)
    fitter_width: int = 384

    def to_dict(self) -> dict[str, Any]:
        """Write the sizes as plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "StudioModelConfig":
        """Read the sizes back from plain data."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return StudioModelConfig(**values)


class StudioModel(nn.Module):
    """An ear that hears a recording as statistics, and a controller that compares two of them.

    All that is heard is a mean over time, so the statistics of a long recording are the mean of its windows'. Times are
    in seconds and bands in Hz: recordings of different sample rates are compared where both reach to.

    Args:
        config: The sizes.
    """

    def __init__(self, config: StudioModelConfig) -> None:
        super().__init__()
        self.config = config
        self.ear = _Ear(config)
        self.controller = _Controller(self.ear.n_features, self.ear.spectrum_features, config)

    def listening_rate(self, sample_rate: int) -> int:
        """Tell at which rate a recording is heard: its own, up to what reaches beyond hearing."""
        return min(sample_rate, 48_000)

    def window_at(self, sample_rate: int) -> int:
        """Tell how long an analysis window is, in samples at the listening rate."""
        return round(self.config.window_seconds * sample_rate)

    def hear(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Listen to windows; the statistics of a longer signal are the mean of its windows'.

        Shape:
            windows: (N, T), T samples at least a quarter second long; result: (N, D).
        """
        result: Tensor = self.ear(windows, sample_rate=sample_rate)
        return result

    def decide(self, input: Tensor, reference: Tensor) -> Decision:  # noqa: A002
        """Set the knobs that bring an input to a reference, from the statistics of both.

        Shape:
            input, reference: (B, D).
        """
        result: Decision = self.controller(*self.ear.compare(input, reference))
        return result


# --- the ear ---------------------------------------------------------------------------------------------------------


class _Ear(nn.Module):
    """Turns windows into statistics, and statistics into features.

    A CNN on a picture of levels gives learned features and their squares. Beside it stands what an engineer's meters
    show: the long-term spectrum, how the levels of each band are distributed, and how fast they rise and fall.
    """

    FRAME_SECONDS = 1024 / 24_000
    SPECTRUM_SECONDS = 4096 / 24_000
    LEVEL_SECONDS = 0.005
    LAGS = (1, 4, 16)  # in level frames: what an attack, a syllable and a reverb's tail do

    def __init__(self, config: StudioModelConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width = 1
        for index, channels in enumerate(config.channels):
            layers += [nn.Conv2d(width, channels, 3, stride=2 if index < 3 else (2, 1), padding=1), nn.ReLU()]
            width = channels
        self.cnn = nn.Sequential(*layers)
        self.learned = width * math.ceil(config.picture_bands / 2 ** len(config.channels))
        bands, half = config.picture_bands, config.picture_bands // 2
        self.sizes = [
            self.learned,
            self.learned,
            bands,
            bands,
            half * len(LEVELS_DB),
            config.spectrum_bands,
            2 * len(LEVELS_DB),
            len(self.LAGS) * len(CHANGES_DB) + 2 * 4 * len(CHANGES_DB),
            1,
        ]
        self.n_features = 2 * self.learned + 2 * bands + half * len(QUANTILES) + sum(self.sizes[5:])

    @property
    def octave_centres(self) -> Tensor:
        """Where the bands of the long-term spectrum lie, in Hz: (spectrum_bands,)."""
        return octave_centres(self.config.spectrum_bands)

    @property
    def spectrum_features(self) -> slice:
        """Which features the long-term spectrum is, in units of 20 dB."""
        first = 2 * self.learned + 2 * self.config.picture_bands + self.config.picture_bands // 2 * len(QUANTILES)
        return slice(first, first + self.config.spectrum_bands)

    def forward(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Listen: (N, T) to (N, D)."""
        with torch.no_grad():  # nobody trains what is heard
            level, fixed = self._meters(windows, sample_rate)
        learned = self.cnn((level / 40 + 1).mT.unsqueeze(1)).flatten(1, 2)
        return torch.cat((learned.mean(-1), learned.square().mean(-1), *fixed), 1)

    def _meters(self, windows: Tensor, sample_rate: int) -> tuple[Tensor, list[Tensor]]:
        config = self.config
        filters = _mel_bands(config.picture_bands, sample_rate, self.FRAME_SECONDS, windows.device)
        level = 10 * (_powers(windows, self.FRAME_SECONDS, sample_rate) @ filters + FLOOR).log10()  # (N, frames, bands)
        pairs = level.view(*level.shape[:2], -1, 2).mean(-1)
        bands = _octave_bands(config.spectrum_bands, sample_rate, self.SPECTRUM_SECONDS, windows.device)
        spectrum = _powers(windows, self.SPECTRUM_SECONDS, sample_rate).mean(1) @ bands
        length = round(self.LEVEL_SECONDS * sample_rate)
        count = windows.shape[1] // length
        frames = windows[:, : count * length].reshape(-1, count, length)
        rms = 10 * (frames.square().mean(-1) + FLOOR).log10()
        peak = 20 * (frames.abs().amax(-1) + math.sqrt(FLOOR)).log10()
        changes = [_distribution(rms[:, lag:] - rms[:, :-lag], CHANGES_DB) for lag in self.LAGS]
        wide = level.view(*level.shape[:2], 4, -1).mean(-1).mT  # four wide bands: (N, 4, frames)
        changes += [_distribution(wide[..., lag:] - wide[..., :-lag], CHANGES_DB).flatten(1) for lag in (1, 4)]
        fixed = [
            level.mean(1) / 20,
            level.square().mean(1) / 400,
            _distribution(pairs.mT, LEVELS_DB).flatten(1),
            spectrum,
            _distribution(rms, LEVELS_DB),
            _distribution(peak, LEVELS_DB),
            *changes,
            windows.new_full((len(windows), 1), math.log2(sample_rate / 24_000)),
        ]
        return level, fixed

    def compare(self, input: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # noqa: A002
        """Turn two recordings' statistics into features.

        Returns:
            The input's features, what the reference's differ by, which of them both have, and the input's sample rate,
            in octaves above 24 kHz.

        Shape:
            input, reference: (B, D); results: (B, n_features), and the last (B, 1).
        """
        heard, wanted = self._features(input), self._features(reference)
        # A band that one of the two cannot hold says nothing of how it was produced.
        shared = self._shared(24_000 * 2 ** torch.minimum(input[:, -1:], reference[:, -1:]))
        return heard, (wanted - heard) * shared, shared, input[:, -1:]

    def _features(self, statistics: Tensor) -> Tensor:
        parts = torch.split(statistics, self.sizes, 1)
        learned, learned_sq, level, level_sq, distribution, spectrum, levels, changes, rate = parts
        quantiles = _quantiles(distribution.reshape(len(distribution), -1, len(LEVELS_DB)))
        return torch.cat(
            (
                learned,
                _deviation(learned, learned_sq),
                level,
                _deviation(level, level_sq),
                quantiles.flatten(1) / 20,
                (spectrum + FLOOR).log10() / 2,
                4 * levels,
                4 * changes,
                rate,
            ),
            1,
        )

    def _shared(self, sample_rate: Tensor) -> Tensor:
        """Tell which features a recording of this sample rate has: (B, 1) to (B, n_features) of 0 and 1."""
        config = self.config
        edge = BANDWIDTH * sample_rate / 2
        mel = _mel_centres(config.picture_bands).to(sample_rate)
        pairs, octaves = mel.view(-1, 2).amax(1), octave_centres(config.spectrum_bands).to(sample_rate)

        def within(hz: Tensor) -> Tensor:
            return (hz <= edge).to(sample_rate)

        ones = sample_rate.new_ones(len(sample_rate), 2 * self.learned)
        rest = sample_rate.new_ones(len(sample_rate), sum(self.sizes[6:]))
        quantiles = within(pairs).repeat_interleave(len(QUANTILES), 1)
        return torch.cat((ones, within(mel), within(mel), quantiles, within(octaves), rest), 1)


def _powers(x: Tensor, seconds: float, sample_rate: int) -> Tensor:
    """Measure short-time power spectra, scaled so that a sine's peak is its mean square: (N, frames, F)."""
    length = round(seconds * sample_rate)
    n_fft = 1 << math.ceil(math.log2(length))
    window = torch.hann_window(length, device=x.device) / (0.5 * length)
    spectrum = torch.fft.rfft(x.unfold(1, length, length // 2) * window, n_fft)
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).mul_(2)


def _distribution(x: Tensor, thresholds: tuple[int, ...]) -> Tensor:
    """Tell how often the last axis is above each threshold, softly by half a step to either side: (..., thresholds)."""
    step = thresholds[1] - thresholds[0]
    centres = torch.tensor(thresholds, dtype=x.dtype, device=x.device)
    return ((x.unsqueeze(-1) - centres) / step + 0.5).clamp_(0, 1).mean(-2)


def _quantiles(distribution: Tensor) -> Tensor:
    """Read quantiles, in dB, off distributions of levels: (..., levels) to (..., quantiles)."""
    step = LEVELS_DB[1] - LEVELS_DB[0]
    wanted = 1 - torch.tensor(QUANTILES, dtype=distribution.dtype, device=distribution.device)
    # The share that is louder falls from level to level; between two of them it is taken for a line.
    after = (distribution.unsqueeze(-1) > wanted).sum(-2).clamp(1, len(LEVELS_DB) - 1)
    before = distribution.gather(-1, after - 1)
    fall = (before - distribution.gather(-1, after)).clamp_min(1e-4)
    return LEVELS_DB[0] + step * (after - 1 + ((before - wanted) / fall).clamp(0, 1))


def _deviation(mean: Tensor, mean_square: Tensor) -> Tensor:
    return (torch.relu(mean_square - mean.square()) + 1e-5).sqrt()


@lru_cache(maxsize=8)
def _mel_centres(bands: int) -> Tensor:
    """Return frequencies that are equally far from each other on the mel scale: (bands,), in Hz."""
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    return 700 * (10 ** (torch.linspace(low, high, bands, dtype=torch.float64) / 2595) - 1)


@lru_cache(maxsize=8)
def octave_centres(bands: int) -> Tensor:
    """Return where the bands of a long-term spectrum lie, equally far from each other in octaves: (bands,), in Hz."""
    return torch.logspace(math.log10(LOWEST_HZ), math.log10(HIGHEST_HZ), bands, dtype=torch.float64)


@lru_cache(maxsize=32)
def _mel_bands(bands: int, sample_rate: int, seconds: float, device: torch.device) -> Tensor:
    return _triangles(_mel_centres(bands), sample_rate, seconds).to(device)


@lru_cache(maxsize=32)
def _octave_bands(bands: int, sample_rate: int, seconds: float, device: torch.device) -> Tensor:
    return _triangles(octave_centres(bands), sample_rate, seconds).to(device)


def _triangles(centres: Tensor, sample_rate: int, seconds: float) -> Tensor:
    """Make bands that weigh the bins around each centre, zero above what the sample rate holds: (F, bands)."""
    length = round(seconds * sample_rate)
    n_fft = 1 << math.ceil(math.log2(length))
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    spacing = torch.diff(centres, prepend=2 * centres[:1] - centres[1:2])
    # Where bands are closer together than bins, a band takes the nearest ones.
    filters = (1 - (frequencies - centres).abs() / spacing.clamp_min(1 / seconds)).clamp_min(0)
    filters = filters / filters.sum(0).clamp_min(1e-9) * (centres <= BANDWIDTH * sample_rate / 2)
    return filters.float()


# --- the controller --------------------------------------------------------------------------------------------------


class Fitter(nn.Module):
    """An equaliser's knobs for a curve that it should have.

    It learns from curves alone, of which there are as many as one likes, before anything is listened to. So no
    recording has to teach it which frequency, gain and width make a bell.
    """

    def __init__(self, bands: int, n_knobs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(bands + 1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_knobs)
        )

    def forward(self, curve: Tensor, rate: Tensor) -> Tensor:
        """Set the knobs, as logits.

        Args:
            curve: The response wanted, in units of 20 dB; 0 where the sample rate has nothing.
            rate: Octaves of the sample rate above 24 kHz.

        Shape:
            curve: (B, bands); rate: (B, 1); result: (B, n_knobs).
        """
        logits: Tensor = self.layers(torch.cat((curve, rate), 1))
        return logits


class _Controller(nn.Module):
    """An MLP with ReLU from what was heard, and what differs, to knobs by a sigmoid.

    What an equaliser should do is said as a curve: what the long-term spectra differ by, corrected for what the two
    recordings contain, and for what other effects do. A fitter sets the bands for it. The curve leaves the level alone;
    what level is missing behind it is known from the two spectra, and a gain begins there.
    """

    def __init__(self, n_features: int, spectrum: slice, config: StudioModelConfig) -> None:
        super().__init__()
        self.spectrum = spectrum
        self.gain_knob, self.gain_db = config.gain_knob - config.n_curve_knobs, config.gain_db
        self.scale = _Scale(2 * n_features)
        layers: list[nn.Module] = []
        width = 2 * n_features
        for size in config.hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        self.hidden = nn.Sequential(*layers)
        self.heeded = nn.Parameter(torch.full((config.spectrum_bands,), 0.6))
        self.correction = nn.Linear(width, config.spectrum_bands)
        self.fitter = Fitter(config.spectrum_bands, config.n_curve_knobs, config.fitter_width)
        self.rest = nn.Sequential(nn.Linear(width + config.spectrum_bands + 2, width), nn.ReLU())
        self.out = nn.Linear(width, config.n_knobs - config.n_curve_knobs + config.n_effects)
        self.n_effects = config.n_effects
        nn.init.normal_(self.out.weight, std=0.01)
        for layer in (self.out.bias, self.correction.weight, self.correction.bias):
            nn.init.zeros_(layer)

    def begin(self, knobs: Tensor) -> None:
        """Set where training begins.

        Args:
            knobs: Where the knobs are that no curve sets.

        Shape:
            knobs: (n_knobs - n_curve_knobs,), on [0, 1].
        """
        with torch.no_grad():
            self.out.bias[: len(knobs)] = torch.logit(knobs, eps=0.1)

    def forward(self, heard: Tensor, difference: Tensor, shared: Tensor, rate: Tensor) -> Decision:
        features = F.dropout(self.scale(torch.cat((heard, difference), 1)), DROPPED, self.training)
        hidden = F.dropout(self.hidden(features), DROPPED, self.training)
        both = shared[:, self.spectrum]
        spectrum, more = heard[:, self.spectrum], difference[:, self.spectrum]
        curve = centred(self.heeded * more + self.correction(hidden), both)
        level = _level(spectrum + curve, both)
        missing = _level(spectrum + more, both) - level
        out = self.out(self.rest(torch.cat((hidden, curve, level, missing), 1)))
        rest, wanted = out.split([out.shape[1] - self.n_effects, self.n_effects], 1)
        # At the middle of its range a knob turns by a quarter of it for each logit.
        gain = F.one_hot(torch.tensor(self.gain_knob), rest.shape[1]).to(rest) * (missing * 20 / (self.gain_db / 2))
        return Decision(torch.sigmoid(torch.cat((self.fitter(curve, rate), rest + gain), 1)), wanted, curve)


def centred(curve: Tensor, shared: Tensor) -> Tensor:
    """Move a curve so that its mean over the middle of hearing is 0; where a recording has nothing, it is 0 too.

    Shape:
        curve, shared: (B, bands); result: (B, bands).
    """
    hz = octave_centres(curve.shape[1]).to(curve.device)
    middle = shared * ((hz >= CENTRE_HZ[0]) & (hz <= CENTRE_HZ[1])).to(curve)
    mean = (curve * middle).sum(1, keepdim=True) / middle.sum(1, keepdim=True).clamp_min(1)
    return (curve - mean) * shared


def _level(spectrum: Tensor, shared: Tensor) -> Tensor:
    """Add up a long-term spectrum: (B, bands) to (B, 1), both in units of 20 dB."""
    # Bands as wide as these in octaves are the wider in Hz the higher they are.
    width = octave_centres(spectrum.shape[1]).to(spectrum)
    return ((10 ** (2 * spectrum) * width * shared).sum(1, keepdim=True) + FLOOR).log10() / 2


class _Scale(nn.Module):
    """Puts features of many units on one scale: that of all batches so far, in training too.

    A batch's own scale would not do: batches of speech and of music differ, and each would get a scale of its own.
    """

    MEMORY = 500

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.square: Tensor
        self.register_buffer("square", torch.ones(size))
        self.batches: Tensor
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.batches += 1
                share = 1 / self.batches.clamp_max(self.MEMORY)
                self.mean.lerp_(x.mean(0), share)
                self.square.lerp_(x.square().mean(0), share)
        deviation = (self.square - self.mean.square()).clamp_min(1e-4).sqrt()
        return ((x - self.mean) / deviation).clamp(-6, 6)
