"""Pictures: what a transfer did to the spectrum, and with which equaliser."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxst import audio
from fxst.chain import Chain
from fxst.effects import ParametricEQ
from fxst.errors import AudioError
from fxst.spectra import LongTermSpectrum
from fxst.tables import Table

__all__ = ["long_term_spectrum", "plot_transfer"]

Array = NDArray[np.float64]

LOWEST_HZ: Final = 20.0


def long_term_spectrum(path: Path) -> tuple[Array, Array]:
    """Measure a file's long-term average spectrum in third octaves, over all of it, in bounded memory.

    Returns:
        Centre frequencies in Hz, and the power in each band in dB, full-scale sine 0 dB.

    Raises:
        AudioError: The file cannot be read.
    """
    spectrum = LongTermSpectrum(sample_rate=audio.probe(path).sample_rate)
    for block in audio.stream(path):
        spectrum.process(audio.mono(block)[0])
    return spectrum.third_octaves()


def equaliser_response(chain: Chain, settings: Table, frequencies: Array, *, sample_rate: int) -> Array:
    """Compute the magnitude response in dB of all equalisers of a chain together."""
    from scipy.signal import sosfreqz

    total = np.zeros_like(frequencies)
    for effect, values in zip(chain.effects, chain.values(settings), strict=True):
        if isinstance(effect, ParametricEQ):
            sections = effect.sections(values, sample_rate=sample_rate)
            _, response = sosfreqz(sections, worN=frequencies, fs=sample_rate)
            total += 20 * np.log10(np.abs(response))
    return total


def plot_transfer(path: Path, *, input: Path, output: Path, reference: Path, chain: Chain, settings: Table) -> None:  # noqa: A002
    """Draw the spectra of input, output and reference, and beneath them the equaliser that was set.

    Args:
        path: The picture, as .png, .svg or .pdf.
        input: The recording.
        output: What became of it.
        reference: What it was to sound like.
        chain: The chain that rendered it.
        settings: The parameter table.

    Raises:
        AudioError: A recording cannot be read, or the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), layout="constrained")
    spectra, curve = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for name, file, style in (("input", input, ":"), ("output", output, "-"), ("reference", reference, "--")):
        frequencies, levels = long_term_spectrum(file)
        spectra.semilogx(frequencies, levels, style, label=f"{name}: {file.name}")
    bottom, top = spectra.get_ylim()
    spectra.set(ylabel="level in third octaves (dB)", ylim=(max(bottom, top - 90), top))
    spectra.legend()
    sample_rate = audio.probe(input).sample_rate
    frequencies = np.geomspace(LOWEST_HZ, sample_rate / 2.0001, 400)
    curve.semilogx(frequencies, equaliser_response(chain, settings, frequencies, sample_rate=sample_rate), color="C1")
    curve.axhline(0, color="grey", linewidth=0.8)
    curve.set(ylabel="equaliser (dB)", xlabel="frequency (Hz)", xlim=(LOWEST_HZ, sample_rate / 2))
    for axes in (spectra, curve):
        axes.grid(alpha=0.3, which="both")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise AudioError(
            f"The picture {path} cannot be written ({error}); name a .png in a folder you can write."
        ) from error
