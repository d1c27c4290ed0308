"""A recording matched to another by long-term spectrum and level: the strongest that can be done without learning."""

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
"""Lower edge of the third octave around 20 Hz."""

BANDS_AN_OCTAVE: Final = 3
ORACLE_BANDS_AN_OCTAVE: Final = 12
"""Other words have other harmonics, which wide bands pass over; the same words have the same."""

HIGHEST_GAIN_DB: Final = 40.0
"""How far a band may leave the level of all. Protocol P draws up to 24 dB on each side, and so 48 dB between."""

FILTER_SECONDS: Final = 0.34
DESIGN_SECONDS: Final = 1.36
"""Lengths of the filter, which has rung out by then, and of the transform that its phase is found with."""

CELLS_A_BAND: Final = 8
"""An equaliser's response is as good as constant in an eighth of a third octave."""

SPECTRUM_SECONDS: Final = 0.34
"""Length of a spectrum: enough to tell third octaves apart from 20 Hz on, and short beside any recording."""

LEVEL_SECONDS: Final = 0.05
ACTIVE_DB: Final = -40.0
"""Frames further than this under the loudest are pauses: they tell of the room and not of the production."""

FAINT_DB: Final = -80.0
CLEAR_DB: Final = -40.0
"""Bands this far under the loudest weigh nothing and all; between, in proportion."""

GAIN_COST: Final = 0.01
LEVEL_COST: Final = 3.0
"""What a squared dB of a gain, and of the level between the two recordings, costs beside one in a band.

Wide bands together can make almost any level, and bands without sound any gain: of all fits that are as good, these
choose the one with the smallest gains. On speech the result hardly depends on them, from a tenth to three times.
"""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClosedForm:
    """A recording matched to another by an equaliser and a gain.

    Args:
        audio: The result.
        eq: The equaliser's values; empty where the chain has none.
        gain_db: The gain after it.
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
    """Bring a recording to a reference by their long-term spectra and levels, with any filter and a gain.

    The difference of the two spectra in third octaves, in dB, straight from band to band over log frequency, is the
    response of one minimum-phase filter for all channels; bands that are faint in either recording are left at the
    level of all, and none leaves it by more than `HIGHEST_GAIN_DB`. A plain gain then makes the level, without
    pauses, the reference's. Where one of the two is silent nothing is done.

    Args:
        audio: The recording.
        reference: The recording to sound like.
        sample_rate: The recording's.
        reference_sample_rate: The reference's.
        bands_an_octave: How fine the spectra are compared.

    Shape:
        audio, reference: `(channels, time)`, each on its own; result: as audio.

    Source:
        The phase: A. V. Oppenheim and R. W. Schafer, "Discrete-time signal processing", on the complex cepstrum.
    """
    from scipy.signal import oaconvolve

    # What the input's rate cannot carry is no part of the level that it should have.
    reference = resample(reference, source_rate=reference_sample_rate, target_rate=sample_rate)
    wanted = _active_power(reference, sample_rate=sample_rate)
    if not wanted or not _active_power(audio, sample_rate=sample_rate):
        return audio
    highest_hz = min(sample_rate, reference_sample_rate) / 2
    count = int(bands_an_octave * np.log2(highest_hz / LOWEST_HZ))
    edges_hz = LOWEST_HZ * 2 ** (np.arange(count + 1) / bands_an_octave)
    ours, theirs = (_band_powers(x, edges_hz, sample_rate=sample_rate) for x in (audio, reference))
    weights = np.minimum(_clearness(ours), _clearness(theirs))
    if weights.any():
        difference = _db(theirs) - _db(ours)
        difference -= weights @ difference / weights.sum()  # the level that all bands share is the gain's business
        gains_db = np.clip(weights * difference, -HIGHEST_GAIN_DB, HIGHEST_GAIN_DB)
        taps = _minimum_phase(np.sqrt(edges_hz[1:] * edges_hz[:-1]), gains_db, sample_rate=sample_rate)
        audio = oaconvolve(audio, taps[None], axes=1)[:, : audio.shape[1]].astype(np.float32)
    gain = (wanted / _active_power(audio, sample_rate=sample_rate)) ** 0.5
    return audio * np.float32(gain)


def closed_form_in_chain(
    audio: Samples, reference: Samples, *, chain: Chain, sample_rate: int, reference_sample_rate: int
) -> ClosedForm:
    """Bring a recording to a reference by their long-term spectra and levels, with a chain's equaliser and a gain.

    The gains of the chain's equaliser are fitted, within their ranges, to the difference of the two spectra in third
    octaves, by least squares on the equaliser's true response; its frequencies and widths stay at their defaults.
    A plain gain then makes the level the reference's. Where one of the two is silent nothing is done.

    Args:
        audio: The recording.
        reference: The recording to sound like.
        chain: The effects whose equaliser is used; the others are passed over.
        sample_rate: The recording's.
        reference_sample_rate: The reference's.

    Shape:
        audio, reference: `(channels, time)`, each on its own; result: as audio.
    """
    eq = next((effect for effect in chain.effects if isinstance(effect, ParametricEQ)), None)
    # What the input's rate cannot carry is no part of the level that it should have.
    reference = resample(reference, source_rate=reference_sample_rate, target_rate=sample_rate)
    wanted = _active_power(reference, sample_rate=sample_rate)
    if not wanted or not _active_power(audio, sample_rate=sample_rate):
        return ClosedForm(audio, {}, 0.0)
    values: dict[str, float] = {}
    if eq is not None:
        highest_hz = min(sample_rate, reference_sample_rate) / 2
        values = _fitted(eq, audio, reference, highest_hz=highest_hz, sample_rate=sample_rate)
        audio = eq.exact(values, sample_rate=sample_rate, channels=len(audio))(audio)
    gain = (wanted / _active_power(audio, sample_rate=sample_rate)) ** 0.5
    return ClosedForm(audio * np.float32(gain), values, 20 * float(np.log10(gain)))


def _band_powers(x: Samples, edges_hz: Array, *, sample_rate: int) -> Array:
    """Measure the long-term power between edges; a bin that lies across one is shared out."""
    hz, power = _long_term(x, sample_rate=sample_rate)
    below = np.concatenate([[0.0], np.cumsum(power)])
    powers: Array = np.diff(np.interp(edges_hz, np.append(hz, 2 * hz[-1] - hz[-2]) - hz[1] / 2, below))
    return powers


def _minimum_phase(hz: Array, gains_db: Array, *, sample_rate: int) -> Array:
    """Design the filter with these gains at these frequencies that answers soonest."""
    size = 1 << round(DESIGN_SECONDS * sample_rate).bit_length()
    bins_hz = np.fft.rfftfreq(size, 1 / sample_rate)
    curve_db = np.interp(np.log(np.maximum(bins_hz, hz[0])), np.log(hz), gains_db)
    # A cepstrum folded onto positive time keeps its magnitude and is that of a minimum-phase filter.
    cepstrum = np.fft.irfft(curve_db * (np.log(10) / 20), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    taps: Array = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[: round(FILTER_SECONDS * sample_rate)]
    return taps


def _fitted(
    eq: ParametricEQ, audio: Samples, reference: Samples, *, highest_hz: float, sample_rate: int
) -> dict[str, float]:
    """Fit the gains to what the two have in common, up to the highest frequency that both carry."""
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
        # A level that all bands share is the plain gain's business; this much of it fits best at its cost.
        level = weights @ left / (weights.sum() + LEVEL_COST)
        return np.concatenate(
            [np.sqrt(weights) * (left - level), np.sqrt(GAIN_COST) * gains_db, [np.sqrt(LEVEL_COST) * level]]
        )

    lowest, highest = np.array([(p.minimum, p.maximum) for p in gains]).T
    found = least_squares(residuals, np.clip(0.0, lowest, highest), bounds=(lowest, highest))
    residuals(found.x)
    return values


def _spectrum(x: Samples, *, bands: int, sample_rate: int) -> tuple[Array, Array]:
    """Measure the long-term spectrum in the cells that third octaves consist of."""
    hz, power = (values[1:] for values in _long_term(x, sample_rate=sample_rate))
    cells = _cells(hz)
    used = (cells >= 0) & (cells < bands * CELLS_A_BAND)
    present, cell_of, bins = np.unique(cells[used], return_inverse=True, return_counts=True)
    return _sums(cell_of, hz[used], len(present)) / bins, _sums(cell_of, power[used], len(present))


def _long_term(x: Samples, *, sample_rate: int) -> tuple[Array, Array]:
    """Measure the long-term power spectrum of what is no pause, the mean over channels, and where its bins are."""
    length = round(SPECTRUM_SECONDS * sample_rate)
    frames = _frames(x, length, hop=length // 2)
    window = np.hanning(length).astype(np.float32)
    power = np.zeros(length // 2 + 1)
    # One by one: as a view the frames take no memory, however long the recording.
    active = np.flatnonzero(_active(_powers(frames)))
    for frame in active:
        power += spectral_power(stft(frames[:, frame], window, hop=length))[:, 0].mean(axis=0)
    hz: Array = np.fft.rfftfreq(length, 1 / sample_rate).astype(np.float64)
    return hz, power / len(active)


def _cells(hz: Array) -> Integers:
    cells: Integers = np.floor(3 * CELLS_A_BAND * np.log2(hz / LOWEST_HZ)).astype(np.int64)
    return cells


def _sums(group: Integers, values: Array, groups: int) -> Array:
    """Add up the values of each group."""
    return np.bincount(group, values, groups).astype(np.float64)


def _clearness(band_powers: Array) -> Array:
    """Weigh bands by how far above the faintest that count they are, from 0 to 1."""
    level = _db(band_powers)
    weights: Array = np.clip((level - level.max() - FAINT_DB) / (CLEAR_DB - FAINT_DB), 0.0, 1.0)
    return weights


def _active_power(x: Samples, *, sample_rate: int) -> float:
    """Measure the mean square of what is no pause; 0 for silence."""
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
    """View a recording as frames, `(channels, frames, time)`, the last of them filled up with silence."""
    left = length - x.shape[1]
    padded = np.pad(x, [(0, 0), (0, left if left > 0 else left % hop)])
    return framed(padded, length, hop=hop)


def _db(power: Array) -> Array:
    level: Array = 10 * np.log10(np.maximum(power, np.finfo(np.float64).tiny))
    return level
