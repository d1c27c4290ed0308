"""Chains of effects: the only module that assigns knobs to effects."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fxst.chains.amounts import amount_of_each
from fxst.effects import (
    EFFECTS,
    Dynamics,
    Effect,
    Expander,
    ParametricEQ,
    Processor,
    undeclared,
)
from fxst.effects.parameters import Parameter, Setting
from fxst.errors import SettingsError, UndeclaredError
from fxst.untrusted import brief, shell_word

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Samples
from fxst.dsp.channels import ChannelLayout

__all__ = ["Chain", "Stage", "rounded"]

SIGNIFICANT_DIGITS = 7
"""Digits of a value in a parameter table. The rounded value is rendered, so a table is complete."""


class Stage(NamedTuple):
    """One effect of a chain with its values.

    Args:
        label: The effect's label in the chain.
        effect: The effect.
        values: Its values by parameter, with the transparent ones of a bypassed effect.
        bypass: Whether it is bypassed.
    """

    label: str
    effect: Effect
    values: dict[str, float]
    bypass: bool

    @property
    def active(self) -> bool:
        """Whether it changes the sound: it is neither bypassed nor transparent."""
        return not self.bypass and not self.effect.is_transparent(self.values)


@dataclass(frozen=True)
class Chain:
    """Effects in order, with the range of every parameter.

    Args:
        name: Name of the chain in tables and files.
        effects: The effects, in the order in which the signal passes them.

    Raises:
        SettingsError: The effects are not a tuple of effects.
    """

    name: str
    effects: tuple[Effect, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.effects, tuple) or not all(isinstance(effect, Effect) for effect in self.effects):
            raise SettingsError(f"Chain {self.name} takes a tuple of effects: Chain({self.name!r}, (effect,)).")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Unique labels of the effects: the name, and a number from the second of a kind on (`compressor2`)."""
        names = [effect.name for effect in self.effects]
        return tuple(
            name if names[:index].count(name) == 0 else f"{name}{names[:index].count(name) + 1}"
            for index, name in enumerate(names)
        )

    @cached_property
    def knobs(self) -> tuple[tuple[str, Parameter], ...]:
        """Effect label and parameter of each knob, in the order of a knob vector; constants have none."""
        return tuple(
            (label, parameter)
            for label, effect in zip(self.labels, self.effects, strict=True)
            for parameter in effect.parameters
            if not parameter.constant
        )

    @cached_property
    def predicted(self) -> "Chain":
        """The effects whose settings a model predicts, as a chain: those that are not matched by measurement."""
        return replace(self, effects=tuple(effect for effect in self.effects if not effect.matched))

    @cached_property
    def gain(self) -> tuple[str, str] | None:
        """The knob that sets the chain's level, by label and name: the first make-up gain after the equaliser.

        Without an equaliser of free bands it is the first one; None without a free make-up gain.
        """
        free = {
            label
            for label, effect in zip(self.labels, self.effects, strict=True)
            if isinstance(effect, ParametricEQ) and not any(p.constant for p in effect.parameters)
        }
        last = max((index for index, (label, _) in enumerate(self.knobs) if label in free), default=-1)
        gains = [(label, p.name) for label, p in self.knobs[last + 1 :] if p.name == "makeup_db"]
        return gains[0] if gains else None

    @property
    def can_be_bypassed(self) -> bool:
        """Whether every effect can pass sound unchanged."""
        return all(effect.transparent() for effect in self.effects)

    @property
    def differentiable(self) -> bool:
        """Whether every effect has an autodiff form."""
        return all(effect.differentiable for effect in self.effects)

    def check_linkable(self) -> None:
        """Check that the chain has a compressor to link or unlink.

        Raises:
            SettingsError: It has none.
        """
        if not any(isinstance(effect, Dynamics) for effect in self.effects):
            raise SettingsError(f"The chain {brief(self.name)} has no compressor: leave out --link and --no-link.")

    def linked(self, linked: bool) -> "Chain":
        """Return this chain with linked compressors, one gain for all channels, or with unlinked ones."""
        return replace(
            self, effects=tuple(replace(e, linked=linked) if isinstance(e, Dynamics) else e for e in self.effects)
        )

    def split(self, knobs: Any) -> list[dict[str, Any]]:
        """Convert knob vectors, of NumPy or torch, to physical values, one dictionary an effect, constants included.

        Shape:
            knobs: (B, P), on [0, 1]; each value: (B,).

        Raises:
            SettingsError: The vectors are not of this chain's length.
        """
        if knobs.ndim != 2 or knobs.shape[1] != len(self.knobs):
            raise SettingsError(f"Chain {self.name} has {len(self.knobs)} knobs, not the shape {tuple(knobs.shape)}.")
        columns = iter(knobs.T)
        same = np.full(len(knobs), 1.0) if isinstance(knobs, np.ndarray) else knobs.new_ones(len(knobs))
        return [
            {p.name: p.minimum * same if p.constant else p.to_value(next(columns)) for p in effect.parameters}
            for effect in self.effects
        ]

    def autodiff(self, x: "Tensor", knobs: "Tensor", *, sample_rate: int) -> "Tensor":
        """Render in torch, differentiable with respect to audio and knobs, in the audio's precision.

        Shape:
            x: (B, C, T); knobs: (B, P); result: (B, C, T).

        Raises:
            SettingsError: An effect has no autodiff form.
        """
        for effect, values in zip(self.effects, self.split(knobs.to(x.dtype)), strict=True):
            x = effect.autodiff(x, values, sample_rate=sample_rate)
        return x

    def settings(self, knobs: npt.ArrayLike, *, bypassed: Collection[str] = ()) -> tuple[Setting, ...]:
        """Return the parameter table of one knob vector, its values rounded.

        Args:
            knobs: The knobs.
            bypassed: Labels of the effects that are bypassed.

        Shape:
            knobs: (P,), on [0, 1].
        """
        values = self.split(np.asarray(knobs, np.float64)[None])
        return self._table(({name: value.item() for name, value in of_one.items()} for of_one in values), bypassed)

    def knobs_of(self, settings: Sequence[Setting]) -> Samples:
        """Return the knob vector of a parameter table; values beyond the chain's ranges are clipped.

        Shape:
            result: (P,), on [0, 1].

        Raises:
            SettingsError: The table is not one of this chain.
        """
        stages = self.stages(settings)
        knobs = [p.to_knob(stage.values[p.name]) for stage in stages for p in stage.effect.parameters if not p.constant]
        return np.array(knobs, np.float32)

    def completed(self, predicted: Sequence[Setting]) -> tuple[Setting, ...]:
        """Return the table of this chain with settings of `predicted`; the other effects are bypassed.

        Args:
            predicted: A table of the predicted effects.
        """
        rows = {(row.effect, row.parameter): row for row in predicted}
        return tuple(rows.get((row.effect, row.parameter), row) for row in self.bypassed(self.defaults()))

    def bypassed(self, settings: Sequence[Setting]) -> tuple[Setting, ...]:
        """Return a table with every effect bypassed."""
        return tuple(replace(row, bypass=True) for row in settings)

    def at_amount(self, settings: Sequence[Setting], amount: float | Mapping[str, float]) -> tuple[Setting, ...]:
        """Scale a table between no change and itself, or beyond itself.

        The parameters that can make an effect transparent, such as its gains or its mix, move along their own scale;
        the others stay. At 0, an effect whose range excludes the transparent values is bypassed.

        Args:
            settings: The table.
            amount: 0 leaves the sound unchanged, 1 is the table, and up to 1.5 goes further, as far as the effects can.
                In a mapping from labels or short names, amounts by effect; that of the empty name is for all others,
                which otherwise stay.

        Raises:
            SettingsError: The table is not one of this chain, or an amount's effect is not in it.
        """
        amounts = amount_of_each(amount, self.labels)
        changes: dict[tuple[str, str], float] = {}
        bypassed = set()
        for label, effect, values, bypass in self.stages(settings):
            share = amounts[label]
            if bypass or (share == 0 and effect.needs_bypass):
                bypassed.add(label)
            elif share != 1:
                widest = {p.name: p for p in effect.widest()}
                for name, rest in effect.transparent().items():
                    p = widest[name]
                    low, high = p.to_knob(rest), p.to_knob(values[name])
                    value = rest if share == 0 else p.to_value(min(1.0, max(0.0, low + share * (high - low))))
                    changes[label, name] = rounded(value)
        return tuple(
            replace(row, value=changes.get((row.effect, row.parameter), row.value), bypass=row.effect in bypassed)
            for row in settings
        )

    def amounts(self, amount: float | Mapping[str, float]) -> dict[str, float]:
        """Return the requested amount of each effect, by label.

        Args:
            amount: As `at_amount` takes it.

        Raises:
            SettingsError: An amount is out of range, its effect is not in the chain, or no setting bypasses the effect,
                as for a plugin.
        """
        amounts = amount_of_each(amount, self.labels)
        for label, effect in zip(self.labels, self.effects, strict=True):
            if amounts[label] != 1 and not effect.transparent():
                raise SettingsError(
                    f"The amount of {label!r} cannot be changed, since no setting bypasses it: leave it at 100 "
                    f"percent, as --amount {shell_word(label)}=100 does."
                )
        return amounts

    def defaults(self) -> tuple[Setting, ...]:
        """Return the table of all defaults."""
        return self._table({p.name: p.default for p in effect.parameters} for effect in self.effects)

    def _table(self, values: Iterable[Mapping[str, float]], bypassed: Collection[str] = ()) -> tuple[Setting, ...]:
        return tuple(
            Setting(label, p.name, rounded(of_one[p.name]), p.unit, p.minimum, p.maximum, label in bypassed)
            for label, effect, of_one in zip(self.labels, self.effects, values, strict=True)
            for p in effect.parameters
        )

    def stages(self, settings: Sequence[Setting]) -> list[Stage]:
        """Return the chain's effects with their values from a parameter table.

        A value may exceed the chain's range, which limits a model's predictions, but not the effect's.

        Raises:
            SettingsError: A row is missing, unknown, duplicate or out of the effect's range, or an effect is bypassed
                in some of its rows only.
        """
        rows: dict[tuple[str, str], float] = {}
        bypass: dict[str, set[bool]] = {}
        for row in settings:
            if (row.effect, row.parameter) in rows:
                raise SettingsError(f"The table sets {row.effect} {row.parameter} twice; keep one row.")
            rows[row.effect, row.parameter] = row.value
            bypass.setdefault(row.effect, set()).add(row.bypass)
        result = []
        for label, effect in zip(self.labels, self.effects, strict=True):
            widest = {p.name: p for p in effect.widest()}
            values = {}
            for p in effect.parameters:
                if (label, p.name) not in rows:
                    raise SettingsError(f"The table has no row for {label} {p.name}; chain {self.name} needs it.")
                value = rows.pop((label, p.name))
                low, high = widest[p.name].minimum, widest[p.name].maximum
                if not low <= value <= high:
                    raise SettingsError(f"{label} {p.name} is {value:g}; it must lie between {low:g} and {high:g}.")
                values[p.name] = value
            if len(bypass[label]) > 1:
                raise SettingsError(f"{label} is bypassed in some of its rows only; set bypass in all or none of them.")
            bypassed = True in bypass[label]
            result.append(Stage(label, effect, values | dict(effect.transparent()) if bypassed else values, bypassed))
        if rows:
            unknown = ", ".join(f"{label} {name}" for label, name in rows)
            raise SettingsError(f"Chain {self.name} has no {unknown}; remove the row or choose another chain.")
        return result

    def exact(
        self,
        settings: Sequence[Setting],
        *,
        sample_rate: int,
        channels: int,
        layout: ChannelLayout | None = None,
    ) -> Processor:
        """Make the exact effects of a parameter table: call the result with consecutive blocks of one signal.

        If no effect is active, it returns the block itself, not a copy.

        Args:
            settings: The table.
            sample_rate: Sample rate in Hz.
            channels: Channels of every block.
            layout: Their loudspeakers; the LFE does not steer linked compressors. By default all channels do.

        Raises:
            SettingsError: The table is not one of this chain.
        """
        shape = {"sample_rate": sample_rate, "channels": channels}
        processors = [
            stage.effect.steered(stage.values, **shape, steering=layout.heard)
            if layout is not None and layout.has_lfe and isinstance(stage.effect, Dynamics | Expander)
            else stage.effect.exact(stage.values, **shape)
            for stage in self.stages(settings)
            if stage.active
        ]

        def process(block: Samples) -> Samples:
            for processor in processors:
                block = processor(block)
            return block

        return process

    def to_spec(self) -> dict[str, Any]:
        """Return the chain as plain data, with the ranges that give a knob vector its meaning."""
        return {
            "name": self.name,
            "effects": [
                {"effect": e.name, **e.options(), "parameters": [dict(vars(p)) for p in e.parameters]}
                for e in self.effects
            ],
        }

    @staticmethod
    def from_spec(spec: Mapping[str, Any]) -> "Chain":
        """Return the chain of plain data.

        Raises:
            UndeclaredError: An effect is not declared.
            SettingsError: The data does not describe a chain, or names a parameter that this version lacks.
        """
        try:
            effects = []
            for entry in spec["effects"]:
                options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
                name = options.pop("effect")
                if isinstance(name, str) and name not in EFFECTS:
                    raise UndeclaredError(undeclared("effect", name, EFFECTS))
                effect = EFFECTS[name]
                parameters = tuple(Parameter(**row) for row in options.pop("parameters"))
                if not parameters:
                    raise SettingsError(f"The specification of {effect.name} has no parameters.")
                effects.append(effect(parameters=parameters, **options))
            return Chain(str(spec["name"]), tuple(effects))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise SettingsError(f"Not the specification of a chain ({error}).") from error


def rounded(value: float) -> float:
    """Round a value to the digits of a parameter table."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
