"""Where files may go: under names that a file system takes, and through no link out of a folder."""

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
"""Length of the name that a file has until it is whole."""


def check_names(paths: Iterable[Path]) -> None:
    """See that files can have their names, before anything is rendered for them.

    Args:
        paths: The files.

    Raises:
        SettingsError: A name, or a whole path, is longer than file systems take.
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
    """See that no link inside a folder leads what is to be written there to another place.

    The folder itself may be a link: whoever named it knows where it leads.

    Args:
        folder: The folder; it need not be there.
        paths: What is to be written below it.

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
