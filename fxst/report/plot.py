"""Plots: the spectra of a style transfer, and its equaliser."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fxst import audio, staging
from fxst.chains.table import Table, equaliser_response
from fxst.dsp import Array
from fxst.dsp.spectra import LongTermSpectrum
from fxst.effects import ParametricEQ
from fxst.report.charts import frequency_label

__all__ = ["long_term_spectrum", "plot_transfer"]


LOWEST_HZ: Final = 20.0


def long_term_spectrum(path: Path) -> tuple[Array, Array]:
    """Measure a file's long-term average spectrum in third octaves, in bounded memory.

    Returns:
        Centre frequencies in Hz, and the mean power of the channels in each band in dB, full-scale sine 0 dB.

    Raises:
        AudioError: The file cannot be read.
    """
    spectrum = LongTermSpectrum(sample_rate=audio.probe(path).sample_rate)
    for block in audio.stream(path):
        spectrum.process(block)
    return spectrum.mean_third_octaves()


def plot_transfer(
    path: Path,
    *,
    input: Path,  # noqa: A002
    output: Path,
    references: Sequence[Path] = (),
    settings: Table,
) -> None:
    """Draw the spectra of input, output and references, and the response of the equaliser, if there is one.

    Args:
        path: The picture, as .png, .svg or .pdf.
        input: The recording.
        output: The rendered recording.
        references: The references; none if a table was applied.
        settings: The parameter table that rendered the output.

    Raises:
        AudioError: A recording cannot be read.
        OutputError: The picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), layout="constrained")
    equalised = any(isinstance(effect, ParametricEQ) for effect in settings.chain.effects)
    rows = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1)) if equalised else [figure.subplots()]
    spectra = rows[0]
    # As on a report page: the input grey and dotted, the output blue, references dashed.
    files = [("input", input, "C7", ":"), ("output", output, "C0", "-")]
    for number, file in enumerate(references, 1):
        files.append((f"reference {number}" if len(references) > 1 else "reference", file, f"C{number % 7}", "--"))
    for role, file, colour, style in files:
        frequencies, levels = long_term_spectrum(file)
        spectra.semilogx(frequencies, levels, style, color=colour, label=role)
    bottom, top = spectra.get_ylim()
    spectra.set(ylabel="level in third octaves (dB)", ylim=(max(bottom, top - 90), top))
    spectra.legend()
    sample_rate = audio.probe(input).sample_rate
    if equalised:
        frequencies = np.geomspace(LOWEST_HZ, sample_rate / 2.0001, 400)
        response = equaliser_response(settings, frequencies, sample_rate=sample_rate)
        rows[1].semilogx(frequencies, response, color="C0")
        rows[1].axhline(0, color="grey", linewidth=0.8)
        rows[1].set(ylabel="equaliser (dB)")
    rows[-1].set(xlabel="frequency (Hz)", xlim=(LOWEST_HZ, sample_rate / 2))
    rows[-1].xaxis.set_major_formatter(lambda hz, _: frequency_label(hz))
    for axes in rows:
        axes.grid(alpha=0.3, which="both")
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=120)
    staging.write(path, picture.getvalue())
