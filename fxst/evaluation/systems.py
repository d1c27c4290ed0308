"""Systems: functions that render the output of an item."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fxst.audio import SUFFIXES, Samples
from fxst.chains.table import Table
from fxst.dsp.loudness import loudness
from fxst.errors import AudioError, SettingsError
from fxst.evaluation.items import Item, fitting

if TYPE_CHECKING:
    from fxst.gradients import ProxyRenderer
    from fxst.transfer.style_transfer import StyleTransfer

__all__ = ["Output", "System", "applied", "given", "renders_in", "through_proxies"]


@dataclass(frozen=True)
class Output:
    """A system's output for an item.

    Args:
        audio: The rendered recording, of the input's shape and rate.
        settings: The parameter table that rendered it, if there is one.
    """

    audio: Samples
    settings: Table | None = None


System = Callable[[Item], Output]
"""Renders the output of an item."""


def applied(model: "StyleTransfer") -> System:
    """Return the system that applies a model, at the levels that the recordings have."""

    def apply(item: Item) -> Output:
        table = _chosen(model, item)
        return Output(model.render(item.input, table, sample_rate=item.sample_rate), table)

    return apply


def through_proxies(model: "StyleTransfer", renderer: "ProxyRenderer") -> System:
    """Return the system that renders a model's settings through proxies.

    Args:
        model: The model.
        renderer: The proxies of its chain.
    """
    import torch

    def imitate(item: Item) -> Output:
        settings = _chosen(model, item)
        chain = renderer.chain
        knobs = chain.knobs_of([row for row in settings if row.effect in chain.labels])
        with torch.no_grad():
            audio = renderer(
                torch.from_numpy(item.input)[None],
                torch.from_numpy(knobs)[None],
                sample_rate=item.sample_rate,
            )
        return Output(audio[0].numpy(), settings)

    return imitate


def _chosen(model: "StyleTransfer", item: Item) -> Table:
    """Choose the settings for an item.

    `StyleTransfer.apply` analyses soft floating-point recordings louder than they are, since their level is arbitrary.
    That of an item is not: the target has it.
    """
    rate = item.reference_sample_rate
    lufs = loudness(item.reference, sample_rate=rate)
    reference = model.analyse([item.reference], sample_rate=rate)
    profile = model.profile(reference, loudness_lufs=lufs if lufs > -math.inf else None)
    return model.choose(model.analyse([item.input], sample_rate=item.sample_rate), profile)


def given(files: Mapping[str, Path | None]) -> System:
    """Return the system that reads outputs from files.

    Args:
        files: The file of each item, by item name; None if there is none.
    """

    def read(item: Item) -> Output:
        path = files[item.name]
        if path is None:
            raise AudioError("This item has no output: name the file after the item, or name it in the column output.")
        return Output(fitting(path, item.input, item.sample_rate))

    return read


def renders_in(folder: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """Find the renders of items in a folder, each named after its item, with any extension.

    Subfolders are searched too, as `fxst apply FOLDER` and other programs create them.

    Args:
        folder: The folder.
        names: The items' names.

    Raises:
        SettingsError: There is no such folder, it holds no render of any item, or two of one item.
    """
    if not folder.is_dir():
        raise SettingsError(f"{str(folder)!r} is not a folder: name the folder that holds the outputs.")
    found: dict[str, Path | None] = dict.fromkeys(names)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    by_path = [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in files]
    # A path that equals the item's name takes precedence over a file name in a subfolder.
    settled: set[str] = set()
    for candidates in (by_path, [(path.stem, path) for path in files if path.parent != folder]):
        for name, path in candidates:
            if name not in found or name in settled:
                continue
            if found[name] is not None:
                raise SettingsError(f"{str(folder)!r} holds two outputs for {name!r}: keep one of them.")
            found[name] = path
        settled = {name for name, path in found.items() if path is not None}
    if not any(found.values()):
        raise SettingsError(
            f"{str(folder)!r} holds no output of any item: name them after the items, such as {names[0]}.wav."
        )
    return found
