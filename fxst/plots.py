"""Pictures: what a transfer did to the spectrum, and with which equaliser."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxst import audio, staging
from fxst.chain import Chain
from fxst.effects import ParametricEQ
from fxst.spectra import LongTermSpectrum
from fxst.tables import Table
from fxst.untrusted import printable

__all__ = ["long_term_spectrum", "plot_transfer"]

Array = NDArray[np.float64]

LOWEST_HZ: Final = 20.0


def long_term_spectrum(path: Path) -> tuple[Array, Array]:
    """Measure a file's long-term average spectrum in third octaves, over all of it, in bounded memory.

    Returns:
        Centre frequencies in Hz, and the mean power of the channels in each band in dB, full-scale sine 0 dB.

    Raises:
        AudioError: The file cannot be read.
    """
    spectrum = LongTermSpectrum(sample_rate=audio.probe(path).sample_rate)
    for block in audio.stream(path):
        spectrum.process(block)
    return spectrum.mean_third_octaves()


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


def plot_transfer(
    path: Path,
    *,
    input: Path,  # noqa: A002
    output: Path,
    references: Sequence[Path] = (),
    settings: Table,
) -> None:
    """Draw the spectra of input, output and references, and beneath them the equaliser that was set, if there is one.

    Args:
        path: The picture, as .png, .svg or .pdf.
        input: The recording.
        output: What became of it.
        references: What it was to sound like; none where a table was applied.
        settings: The parameter table that rendered it.

    Raises:
        AudioError: A recording cannot be read.
        OutputError: The picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), layout="constrained")
    equalised = any(isinstance(effect, ParametricEQ) for effect in settings.chain.effects)
    rows = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1)) if equalised else [figure.subplots()]
    spectra = rows[0]
    files = [("input", input, ":"), ("output", output, "-"), *(("reference", file, "--") for file in references)]
    for name, file, style in files:
        frequencies, levels = long_term_spectrum(file)
        spectra.semilogx(frequencies, levels, style, label=f"{name}: {_plain(file.name)}")
    bottom, top = spectra.get_ylim()
    spectra.set(ylabel="level in third octaves (dB)", ylim=(max(bottom, top - 90), top))
    spectra.legend()
    sample_rate = audio.probe(input).sample_rate
    if equalised:
        frequencies = np.geomspace(LOWEST_HZ, sample_rate / 2.0001, 400)
        response = equaliser_response(settings.chain, settings, frequencies, sample_rate=sample_rate)
        rows[1].semilogx(frequencies, response, color="C1")
        rows[1].axhline(0, color="grey", linewidth=0.8)
        rows[1].set(ylabel="equaliser (dB)")
    rows[-1].set(xlabel="frequency (Hz)", xlim=(LOWEST_HZ, sample_rate / 2))
    for axes in rows:
        axes.grid(alpha=0.3, which="both")
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=120)
    staging.write(path, picture.getvalue())


def _plain(name: str) -> str:
    """Write a file's name so that matplotlib takes nothing in it for a formula, and its font lacks no letter."""
    from matplotlib import font_manager

    letters = font_manager.get_font(font_manager.findfont(font_manager.FontProperties())).get_charmap()
    shown = (one if ord(one) in letters else one.encode("unicode_escape").decode() for one in printable(name))
    return "".join(shown).replace("$", r"\$")
