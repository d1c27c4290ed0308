"""Parameters, and the conversion between knobs on [0, 1] and physical values."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from fxst.errors import SettingsError

__all__ = ["Parameter", "Setting"]


@dataclass(frozen=True)
class Parameter:
    """One declared setting of an effect.

    A parameter whose minimum equals its maximum is a constant: it has no knob, but still a row in every table. Ranges
    never depend on the sample rate.

    Args:
        name: Name with its unit, spelt as in pedalboard where pedalboard has it: `threshold_db`.
        minimum: Value at knob 0.
        maximum: Value at knob 1.
        default: Starting value.
        unit: Unit as printed: `dB`, `Hz`, `ms`, or nothing.
        scale: Scale of the knob. Both have a finite, non-zero slope on all of [0, 1].

    Raises:
        SettingsError: The name or unit is not text, the range is empty or not finite, or a log range is not above zero.
    """

    name: str
    minimum: float
    maximum: float
    default: float
    unit: str = ""
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.unit, str):
            raise SettingsError(f"{self.name}: the name and the unit must be text.")
        numbers = (self.minimum, self.default, self.maximum)
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise SettingsError(f"{self.name}: minimum, default and maximum must be finite numbers.")
        if self.minimum > self.maximum:
            raise SettingsError(f"{self.name}: the minimum {self.minimum} is above the maximum {self.maximum}.")
        if not self.minimum <= self.default <= self.maximum:
            raise SettingsError(f"{self.name}: the default {self.default} is not in the range.")
        if self.scale not in ("linear", "log"):
            raise SettingsError(f"{self.name}: the scale is 'linear' or 'log', not {self.scale!r}.")
        if self.scale == "log" and self.minimum <= 0:
            raise SettingsError(f"{self.name}: a log scale needs a minimum above 0.")

    @property
    def constant(self) -> bool:
        """Whether the parameter has only one value, and so no knob."""
        return self.minimum == self.maximum

    def to_value(self, knob: Any) -> Any:
        """Convert a knob on [0, 1] to a physical value; for floats, arrays and tensors.

        Both ends are exact, so that no value leaves the range.

        >>> Parameter("f0_hz", 25.0, 400.0, 100.0, "Hz", "log").to_value(0.5)
        100.0
        """
        if self.scale == "log":
            return self.minimum ** (1 - knob) * self.maximum**knob
        return self.minimum * (1 - knob) + self.maximum * knob

    def to_knob(self, value: float) -> float:
        """Convert a physical value to a knob, clamped to [0, 1]; 0 for a constant.

        >>> Parameter("gain_db", -20.0, 20.0, 0.0, "dB").to_knob(10.0)
        0.75
        """
        if self.constant:
            return 0.0
        value = min(max(value, self.minimum), self.maximum)
        if self.scale == "log":
            return math.log(value / self.minimum) / math.log(self.maximum / self.minimum)
        return (value - self.minimum) / (self.maximum - self.minimum)

    def written(self, value: float) -> str:
        """Format a value to three digits, with its unit.

        >>> Parameter("ratio", 1.0, 20.0, 4.0, ":1", "log").written(1.3491)
        '1.35:1'
        """
        return f"{float(f'{value:.3g}'):g}" + (self.unit if self.unit.startswith(":") else f" {self.unit}".rstrip())

    def restrict(self, minimum: float, maximum: float) -> "Parameter":
        """Return the same parameter with another range, to which the default is clamped."""
        default = min(max(self.default, minimum), maximum)
        return Parameter(self.name, minimum, maximum, default, self.unit, self.scale)


@dataclass(frozen=True)
class Setting:
    """One row of a parameter table: the value of one parameter of one effect.

    Args:
        effect: The effect's label in its chain.
        parameter: The parameter's name.
        value: Its value.
        unit: Its unit as printed.
        minimum: The lowest value of the chain's range.
        maximum: The highest.
        bypass: Whether the effect is bypassed; the same in all rows of an effect.
    """

    effect: str
    parameter: str
    value: float
    unit: str
    minimum: float
    maximum: float
    bypass: bool = False
