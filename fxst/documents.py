"""Files that people edit and pass on, such as parameter tables: text of limited size, and JSON of a known version."""

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxst import untrusted
from fxst.errors import SettingsError
from fxst.untrusted import brief, encoding_of, quoted

__all__ = ["DocumentKind"]


@dataclass(frozen=True)
class DocumentKind:
    """A kind of such files.

    Args:
        what: Its name in messages.
        format: The value of `format` in its JSON.
        version: The value of `version`.
        largest_bytes: The largest file that is read.
        writer: The command that writes it.
        remedy: What to do about a damaged or old file.
        instead: What else the user may have meant.
    """

    what: str
    format: str
    version: int
    largest_bytes: int
    writer: str
    remedy: str
    instead: str

    def read(self, path: Path) -> str:
        """Return the text of a file.

        Raises:
            SettingsError: It is missing, unreadable, too large, or not text.
        """
        name = quoted(path)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise SettingsError(f"{name} is a folder, a pipe or a device: name a {self.what}.")
            with open(path, "rb") as file:
                data = file.read(self.largest_bytes + 1)
        except FileNotFoundError as error:
            raise SettingsError(f"{name} does not exist: check the name of the {self.what}.") from error
        except (OSError, ValueError) as error:
            reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
            raise SettingsError(f"{name} cannot be read ({reason}): check its permissions.") from error
        if len(data) > self.largest_bytes:
            raise SettingsError(f"{name} is larger than any {self.what}: name one that `{self.writer}` wrote.")
        try:
            text = data.decode(encoding_of(data))
        except UnicodeDecodeError as error:
            raise SettingsError(f"{name} is not UTF-8 text: name a {self.what}, or save it in UTF-8.") from error
        if "\0" in text:
            raise SettingsError(f"{name} is not a text file: name a {self.what}.")
        return text

    def parse(self, text: str) -> dict[str, Any]:
        """Return the object that a text in JSON holds.

        Raises:
            SettingsError: It is not JSON, or of another format or version.
        """
        try:
            document = untrusted.from_json(text)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"not valid JSON ({error}); correct it there, or {self.remedy}.") from error
        found = document if isinstance(document, dict) else {}
        if found.get("format") != self.format:
            raise SettingsError(
                f"not a {self.what}: its format is {brief(found.get('format'))}, not {self.format!r}; name one that "
                f"`{self.writer}` wrote, or {self.instead}."
            )
        version = found.get("version")
        if version != self.version:
            remedy = self.remedy if version in range(1, self.version) else "update fxst"
            raise SettingsError(
                f"version {brief(version)} of the {self.what}'s format, and this fxst reads {self.version}: {remedy}."
            )
        return found
