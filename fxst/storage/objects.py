"""Objects of S3, Google Cloud Storage and Azure Blob Storage, through obstore.

Credentials come only from the environment: the variables of the stores' own tools, a workload's identity, or the
machine's metadata service. Errors of a store may hold credentials, so their texts are never shown.
"""

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from fxst import extras
from fxst.errors import AudioError, FxstError, OutputError, SettingsError
from fxst.storage.urls import ObjectUrl
from fxst.untrusted import quoted

__all__ = ["CloudStore", "StoredObject"]

_MARK: Final = "fxst"
"""The metadata of objects that fxst made; another program that replaces one leaves it out."""

_RANGE_BYTES: Final = 8 << 20
"""What one request reads, so that it ends within the time limit on a slow line, and can be repeated."""
_LARGEST_PUT_BYTES: Final = 32 << 20
_MOST_PARTS: Final = 9_000
_RETRIES: Final = 6

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_KEY: Final = re.compile(r'Path "(.*?)"(?: contained|:)', re.DOTALL)
_NO_CREDENTIALS: Final = re.compile(
    r"169\.254\.|metadata|/latest/|token request|TokenRequest|MissingCredential|Account must be specified|"
    r"AssumeRole|credential|No such file|private[_ ]key",
    re.IGNORECASE,
)
_REJECTED: Final = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "AuthenticationFailed", "InvalidAuthenticationInfo", "RequestTimeTooSkewed", "InvalidSecurity",
})  # fmt: skip
_NO_BUCKET: Final = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist|InvalidBucketName")
_WRONG_REGION: Final = re.compile(
    r"PermanentRedirect|redirect without|AuthorizationHeaderMalformed|IllegalLocationConstraint"
)

_VARIABLES: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (of a profile: aws configure export-credentials --format env)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}

_proven: set[tuple[str, str]] = set()
"""Buckets that have refused to replace an object which should only be created."""


@dataclass(frozen=True)
class StoredObject:
    """What a store says of an object.

    Args:
        name: Its key below the store's URL.
        size: Its size in bytes.
        mtime_ns: When it was last written.
        etag: Changes with its content; empty where the store has none.
    """

    name: str
    size: int
    mtime_ns: int
    etag: str = ""


class CloudStore:
    """The objects below a URL, as named blobs; see `fxst.coordination.store.Store`.

    Args:
        url: The URL.

    Raises:
        SettingsError: The extra `cloud` is not installed, or the environment lacks something.
    """

    def __init__(self, url: ObjectUrl) -> None:
        self.url = url
        self._client = _client(url.scheme, url.bucket)

    def __reduce__(self) -> tuple[type[Self], tuple[ObjectUrl]]:
        return type(self), (self.url,)

    def read(self, name: str) -> bytes:
        """Return a blob.

        Raises:
            FileNotFoundError: There is none of this name.
            OutputError: It cannot be read.
        """
        import obstore

        url = self.url / name
        try:
            return bytes(obstore.get(self._client, url.key).bytes())
        except Exception as error:
            raise _explained(error, url, "read", OutputError) from None

    def write_new(self, name: str, data: bytes) -> bool:
        """Write a blob unless one of this name exists; return whether it was written.

        Raises:
            OutputError: It cannot be written, or the store would replace blobs.
        """
        import obstore
        from obstore import exceptions

        url = self.url / name

        def create() -> bool:
            # A request may be repeated since its answer was lost, and then finds what it wrote itself.
            mark = os.urandom(16).hex()
            try:
                obstore.put(self._client, url.key, data, attributes={_MARK: mark}, mode="create", use_multipart=False)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return self._mark(url) == mark
            return True

        try:
            written = create()
            bucket = url.scheme, url.bucket
            if written and bucket not in _proven and create():
                raise OutputError(
                    f"The store of {quoted(str(url))} replaces objects that should only be created, so two processes "
                    "could undo each other's work: use a store with conditional writes (If-None-Match)."
                )
            _proven.add(bucket)
        except FxstError:
            raise
        except Exception as error:
            raise _explained(error, url, "written", OutputError) from None
        return written

    def write(self, name: str, data: bytes) -> None:
        """Write a blob, or replace it.

        Raises:
            OutputError: It cannot be written.
        """
        import obstore

        url = self.url / name
        try:
            obstore.put(self._client, url.key, data)
        except Exception as error:
            raise _explained(error, url, "written", OutputError) from None

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that begin with a prefix, in memory that does not grow with their number.

        Raises:
            OutputError: They cannot be listed.
        """
        folder, _, _ = prefix.rpartition("/")
        yield from (found.name for found in self.objects(folder) if found.name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Remove a blob, if it exists.

        Raises:
            OutputError: It cannot be removed.
        """
        import obstore

        url = self.url / name
        try:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._client, url.key)
        except Exception as error:
            raise _explained(error, url, "removed", OutputError) from None

    def objects(self, folder: str = "", *, kind: type[FxstError] = OutputError) -> Iterator[StoredObject]:
        """Yield the objects below a folder, in memory that does not grow with their number.

        Args:
            folder: The folder below the store's URL.
            kind: The error where they cannot be listed.

        Raises:
            FxstError: They cannot be listed.
        """
        import obstore

        url = self.url / folder if folder else self.url
        start = f"{self.url.key}/" if self.url.key else ""
        try:
            for chunk in obstore.list(self._client, url.key or None):
                for item in chunk:
                    if item["path"].startswith(start):
                        yield _stored(item, item["path"].removeprefix(start))
        except Exception as error:
            raise _explained(error, url, "listed", kind) from None

    def find(self, name: str = "") -> StoredObject | None:
        """Return what the store says of an object; None where there is none.

        Raises:
            FxstError: The store cannot be asked.
        """
        import obstore

        url = self.url / name if name else self.url
        if not url.key:
            return None
        try:
            return _stored(obstore.head(self._client, url.key), name)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _explained(error, url, "read", AudioError) from None

    def is_replaceable(self, name: str) -> bool:
        """Return whether no object has a name, or one that fxst made.

        Raises:
            OutputError: The store cannot be asked.
        """
        url = self.url / name
        try:
            return self._mark(url) is not None
        except FileNotFoundError:
            return True
        except Exception as error:
            raise _explained(error, url, "read", OutputError) from None

    def download(self, name: str, fd: int, *, most_bytes: int) -> StoredObject:
        """Copy an object to a file, range by range; a change in between is an error.

        Args:
            name: The object; empty for that of the store's URL.
            fd: The file's descriptor.
            most_bytes: The most that it may hold.

        Raises:
            AudioError: It does not exist, cannot be read, is too large, or changed meanwhile.
            OSError: The file cannot be written.
        """
        import obstore

        url = self.url / name if name else self.url
        try:
            first = obstore.get(self._client, url.key)
            found = _stored(first.meta, name)
        except Exception as error:
            raise _explained(error, url, "read", AudioError) from None
        if found.size > most_bytes:
            raise AudioError(
                f"{quoted(str(url))} has {found.size / 1e9:,.1f} GB, and there is room for {most_bytes / 1e9:,.1f} GB: "
                "free space in the folder for temporary files, or set TMPDIR to another."
            )
        begin = 0
        while begin < found.size or not begin:
            end = min(begin + _RANGE_BYTES, found.size)
            try:
                if end == found.size and not begin:
                    data = memoryview(first.bytes())
                else:
                    options: Any = {"range": (begin, end)} | ({"if_match": found.etag} if found.etag else {})
                    data = memoryview(obstore.get(self._client, url.key, options=options).bytes())
            except Exception as error:
                raise _explained(error, url, "read", AudioError) from None
            if len(data) != end - begin:
                raise AudioError(f"{quoted(str(url))} ended early while it was read: run the command again.")
            while data:
                data = data[os.write(fd, data) :]
            begin = max(end, 1)
        return found

    def upload(self, path: Path, name: str) -> None:
        """Copy a complete file to an object, which appears when all of it is there.

        Args:
            path: The file.
            name: The object.

        Raises:
            OutputError: It cannot be written.
        """
        import obstore

        url = self.url / name
        size = path.stat().st_size
        try:
            obstore.put(
                self._client,
                url.key,
                path,
                attributes={_MARK: "1"},
                use_multipart=size > _LARGEST_PUT_BYTES,
                chunk_size=max(_RANGE_BYTES, -(-size // _MOST_PARTS)),
            )
        except Exception as error:
            raise _explained(error, url, "written", OutputError) from None

    def _mark(self, url: ObjectUrl) -> str | None:
        """Return the mark of an object that fxst made; None of any other.

        Raises:
            FileNotFoundError: There is no object.
        """
        import obstore

        return obstore.get(self._client, url.key, options={"head": True}).attributes.get(_MARK)


@functools.cache
def _client(scheme: str, bucket: str) -> Any:
    """Return obstore's client of a bucket; its settings are from the environment."""
    extras.need(f"A {scheme}:// address", "obstore", extra="cloud")
    from obstore import store

    endpoint = next(filter(None, map(os.environ.get, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))), "")
    options: dict[str, Any] = {
        "client_options": {
            "timeout": timedelta(minutes=2),
            "connect_timeout": timedelta(seconds=10),
            "allow_http": scheme == "s3" and endpoint.startswith("http://"),
        },
        "retry_config": {
            "max_retries": _RETRIES,
            "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=20), "base": 2},
            "retry_timeout": timedelta(minutes=5),
        },
    }
    if scheme == "s3" and endpoint:
        options["endpoint"] = endpoint
    kinds: dict[str, Any] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    try:
        return kinds[scheme](bucket, **options)
    except Exception as error:
        raise _explained(error, ObjectUrl(scheme, bucket), "used", SettingsError) from None


def _stored(item: Any, name: str) -> StoredObject:
    modified: datetime = item["last_modified"]
    # Some stores list milliseconds, and state whole seconds where one object is asked for.
    return StoredObject(name, item["size"], int(modified.timestamp()) * 10**9, item["e_tag"] or "")


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _explained(error: Exception, url: ObjectUrl, what: str, kind: type[FxstError]) -> Exception:
    """Return an error of ours for one of obstore, without its text; a lack of memory is left as it is.

    Args:
        error: The error.
        url: The object.
        what: What could not be done with it, such as `read`.
        kind: The kind of error, where the address and the credentials are right.
    """
    from obstore import exceptions

    if not isinstance(error, exceptions.BaseError | OSError | ValueError):
        return error
    text, status = str(error), _status(error)
    code = found[1] if (found := _CODE.search(text)) else ""
    shown, where = quoted(str(url)), "container" if url.scheme == "az" else "bucket"
    answer = f" ({code or status})" if code or status else ""
    if _NO_BUCKET.search(text):
        return SettingsError(f"{shown}: there is no {where} {quoted(url.bucket)}: check the address and the endpoint.")
    if _WRONG_REGION.search(text):
        return SettingsError(f"{shown}: the {where} is in another region: set AWS_REGION to it.")
    if code in _REJECTED or isinstance(error, exceptions.UnauthenticatedError):
        return SettingsError(
            f"{shown}: the store does not accept the credentials{answer}: check or renew {_VARIABLES[url.scheme]}."
        )
    if isinstance(error, FileNotFoundError):
        return (
            FileNotFoundError(str(url))
            if kind is OutputError and what == "read"
            else AudioError(f"{shown} does not exist: check the address.")
        )
    if isinstance(error, exceptions.PreconditionError):
        return AudioError(f"{shown} changed while it was read: wait until it is complete, and run the command again.")
    if isinstance(error, exceptions.NotSupportedError | NotImplementedError) or status == 501:
        return OutputError(
            f"{shown} cannot be {what}: its store lacks conditional writes (If-None-Match): use another."
        )
    if isinstance(error, exceptions.InvalidPathError | ValueError):
        name = f": the key {quoted(found[1])} is no path" if (found := _KEY.search(text)) else ""
        return kind(f"{shown} cannot be {what}{name}: rename that object, or name a folder without it.")
    asked = _STATUS.search(text) is None or "169.254." in text or "oken" in text
    if asked and _NO_CREDENTIALS.search(text):
        return SettingsError(f"{shown}: there are no credentials in the environment: set {_VARIABLES[url.scheme]}.")
    if isinstance(error, exceptions.PermissionDeniedError) or status in (401, 403):
        return kind(f"{shown} may not be {what}{answer}: check what the credentials in the environment allow.")
    if status is not None and status < 500 and status not in (408, 429):
        return kind(f"{shown} cannot be {what}{answer}: check the address, and the endpoint in the environment.")
    return kind(f"{shown} cannot be {what}: the store does not answer{answer}: check the network, and run it again.")
