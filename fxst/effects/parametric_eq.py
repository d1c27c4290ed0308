"""Parametric equaliser: shelves and peaks in series."""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from fxst.effects.base import Effect, Processor
from fxst.effects.parameters import Parameter
from fxst.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Array, Samples
from fxst.dsp.arrays import AnyArray, array_namespace
from fxst.dsp.kernels import sosfilt

__all__ = ["ParametricEQ", "section"]

Kind = Literal["low_shelf", "peak", "high_shelf"]

HIGHEST_F0 = 0.49
"""Upper limit of band frequencies as a fraction of the sample rate, for the bilinear transform."""


def section(kind: Kind, a: Any, q: Any, k: Any) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Design one band as an analogue section, on floats or tensors.

    Args:
        kind: Shape of the band.
        a: Square root of the gain as an amplitude factor.
        q: Quality factor.
        k: tan(pi f0 / sample_rate), the pre-warped frequency.

    Returns:
        Numerator and denominator, each (c0, c1, c2) of c0 + c1 s + c2 s^2 with s = (1 - 1/z) / (1 + 1/z).

    Source:
        R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients": its analogue
        prototypes, with s replaced by s / k.
    """
    if kind == "peak":
        return (k * k, k * a / q, 1 + 0 * k), (k * k, k / (a * q), 1 + 0 * k)
    damping = k * a**0.5 / q
    if kind == "low_shelf":
        return (a * a * k * k, a * damping, a + 0 * k), (k * k, damping, a + 0 * k)
    return (a * k * k, a * damping, a * a + 0 * k), (a * k * k, damping, 1 + 0 * k)


def _band_names(kinds: tuple[Kind, ...]) -> tuple[str, ...]:
    """Name the bands: shelves after their kind, peaks by number, and any second shelf by number too."""
    count, seen, names = Counter(kinds), Counter[str](), []
    for kind in kinds:
        seen[kind] += 1
        names.append(kind if count[kind] == 1 and kind != "peak" else f"{kind}{seen[kind]}")
    return tuple(names)


@functools.cache
def _parameters(kinds: tuple[Kind, ...]) -> tuple[Parameter, ...]:
    """Return three full-range parameters a band, with default frequencies spread from 60 Hz to 8 kHz."""
    rows = []
    for index, band in enumerate(_band_names(kinds)):
        f0_hz = 60.0 * (8000.0 / 60.0) ** (index / max(1, len(kinds) - 1))
        rows += [
            Parameter(f"{band}_gain_db", -24.0, 24.0, 0.0, "dB"),
            Parameter(f"{band}_f0_hz", 20.0, 20_000.0, float(f"{f0_hz:.3g}"), "Hz", "log"),
            Parameter(f"{band}_q", 0.1, 10.0, 0.7071068, "", "log"),
        ]
    return tuple(rows)


SIX_BANDS: tuple[Kind, ...] = ("low_shelf", "peak", "peak", "peak", "peak", "high_shelf")


@dataclass(frozen=True)
class ParametricEQ(Effect):
    """Second-order bands in series: low shelves, peaks and high shelves, each with gain, frequency and Q.

    The exact form is a cascade of float64 second-order sections, which is accurate at 20 Hz, unlike float32 biquads.

    Args:
        parameters: Ranges; by default the widest of every band.
        kinds: Shapes of the bands, in series.
    """

    parameters: tuple[Parameter, ...] = ()
    kinds: tuple[Kind, ...] = SIX_BANDS

    name: ClassVar[str] = "parametric_eq"
    autodiff_error_db: ClassVar[float] = -70.0

    def __post_init__(self) -> None:
        if not self.kinds or any(kind not in get_args(Kind) for kind in self.kinds):
            raise SettingsError(f"The bands of an equaliser are {', '.join(get_args(Kind))}, one or more.")
        if not self.parameters:
            object.__setattr__(self, "parameters", self.widest())
        super().__post_init__()

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in series; each has `_gain_db`, `_f0_hz` and `_q`."""
        return _band_names(self.kinds)

    def widest(self) -> tuple[Parameter, ...]:
        return _parameters(self.kinds)

    def transparent(self) -> Mapping[str, float]:
        return {f"{band}_gain_db": 0.0 for band in self.bands}

    def summary(self, values: Mapping[str, float]) -> str:
        """List the bands with a gain, from low to high."""
        bands = []
        for kind, band in zip(self.kinds, self.bands, strict=True):
            gain_db, hz = round(values[f"{band}_gain_db"], 1), values[f"{band}_f0_hz"]
            shape = "" if kind == "peak" else f" ({kind.replace('_', ' ')})"
            place = f"{hz / 1000:.3g} kHz" if hz >= 1000 else f"{hz:.3g} Hz"
            bands.append((hz, f"{gain_db:+g} dB at {place}{shape}" if gain_db else ""))
        return ", ".join(words for _, words in sorted(bands) if words) or "flat"

    def sections(self, values: Mapping[str, float], *, sample_rate: int) -> Array:
        """Return the bands as second-order sections in SciPy's layout, (K, 6)."""
        rows = []
        for kind, band in zip(self.kinds, self.bands, strict=True):
            a = 10.0 ** (values[f"{band}_gain_db"] / 40)
            k = math.tan(math.pi * min(values[f"{band}_f0_hz"] / sample_rate, HIGHEST_F0))
            polynomials = section(kind, a, values[f"{band}_q"], k)
            b, d = ((c2 + c1 + c0, 2 * (c0 - c2), c2 - c1 + c0) for c0, c1, c2 in polynomials)
            rows.append([*(c / d[0] for c in b), *(c / d[0] for c in d)])
        return np.array(rows)

    def response_db(self, values: Mapping[str, AnyArray], frequencies_hz: AnyArray, *, sample_rate: int) -> AnyArray:
        """Return the gain at some frequencies, for arrays or tensors; for tensors, differentiable in every value.

        Shape:
            each value: (B,); frequencies_hz: (F,), below half the sample rate; result: (B, F), in dB.
        """
        return self.bands_response_db(values, frequencies_hz, sample_rate=sample_rate).sum(1)

    def bands_response_db(
        self, values: Mapping[str, AnyArray], frequencies_hz: AnyArray, *, sample_rate: int
    ) -> AnyArray:
        """Return the gain of each band, as `response_db` does of all together.

        Shape:
            each value: (B,); frequencies_hz: (F,), below half the sample rate; result: (B, K, F), in dB.
        """
        xp = array_namespace(frequencies_hz)
        numerators, denominators = self._polynomials(values, sample_rate=sample_rate)
        # At z = exp(jw) the bilinear variable is j tan(w / 2), so a squared magnitude is the sum of two squares.
        s = xp.tan(math.pi / sample_rate * frequencies_hz)

        def power(sections: AnyArray) -> AnyArray:
            c0, c1, c2 = (sections[..., i, None] for i in range(3))
            return (c0 - c2 * s**2) ** 2 + (c1 * s) ** 2

        return 10 * xp.log10(power(numerators) / power(denominators))

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        sos = self.sections(values, sample_rate=sample_rate)
        state = np.zeros((len(sos), channels, 2))

        def process(block: Samples) -> Samples:
            nonlocal state
            if not block.size:
                return block  # which sosfilt refuses
            y, state = sosfilt(sos, block, state)
            with np.errstate(over="ignore"):  # infinite beyond float32, which the writer refuses with a message
                return y.astype(np.float32)

        return process

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        from fxst.dsp import filters

        return filters.filter_sections(x, *self._polynomials(values, sample_rate=sample_rate))

    def _polynomials(self, values: Mapping[str, AnyArray], *, sample_rate: int) -> tuple[AnyArray, AnyArray]:
        """Design all bands as analogue sections: numerators and denominators, (B, K, 3) each."""
        xp = array_namespace(next(iter(values.values())))
        numerators: list[AnyArray] = []
        denominators: list[AnyArray] = []
        for kind, band in zip(self.kinds, self.bands, strict=True):
            a = xp.exp(values[f"{band}_gain_db"] / 2 * (math.log(10) / 20))
            f0 = values[f"{band}_f0_hz"] / sample_rate
            k = xp.tan(math.pi * xp.where(f0 > HIGHEST_F0, HIGHEST_F0, f0))
            numerator, denominator = section(kind, a, values[f"{band}_q"], k)
            numerators += numerator
            denominators += denominator
        shape = -1, len(self.kinds), 3
        return xp.stack(numerators, axis=1).reshape(shape), xp.stack(denominators, axis=1).reshape(shape)
