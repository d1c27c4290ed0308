"""URLs of objects, told apart from paths: `s3://`, `gs://` and `az://`; a `file://` URL is a path.

A text that begins with one of these schemes and `://` is a URL, whatever files there are. Every other text is a path,
but one that looks like another URL is refused unless a file has this name.
"""

import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from fxst.errors import SettingsError
from fxst.untrusted import quoted

__all__ = ["ObjectUrl", "UrlPath", "is_object", "located", "redacted", "url_of"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_STORES: Final = {"s3": "bucket", "gs": "bucket", "az": "container"}
_OTHER_NAMES: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "azure": "az", "abfs": "az", "abfss": "az", "wasb": "az"}
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}", re.ASCII)
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)


@dataclass(frozen=True)
class ObjectUrl:
    """The URL of an object, or of all objects whose keys begin with a path.

    Args:
        scheme: The kind of store: `s3`, `gs` or `az`.
        bucket: The bucket; a container on Azure.
        key: The key, without a slash at either end; empty for the whole bucket.
    """

    scheme: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> "ObjectUrl":
        """Return the URL of a name below this one."""
        return ObjectUrl(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)


class UrlPath(type(Path())):  # type: ignore[misc]  # the system's kind of path
    """A URL where a path is expected; as a path it leads nowhere.

    Args:
        text: The URL.
    """

    url: ObjectUrl
    is_folder: bool
    """Whether the URL ends with a slash, and so is never an object."""

    def __new__(cls, text: str) -> "UrlPath":
        made = super().__new__(cls, text)
        made.url, made.is_folder = _parsed(text), text.endswith("/")
        return made  # type: ignore[no-any-return]

    def __init__(self, text: str) -> None:
        super().__init__(*((text,) if type(Path()).__init__ is not object.__init__ else ()))

    def __str__(self) -> str:
        return str(self.url)

    def __reduce__(self) -> tuple[type["UrlPath"], tuple[str]]:
        return UrlPath, (f"{self.url}/" if self.is_folder and self.url.key else str(self.url),)


def located(text: str) -> Path:
    """Return the path that a word of the command line names; a `UrlPath` for the URL of an object.

    >>> located("voice.wav"), located("file:///tmp/my%20voice.wav"), str(located("s3://bucket/voice.wav"))
    (PosixPath('voice.wav'), PosixPath('/tmp/my voice.wav'), 's3://bucket/voice.wav')

    Args:
        text: The word.

    Raises:
        SettingsError: It is a URL that fxst cannot use.
    """
    scheme = _scheme(text)
    if scheme is None:
        return Path(text)
    return _local(text) if scheme == "file" else UrlPath(text)


def is_object(text: str) -> bool:
    """Return whether a text begins as the URL of an object."""
    found = _SCHEME.match(text)
    return found is not None and found[1].lower() in _STORES


def url_of(text: str) -> ObjectUrl | None:
    """Return the URL of an object; None for a path.

    Raises:
        SettingsError: It is a URL that fxst cannot use.
    """
    scheme = _scheme(text)
    return None if scheme in (None, "file") else _parsed(text)


def redacted(text: str) -> str:
    """Return a URL without what may be a secret: what is before its host, and a query.

    A password may have slashes, so of an address with a colon all up to the last `@` is left out.

    >>> redacted("https://me:sec/ret@host/voice.wav?sig=abc"), redacted("s3://bucket/a@b.wav")
    ('https://...@host/voice.wav?...', 's3://bucket/a@b.wav')
    """
    scheme, _, rest = text.partition("://")
    rest = _QUERY.sub("?...", rest)
    host = rest.partition("/")[0]
    if ":" in host or "@" in host:
        rest = f"...@{rest.rpartition('@')[2]}" if "@" in rest else "..."
    return f"{scheme}://{rest}"


def _scheme(text: str) -> str | None:
    """Return the scheme of a URL; None for a path."""
    found = _SCHEME.match(text)
    if found is None:
        return None
    scheme = found[1].lower()
    if scheme in _STORES or scheme == "file":
        return scheme
    if os.path.lexists(text):
        return None
    meant = _OTHER_NAMES.get(scheme)
    remedy = f"write {meant}:// instead" if meant else "use s3://, gs://, az:// or file://, or download the file first"
    raise SettingsError(f"{quoted(redacted(text))} is a URL that fxst does not read: {remedy}.")


def _parsed(text: str) -> ObjectUrl:
    found = _SCHEME.match(text)
    assert found is not None, "only a URL gets here"
    scheme, rest = found[1].lower(), text[found.end() :]
    what, shown = _STORES[scheme], quoted(redacted(text))
    bucket, _, key = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise SettingsError(
            f"{shown} has a name or password in it: leave it out, and set the credentials in the environment."
        )
    if _BUCKET.fullmatch(bucket) is None:
        raise SettingsError(f"{shown} names no {what}: write it like {scheme}://{what}/folder/voice.wav.")
    # Signatures of links are secrets, and a key may have a question mark.
    if re.search(r"\?.*(?:signature|credential|sig|token)=", key, re.IGNORECASE):
        raise SettingsError(
            f"{shown} has a signature in it: leave out what is after the ?, and set the credentials in the environment."
        )
    key = key.removesuffix("/")
    if key and (problem := _invalid(key)):
        raise SettingsError(f"{shown} has {problem}: rename the object, or name a folder above it.")
    return ObjectUrl(scheme, bucket, key)


def _invalid(key: str) -> str:
    """Return what keeps a key from being a path; empty if nothing does."""
    parts = key.split("/")
    if "" in parts:
        return "two slashes in a row"
    if "." in parts or ".." in parts:
        return "a part that is . or .."
    if any(ord(letter) < 0x20 or letter == "\x7f" for letter in key):
        return "a control character in its key"
    return "" if PurePosixPath(key).as_posix() == key else "a key that is no path"


def _local(text: str) -> Path:
    """Return the path of a `file://` URL."""
    host, slash, path = text[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise SettingsError(f"{quoted(redacted(text))} is no file of this machine: write it like file:///folder/a.wav.")
    name = os.fsdecode(urllib.parse.unquote_to_bytes(path))
    if "\0" in name:
        raise SettingsError(f"{quoted(text)} is no path: name a file.")
    return Path(f"/{name}")
