"""What an effect is: a table of knobs and two functions."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fxst.effects.parameters import Parameter
from fxst.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Samples

__all__ = ["EFFECTS", "Effect", "Processor", "plugin_processor"]

PLUGIN_BUFFER = 8192
"""Samples that pedalboard hands to a plugin at a time."""

Processor = Callable[[Samples], Samples]
"""Renders block after block, (channels, time) to the same shape, keeping its state between calls."""

EFFECTS: "dict[str, type[Effect]]" = {}
"""Every effect by its name; defining a subclass of `Effect` enters it."""


@dataclass(frozen=True)
class Effect(ABC):
    """One processor: its parameters, how it is rendered exactly, and how gradients pass through it.

    A fresh instance has the widest range that each parameter can take; `restrict` narrows them for a chain.

    Raises:
        SettingsError: The parameters are not this effect's, or range further than it can.
    """

    parameters: tuple[Parameter, ...]

    name: ClassVar[str]
    autodiff_error_db: ClassVar[float]
    """Declared and tested ceiling on the power of (autodiff - exact) relative to exact's."""
    differentiable: ClassVar[bool] = True
    """Whether there is an autodiff form at all; a plugin has none."""
    any_thread: ClassVar[bool] = True
    """Whether any thread may make the exact form; a plugin's only the main one, though any may then render with it."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "name"):  # what several effects have in common is no effect yet
            EFFECTS[cls.name] = cls

    def __post_init__(self) -> None:
        widest = self.widest()
        if [(p.name, p.unit) for p in self.parameters] != [(w.name, w.unit) for w in widest]:
            raise SettingsError(f"The parameters given to {self.name} are not those of this version of fxst.")
        for p, w in zip(self.parameters, widest, strict=True):
            if p.minimum < w.minimum or p.maximum > w.maximum:
                can, asked = (f"from {r.minimum:g} to {r.maximum:g}" for r in (w, p))
                raise SettingsError(f"{self.name} {p.name} can range {can} {w.unit}".rstrip() + f", not {asked}.")

    @abstractmethod
    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        """Make the shipped DSP, set to `values`, ready for the first block of a signal."""

    @abstractmethod
    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        """Render in torch, differentiable in the audio and in every value.

        Shape:
            x: (B, C, T); each value: (B,); result: (B, C, T).
        """

    def transparent(self) -> Mapping[str, float]:
        """Return the values at which sound passes unchanged, whatever the other values are; empty if there are none."""
        return {}

    def is_transparent(self, values: Mapping[str, float]) -> bool:
        """Return whether sound passes unchanged at these values, to the last bit."""
        transparent = self.transparent()
        return bool(transparent) and all(values[name] == value for name, value in transparent.items())

    @property
    def needs_bypass(self) -> bool:
        """Whether the ranges exclude the values at which sound passes unchanged, so that only bypassing does that."""
        ranges = {p.name: p for p in self.parameters}
        return any(not ranges[n].minimum <= v <= ranges[n].maximum for n, v in self.transparent().items())

    def summary(self, values: Mapping[str, float]) -> str:
        """Describe settings in one line: `drive 12 dB, mix 0.5`."""
        names = ((p, re.sub(r"_(db|hz|ms)$", "", p.name).replace("_", " ")) for p in self.parameters)
        return ", ".join(f"{name} {p.written(values[p.name])}" for p, name in names)

    def restrict(self, **ranges: float | tuple[float, float]) -> "Effect":
        """Return this effect with narrower ranges: a pair is a range, a number a constant.

        Raises:
            SettingsError: There is no parameter of that name, or it cannot range so far.
        """
        unknown = ranges.keys() - {parameter.name for parameter in self.parameters}
        if unknown:
            raise SettingsError(f"{self.name} has no parameter {', '.join(sorted(unknown))}.")
        pairs = {name: r if isinstance(r, tuple) else (r, r) for name, r in ranges.items()}
        return replace(
            self,
            parameters=tuple(p.restrict(*pairs[p.name]) if p.name in pairs else p for p in self.parameters),
        )

    def widest(self) -> tuple[Parameter, ...]:
        """Return the widest range that this effect can take in each parameter."""
        return type(self).parameters  # type: ignore[misc]  # the default of the field, which dataclasses keep here

    def options(self) -> dict[str, Any]:
        """Return what else than its ranges defines this effect (an EQ's band shapes), as plain data."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "parameters"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def plugin_processor(plugin: Any, *, sample_rate: int, channels: int, name: str | None = None) -> Processor:
    """Make a fresh pedalboard plugin render block after block, whatever the lengths of the blocks.

    Left to itself a plugin takes the longer axis of its first block for time, and forgets its state when a block is
    longer than all before. A first buffer of silence, which leaves no trace in the state, settles both; and it tells a
    plugin that looks ahead from one that answers at once.

    Args:
        plugin: The plugin.
        sample_rate: Samples a second.
        channels: Channels of every block.
        name: What to call it in an error; else by its class.

    Raises:
        SettingsError: The plugin is late, or changes the length.
    """
    silence = np.zeros((channels, PLUGIN_BUFFER), np.float32)
    answer = plugin.process(silence, sample_rate, PLUGIN_BUFFER, reset=False)
    if answer.shape != silence.shape:
        raise SettingsError(
            f"The plugin {name or type(plugin).__name__} gives its sound late, or changes its length, and an effect "
            "must keep both: take one without latency."
        )
    return lambda block: plugin.process(block, sample_rate, PLUGIN_BUFFER, reset=False)
