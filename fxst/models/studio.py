"""The studio's model: hears recordings of any sample rate, compares them, and sets a whole chain of effects."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fxst.models.bands import Bands
from fxst.models.ear import FLOOR, Ear, octave_centres
from fxst.models.matching import match, matched_size, sounding
from fxst.models.sizes import from_plain
from fxst.models.style import Decision

__all__ = ["CENTRE_HZ", "Expected", "Fitter", "StudioModel", "StudioModelConfig", "centred"]

DROPPED: Final = 0.05
"""Which share of features a controller does without, at random, while it learns."""

CENTRE_HZ: Final = (80.0, 10_000.0)
"""Over these frequencies an equaliser's curve leaves the level as it is on average."""

SOFTEST: Final = 10 ** (-12 / 20)
"""Recordings whose peaks are lower are heard, moment by moment, as if they were as high: as those that taught it."""

WINDOW_SECONDS: Final = (0.25, 60.0)
"""How short and how long an analysis window may be."""

MOST_BANDS: Final = 1024
"""How many bands a recording may be heard in: tables between bands are as large as their square."""


@dataclass(frozen=True)
class StudioModelConfig:
    """Sizes of a studio model; written into every model file.

    Args:
        n_knobs: Knobs that it sets: those of the chain that it was made for.
        n_effects: Effects of that chain, of each of which it says whether it is wanted.
        n_curve_knobs: How many knobs, one after the other, are those of an equaliser.
        gain_knob: Which knob is a gain behind the equaliser.
        gain_db: By how much it turns the level at most, up or down.
        window_seconds: Length of one analysis window.
        picture_bands: Bands of the picture that the CNN sees.
        spectrum_bands: Bands of the long-term spectrum, equally wide in octaves.
        channels: Channels of the CNN's layers.
        hidden: Widths of the controller's hidden layers that judge what an equaliser should do.
        rest_hidden: Widths of those that judge all else.
        fitter_width: Width of the layers that fit an equaliser to a curve.
        band_channels: Channels of the layers that judge what an equaliser should do, band by band.
        first_curve_knob: Which knob is the equaliser's first.
    """

    n_knobs: int
    n_effects: int
    n_curve_knobs: int
    gain_knob: int
    gain_db: float
    window_seconds: float
    picture_bands: int = 80
    spectrum_bands: int = 96
    channels: tuple[int, ...] = (8, 16, 24, 32)
    hidden: tuple[int, ...] = (256, 256)
    rest_hidden: tuple[int, ...] = (384, 256)
    fitter_width: int = 384
    band_channels: int = 64
    first_curve_knob: int = 0

    @property
    def curve_knobs(self) -> slice:
        """Which knobs are those of the equaliser."""
        return slice(self.first_curve_knob, self.first_curve_knob + self.n_curve_knobs)

    def to_dict(self) -> dict[str, Any]:
        """Write the sizes as plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Any) -> "StudioModelConfig":
        """Read the sizes back from plain data.

        Raises:
            ValueError: They are not a studio model's.
        """
        config = from_plain(StudioModelConfig, data)
        if not 0 <= config.first_curve_knob < config.curve_knobs.stop <= config.gain_knob < config.n_knobs:
            raise ValueError("its gain is no knob behind the equaliser's")
        if not config.gain_db:
            raise ValueError("its gain is no knob behind the equaliser's")
        if max(config.picture_bands, config.spectrum_bands) > MOST_BANDS:
            raise ValueError(f"it has more than {MOST_BANDS} bands")
        if not WINDOW_SECONDS[0] <= config.window_seconds <= WINDOW_SECONDS[1]:
            raise ValueError("window_seconds is not between {} and {}".format(*WINDOW_SECONDS))
        return config


class Expected(NamedTuple):
    """What a target is expected to be heard as.

    Shape:
        spectrum, shared: (B, bands), in units of 20 dB, and which bands both recordings have; levels: (B, levels).
    """

    spectrum: Tensor
    levels: Tensor
    shared: Tensor


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
        self.ear = Ear(config.picture_bands, config.spectrum_bands, config.channels)
        self.controller = _Controller(self.ear, config)
        self.expectation = _Expectation(self.ear, config.band_channels)

    def listening_rate(self, sample_rate: int) -> int:
        """Tell at which rate a recording is heard: its own, from a telephone's up to what reaches beyond hearing."""
        return min(max(sample_rate, 8000), 48_000)

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

    def frames(self, windows: Tensor, *, sample_rate: int) -> Tensor:
        """Listen to the moments of windows one by one: those that sound, in dB by band, evenly spread.

        Shape:
            windows: (N, T), as `hear` has them; result: (n, bands), n at most `fxst.models.matching.MOST_FRAMES`.
        """
        peak = float(windows.abs().amax()) if windows.numel() else 0.0
        # What is soft would sink below the level under which all is silent, treble first, and that is no curve.
        gain = SOFTEST / peak if 0 < peak < SOFTEST else 1.0
        frames = self.ear.frames(gain * windows, sample_rate=sample_rate).flatten(0, 1)
        return sounding(frames - 20 * math.log10(gain))

    def match(self, heard: Tensor, frames: Tensor, reference: Tensor, reference_frames: Tensor) -> Tensor:
        """Tell what alike moments of two recordings differ by; see `fxst.models.matching.match`.

        Shape:
            heard, reference: (D,), their statistics; frames: (n, bands); reference_frames: (m, bands); result: (M,).
        """
        return match(frames, reference_frames, self.shared(heard, reference))

    def shared(self, heard: Tensor, reference: Tensor) -> Tensor:
        """Tell which bands of the long-term spectrum both of two recordings have: 1 for those, 0 for the others.

        Shape:
            heard, reference: (D,), their statistics; result: (bands,).
        """
        return self.ear.shared(24_000 * 2 ** min(float(heard[-1]), float(reference[-1])))

    def decide(self, input: Tensor, reference: Tensor, matched: Tensor) -> Decision:  # noqa: A002
        """Set the knobs that bring an input to a reference.

        Args:
            input: The statistics of the one.
            reference: And of the other.
            matched: What alike moments of both differ by.

        Shape:
            input, reference: (B, D); matched: (B, M).
        """
        result: Decision = self.controller(*self.ear.compare(input, reference), matched)
        return result

    def expect(self, input: Tensor, reference: Tensor, matched: Tensor) -> Expected:  # noqa: A002
        """Tell what an input is expected to be heard as, once it is produced like a reference.

        Args:
            input: The statistics of the one.
            reference: And of the other.
            matched: What alike moments of both differ by.

        Shape:
            input, reference: (B, D); matched: (B, M).
        """
        result: Expected = self.expectation(*self.ear.compare(input, reference), matched)
        return result


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


class _Expectation(nn.Module):
    """Expects what an input would be heard as, were it produced like a reference: of its own content, in their style.

    It sees what meters show, and nothing that a CNN learned; so it is good for an ear that learns on.
    """

    HIDDEN = 128

    def __init__(self, ear: Ear, channels: int) -> None:
        super().__init__()
        self.spectrum = ear.spectrum_features
        self.moves = slice(self.spectrum.stop, ear.n_features)
        self.levels = ear.level_features
        width = 2 * (ear.n_features - self.spectrum.stop) + matched_size(ear.spectrum_bands)
        self.hidden = nn.Sequential(
            nn.Linear(width, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, self.HIDDEN), nn.ReLU()
        )
        self.bands = Bands(ear, self.HIDDEN, channels)
        self.heeded = nn.Parameter(torch.full((ear.spectrum_bands,), 0.6))
        self.louder = nn.Parameter(torch.ones(ear.spectrum_bands))
        self.followed = nn.Parameter(torch.full((self.levels.stop - self.levels.start,), 0.7))
        self.correction = nn.Linear(self.HIDDEN, self.levels.stop - self.levels.start)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, heard: Tensor, difference: Tensor, shared: Tensor, rate: Tensor, matched: Tensor) -> Expected:
        hidden = self.hidden(torch.cat((heard[:, self.moves], difference[:, self.moves], matched), 1))
        both = shared[:, self.spectrum]
        # How loud the one is beside the other is known as a whole: the layers along frequency are not told.
        shape = centred(difference[:, self.spectrum], both)
        louder = (difference[:, self.spectrum] - shape) * both
        change = self.heeded * shape + self.louder * louder + self.bands(heard, difference, shared, matched, hidden)
        levels = heard[:, self.levels] + self.followed * difference[:, self.levels] + self.correction(hidden)
        return Expected(heard[:, self.spectrum] + change * both, levels, both)


class _Controller(nn.Module):
    """An MLP with ReLU from what was heard, and what differs, to knobs by a sigmoid.

    What an equaliser should do is said as a curve: what the long-term spectra differ by, corrected for what the two
    recordings contain, and for what other effects do. A fitter sets the bands for it. The curve leaves the level alone;
    what level is missing behind it is known from the two spectra, and a gain begins there.

    All other knobs are judged by layers of their own, which heed all that was heard: how loud which band is tells of
    compressors. Where curves are judged it is left out.
    """

    def __init__(self, ear: Ear, config: StudioModelConfig) -> None:
        super().__init__()
        self.spectrum = ear.spectrum_features
        self.heeded_features = _heeded(ear)
        self.gain_knob, self.gain_db = config.gain_knob - config.n_curve_knobs, config.gain_db
        self.first_curve_knob = config.first_curve_knob
        width = sum(part.stop - (part.start or 0) for part in self.heeded_features)
        width += ear.n_features + matched_size(config.spectrum_bands)
        self.scale = _Scale(width)
        self.hidden = _layers(width, config.hidden)
        self.heeded = nn.Parameter(torch.full((config.spectrum_bands,), 0.1))
        self.followed = nn.Parameter(torch.full((config.spectrum_bands,), 0.7))
        self.bands = Bands(ear, config.hidden[-1], config.band_channels)
        self.fitter = Fitter(config.spectrum_bands, config.n_curve_knobs, config.fitter_width)
        everything, width = 2 * ear.n_features + matched_size(config.spectrum_bands), config.rest_hidden[-1]
        self.rest_scale = _Scale(everything)
        self.rest_hidden = _layers(everything, config.rest_hidden)
        self.rest = nn.Sequential(nn.Linear(width + config.spectrum_bands + 2, width), nn.ReLU())
        self.out = nn.Linear(width, config.n_knobs - config.n_curve_knobs + config.n_effects)
        self.n_effects = config.n_effects
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def begin(self, knobs: Tensor) -> None:
        """Set where training begins.

        Args:
            knobs: Where the knobs are that no curve sets.

        Shape:
            knobs: (n_knobs - n_curve_knobs,), on [0, 1].
        """
        with torch.no_grad():
            self.out.bias[: len(knobs)] = torch.logit(knobs, eps=0.1)

    def forward(self, heard: Tensor, difference: Tensor, shared: Tensor, rate: Tensor, matched: Tensor) -> Decision:
        seen = torch.cat((*(heard[:, part] for part in self.heeded_features), difference, matched), 1)
        hidden = self._judged(seen, self.scale, self.hidden)
        both = shared[:, self.spectrum]
        spectrum, more = heard[:, self.spectrum], difference[:, self.spectrum]
        pairs = matched[:, both.shape[1] : 2 * both.shape[1]]
        followed = self.heeded * more + self.followed * pairs
        curve = centred(followed + self.bands(heard, difference, shared, matched, hidden), both)
        level = _level(spectrum + curve, both)
        missing = _level(spectrum + more, both) - level
        judged = self._judged(torch.cat((heard, difference, matched), 1), self.rest_scale, self.rest_hidden)
        out = self.out(self.rest(torch.cat((judged, curve, level, missing), 1)))
        rest, wanted = out.split([out.shape[1] - self.n_effects, self.n_effects], 1)
        # At the middle of its range a knob turns by a quarter of it for each logit.
        gain = F.one_hot(torch.tensor(self.gain_knob), rest.shape[1]).to(rest) * (missing * 20 / (self.gain_db / 2))
        before, behind = (rest + gain).tensor_split((self.first_curve_knob,), 1)
        return Decision(torch.sigmoid(torch.cat((before, self.fitter(curve, rate), behind), 1)), wanted, curve)

    def _judged(self, seen: Tensor, scale: nn.Module, layers: nn.Module) -> Tensor:
        features = F.dropout(scale(seen), DROPPED, self.training)
        return F.dropout(layers(features), DROPPED, self.training)


def _layers(width: int, sizes: tuple[int, ...]) -> nn.Sequential:
    """Stack hidden layers."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers)


def _heeded(ear: Ear) -> tuple[slice, ...]:
    """Tell which features of one recording are heeded where a curve is judged: all but what its level is in each band.

    That is for the most part whose voice it is. Of few voices a controller would learn what each sounds like, and of
    another one it would think that it is one of those, equalised; what two recordings differ by is all that it needs.
    """
    deviation = 2 * ear.learned + ear.picture_bands
    return (
        slice(2 * ear.learned),
        slice(deviation, deviation + ear.picture_bands),
        slice(ear.spectrum_features.stop, ear.n_features),
    )


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
