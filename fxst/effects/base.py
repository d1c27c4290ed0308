"""The base class of effects: a table of parameters and two functions."""

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
"""Samples that pedalboard passes to a plugin at a time."""

Processor = Callable[[Samples], Samples]
"""Renders block by block, (channels, time) to the same shape, and keeps its state between calls."""

EFFECTS: "dict[str, type[Effect]]" = {}
"""Every effect by its name; defining a subclass of `Effect` registers it."""


@dataclass(frozen=True)
class Effect(ABC):
    """One processor: its parameters, its exact form, and its differentiable form.

    A new instance has the widest range of each parameter; `restrict` narrows them for a chain.

    Raises:
        SettingsError: The parameters are not this effect's, or their ranges exceed its own.
    """

    parameters: tuple[Parameter, ...]

    name: ClassVar[str]
    autodiff_error_db: ClassVar[float]
    """Declared and tested bound on the power of (autodiff - exact) relative to exact's."""
    differentiable: ClassVar[bool] = True
    """Whether there is an autodiff form; a plugin has none."""
    any_thread: ClassVar[bool] = True
    """Whether any thread may call `exact`; for a plugin only the main one may, though any thread may then render."""
    matched: ClassVar[bool] = False
    """Whether its settings are measured on both recordings, and not predicted by a model."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "name"):  # an abstract base of several effects has none
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
        """Return a processor with these settings, ready for the first block of a signal."""

    @abstractmethod
    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        """Render in torch, differentiable in the audio and in every value.

        Shape:
            x: (B, C, T); each value: (B,); result: (B, C, T).
        """

    def transparent(self) -> Mapping[str, float]:
        """Return the values at which audio passes unchanged, whatever the other values are; empty if there are none."""
        return {}

    def is_transparent(self, values: Mapping[str, float]) -> bool:
        """Return whether audio passes bit for bit at these values."""
        transparent = self.transparent()
        return bool(transparent) and all(values[name] == value for name, value in transparent.items())

    @property
    def needs_bypass(self) -> bool:
        """Whether the ranges exclude the transparent values, so that only bypassing passes audio unchanged."""
        ranges = {p.name: p for p in self.parameters}
        return any(not ranges[n].minimum <= v <= ranges[n].maximum for n, v in self.transparent().items())

    def summary(self, values: Mapping[str, float]) -> str:
        """Return the settings in one line: `drive 12 dB, mix 0.5`."""
        names = ((p, re.sub(r"_(db|hz|ms)$", "", p.name).replace("_", " ")) for p in self.parameters)
        return ", ".join(f"{name} {p.written(values[p.name])}" for p, name in names)

    def restrict(self, **ranges: float | tuple[float, float]) -> "Effect":
        """Return this effect with narrower ranges: a pair is a range, a number a constant.

        Raises:
            SettingsError: There is no parameter of that name, or the range exceeds its own.
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
        """Return the widest range of each parameter."""
        return type(self).parameters  # type: ignore[misc]  # the default of the field, which dataclasses keep here

    def options(self) -> dict[str, Any]:
        """Return what defines this effect besides its ranges, such as an EQ's band shapes, as plain data."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "parameters"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def plugin_processor(plugin: Any, *, sample_rate: int, channels: int, name: str | None = None) -> Processor:
    """Return a processor of a new pedalboard plugin for blocks of any length.

    A plugin takes the longer axis of its first block for time, and loses its state when a block is longer than all
    before. A first buffer of silence, which leaves no trace in the state, prevents both. It also reveals latency.

    Args:
        plugin: The plugin.
        sample_rate: Sample rate in Hz.
        channels: Channels of every block.
        name: Its name in errors; by default its class.

    Raises:
        SettingsError: The plugin has latency, or changes the length.
    """
    silence = np.zeros((channels, PLUGIN_BUFFER), np.float32)
    rendered = plugin.process(silence, sample_rate, PLUGIN_BUFFER, reset=False)
    if rendered.shape != silence.shape:
        raise SettingsError(
            f"The plugin {name or type(plugin).__name__} has latency, or changes the length of the sound: use "
            "one that does neither."
        )
    return lambda block: plugin.process(block, sample_rate, PLUGIN_BUFFER, reset=False)
