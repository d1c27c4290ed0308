"""Productions: random styles as studios and old media give them, for protocol Q and for training.

They are drawn independently of fxst's own chains, and rendered by other code than its effects: SoX's filters and
`compand`, a waveshaper between two emphasis filters, convolution, and a limiter that brings a recording to a loudness.
Drawn settings are plain data, so a list of items can store them and reproduce the audio.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from fxst.data import sox
from fxst.data.corruption import FLOOR_DB
from fxst.dsp import Array, Samples
from fxst.dsp.kernels import sosfilt
from fxst.dsp.loudness import ABSOLUTE_GATE_LUFS, loudness

__all__ = [
    "Filter",
    "LoudnessLimiter",
    "Production",
    "Response",
    "Room",
    "Saturation",
    "SoftKneeCompressor",
    "Width",
    "draw_production",
]

FilterKind = Literal["high_pass", "low_pass", "bell", "low_shelf", "high_shelf"]
RoomKind = Literal["room", "plate", "spring"]
Only = Literal["distortion", "reverb"]

MOST_DB: Final = 12.0
"""The largest gain of a filter; most are within half of it."""

COMPRESSED_LUFS: Final = -24.0
"""The loudness at which a recording enters a compressor."""

SATURATED_LUFS: Final = -20.0
"""The loudness at which it enters a waveshaper."""

CEILING: Final = 10 ** (-1 / 20)
LOOKAHEAD_SECONDS: Final = 0.002
RELEASE_SECONDS: Final = 0.08

NEAR_LU: Final = 0.1
MOST_PASSES: Final = 3
"""How near to its loudness a limiter comes, or how often it tries."""

HIGHEST: Final = 0.9
"""The highest frequency of a filter relative to the Nyquist frequency."""

BUTTERWORTH_QS: Final = (0.5411961, 1.3065630)
"""Quality factors of the two sections of a fourth-order Butterworth filter."""

Response: TypeAlias = tuple[Samples, int]
"""A measured room response, `(channels, time)`, and its sample rate."""


@dataclass(frozen=True)
class Filter:
    """A second-order filter, or a fourth-order Butterworth high- or low-pass.

    Args:
        kind: The filter's kind.
        f0_hz: Its frequency.
        q: Its quality factor; ignored for shelves, whose slope is 0.5.
        gain_db: Its gain; 0 for high- and low-passes.
        steep: Whether a high- or low-pass is of fourth order.
    """

    kind: FilterKind
    f0_hz: float
    q: float = math.sqrt(0.5)
    gain_db: float = 0.0
    steep: bool = False

    def sections(self, *, sample_rate: int) -> Array:
        """Return the filter as second-order sections.

        Shape:
            result: (K, 6).
        """
        if self.kind == "bell":
            return sox.equalizer(self.f0_hz, self.q, self.gain_db, sample_rate=sample_rate)
        if self.kind in ("low_shelf", "high_shelf"):
            shelf = sox.bass if self.kind == "low_shelf" else sox.treble
            return shelf(self.f0_hz, self.gain_db, sample_rate=sample_rate)
        qs = BUTTERWORTH_QS if self.steep else (self.q,)
        return np.stack([_pass(self.kind, self.f0_hz, q, sample_rate) for q in qs])

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Filter a recording."""
        return sox.filtered(x, self.sections(sample_rate=sample_rate))


@dataclass(frozen=True)
class SoftKneeCompressor:
    """A soft-knee compressor, SoX's `compand`, which a recording enters at -24 LUFS.

    Args:
        threshold_db: The level above which it acts.
        ratio: Decibels in for one out.
        attack_ms: Time constant of rising levels.
        release_ms: Time constant of falling levels.
        knee_db: Rounding of the curve's corner.
    """

    threshold_db: float
    ratio: float
    attack_ms: float
    release_ms: float
    knee_db: float

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Compress a recording, all channels by one gain."""
        from fxst.dsp.follower import Follower

        louder = _at_loudness(x, COMPRESSED_LUFS, sample_rate).astype(np.float64)
        points = ((FLOOR_DB, FLOOR_DB), (self.threshold_db,) * 2, (0.0, self.threshold_db * (1 - 1 / self.ratio)))
        factor = sox.curve(points, knee_db=self.knee_db, gain_db=0.0)
        attack, release = (math.exp(-1000 / (ms * sample_rate)) for ms in (self.attack_ms, self.release_ms))
        level = Follower(attack, release, begin=10 ** (FLOOR_DB / 20), channels=1)(np.abs(louder).max(0, keepdims=True))
        return np.asarray(louder * factor(np.minimum(level, 1.0)), np.float32)


@dataclass(frozen=True)
class Saturation:
    """A waveshaper as an amplifier has it, which a recording enters at -20 LUFS.

    Args:
        drive_db: The gain before it.
        bias: The operating point; other than 0, it makes even harmonics, too.
        emphasis_db: The gain of a high shelf before it, which is undone behind it.
        emphasis_hz: The shelf's frequency.
    """

    drive_db: float
    bias: float
    emphasis_db: float
    emphasis_hz: float

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Saturate a recording."""
        louder = _at_loudness(x, SATURATED_LUFS, sample_rate)
        before, after = (
            sox.treble(self.emphasis_hz, sign * self.emphasis_db, sample_rate=sample_rate) for sign in (1, -1)
        )
        driven = 10 ** (self.drive_db / 20) * sox.filtered(louder, before).astype(np.float64)
        shaped = (np.tanh(driven + self.bias) - math.tanh(self.bias)).astype(np.float32)
        # What the bias adds is no sound.
        blocked = _pass("high_pass", 10.0, math.sqrt(0.5), sample_rate)[None]
        return sox.filtered(shaped, np.concatenate([blocked, after]))


@dataclass(frozen=True)
class Room:
    """A reverberation, added to the recording by convolution.

    Args:
        kind: `room`: sparse early reflections, then a tail that loses its treble; `plate`: a dense and bright tail from
            the beginning; `spring`: a train of echoes whose bass comes first.
        seconds: The time in which the tail falls by 60 dB.
        wet_db: The level of the reverberation relative to the recording.
        seed: Of the response's noise.
        measured: Which of the measured responses is used where there are any, on [0, 1); None for a modelled one.
    """

    kind: RoomKind
    seconds: float
    wet_db: float
    seed: int
    measured: float | None = None

    def response(self, *, sample_rate: int, channels: int, responses: Sequence[Response] = ()) -> Samples:
        """Return the response, at unit energy in each channel.

        Shape:
            result: (channels, time).
        """
        if self.measured is not None and responses:
            found, rate = responses[int(self.measured * len(responses))]
            return _unit_energy(_as_channels(_resampled(found, rate, sample_rate), channels))
        rng = np.random.default_rng(self.seed)
        length = round(self.seconds * sample_rate)
        time = np.arange(length) / sample_rate
        noise = 2 * rng.random((channels, length)) - 1
        tail = noise * 10 ** (-3 * time / self.seconds)
        if self.kind == "room":
            early = np.where(rng.random((channels, length)) < 12 * (time + 0.002) ** -0.5 / sample_rate, 6.0, 0.0)
            tail = np.where(time < 0.04, early * tail, tail)
            tail = _pass_filtered("low_pass", 4500.0, tail, sample_rate)
        elif self.kind == "spring":
            tail = _dispersed(_echoes(channels, length, sample_rate, rng) * 10 ** (-3 * time / self.seconds))
            tail = _pass_filtered("low_pass", 4000.0, tail, sample_rate)
        return _unit_energy(tail.astype(np.float32))

    def apply(self, x: Samples, *, sample_rate: int, responses: Sequence[Response] = ()) -> Samples:
        """Add the reverberation to a recording; what lasts longer is cut off."""
        response = self.response(sample_rate=sample_rate, channels=len(x), responses=responses)
        size = 1 << (x.shape[1] + response.shape[1] - 1).bit_length()
        spectrum = np.fft.rfft(x.astype(np.float64), size) * np.fft.rfft(response.astype(np.float64), size)
        wet = np.fft.irfft(spectrum, size)[:, : x.shape[1]]
        share = 10 ** (self.wet_db / 20) * math.sqrt(_power(x) / max(_power(wet), 1e-20))
        return np.asarray(x + share * wet, np.float32)


@dataclass(frozen=True)
class Width:
    """A stereo width: a gain of the side signal. It leaves mono recordings, and more than two channels, as they are.

    Args:
        side: The gain factor.
    """

    side: float

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Change the width of a recording."""
        if len(x) != 2:
            return x.copy()
        mid, side = (x[0] + x[1]) / 2, (x[0] - x[1]) * np.float32(self.side / 2)
        return np.stack([mid + side, mid - side])


@dataclass(frozen=True)
class LoudnessLimiter:
    """A look-ahead limiter that brings a recording to a loudness, under a ceiling of -1 dBFS.

    Args:
        lufs: The integrated loudness.
    """

    lufs: float

    def apply(self, x: Samples, *, sample_rate: int) -> Samples:
        """Limit a recording."""
        louder = _at_loudness(x, self.lufs, sample_rate)
        for _ in range(MOST_PASSES):
            y = _limited(louder, sample_rate)
            if y is louder:
                break
            # The limiter takes some of the loudness, which is then added before it.
            missing_lu = self.lufs - loudness(y, sample_rate=sample_rate)
            if not NEAR_LU < abs(missing_lu) < math.inf:
                break
            louder = louder * np.float32(10 ** (missing_lu / 20))
        return y


Step: TypeAlias = Filter | SoftKneeCompressor | Saturation | Room | Width | LoudnessLimiter


@dataclass(frozen=True)
class Production:
    """A production: the steps that a studio takes, one after the other.

    Args:
        steps: The steps; the last one sets the loudness.
    """

    steps: tuple[Step, ...]

    def apply(self, x: Samples, *, sample_rate: int, responses: Sequence[Response] = ()) -> Samples:
        """Produce a recording.

        Args:
            x: The recording; it is not changed.
            sample_rate: Its sample rate.
            responses: Measured room responses, for the rooms that use one.

        Shape:
            x and result: (channels, time).
        """
        for step in self.steps:
            more = {"responses": responses} if isinstance(step, Room) else {}
            x = step.apply(x, sample_rate=sample_rate, **more)
        return x

    def sections(self, *, sample_rate: int) -> Array:
        """Return all filters as second-order sections.

        Shape:
            result: (K, 6).
        """
        filters = [step.sections(sample_rate=sample_rate) for step in self.steps if isinstance(step, Filter)]
        return np.concatenate([np.zeros((0, 6)), *filters])

    def to_data(self) -> list[dict[str, Any]]:
        """Return the steps as data for JSON."""
        return [{"step": type(step).__name__.lower(), **asdict(step)} for step in self.steps]


def draw_production(rng: np.random.Generator, *, sample_rate: int, music: bool, only: Only | None = None) -> Production:
    """Draw a production.

    All draws use the generator's `random` only, whose numbers are the same on any machine and in any release of NumPy.

    Args:
        rng: The random generator.
        sample_rate: Sample rate of the recordings in Hz.
        music: Whether they are music: louder, and sometimes of another width.
        only: `distortion` or `reverb`: one strong effect of this kind and the loudness, nothing else.
    """
    lufs = (-20.0, -8.0) if music else (-24.0, -14.0)
    if only == "distortion":
        return Production((_saturation(rng, (12.0, 30.0)), LoudnessLimiter(_between(rng, *lufs))))
    if only == "reverb":
        return Production((_room(rng, (-9.0, 0.0)), LoudnessLimiter(_between(rng, *lufs))))
    steps: list[Step] = _equaliser(rng, sample_rate)
    if rng.random() < 0.6:
        steps.append(_compressor(rng))
    if rng.random() < 0.15:
        steps.append(_saturation(rng, (0.0, 24.0)))
    if rng.random() < 0.2:
        steps.append(_room(rng, (-24.0, -6.0)))
    if rng.random() < 0.1:
        highest = min(9000.0, HIGHEST * sample_rate / 2)
        steps.append(Filter("high_pass", _log_between(rng, 60, 400), steep=True))
        steps.append(Filter("low_pass", _log_between(rng, 2800, highest), steep=True))
    if music and rng.random() < 0.3:
        steps.append(Width(_log_between(rng, 0.5, 1.7)))
    return Production((*steps, LoudnessLimiter(_between(rng, *lufs))))


def _equaliser(rng: np.random.Generator, sample_rate: int) -> list[Step]:
    highest = HIGHEST * sample_rate / 2
    steps: list[Step] = []
    if rng.random() < 0.5:
        steps.append(Filter("high_pass", _log_between(rng, 30, 130)))
    if rng.random() < 0.6:
        steps.append(Filter("low_shelf", _log_between(rng, 80, 350), gain_db=_moderate_db(rng)))
    for _ in range(1 + int(3 * rng.random())):
        if rng.random() < 0.7:
            f0_hz = _log_between(rng, 150, min(10_000, highest))
            steps.append(Filter("bell", f0_hz, _log_between(rng, 0.4, 2.5), _moderate_db(rng)))
    if rng.random() < 0.6:
        f0_hz = _log_between(rng, 2500, min(11_000, highest))
        steps.append(Filter("high_shelf", f0_hz, gain_db=_moderate_db(rng)))
    return steps


def _compressor(rng: np.random.Generator) -> SoftKneeCompressor:
    attack_ms = _log_between(rng, 1, 40)
    return SoftKneeCompressor(
        threshold_db=_between(rng, -40, -16),
        ratio=_log_between(rng, 1.5, 8),
        attack_ms=attack_ms,
        release_ms=_rounded(attack_ms + _log_between(rng, 40, 400)),
        knee_db=_between(rng, 0, 12),
    )


def _saturation(rng: np.random.Generator, drive_db: tuple[float, float]) -> Saturation:
    return Saturation(
        drive_db=_between(rng, *drive_db),
        bias=_between(rng, 0, 0.6) if rng.random() < 0.5 else 0.0,
        emphasis_db=_between(rng, 0, 9) if rng.random() < 0.5 else 0.0,
        emphasis_hz=_log_between(rng, 600, 4000),
    )


def _room(rng: np.random.Generator, wet_db: tuple[float, float]) -> Room:
    kind: RoomKind = ("room", "plate", "spring")[int(3 * rng.random())]
    return Room(
        kind=kind,
        seconds=_log_between(rng, 0.2, 1.2) if kind == "room" else _log_between(rng, 0.6, 3.0),
        wet_db=_between(rng, *wet_db),
        seed=int(2**31 * rng.random()),
        measured=_rounded(rng.random()) if rng.random() < 0.5 else None,
    )


def _rounded(value: float) -> float:
    """Round a value to its written form before it is applied, so that the list reproduces the audio."""
    return float(f"{value:.6g}")


def _between(rng: np.random.Generator, lowest: float, highest: float) -> float:
    return _rounded(lowest + (highest - lowest) * rng.random())


def _log_between(rng: np.random.Generator, lowest: float, highest: float) -> float:
    return _rounded(lowest * (highest / lowest) ** rng.random())


def _moderate_db(rng: np.random.Generator) -> float:
    # The mean of three is near the middle more often than not.
    return _rounded(MOST_DB * ((rng.random() + rng.random() + rng.random()) * 2 / 3 - 1))


def _pass(kind: str, f0_hz: float, q: float, sample_rate: int) -> Array:
    """Design SoX's `highpass` or `lowpass`.

    Source:
        R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients".
    """
    w = 2 * math.pi * f0_hz / sample_rate
    alpha, cos = math.sin(w) / (2 * q), math.cos(w)
    side = (1 + cos) / 2 if kind == "high_pass" else (1 - cos) / 2
    middle = -2 * side if kind == "high_pass" else 2 * side
    return np.array([side, middle, side, 1 + alpha, -2 * cos, 1 - alpha]) / (1 + alpha)


def _pass_filtered(kind: str, f0_hz: float, x: Array, sample_rate: int) -> Array:
    section = _pass(kind, min(f0_hz, HIGHEST * sample_rate / 2), math.sqrt(0.5), sample_rate)[None]
    y, _ = sosfilt(section, x, np.zeros((1, len(x), 2)))
    return np.asarray(y)


def _echoes(channels: int, length: int, sample_rate: int, rng: np.random.Generator) -> Array:
    """Return the reflections of a spring: regular ones, of alternating sign."""
    echoes = np.zeros((channels, length))
    for channel in range(channels):
        step = round((0.03 + 0.02 * rng.random()) * sample_rate)
        echoes[channel, ::step] = np.where(np.arange(len(range(0, length, step))) % 2, -1.0, 1.0)
    return echoes


def _dispersed(x: Array) -> Array:
    """Delay each frequency by its own time, as a spring does: a cascade of first-order all-passes."""
    a = 0.6
    section = np.tile([a, 1.0, 0.0, 1.0, a, 0.0], (60, 1))
    y, _ = sosfilt(section, x, np.zeros((60, len(x), 2)))
    return np.asarray(y)


def _unit_energy(x: Samples) -> Samples:
    energy = np.sqrt(np.square(x, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.asarray(x / np.maximum(energy, 1e-20), np.float32)


def _as_channels(x: Samples, channels: int) -> Samples:
    return x[np.arange(channels) % len(x)]


def _resampled(x: Samples, rate: int, target_rate: int) -> Samples:
    from fxst import audio

    return audio.resample(x, source_rate=rate, target_rate=target_rate)


def _power(x: Samples | Array) -> float:
    return float(np.square(x, dtype=np.float64).mean())


def _at_loudness(x: Samples, lufs: float, sample_rate: int) -> Samples:
    """Bring a recording to a loudness; one that is too soft to have one stays as it is."""
    found = loudness(x, sample_rate=sample_rate)
    return x * np.float32(10 ** ((lufs - found) / 20)) if found > ABSOLUTE_GATE_LUFS else x.copy()


def _limited(x: Samples, sample_rate: int) -> Samples:
    """Hold peaks under the ceiling: the lowest gain within the look-ahead, released slowly and smoothed."""
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    from fxst.dsp.follower import Follower

    ahead = max(1, round(LOOKAHEAD_SECONDS * sample_rate))
    peaks = np.abs(x).max(axis=0)
    if peaks.max(initial=0.0) <= CEILING:
        return x
    needed = np.minimum(1.0, CEILING / np.maximum(peaks, 1e-9)).astype(np.float64)
    held = minimum_filter1d(needed, 2 * ahead + 1, mode="nearest")
    release = math.exp(-1 / (RELEASE_SECONDS * sample_rate))
    reduction = Follower(0.0, release, begin=0.0, channels=1)((1 - held)[None])[0]
    return np.asarray(x * (1 - uniform_filter1d(reduction, 2 * ahead + 1, mode="nearest")), np.float32)
