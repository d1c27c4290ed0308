"""Ranges of time, such as `1:20-2:10`: the part of a recording that is analysed."""

import re
from dataclasses import dataclass
from typing import Final

from fxst.configs import ApplyConfig
from fxst.errors import AudioError, SettingsError

__all__ = ["Span", "input_span", "reference_span"]

_TIME: Final = r"(?:(?:(\d{1,3}):)?(\d{1,3}):)?(\d{1,6}(?:\.\d{1,6})?)"
_RANGE: Final = re.compile(rf"{_TIME}-(?:{_TIME})?", re.ASCII)


@dataclass(frozen=True)
class Span:
    """A part of a recording.

    Args:
        option: The option that names it.
        given: How it is written.
        begin: Where it begins, in seconds.
        end: Where it ends; None for the end of the recording.
    """

    option: str
    given: str
    begin: float
    end: float | None

    @staticmethod
    def parse(option: str, given: str) -> "Span":
        """Read a range: `START-END` in seconds, minutes and seconds, or hours; `START-` goes to the end.

        >>> Span.parse("--input-range", "1:20-2:10.5")
        Span(option='--input-range', given='1:20-2:10.5', begin=80.0, end=130.5)

        Raises:
            SettingsError: It is no range, or an empty one.
        """
        match = _RANGE.fullmatch(given.strip())
        parts = (None,) * 6 if match is None else match.groups()
        begin, end = _seconds(*parts[:3]), _seconds(*parts[3:])
        if begin is None or (end is None and not given.strip().endswith("-")):
            raise SettingsError(
                f"{option} {given!r:.60} is not a range of time: write START-END, such as 1:20-2:10 or 80-130.5."
            )
        if end is not None and end <= begin:
            raise SettingsError(
                f"{option} {given!r:.60} is empty, since it ends where it begins or before: write START-END, such as "
                "1:20-2:10."
            )
        return Span(option, given.strip(), begin, end)

    def frames(self, sample_rate: int) -> tuple[int, int | None]:
        """Return its first sample, and the number of its samples; None for all that follow."""
        first = round(self.begin * sample_rate)
        return first, None if self.end is None else max(1, round(self.end * sample_rate) - first)

    def check(self, name: str, frames: int, sample_rate: int) -> tuple[str, ...]:
        """Check what was found of a recording; return a remark where the recording ends within the range.

        Args:
            name: The recording, quoted.
            frames: Number of samples that were found in the range.
            sample_rate: Their rate.

        Raises:
            AudioError: There were none.
        """
        if not frames:
            raise AudioError(f"{name} ends before {self.option} {self.given} begins: choose an earlier range.")
        first, wanted = self.frames(sample_rate)
        if wanted is None or frames >= wanted:
            return ()
        return (f"{name} ends at {(first + frames) / sample_rate:.2f} s, within {self.option} {self.given}",)


def input_span(config: ApplyConfig) -> Span | None:
    """Return the part of every input that is analysed; None for all."""
    return None if config.input_range is None else Span.parse("--input-range", config.input_range)


def reference_span(config: ApplyConfig) -> Span | None:
    """Return the part of every reference that is analysed; None for all."""
    return None if config.ref_range is None else Span.parse("--ref-range", config.ref_range)


def _seconds(hours: str | None, minutes: str | None, seconds: str | None) -> float | None:
    """Return a time in seconds; None for none, and for 60 or more of what a larger unit stands before."""
    if seconds is None:
        return None
    if (minutes is not None and float(seconds) >= 60) or (hours is not None and int(minutes or 0) >= 60):
        return None
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)
