"""A command whose files are objects: their URLs are replaced by the paths of local copies.

What all recordings need, such as references, tables and profiles, is fetched at once and kept until the command ends.
Recordings are fetched one by one when they are rendered, and their outputs are uploaded then.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from fxst.batch.references import split_weight
from fxst.batch.selection import is_sound
from fxst.configs import ApplyConfig, ProfileConfig
from fxst.errors import AudioError, NothingMatchedError, SettingsError
from fxst.storage import copies
from fxst.storage.urls import ObjectUrl, UrlPath, located
from fxst.untrusted import quoted

__all__ = ["local_apply", "local_batch", "local_folder", "local_profile"]

_MAGIC: Final = re.compile(r"[*?[]")


@contextlib.contextmanager
def local_apply(config: ApplyConfig) -> Iterator[ApplyConfig]:
    """Replace the URLs of `fxst apply` for the block; the copies are removed at its end.

    Args:
        config: The command.

    Raises:
        AudioError: An object does not exist, or cannot be read.
        SettingsError: A URL is wrong, or the environment lacks what its store needs.
    """
    if isinstance(config.params_dir, UrlPath):
        raise SettingsError(
            f"{quoted(str(config.params_dir))}: --params-dir takes a folder of files: copy it here first."
        )
    with copies.removed():
        references, styles = _fetched(config.references), _fetched(config.styles)
        read = config.params is not None and not (references or styles)
        yield replace(
            config,
            inputs=tuple(map(_source, config.inputs)),
            output=local_folder(config.output),
            references=references,
            styles=styles,
            params=_file(config.params, read=read),
            plot=_file(config.plot, read=False),
            report=_file(config.report, read=False),
            list_file=_file(config.list_file, read=True),
        )


@contextlib.contextmanager
def local_profile(config: ProfileConfig) -> Iterator[ProfileConfig]:
    """Replace the URLs of `fxst style save` for the block, and upload the profile at its end.

    Args:
        config: The command.

    Raises:
        As for `local_apply`.
    """
    with copies.removed():
        made = replace(config, references=_fetched(config.references), output=local_folder(config.output))
        with copies.published([made.output], overwrite=config.overwrite):
            yield made


@contextlib.contextmanager
def local_batch(path: Path) -> Iterator[Path]:
    """Replace the URL of a batch's output folder for the block.

    Raises:
        SettingsError: A URL is wrong, or the environment lacks what its store needs.
    """
    with copies.removed():
        yield copies.path_of(path.url, is_folder=True) if isinstance(path, UrlPath) else path


def local_folder(path: Path) -> Path:
    """Return the copy of an output, or of a folder of outputs; the path itself where it is no URL."""
    if not isinstance(path, UrlPath):
        return path
    copies.check_bucket(path.url)
    return copies.path_of(path.url, is_folder=path.is_folder or not path.url.key)


def _file(path: Path | None, *, read: bool) -> Path | None:
    if not isinstance(path, UrlPath):
        return path
    found = copies.path_of(path.url)
    if read:
        copies.fetch(found)
    return found


def _source(path: Path) -> Path:
    """Return the copy of an object, or of a folder of objects, which is not fetched yet."""
    if not isinstance(path, UrlPath):
        return path
    url = path.url
    if url.key and not path.is_folder and copies.find(copies.path_of(url)) is not None:
        return copies.path_of(url)
    found = copies.path_of(url, is_folder=True)
    if next(copies.objects_below(found), None) is None:
        raise _nothing(url)
    return found


def _nothing(url: ObjectUrl) -> AudioError:
    shown = quoted(str(url))
    if _MAGIC.search(url.key):
        return AudioError(
            f"{shown} does not exist, and a URL is no pattern: name the folder, and choose with --include '*.wav'."
        )
    return AudioError(f"{shown} does not exist, and no object is below it: check the address.")


def _fetched(names: Sequence[str]) -> tuple[str, ...]:
    """Fetch references or profiles, which may have a weight behind a colon; return the names of their copies."""
    return tuple(map(_reference, names))


def _reference(given: str) -> str:
    whole = located(given)
    name, weight = split_weight(given)
    if not isinstance(whole, UrlPath):
        path = located(name)
        return given if str(path) == name else f"{path}{weight}"
    if weight and copies.find(copies.path_of(whole.url)) is None:
        whole = located(name)
        assert isinstance(whole, UrlPath), "the weight is at the end"
    else:
        weight = ""
    found = _source(whole)
    if not found.is_dir():
        copies.fetch(found)
        return f"{found}{weight}"
    any_sound = False
    for path, about in copies.objects_below(found):
        if is_sound(PurePosixPath(about.name)):
            copies.fetch(path)
            any_sound = True
    if not any_sound:
        raise NothingMatchedError(f"{quoted(str(whole.url))} holds no sound files: name another reference.")
    return f"{found}{weight}"
