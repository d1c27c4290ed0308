"""Any pedalboard plugin as an effect: one that pedalboard brings, a VST3 or an Audio Unit."""

import dataclasses
import math
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from fxst.effects.base import EFFECTS, Effect, Processor, plugin_processor
from fxst.errors import SettingsError, UndeclaredError
from fxst.parameters import Parameter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PluginEffect", "declare_plugin"]

NAME: Final = re.compile(r"[a-z][a-z0-9_]*(?<![0-9])")
"""Names of effects: a number at the end tells the second of a kind in a chain from the first."""

TRIAL_RATE: Final = 48_000
"""The rate at which a plugin is tried when it is declared."""

REFUSALS: Final = (ValueError, TypeError, RuntimeError, AttributeError)
"""How pedalboard says that a plugin will not do something."""


class PluginEffect(Effect):
    """A plugin with declared parameters and no autodiff form.

    Mono and stereo are rendered as such, a plugin that takes only stereo playing mono on both sides and being heard as
    their mean; of more channels, each is rendered on its own. A plugin that moves by itself (a phaser, a chorus) begins
    every recording of one sample rate at the same point of its movement.
    """

    differentiable: ClassVar[bool] = False
    autodiff_error_db: ClassVar[float] = math.nan
    make: ClassVar[Callable[[], Any]]
    idle: ClassVar[list[Any]]
    """Plugins whose recording is finished: to load one can take a thousand times as long as to render a clip."""

    def __post_init__(self) -> None:
        asked, declared = ([p.name for p in parameters] for parameters in (self.parameters, self.widest()))
        if asked != declared:
            raise UndeclaredError(
                f"The effect {self.name} is declared with {', '.join(declared)}, and here it has {', '.join(asked)}: "
                "run `fxst --effects FILE.py ...` with the file that declares it so."
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
                pass  # a mono plugin, which renders each side
        rows = [self.exact(values, sample_rate=sample_rate, channels=1) for _ in range(channels)]
        return lambda block: np.concatenate([row(block[c : c + 1]) for c, row in enumerate(rows)])

    def autodiff(self, x: "Tensor", values: Mapping[str, "Tensor"], *, sample_rate: int) -> "Tensor":
        raise SettingsError(
            f"The plugin {self.name} cannot be differentiated: train with --gradient spsa, or through a proxy."
        )

    def _processor(self, values: Mapping[str, float], *, sample_rate: int, channels: int) -> Processor:
        """Make a plugin render; when nobody holds the processor any more, the plugin is free again."""
        kind = type(self)
        try:
            plugin = kind.idle.pop()
        except IndexError:  # not asked before, for another thread may take the last one
            plugin = kind.make()
        plugin.reset()
        for parameter in self.parameters:
            _turn(self.name, plugin, parameter.name, values[parameter.name])
        try:
            process = plugin_processor(plugin, sample_rate=sample_rate, channels=channels)
        except REFUSALS as error:
            kind.idle.append(plugin)
            width = "stereo" if channels == 2 else "mono"
            raise _RefusedError(f"The plugin {self.name} cannot render {width}: {_said(error)}") from error

        def render(block: Any) -> Any:
            try:
                rendered = process(block)
            except REFUSALS as error:
                raise SettingsError(f"The plugin {self.name} failed: {_said(error)}") from error
            if rendered.shape != block.shape:
                raise SettingsError(f"The plugin {self.name} changes the length of what it plays: take another one.")
            return rendered

        weakref.finalize(render, kind.idle.append, plugin).atexit = False
        return render


class _RefusedError(SettingsError):
    """A plugin does not take so many channels."""


def declare_plugin(name: str, make: Callable[[], Any], parameters: Sequence[Parameter]) -> type[Effect]:
    """Declare a plugin as an effect, and enter it in `EFFECTS`; declared again, it takes the place of the first.

    It has no autodiff form: train with SPSA, or through a proxy. It must render the same sound each time.

    Args:
        name: What the effect is called in tables: small letters and underscores.
        make: Gives a new plugin each time: `pedalboard.Phaser`, or `lambda: pedalboard.load_plugin("my.vst3")`.
        parameters: The widest range of each knob; their names are those of the plugin's attributes.

    Returns:
        The effect's class: without arguments it makes the effect.

    Raises:
        SettingsError: The name is taken, a parameter is not one of the plugin's or the plugin refuses its range, or it
            is a plugin with latency.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"An effect is called by small letters, digits before a letter, and _; not {name!r}.")
    if name in EFFECTS and not issubclass(EFFECTS[name], PluginEffect):
        raise SettingsError(f"fxst has an effect {name} of its own: choose another name.")
    parameters = tuple(parameters)
    names = [parameter.name for parameter in parameters]
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"The plugin {name} needs parameters, each of them once.")
    plugins = [make(), make()]
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


def _try(name: str, plugins: Sequence[Any], parameters: Sequence[Parameter]) -> None:
    """Turn every knob to both ends of its range, and play silence: what cannot be must not be found out in training."""
    first, second = plugins
    if first is second:
        raise SettingsError(f"{name}: make gives the same plugin twice; let it make or load a new one each time.")
    missing = [method for method in ("process", "reset") if not callable(getattr(first, method, None))]
    if missing:
        raise SettingsError(f"{name}: make gives a {type(first).__name__}, which is no plugin of pedalboard's.")
    for parameter in parameters:
        for value in (parameter.minimum, parameter.maximum, parameter.default):
            _turn(name, first, parameter.name, value)
    for channels in (1, 2):
        try:
            plugin_processor(first, sample_rate=TRIAL_RATE, channels=channels)
        except REFUSALS as error:
            refusal = error
        else:
            break
    else:
        raise SettingsError(f"The plugin {name} renders neither mono nor stereo: {_said(refusal)}") from refusal
    first.reset()


def _turn(effect: str, plugin: Any, name: str, value: float) -> None:
    if not hasattr(plugin, name):
        raise SettingsError(f"The plugin {effect} has no parameter {name}: name one of its attributes.")
    try:
        setattr(plugin, name, value)
    except REFUSALS as error:
        raise SettingsError(f"The plugin {effect} refuses {name} = {value:g}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """Write an error as the end of a sentence."""
    return " ".join(str(error).split()).rstrip(".") + "."
