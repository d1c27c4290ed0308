"""Closed-form matching of long-term spectrum and level: the strongest baseline without learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fxst.audio import resample
from fxst.chains.chain import Chain
from fxst.dsp import Array, Samples
from fxst.dsp.stft import framed, spectral_power, stft
from fxst.effects import ParametricEQ

__all__ = ["ORACLE_BANDS_AN_OCTAVE", "ClosedForm", "closed_form", "closed_form_in_chain"]

LOWEST_HZ: Final = 1000 * 2 ** (-35 / 6)
"""Lower edge of the third octave at 20 Hz."""

BANDS_AN_OCTAVE: Final = 3
ORACLE_BANDS_AN_OCTAVE: Final = 12
"""The oracle compares the same harmonics; other content has other harmonics, over which wide bands average."""

HIGHEST_GAIN_DB: Final = 40.0
"""Largest gain of a band relative to the overall level. Protocol P draws up to 24 dB on each side, so up to 48 dB."""

FILTER_SECONDS: Final = 0.34
DESIGN_SECONDS: Final = 1.36
"""Length of the filter, which has decayed by then, and of the transform for its minimum phase."""

CELLS_A_BAND: Final = 8
"""Cells a third octave: an equaliser's response is nearly constant in each."""

SPECTRUM_SECONDS: Final = 0.34
"""Length of a spectrum's frames: long enough to resolve third octaves from 20 Hz."""

LEVEL_SECONDS: Final = 0.05
ACTIVE_DB: Final = -40.0
"""Frames this far below the loudest are pauses: they contain the room, not the production."""

FAINT_DB: Final = -80.0
CLEAR_DB: Final = -40.0
"""Levels relative to the loudest band at which a band has no weight and full weight; linear in between."""

GAIN_COST: Final = 0.01
LEVEL_COST: Final = 3.0
"""Cost of a squared dB of gain, and of level between the two recordings, relative to a squared dB of error in a band.

Wide bands together can produce almost any level, and bands without signal any gain: of all equally good fits, the
cost selects the one with the smallest gains. On speech the result hardly depends on it, from a tenth to three times.
"""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClosedForm:
    """Result of the closed form within a chain.

    Args:
        audio: The matched recording.
        eq: The equaliser's values; empty if the chain has none.
        gain_db: The gain after the equaliser.
    """

    audio: Samples
    eq: Mapping[str, float]
    gain_db: float


def closed_form(
    audio: Samples,
    reference: Samples,
    *,
    sample_rate: int,
    reference_sample_rate: int,
    bands_an_octave: int = BANDS_AN_OCTAVE,
) -> Samples:
    """Match a recording to a reference in long-term spectrum and level, with a free filter and a gain.

    The difference of the two third-octave spectra, interpolated in dB over log frequency, is the response of one
    minimum-phase filter for all channels. Bands that are faint in either recording keep the overall level, and no band
    deviates from it by more than `HIGHEST_GAIN_DB`. A gain then matches the level, measured without pauses. If either
    recording is silent, the input is returned unchanged.

    Args:
        audio: The recording.
        reference: The reference.
        sample_rate: Sample rate of the recording in Hz.
        reference_sample_rate: Sample rate of the reference in Hz.
        bands_an_octave: Frequency resolution of the comparison.

    Shape:
        audio, reference: `(channels, time)`, of any channel count and length each; result: as audio.

    Source:
        The phase: A. V. Oppenheim and R. W. Schafer, "Discrete-time signal processing", on the complex cepstrum.
    """
    from scipy.signal import oaconvolve

    # Frequencies above the input's bandwidth must not count towards its target level.
    reference = resample(reference, source_rate=reference_sample_rate, target_rate=sample_rate)
    target_power = _active_power(reference, sample_rate=sample_rate)
    if not target_power or not _active_power(audio, sample_rate=sample_rate):
        return audio
    highest_hz = min(sample_rate, reference_sample_rate) / 2
    count = int(bands_an_octave * np.log2(highest_hz / LOWEST_HZ))
    edges_hz = LOWEST_HZ * 2 ** (np.arange(count + 1) / bands_an_octave)
    ours, theirs = (_band_powers(x, edges_hz, sample_rate=sample_rate) for x in (audio, reference))
    weights = np.minimum(_clearness(ours), _clearness(theirs))
    if weights.any():
        difference = _db(theirs) - _db(ours)
        difference -= weights @ difference / weights.sum()  # the gain matches the overall level
        gains_db = np.clip(weights * difference, -HIGHEST_GAIN_DB, HIGHEST_GAIN_DB)
        taps = _minimum_phase(np.sqrt(edges_hz[1:] * edges_hz[:-1]), gains_db, sample_rate=sample_rate)
        audio = oaconvolve(audio, taps[None], axes=1)[:, : audio.shape[1]].astype(np.float32)
    gain = (target_power / _active_power(audio, sample_rate=sample_rate)) ** 0.5
    return audio * np.float32(gain)


def closed_form_in_chain(
    audio: Samples, reference: Samples, *, chain: Chain, sample_rate: int, reference_sample_rate: int
) -> ClosedForm:
    """Match a recording to a reference in long-term spectrum and level, with a chain's equaliser and a gain.

    The equaliser's gains are fitted, within their ranges, to the difference of the two third-octave spectra, by least
    squares on the equaliser's true response. Its frequencies and widths stay at their defaults. A gain then matches
    the level. If either recording is silent, the input is returned unchanged.

    Args:
        audio: The recording.
        reference: The reference.
        chain: The chain whose equaliser is used; its other effects are ignored.
        sample_rate: Sample rate of the recording in Hz.
        reference_sample_rate: Sample rate of the reference in Hz.

    Shape:
        audio, reference: `(channels, time)`, of any channel count and length each; result: as audio.
    """
    eq = next((effect for effect in chain.effects if isinstance(effect, ParametricEQ)), None)
    # Frequencies above the input's bandwidth must not count towards its target level.
    reference = resample(reference, source_rate=reference_sample_rate, target_rate=sample_rate)
    target_power = _active_power(reference, sample_rate=sample_rate)
    if not target_power or not _active_power(audio, sample_rate=sample_rate):
        return ClosedForm(audio, {}, 0.0)
    values: dict[str, float] = {}
    if eq is not None:
        highest_hz = min(sample_rate, reference_sample_rate) / 2
        values = _fitted(eq, audio, reference, highest_hz=highest_hz, sample_rate=sample_rate)
        audio = eq.exact(values, sample_rate=sample_rate, channels=len(audio))(audio)
    gain = (target_power / _active_power(audio, sample_rate=sample_rate)) ** 0.5
    return ClosedForm(audio * np.float32(gain), values, 20 * float(np.log10(gain)))


def _band_powers(x: Samples, edges_hz: Array, *, sample_rate: int) -> Array:
    """Measure the long-term power between edges; a bin across an edge is divided."""
    hz, power = _long_term(x, sample_rate=sample_rate)
    below = np.concatenate([[0.0], np.cumsum(power)])
    powers: Array = np.diff(np.interp(edges_hz, np.append(hz, 2 * hz[-1] - hz[-2]) - hz[1] / 2, below))
    return powers


def _minimum_phase(hz: Array, gains_db: Array, *, sample_rate: int) -> Array:
    """Design the minimum-phase filter with these gains at these frequencies."""
    size = 1 << round(DESIGN_SECONDS * sample_rate).bit_length()
    bins_hz = np.fft.rfftfreq(size, 1 / sample_rate)
    curve_db = np.interp(np.log(np.maximum(bins_hz, hz[0])), np.log(hz), gains_db)
    # A cepstrum folded onto positive time keeps its magnitude and becomes minimum-phase.
    cepstrum = np.fft.irfft(curve_db * (np.log(10) / 20), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    taps: Array = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: round(FILTER_SECONDS * sample_rate)]
    return taps


def _fitted(
    eq: ParametricEQ, audio: Samples, reference: Samples, *, highest_hz: float, sample_rate: int
) -> dict[str, float]:
    """Fit the gains to the difference of the two spectra, up to the highest frequency that both recordings contain."""
    from scipy.optimize import least_squares

    values = {p.name: p.default for p in eq.parameters}
    gains = [p for p in eq.parameters if p.name.endswith("_gain_db") and not p.constant]
    bands = int(3 * np.log2(highest_hz / LOWEST_HZ))
    hz, power = _spectrum(audio, bands=bands, sample_rate=sample_rate)
    _, reference_power = _spectrum(reference, bands=bands, sample_rate=sample_rate)
    band_of = _cells(hz) // CELLS_A_BAND
    ours, theirs = _sums(band_of, power, bands), _sums(band_of, reference_power, bands)
    weights = np.minimum(_clearness(ours), _clearness(theirs))
    if not gains or not weights.any():
        return values
    difference = _db(theirs) - _db(ours)
    z = np.exp(-2j * np.pi * hz / sample_rate * np.arange(3)[:, None])

    def residuals(gains_db: Array) -> Array:
        values.update(zip((p.name for p in gains), gains_db.tolist(), strict=True))
        numerators, denominators = np.split(eq.sections(values, sample_rate=sample_rate), 2, axis=1)
        response = np.square(np.abs((numerators @ z) / (denominators @ z))).prod(axis=0)
        left = difference - (_db(_sums(band_of, power * response, bands)) - _db(ours))
        # The gain after the equaliser takes the common level; this share minimises the cost.
        level = weights @ left / (weights.sum() + LEVEL_COST)
        return np.concatenate(
            [np.sqrt(weights) * (left - level), np.sqrt(GAIN_COST) * gains_db, [np.sqrt(LEVEL_COST) * level]]
        )

    lowest, highest = np.array([(p.minimum, p.maximum) for p in gains]).T
    found = least_squares(residuals, np.clip(0.0, lowest, highest), bounds=(lowest, highest))
    residuals(found.x)
    return values


def _spectrum(x: Samples, *, bands: int, sample_rate: int) -> tuple[Array, Array]:
    """Measure the long-term spectrum in cells, the subdivisions of third octaves."""
    hz, power = (values[1:] for values in _long_term(x, sample_rate=sample_rate))
    cells = _cells(hz)
    used = (cells >= 0) & (cells < bands * CELLS_A_BAND)
    present, cell_of, bins = np.unique(cells[used], return_inverse=True, return_counts=True)
    return _sums(cell_of, hz[used], len(present)) / bins, _sums(cell_of, power[used], len(present))


def _long_term(x: Samples, *, sample_rate: int) -> tuple[Array, Array]:
    """Measure the long-term power spectrum without pauses, averaged over channels, and its bin frequencies."""
    length = round(SPECTRUM_SECONDS * sample_rate)
    frames = _frames(x, length, hop=length // 2)
    window = np.hanning(length).astype(np.float32)
    power = np.zeros(length // 2 + 1)
    # One by one: a view of the frames takes no memory.
    active = np.flatnonzero(_active(_powers(frames)))
    for frame in active:
        power += spectral_power(stft(frames[:, frame], window, hop=length))[:, 0].mean(axis=0)
    hz: Array = np.fft.rfftfreq(length, 1 / sample_rate).astype(np.float64)
    return hz, power / len(active)


def _cells(hz: Array) -> Integers:
    cells: Integers = np.floor(3 * CELLS_A_BAND * np.log2(hz / LOWEST_HZ)).astype(np.int64)
    return cells


def _sums(group: Integers, values: Array, groups: int) -> Array:
    """Sum the values of each group."""
    return np.bincount(group, values, groups).astype(np.float64)


def _clearness(band_powers: Array) -> Array:
    """Weight bands by their level, from 0 to 1."""
    level = _db(band_powers)
    weights: Array = np.clip((level - level.max() - FAINT_DB) / (CLEAR_DB - FAINT_DB), 0.0, 1.0)
    return weights


def _active_power(x: Samples, *, sample_rate: int) -> float:
    """Measure the mean square without pauses; 0 for silence."""
    powers = _powers(_frames(x, round(LEVEL_SECONDS * sample_rate), hop=round(LEVEL_SECONDS * sample_rate)))
    active = _active(powers)
    return float(powers[active].mean()) if active.any() else 0.0


def _active(powers: Array) -> npt.NDArray[np.bool_]:
    active: npt.NDArray[np.bool_] = powers > powers.max() * 10 ** (ACTIVE_DB / 10)
    return active


def _powers(frames: Samples) -> Array:
    """Measure the mean square of each frame: `(channels, frames, time)` to `(frames,)`."""
    energies: Array = np.einsum("cft,cft->f", frames, frames, dtype=np.float64)
    return energies / float(frames.shape[0] * frames.shape[2])


def _frames(x: Samples, length: int, *, hop: int) -> Samples:
    """View a recording as frames, `(channels, frames, time)`, the last one zero-padded."""
    left = length - x.shape[1]
    padded = np.pad(x, [(0, 0), (0, left if left > 0 else left % hop)])
    return framed(padded, length, hop=hop)


def _db(power: Array) -> Array:
    level: Array = 10 * np.log10(np.maximum(power, np.finfo(np.float64).tiny))
    return level
