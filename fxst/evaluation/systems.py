"""Who does the task: given an item, an output."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fxst.audio import SUFFIXES, Samples
from fxst.chains.table import Table
from fxst.errors import AudioError, SettingsError
from fxst.evaluation.items import Item, fitting

if TYPE_CHECKING:
    from fxst.gradients import ProxyRenderer
    from fxst.transfer.style_transfer import StyleTransfer

__all__ = ["Output", "System", "applied", "given", "renders_in", "through_proxies"]


@dataclass(frozen=True)
class Output:
    """What a system made of an item's input.

    Args:
        audio: The rendered recording, of the input's shape and rate.
        settings: The parameter table that it was rendered with, where it was one of our chains.
    """

    audio: Samples
    settings: Table | None = None


System = Callable[[Item], Output]
"""A way of doing the task."""


def applied(model: "StyleTransfer", *, refine: int = 0) -> System:
    """Let a model do the task.

    Args:
        model: The model.
        refine: In how many steps at most its settings are refined; 0 for none.
    """

    def apply(item: Item) -> Output:
        result = model.apply(
            item.input,
            item.reference,
            sample_rate=item.sample_rate,
            reference_sample_rate=item.reference_sample_rate,
            refine=refine,
        )
        return Output(result.audio, result.table)

    return apply


def through_proxies(model: "StyleTransfer", renderer: "ProxyRenderer") -> System:
    """Let a model do the task, and proxies render the settings that it chooses.

    Args:
        model: The model.
        renderer: The proxies of its chain.
    """
    import torch

    def imitate(item: Item) -> Output:
        settings = model.predict(
            item.input,
            item.reference,
            sample_rate=item.sample_rate,
            reference_sample_rate=item.reference_sample_rate,
        )
        with torch.no_grad():
            audio = renderer(
                torch.from_numpy(item.input)[None],
                settings.chain.knobs_of(settings)[None],
                sample_rate=item.sample_rate,
            )
        return Output(audio[0].numpy(), settings)

    return imitate


def given(files: Mapping[str, Path | None]) -> System:
    """Take outputs from files.

    Args:
        files: The file of each item, by the item's name; None where there is none.
    """

    def read(item: Item) -> Output:
        path = files[item.name]
        if path is None:
            raise AudioError("This item has no output: name the file after the item, or name it in the column output.")
        return Output(fitting(path, item.input, item.sample_rate))

    return read


def renders_in(folder: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """Find the renders of items in a folder, each named after its item, whatever the ending.

    A render may be in a sub-folder, where `fxst apply FOLDER` and other programs leave it.

    Args:
        folder: The folder.
        names: The items' names.

    Raises:
        SettingsError: There is no such folder, it holds a render of no item, or two of one.
    """
    if not folder.is_dir():
        raise SettingsError(f"{str(folder)!r} is not a folder: name the folder that holds the outputs.")
    found: dict[str, Path | None] = dict.fromkeys(names)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    by_path = [(path.relative_to(folder).with_suffix("").as_posix(), path) for path in files]
    # What is where its item's name says is meant before what lies deeper.
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
