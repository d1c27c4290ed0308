"""Checks of output paths: names that file systems accept, and no links out of a folder."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fxst.errors import SettingsError
from fxst.untrusted import quoted

__all__ = ["LONGEST_NAME_BYTES", "check_inside", "check_names"]

LONGEST_NAME_BYTES: Final = 255
_LONGEST_PATH_BYTES: Final = 4095
_HIDDEN_NAME_BYTES: Final = 26
"""Length of the temporary name that a file has until it is complete."""


def check_names(paths: Iterable[Path]) -> None:
    """Check that file systems accept the names of files, before anything is rendered.

    Args:
        paths: The files.

    Raises:
        SettingsError: A name or a path is too long.
    """
    for path in paths:
        if any(len(os.fsencode(part)) > LONGEST_NAME_BYTES for part in path.parts):
            raise SettingsError(
                f"{quoted(path)} has a name of more than {LONGEST_NAME_BYTES} bytes, which no file can have: shorten "
                "it."
            )
        folder, name = os.path.split(os.path.realpath(path))
        if len(os.fsencode(folder)) + 1 + max(len(os.fsencode(name)), _HIDDEN_NAME_BYTES) > _LONGEST_PATH_BYTES:
            raise SettingsError(
                f"{quoted(path)} is a path of more than {_LONGEST_PATH_BYTES:,} bytes, which no file can have: shorten "
                "it."
            )


def check_inside(folder: Path, paths: Iterable[Path]) -> None:
    """Check that no link inside a folder leads files that will be written there out of it.

    The folder itself may be a link, since the user named it.

    Args:
        folder: The folder; it need not exist.
        paths: The files to write below it.

    Raises:
        SettingsError: A link leads out of the folder.
    """
    real = os.path.realpath(folder)
    below = real.rstrip(os.sep) + os.sep
    for path in paths:
        if not os.path.realpath(path).startswith(below):
            raise SettingsError(
                f"A link leads {quoted(path)} out of the folder {quoted(folder)}: remove the link, or choose another "
                "folder."
            )
