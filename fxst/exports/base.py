"""What an export is written from: the effects that do something, for recordings of one rate and width."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fxst.chains.chain import Stage
from fxst.chains.table import Table
from fxst.effects import ParametricEQ
from fxst.effects.parametric_eq import HIGHEST_F0, Kind
from fxst.untrusted import printable
from fxst.version import __version__

__all__ = ["Band", "Export", "Format", "Stage", "bands", "commented", "comments", "number"]


class Band(NamedTuple):
    """A band of an equaliser that does something; its frequency is where it is rendered."""

    kind: Kind
    f0_hz: float
    gain_db: float
    q: float


@dataclass(frozen=True)
class Export:
    """A table, and the recordings that it is written for.

    Args:
        table: The settings.
        sample_rate: Samples a second of the recordings.
        channels: Their channels.
        impulse_response: The name of the file with the reverb's impulse response, which lies beside what is written.
    """

    table: Table
    sample_rate: int
    channels: int
    impulse_response: str

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The effects that do something, in order."""
        return tuple(stage for stage in self.table.chain.stages(self.table) if stage.active)


@dataclass(frozen=True)
class Format:
    """One way to write a table.

    Args:
        suffix: What the file's name ends in, after the output's own name.
        text: Writes it; None where sound is written.
        needs_impulse_response: Whether a reverb is played by its impulse response, from a file beside this one.
    """

    suffix: str
    text: Callable[[Export], str] | None
    needs_impulse_response: bool = False


def bands(stage: Stage, *, sample_rate: int) -> Iterator[Band]:
    """List the bands of an equaliser that do something.

    Args:
        stage: A parametric equaliser.
        sample_rate: Of the recordings; bands are held below half of it.
    """
    effect, values = stage.effect, stage.values
    assert isinstance(effect, ParametricEQ)
    for kind, band in zip(effect.kinds, effect.bands, strict=True):
        gain_db = values[f"{band}_gain_db"]
        if gain_db != 0.0:
            yield Band(kind, min(values[f"{band}_f0_hz"], HIGHEST_F0 * sample_rate), gain_db, values[f"{band}_q"])


def comments(export: Export, program: str) -> list[str]:
    """Say what every file says first: what it is, and what it is for.

    Args:
        export: What is written.
        program: What reads it.
    """
    channels = "1 channel" if export.channels == 1 else f"{export.channels} channels"
    lines = [
        f"fxst {__version__}: chain {export.table.chain.name!a} for {program}, "
        f"for recordings of {export.sample_rate} Hz and {channels}.",
        "Only the chain is here, and not what --loudness and --ceiling do behind it.",
    ]
    if bypassed := export.table.bypassed:
        lines.append(f"Bypassed, so left out: {', '.join(bypassed)}.")
    return lines


def commented(lines: Iterable[str]) -> str:
    """Write lines as comments, which nothing in them can end: what stands behind a comment would be run, or played."""
    return "".join(f"# {printable(line)}\n" for line in lines)


def number(value: float) -> str:
    """Write a number in full and without an exponent, which not every program reads.

    >>> number(0.1), number(1e-7), number(440.0)
    ('0.1', '0.0000001', '440')
    """
    return np.format_float_positional(value, trim="-")
