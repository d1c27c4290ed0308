"""Any pedalboard plugin as an effect: a built-in one, a VST3 or an Audio Unit."""

import dataclasses
import math
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from fxst.effects.base import EFFECTS, Effect, Processor, plugin_processor
from fxst.effects.parameters import Parameter
from fxst.errors import SettingsError, UndeclaredError

if TYPE_CHECKING:
    from torch import Tensor
from fxst.dsp import Samples

__all__ = ["PluginEffect", "declare_plugin"]

NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?<![0-9])")
"""Names of effects. They end in no digit, since chains number effects of one kind."""

TRIAL_RATE: Final = 48_000
"""Sample rate at which a plugin is tried when it is declared."""

SAME: Final = 1e-4
"""Largest difference between two renders, of full scale: some plugins dither."""

REACHED: Final = 0.02
"""Largest difference between a set and a reached value, of the knob's range: plugins round to what they show."""

REFUSALS: Final = (ValueError, TypeError, RuntimeError, AttributeError)
"""Errors of pedalboard when a plugin refuses something."""


class PluginEffect(Effect):
    """A plugin with declared parameters and no autodiff form.

    Mono and stereo are rendered as such; of more channels, each is rendered on its own. A plugin that takes only stereo
    gets mono on both sides, and the output is the mean of both. A modulated plugin (a phaser, a chorus) starts every
    recording of one sample rate at the same phase.
    """

    differentiable: ClassVar[bool] = False
    any_thread: ClassVar[bool] = False
    autodiff_error_db: ClassVar[float] = math.nan
    make: ClassVar[Callable[[], Any]]
    idle: ClassVar[list[Any]]
    """Plugins to use again: loading one can take a thousand times as long as rendering a clip."""

    def __post_init__(self) -> None:
        asked, declared = ([p.name for p in parameters] for parameters in (self.parameters, self.widest()))
        if asked != declared:
            raise UndeclaredError(
                f"The effect {self.name} is declared with {', '.join(declared)}, but here it has {', '.join(asked)}: "
                "run `fxst --effects FILE.py ...` with the file that declares it this way."
            )
        super().__post_init__()

    def exact(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        def make(channels: int) -> Processor:
            return self._processor(values, sample_rate=sample_rate, channels=channels)

        if channels == 1:
            try:
                return make(1)
            except _RefusedError:
                both = make(2)
                return lambda block: both(np.repeat(block, 2, axis=0)).mean(axis=0, keepdims=True)
        if channels == 2:
            try:
                return make(2)
            except _RefusedError:
                pass  # a mono plugin, which renders each channel
        rows = [self.exact(values, sample_rate=sample_rate, channels=1) for _ in range(channels)]
        return lambda block: np.concatenate([row(block[c : c + 1]) for c, row in enumerate(rows)])

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        raise SettingsError(
            f"The plugin {self.name} cannot be differentiated: train with --gradient spsa, or through a proxy."
        )

    def _processor(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        """Return the processor of an idle or new plugin, which becomes idle again when the processor is released."""
        kind = type(self)
        try:
            plugin = kind.idle.pop()
        except IndexError:  # not checked before, since another thread may take the last one
            plugin = _made(self.name, kind.make)
        try:
            render = _ready(self.name, plugin, values, sample_rate=sample_rate, channels=channels)
        except BaseException:
            kind.idle.append(plugin)
            raise
        weakref.finalize(render, kind.idle.append, plugin).atexit = False
        return render


class _RefusedError(SettingsError):
    """A plugin does not take so many channels."""


def declare_plugin(name: str, make: Callable[[], Any], parameters: Sequence[Parameter]) -> type[Effect]:
    """Declare a plugin as an effect, and register it in `EFFECTS`; a second declaration replaces the first.

    It has no autodiff form: train with SPSA, or through a proxy. Its output must be the same each time.

    Args:
        name: The effect's name in tables: small letters, digits before a letter, and underscores.
        make: Returns a new plugin each time: `pedalboard.Phaser`, or `lambda: pedalboard.load_plugin("my.vst3")`.
        parameters: The widest range of each knob; their names are those of the plugin's attributes.

    Returns:
        The effect's class, to be called without arguments.

    Raises:
        SettingsError: The name is taken, the plugin cannot be made, it lacks a parameter or a part of its range, it has
            latency, or its output is not finite or differs each time.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(
            "An effect's name has lower-case letters, digits and _, begins with a letter and does not end in a digit: "
            f"not {name!r}."
        )
    if name in EFFECTS and not issubclass(EFFECTS[name], PluginEffect):
        raise SettingsError(f"fxst has an effect {name} of its own: choose another name.")
    if hasattr(make, "process") and not isinstance(make, type):
        kind = type(make).__name__
        raise SettingsError(f"{name}: pass what makes a new plugin, such as {kind} or a lambda, instead of a plugin.")
    parameters = tuple(parameters)
    for parameter in parameters:
        if not isinstance(parameter, Parameter):
            raise SettingsError(
                f"{name}: each knob is a Parameter(name, minimum, maximum, default), not {parameter!r}."
            )
    names = [parameter.name for parameter in parameters]
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"The plugin {name} needs at least one parameter, and no name twice.")
    plugins = [_made(name, make), _made(name, make)]
    _try(name, plugins, parameters)
    namespace = {
        "__doc__": f"The plugin {type(plugins[0]).__name__}.",
        "name": name,
        "make": staticmethod(make),
        "idle": plugins,
    }
    fields = [("parameters", tuple[Parameter, ...], dataclasses.field(default=parameters))]
    title = "".join(part.capitalize() for part in name.split("_"))
    return dataclasses.make_dataclass(title, fields, bases=(PluginEffect,), namespace=namespace, frozen=True)


def _made(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # it is the user's code
        raise SettingsError(f"The plugin {name} cannot be made: {_in_words(error)}") from error


def _try(name: str, plugins: Sequence[Any], parameters: Sequence[Parameter]) -> None:
    """Render at both ends of all ranges and at the defaults, so that faults do not first appear in training."""
    first, second = plugins
    if first is second:
        raise SettingsError(f"{name}: make returned the same plugin twice; it must make or load a new one each time.")
    missing = [method for method in ("process", "reset") if not callable(getattr(first, method, None))]
    if missing:
        raise SettingsError(f"{name}: make returned a {type(first).__name__}, which is not a pedalboard plugin.")
    for end in ("minimum", "maximum", "default"):
        values = {parameter.name: float(getattr(parameter, end)) for parameter in parameters}
        for parameter in parameters:
            _turn(name, first, parameter.name, values[parameter.name])
            if end != "default":  # between the ends, a plugin may take only some values
                _check_reaches(name, first, parameter, values[parameter.name])
        # Rows of a batch are rendered by several plugins, and each of these renders many.
        renders = [_render_noise(name, plugin, values) for plugin in (first, first, second)]
        if max(float(np.abs(other - renders[0]).max()) for other in renders) > SAME:
            raise SettingsError(
                f"The plugin {name} does not render the same sound every time, at {_listed(values)}: turn off what is "
                "random in it."
            )


def _render_noise(name: str, plugin: Any, values: Mapping[str, float]) -> Samples:
    noise = (0.1 * np.random.default_rng(0).standard_normal((2, TRIAL_RATE // 4))).astype(np.float32)
    for channels in (1, 2):
        try:
            render = _ready(name, plugin, values, sample_rate=TRIAL_RATE, channels=channels)
        except _RefusedError as error:
            refusal = error
        else:
            return render(noise[:channels])
    reason = _in_words(refusal.__cause__)
    raise SettingsError(f"The plugin {name} renders neither mono nor stereo: {reason}") from refusal


def _ready(name: str, plugin: Any, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
    """Set a plugin for a new recording; return a processor that checks its output.

    Raises:
        _RefusedError: It does not take so many channels.
        SettingsError: It cannot be reset, refuses a value, or has latency.
    """
    try:
        plugin.reset()
    except REFUSALS as error:
        raise SettingsError(f"The plugin {name} cannot be reset: {_in_words(error)}") from error
    for parameter, value in values.items():
        _turn(name, plugin, parameter, value)
    try:
        process = plugin_processor(plugin, sample_rate=sample_rate, channels=channels, name=name)
    except REFUSALS as error:
        width = "stereo" if channels == 2 else "mono"
        raise _RefusedError(f"The plugin {name} cannot render {width}: {_in_words(error)}") from error

    def render(block: Samples) -> Samples:
        try:
            rendered = process(block)
        except REFUSALS as error:
            raise SettingsError(f"The plugin {name} failed: {_in_words(error)}") from error
        if rendered.shape != block.shape:
            raise SettingsError(f"The plugin {name} changes the length of the sound: use another one.")
        if not np.isfinite(rendered).all() and np.isfinite(block).all():
            raise SettingsError(
                f"The plugin {name} renders samples that are not finite, at {_listed(values)}: narrow its ranges."
            )
        return rendered

    return render


def _turn(effect: str, plugin: Any, name: str, value: float) -> None:
    if not hasattr(plugin, name):
        raise SettingsError(f"The plugin {effect} has no parameter {name}: name one of its attributes.")
    try:
        setattr(plugin, name, value)
    except REFUSALS as error:
        raise SettingsError(f"The plugin {effect} refuses {name} = {value:g}: {_in_words(error)}") from error


def _check_reaches(effect: str, plugin: Any, parameter: Parameter, value: float) -> None:
    """Read a value back: a plugin may clamp it to a range of its own, beyond which the knob would have no effect."""
    try:
        reached = float(getattr(plugin, parameter.name))
    except REFUSALS as error:
        reason = _in_words(error)
        raise SettingsError(f"The plugin {effect} has a {parameter.name} that is not a number: {reason}") from error
    if abs(parameter.to_knob(reached) - parameter.to_knob(value)) > REACHED:
        raise SettingsError(
            f"The plugin {effect} sets {parameter.name} to {reached:g} instead of {value:g}: declare the range that it "
            "has."
        )


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in values.items())


def _in_words(error: BaseException | None) -> str:
    """Return an error's message as the end of a sentence."""
    return " ".join(str(error).split()).rstrip(".") + "."
