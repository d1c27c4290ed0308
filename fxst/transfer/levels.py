"""The level of a recording: silence is distinguished from a floating-point recording that was made at a low level.

The level of floating-point samples is arbitrary: they lose nothing at any. So a soft recording of such samples is
analysed, and rendered, as if it were at the usual loudness. In other formats a low level is a choice, or a fault.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fxst.audio import LoudnessMeter, Samples
from fxst.dsp.channels import ChannelLayout
from fxst.dsp.loudness import ABSOLUTE_GATE_LUFS
from fxst.transfer.analysis import Analysis

__all__ = ["Levelled", "amplified", "levelled"]

_SOFT_LUFS: Final = -40.0
"""Floating-point recordings that are softer are analysed louder."""
_USUAL_LUFS: Final = -23.0
"""Source: EBU R 128."""
_LOUD_DB: Final = -25.0
"""With a block of this power, less its offset, a recording need not be measured: it is neither soft nor silent."""
_STEADY_DB: Final = 3.0
"""Below the gate, sound whose frames differ by less is noise, and the recording is silent."""


@dataclass(frozen=True)
class Levelled:
    """The analysis of a recording at its level.

    Args:
        analysis: The analysis; that of silence has no statistics.
        gain_db: The gain with which it was analysed.
        lufs: The loudness of the recording as it is; None where it was not measured.
    """

    analysis: Analysis
    gain_db: float = 0.0
    lufs: float | None = None

    @property
    def loudness_lufs(self) -> float | None:
        """The loudness of the recording as it was analysed; None for silence."""
        return None if self.lufs is None or self.analysis.statistics is None else self.lufs + self.gain_db

    def remarks(self, what: str, done: str) -> tuple[str, ...]:
        """Return what a person should know of the level, a sentence each.

        Args:
            what: What the recording is called.
            done: What was done to it.
        """
        if not self.gain_db:
            return ()
        return (
            f"the {what} is a floating-point recording at {self.lufs:.0f} LUFS, so it was {done} {self.gain_db:.0f} dB "
            "louder",
        )


def levelled(
    analyse: Callable[[Iterable[Samples]], Analysis],
    blocks: Callable[[], Iterable[Samples]],
    *,
    sample_rate: int,
    channels: int,
    layout: ChannelLayout | None = None,
    floats: bool,
    measured: bool,
) -> Levelled:
    """Analyse a recording; one below -70 LUFS is silence.

    Args:
        analyse: Analyses the blocks of a recording.
        blocks: Returns the blocks of the recording, each time from its start.
        sample_rate: Its sample rate.
        channels: Its channels.
        layout: Their loudspeakers; by default guessed from their number.
        floats: Whether its samples are floating-point numbers.
        measured: Whether to measure its loudness in any case.

    Shape:
        Each block: `(channels, time)`.
    """
    meter = LoudnessMeter(sample_rate=sample_rate, channels=channels, layout=layout)
    power = 0.0
    offset, begun = np.zeros((channels, 1), np.float32), False

    def centred() -> Iterator[Samples]:
        # A constant offset would begin with a click, louder than a dead channel.
        return (block - offset for block in blocks())

    def watched() -> Iterator[Samples]:
        nonlocal power, offset, begun
        for block in blocks():
            if not begun and block.shape[1]:
                offset, begun = block.mean(axis=1, keepdims=True), True
            if measured:
                meter.process(block - offset)
            elif block.shape[1]:
                with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond float32 are refused later
                    power = max(power, float(np.var(block, axis=1).max()))
            yield block

    analysis = analyse(watched())
    if analysis.statistics is not None and not np.isfinite(analysis.statistics).all():
        return Levelled(analysis)  # which is refused later
    if not measured:
        if power > 10 ** (_LOUD_DB / 10):
            return Levelled(analysis)
        _feed(meter, centred())
    lufs, ungated = meter.integrated(), meter.ungated()
    if lufs == -math.inf and floats and ungated > -math.inf:
        # Below the absolute gate, which its pauses must be as well.
        raised = LoudnessMeter(sample_rate=sample_rate, channels=channels, layout=layout)
        _feed(raised, amplified(centred(), _USUAL_LUFS - ungated))
        lufs = raised.integrated() - (_USUAL_LUFS - ungated)
    elif lufs == -math.inf:
        lufs = ungated
    if floats and -math.inf < lufs < _SOFT_LUFS:
        gain_db = _USUAL_LUFS - lufs
        louder = analyse(amplified(blocks(), gain_db))
        if lufs >= ABSOLUTE_GATE_LUFS or (louder.statistics is not None and louder.descriptors.range_db >= _STEADY_DB):
            return Levelled(louder, gain_db, lufs)
    if lufs < ABSOLUTE_GATE_LUFS:
        return Levelled(replace(analysis, statistics=None), lufs=lufs)
    return Levelled(analysis, lufs=lufs)


def _feed(meter: LoudnessMeter, blocks: Iterable[Samples]) -> None:
    for block in blocks:
        meter.process(block)


def amplified(blocks: Iterable[Samples], gain_db: float) -> Iterator[Samples]:
    """Yield the blocks of a recording with a gain.

    Shape:
        Each block: `(channels, time)`.
    """
    gain = np.float32(10 ** (gain_db / 20))
    return (block * gain if gain != 1 else block for block in blocks)
