"""What an export is written from: the active effects of a table, for one sample rate and number of channels."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fxst.chains.chain import Stage
from fxst.chains.table import Table
from fxst.effects import ParametricEQ, StereoWidth
from fxst.effects.parametric_eq import HIGHEST_F0, Kind
from fxst.untrusted import printable
from fxst.version import __version__

__all__ = ["Band", "Export", "Format", "Stage", "bands", "commented", "comments", "number"]


class Band(NamedTuple):
    """A band of an equaliser with a gain, at the frequency at which it is rendered."""

    kind: Kind
    f0_hz: float
    gain_db: float
    q: float


@dataclass(frozen=True)
class Export:
    """A table, and the format of the recordings that it is written for.

    Args:
        table: The settings.
        sample_rate: Sample rate of the recordings in Hz.
        channels: Their channels.
        impulse_response: The name of the file with the reverb's impulse response, in the same folder.
    """

    table: Table
    sample_rate: int
    channels: int
    impulse_response: str

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The active effects, in order; a stereo width is active in stereo only."""
        stages = (stage for stage in self.table.chain.stages(self.table) if stage.active)
        return tuple(stage for stage in stages if self.channels == 2 or not isinstance(stage.effect, StereoWidth))


@dataclass(frozen=True)
class Format:
    """One export format.

    Args:
        suffix: The end of the file's name, after that of the output.
        text: Returns its content; None where audio is written.
        needs_impulse_response: Whether it renders a reverb by its impulse response, from a file in the same folder.
    """

    suffix: str
    text: Callable[[Export], str] | None
    needs_impulse_response: bool = False


def bands(stage: Stage, *, sample_rate: int) -> Iterator[Band]:
    """Yield the bands of an equaliser that have a gain.

    Args:
        stage: A parametric equaliser.
        sample_rate: Sample rate of the recordings, which limits the bands' frequencies.
    """
    effect, values = stage.effect, stage.values
    assert isinstance(effect, ParametricEQ)
    for kind, band in zip(effect.kinds, effect.bands, strict=True):
        gain_db = values[f"{band}_gain_db"]
        if gain_db != 0.0:
            yield Band(kind, min(values[f"{band}_f0_hz"], HIGHEST_F0 * sample_rate), gain_db, values[f"{band}_q"])


def comments(export: Export, program: str) -> list[str]:
    """Return the first lines of every file: what it is, and what it is for.

    Args:
        export: The export.
        program: The program that reads it.
    """
    channels = "1 channel" if export.channels == 1 else f"{export.channels} channels"
    lines = [
        f"fxst {__version__}: chain {export.table.chain.name!a} for {program}, "
        f"for recordings of {export.sample_rate} Hz and {channels}.",
        "This is the chain alone, without what --loudness and --ceiling do after it.",
    ]
    if bypassed := export.table.bypassed:
        lines.append(f"Bypassed, so left out: {', '.join(bypassed)}.")
    return lines


def commented(lines: Iterable[str]) -> str:
    """Return lines as comments that nothing in them can end: text after a comment would be run."""
    return "".join(f"# {printable(line)}\n" for line in lines)


def number(value: float) -> str:
    """Format a number in full, without an exponent, which not every program reads.

    >>> number(0.1), number(1e-7), number(440.0)
    ('0.1', '0.0000001', '440')
    """
    return np.format_float_positional(value, trim="-")
