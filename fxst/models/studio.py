"""The studio model: it compares recordings of any sample rate, and sets a whole chain of effects."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fxst.dsp import Array, Samples
from fxst.dsp.arrays import AnyArray, array_namespace, at_least, constant, sigmoid
from fxst.models.feature_extractor import FLOOR, FeatureExtractor, octave_centres
from fxst.models.frequency_conv_net import FrequencyConvNet
from fxst.models.layers import Part
from fxst.models.matching import active_frames, match, matched_size
from fxst.models.network import Decision, LongTerm, StyleNetwork
from fxst.models.sizes import from_plain

__all__ = ["CENTRE_HZ", "Fitter", "StudioModelConfig", "StudioNetwork", "centred"]

DROPPED: Final = 0.05
"""Dropout of the controller's features in training."""

CENTRE_HZ: Final = (80.0, 10_000.0)
"""The mean of an equaliser's curve over these frequencies is 0 dB."""

SOFTEST: Final = 10 ** (-12 / 20)
"""Frames of recordings with lower peaks are measured as if their peaks were as high, as in training."""

WINDOW_SECONDS: Final = (0.25, 60.0)
"""The shortest and the longest analysis window."""

MOST_BANDS: Final = 1024
"""The largest number of bands: tables between bands are as large as their square."""


@dataclass(frozen=True)
class StudioModelConfig:
    """Sizes of a studio model; written into every model file.

    Args:
        n_knobs: The knobs of its chain.
        n_effects: The effects of its chain; it estimates for each whether it is active.
        n_curve_knobs: The number of consecutive knobs that are those of the equaliser.
        gain_knob: The index of the gain behind the equaliser.
        gain_db: The largest gain, up or down.
        window_seconds: Length of one analysis window.
        mel_bands: Bands of the log-mel spectrogram.
        spectrum_bands: Bands of the long-term spectrum, equally wide in octaves.
        channels: Channels of the CNN's layers.
        hidden: Widths of the controller's hidden layers for the equaliser's curve.
        rest_hidden: Widths of those for all else.
        fitter_width: Width of the layers that fit an equaliser to a curve.
        band_channels: Channels of the convolutions along frequency.
        first_curve_knob: The index of the equaliser's first knob.
    """

    n_knobs: int
    n_effects: int
    n_curve_knobs: int
    gain_knob: int
    gain_db: float
    window_seconds: float
    mel_bands: int = 80
    spectrum_bands: int = 96
    channels: tuple[int, ...] = (8, 16, 24, 32)
    hidden: tuple[int, ...] = (256, 256)
    rest_hidden: tuple[int, ...] = (384, 256)
    fitter_width: int = 384
    band_channels: int = 64
    first_curve_knob: int = 0

    @property
    def curve_knobs(self) -> slice:
        """The knobs of the equaliser."""
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
            raise ValueError("its gain is not a knob behind the equaliser's")
        if not config.gain_db:
            raise ValueError("its gain is not a knob behind the equaliser's")
        if max(config.mel_bands, config.spectrum_bands) > MOST_BANDS:
            raise ValueError(f"it has more than {MOST_BANDS} bands")
        if not WINDOW_SECONDS[0] <= config.window_seconds <= WINDOW_SECONDS[1]:
            raise ValueError("window_seconds is not between {} and {}".format(*WINDOW_SECONDS))
        return config


class StudioNetwork(StyleNetwork, Part):
    """A feature extractor for both recordings, and a controller that compares them.

    All statistics are means over time, so those of a long recording are the mean of its windows'. Times are in seconds
    and bands in Hz: recordings of different sample rates are compared in the bands that both hold.

    Args:
        config: The sizes.
    """

    uses_frames = True

    def __init__(self, config: StudioModelConfig) -> None:
        super().__init__()
        self.config: StudioModelConfig = config
        self.extractor: Any = self.part(FeatureExtractor, config.mel_bands, config.spectrum_bands, config.channels)
        self.controller: Any = self.part(_Controller, self.extractor, config)

    @classmethod
    def from_plain(cls, sizes: Any, state: Mapping[str, AnyArray]) -> "StudioNetwork":
        """Make a network for the sizes that a card holds.

        Raises:
            ValueError: The sizes are not a studio model's.
        """
        return cls(StudioModelConfig.from_dict(sizes))

    def agrees(self, *, effects: int, sample_rate: int) -> bool:
        """Return whether it estimates the activation of each of so many effects."""
        return self.config.n_effects == effects

    @property
    def curve_knobs(self) -> slice:
        """Which knobs are those of the equaliser that a decision's curve is for."""
        return self.config.curve_knobs

    def analysis_rate(self, sample_rate: int) -> int:
        """Return the sample rate at which a recording is analysed: its own, between 8 and 48 kHz."""
        return min(max(sample_rate, 8000), 48_000)

    def window_at(self, sample_rate: int) -> int:
        """Return the length of an analysis window, in samples at the analysis rate."""
        return round(self.config.window_seconds * sample_rate)

    def analyse(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure windows; the statistics of a recording are the mean of those of its windows.

        Shape:
            windows: (N, T), T samples at least a quarter second long; result: (N, D).
        """
        return self.extractor(windows, sample_rate=sample_rate)

    def embed(self, statistics: AnyArray) -> AnyArray:
        """Return the features of statistics: (B, D) to (B, features)."""
        return self.extractor.features(statistics)

    def frames(self, windows: AnyArray, *, sample_rate: int) -> AnyArray:
        """Measure the levels of the active short-time frames, in dB by band, evenly spread over the windows.

        Shape:
            windows: (N, T), as `analyse` takes them; result: (n, bands), n at most `fxst.models.matching.MOST_FRAMES`.
        """
        xp = array_namespace(windows)
        peak = float(xp.max(xp.abs(windows))) if len(windows) else 0.0
        # Soft recordings would sink below the floor, treble first, and that would pass for a curve.
        gain = SOFTEST / peak if 0 < peak < SOFTEST else 1.0
        frames = self.extractor.frames(gain * windows, sample_rate=sample_rate)
        return active_frames(xp.reshape(frames, (-1, frames.shape[2])) - 20 * math.log10(gain))

    def match(self, input: AnyArray, frames: AnyArray, reference: AnyArray, reference_frames: AnyArray) -> AnyArray:  # noqa: A002
        """Measure the difference of alike frames of two recordings; see `fxst.models.matching.match`.

        Shape:
            input, reference: (D,), their statistics; frames: (n, bands); reference_frames: (m, bands); result: (M,).
        """
        return match(frames, reference_frames, constant(self.shared(input, reference), input))

    def curve_frequencies(self, sample_rate: int) -> Array:
        """Return the frequency of each band of a curve, in Hz; NaN for bands that the sample rate does not hold.

        Shape:
            result: (bands,).
        """
        return np.where(self.extractor.shared(sample_rate) > 0, self.extractor.octave_centres, np.nan)

    def shared(self, input: AnyArray, reference: AnyArray) -> Samples:  # noqa: A002
        """Return 1 for the bands of the long-term spectrum that both recordings have, 0 for the others.

        Shape:
            input, reference: (D,), their statistics; result: (bands,).
        """
        octaves = min(float(self.nn.detached(x)[-1]) for x in (input, reference))
        return np.asarray(self.extractor.shared(24_000 * 2**octaves))

    def long_term(self, statistics: AnyArray) -> LongTerm:
        """Return the long-term spectrum of a recording.

        Shape:
            statistics: (D,), an array of NumPy's.
        """
        result: LongTerm = self.extractor.long_term(statistics)
        return result

    def decide(self, input: AnyArray, reference: AnyArray, matched: AnyArray) -> Decision:  # noqa: A002
        """Decide on the knobs that bring an input to a reference.

        Args:
            input: The statistics of the input.
            reference: The statistics of the reference.
            matched: The difference of alike frames of both.

        Shape:
            input, reference: (B, D); matched: (B, M).
        """
        result: Decision = self.controller(*self.extractor.compare(input, reference), matched)
        return result


class Fitter(Part):
    """Sets an equaliser's knobs for a curve.

    It is trained on curves alone, of which any number can be drawn, before any recording is analysed.
    """

    def __init__(self, bands: int, n_knobs: int, width: int) -> None:
        super().__init__()
        nn = self.nn
        self.layers = nn.Sequential(
            nn.Linear(bands + 1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_knobs)
        )

    def forward(self, curve: AnyArray, rate: AnyArray) -> AnyArray:
        """Return the knobs, as logits.

        Args:
            curve: The response, in units of 20 dB; 0 above the range of the sample rate.
            rate: The sample rate in octaves above 24 kHz.

        Shape:
            curve: (B, bands); rate: (B, 1); result: (B, n_knobs).
        """
        return self.layers(array_namespace(curve).concat((curve, rate), axis=1))


class _Controller(Part):
    """An MLP with ReLU from the features of the input, and their difference to the reference's, to knobs by a sigmoid.

    The equaliser is decided on as a curve: the difference of the long-term spectra, corrected for the content of the
    two recordings and for other effects. A fitter sets the bands for it. The mean of the curve is 0 dB; the remaining
    level difference follows from the two spectra, and the gain begins there.

    All other knobs have layers of their own, which see every feature. The layers for the curve do not see the levels of
    the input's bands: those depend on the voice.
    """

    def __init__(self, extractor: FeatureExtractor, config: StudioModelConfig) -> None:
        super().__init__()
        nn = self.nn
        self.spectrum = extractor.spectrum_features
        self.curve_features = _curve_features(extractor)
        self.gain_knob, self.gain_db = config.gain_knob - config.n_curve_knobs, config.gain_db
        self.first_curve_knob = config.first_curve_knob
        width = sum(part.stop - (part.start or 0) for part in self.curve_features)
        width += extractor.n_features + matched_size(config.spectrum_bands)
        self.scale: Any = self.part(_Scale, width)
        self.hidden = self._layers(width, config.hidden)
        self.spectrum_weight = nn.Parameter(np.full(config.spectrum_bands, 0.1))
        self.pairs_weight = nn.Parameter(np.full(config.spectrum_bands, 0.7))
        self.frequency_net: Any = self.part(FrequencyConvNet, extractor, config.hidden[-1], config.band_channels)
        self.fitter: Any = self.part(Fitter, config.spectrum_bands, config.n_curve_knobs, config.fitter_width)
        everything, width = 2 * extractor.n_features + matched_size(config.spectrum_bands), config.rest_hidden[-1]
        self.rest_scale: Any = self.part(_Scale, everything)
        self.rest_hidden = self._layers(everything, config.rest_hidden)
        self.rest = nn.Sequential(nn.Linear(width + config.spectrum_bands + 2, width), nn.ReLU())
        self.out = nn.Linear(width, config.n_knobs - config.n_curve_knobs + config.n_effects)
        self.dropout = nn.Dropout(DROPPED)
        self.n_effects = config.n_effects
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, features: AnyArray, difference: AnyArray, shared: AnyArray, rate: AnyArray, matched: AnyArray
    ) -> Decision:
        xp = array_namespace(features)
        seen = xp.concat((*(features[:, part] for part in self.curve_features), difference, matched), axis=1)
        hidden = self._hidden(seen, self.scale, self.hidden)
        both = shared[:, self.spectrum]
        spectrum, more = features[:, self.spectrum], difference[:, self.spectrum]
        pairs = matched[:, both.shape[1] : 2 * both.shape[1]]
        followed = self.spectrum_weight * more + self.pairs_weight * pairs
        curve = centred(followed + self.frequency_net(features, difference, shared, matched, hidden), both)
        level = _level(spectrum + curve, both)
        missing = _level(spectrum + more, both) - level
        everything = xp.concat((features, difference, matched), axis=1)
        hidden_rest = self._hidden(everything, self.rest_scale, self.rest_hidden)
        out = self.out(self.rest(xp.concat((hidden_rest, curve, level, missing), axis=1)))
        n_rest = out.shape[1] - self.n_effects
        rest, activation = out[:, :n_rest], out[:, n_rest:]
        # In the middle of its range a knob moves by a quarter of it for each logit.
        gain = rest[:, self.gain_knob : self.gain_knob + 1] + missing * 20 / (self.gain_db / 2)
        rest = xp.concat((rest[:, : self.gain_knob], gain, rest[:, self.gain_knob + 1 :]), axis=1)
        before, behind = rest[:, : self.first_curve_knob], rest[:, self.first_curve_knob :]
        knobs = sigmoid(xp.concat((before, self.fitter(curve, rate), behind), axis=1))
        return Decision(knobs, activation, curve)

    def _hidden(self, features: AnyArray, scale: Any, layers: Any) -> AnyArray:
        return self.dropout(layers(self.dropout(scale(features))))

    def _layers(self, width: int, sizes: tuple[int, ...]) -> Any:
        """Stack hidden layers."""
        layers = []
        for size in sizes:
            layers += [self.nn.Linear(width, size), self.nn.ReLU()]
            width = size
        return self.nn.Sequential(*layers)


def _curve_features(extractor: FeatureExtractor) -> tuple[slice, ...]:
    """Return the features of the input that the layers for the curve see: all but the level in each band.

    Those levels identify the voice. From few voices a controller would learn each of them, and take another voice for
    one of these, equalised.
    """
    deviation = 2 * extractor.learned + extractor.mel_bands
    return (
        slice(2 * extractor.learned),
        slice(deviation, deviation + extractor.mel_bands),
        slice(extractor.spectrum_features.stop, extractor.n_features),
    )


def centred(curve: AnyArray, shared: AnyArray) -> AnyArray:
    """Shift a curve so that its mean over `CENTRE_HZ` is 0; it is 0 in bands that a recording does not hold.

    Shape:
        curve, shared: (B, bands); result: (B, bands).
    """
    xp = array_namespace(curve)
    hz = octave_centres(curve.shape[1])
    middle = shared * constant(((hz >= CENTRE_HZ[0]) & (hz <= CENTRE_HZ[1])).astype(np.float32), curve)
    count = at_least(xp.sum(middle, axis=1, keepdims=True), 1)
    return (curve - xp.sum(curve * middle, axis=1, keepdims=True) / count) * shared


def _level(spectrum: AnyArray, shared: AnyArray) -> AnyArray:
    """Sum a long-term spectrum to a level: (B, bands) to (B, 1), both in units of 20 dB."""
    xp = array_namespace(spectrum)
    # Bands of equal width in octaves are wider in Hz the higher they are.
    width = constant(octave_centres(spectrum.shape[1]).astype(np.float32), spectrum)
    return xp.log10(xp.sum(10 ** (2 * spectrum) * width * shared, axis=1, keepdims=True) + FLOOR) / 2


class _Scale(Part):
    """Standardises features by the mean and deviation of all batches so far, in training too.

    A batch's own statistics would not do: batches of speech and of music differ.
    """

    MEMORY = 500

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: AnyArray
        # One number seen from every place: the sizes of a damaged card must take no memory.
        self.register_buffer("mean", np.broadcast_to(np.float32(0), size))
        self.square: AnyArray
        self.register_buffer("square", np.broadcast_to(np.float32(1), size))
        self.batches: AnyArray
        self.register_buffer("batches", np.zeros((), np.float32))

    def forward(self, x: AnyArray) -> AnyArray:
        if self.training:
            self._take_in(self.nn.detached(x))
        xp = array_namespace(x)
        deviation = xp.sqrt(at_least(self.square - self.mean * self.mean, 1e-4))
        return xp.clip((x - self.mean) / deviation, -6, 6)

    def _take_in(self, x: AnyArray) -> None:
        """Move mean and mean square towards those of a batch, of torch tensors."""
        self.batches += 1
        share = 1 / self.batches.clamp_max(self.MEMORY)
        self.mean.lerp_(self.nn.batch_mean(x), share)
        self.square.lerp_(self.nn.batch_mean(x.square()), share)
