"""Upload, download, and compare objects of a Cloud Storage bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from qarib_tasks.errors import ChangedError, CorruptError, StorageError
from qarib_tasks.storage.files import atomic_path, checksums

# Seconds for which a request is repeated after faults that may pass, at random and growing intervals.
PATIENCE = 120.0
RESTORE = "Restore an earlier generation of it"
_MOST_CHARACTERS = 300  # of a bucket's answer
_PASSES = (408, 429, 500, 502, 503, 504)


def split_address(address: str) -> tuple[str, str]:
    """`gs://bucket/some/name` → ("bucket", "some/name")."""
    if not address.startswith("gs://"):
        raise StorageError("not a gs:// address", where=address)
    bucket, _, name = address.removeprefix("gs://").partition("/")
    return bucket, name


def default_client() -> Any:
    """Return a `google.cloud.storage.Client` with the machine's default credentials.

    It has no credentials if the environment variable `STORAGE_EMULATOR_HOST` names an emulator.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage  # type: ignore[attr-defined,unused-ignore]

    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project="emulator", credentials=AnonymousCredentials())
    return storage.Client()


class Bucket:
    """A bucket's objects below a prefix, read and written with google-cloud-storage.

    Args:
        address: `gs://bucket/prefix/`.
        client: a `google.cloud.storage.Client`; `default_client` without one.
    """

    def __init__(self, address: str, client: Any = None) -> None:
        self.address = address
        name, self.prefix = split_address(address)
        self._client: Any = default_client() if client is None else client
        self._bucket: Any = self._client.bucket(name)

    def below(self, folder: str) -> Bucket:
        """The objects below a folder, named relative to it."""
        return Bucket(self.address + folder, self._client)

    def get(self, name: str) -> Any | None:
        """The object's metadata (`size`, `crc32c`, `generation` …), or None if the object does not exist."""
        with answers(self.address + name):
            return self._bucket.get_blob(self.prefix + name, retry=_retry())

    def list(self, below: str = "") -> dict[str, Any]:
        """Every object below a folder, by its name relative to the prefix, sorted."""
        with answers(self.address + below):
            blobs = list(self._bucket.list_blobs(prefix=self.prefix + below, retry=_retry()))
        return {b.name.removeprefix(self.prefix): b for b in sorted(blobs, key=lambda b: str(b.name))}

    def folders(self, below: str = "") -> tuple[str, ...]:
        """The names of the folders directly below a folder, each with a trailing slash, sorted."""
        with answers(self.address + below):
            listing = self._bucket.list_blobs(prefix=self.prefix + below, delimiter="/", retry=_retry())
            for _ in listing.pages:  # The listing has its prefixes only after every page is read.
                pass
        return tuple(sorted(name.removeprefix(self.prefix) for name in listing.prefixes))

    def upload(self, path: Path, name: str, send: Callable[[], object] | None = None) -> bool:
        """Upload a file and verify the object, unless the object already has the same bytes.

        Args:
            send: uploads the file instead of this client; the object is verified in either case.

        Returns:
            True if the file was sent.

        Raises:
            StorageError: the object's size or CRC32C differs from the file's.
        """
        local = checksums(path)
        if same(self.get(name), local):
            return False
        if send:
            send()
        else:
            with written(self.address + name):
                blob = self._bucket.blob(self.prefix + name)
                blob.upload_from_filename(str(path), checksum="crc32c", retry=_retry())
        if not same(self.get(name), local):
            raise StorageError(
                "the uploaded object fails its checksum",
                where=self.address + name,
                do="Clear the task that uploads it, or run the step again",
            )
        return True

    def download(self, name: str, path: Path) -> None:
        """Download an object atomically; its CRC32C is verified before the file appears."""
        blob = self.get(name)
        if blob is None:
            raise StorageError("no such object", where=self.address + name)
        with atomic_path(path) as temporary:
            with answers(self.address + name):
                blob.download_to_filename(str(temporary), checksum="crc32c", retry=_retry())
            if not same(blob, checksums(temporary)):
                raise StorageError(
                    "checksum mismatch after download", where=self.address + name, do="Run the step again"
                )

    def read_start(self, name: str, length: int) -> bytes:
        """The first bytes of an object, at most `length`; none of an object that does not exist."""
        from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

        try:
            with answers(self.address + name):
                blob = self._bucket.blob(self.prefix + name)
                return bytes(blob.download_as_bytes(end=length - 1, retry=_retry()))
        except (NotFound, RequestRangeNotSatisfiable):
            return b""

    def read_text(self, name: str) -> str | None:
        """The current text of a small UTF-8 object, or None if it does not exist.

        Raises:
            CorruptError: it is not UTF-8.
        """
        from google.api_core.exceptions import NotFound

        try:
            with answers(self.address + name):
                data = bytes(self._bucket.blob(self.prefix + name).download_as_bytes(retry=_retry()))
            return data.decode("utf-8")
        except NotFound:
            return None
        except UnicodeDecodeError:
            raise CorruptError("is damaged: not UTF-8", where=self.address + name, do=RESTORE) from None

    def read_version(self, name: str) -> tuple[str | None, int]:
        """The text and the generation of a small UTF-8 object, for `write_text`; None and 0 if there is none.

        If the object is written between the two requests, the text can be newer than the generation, never
        older.
        """
        blob = self.get(name)
        return (None, 0) if blob is None else (self.read_text(name), int(blob.generation))

    def write_text(self, name: str, text: str, *, over: int | None = None) -> int:
        """Write a small UTF-8 object.

        Args:
            over: the generation that the object must still have, 0 if it must not exist. Without it, any
                generation is overwritten.

        Returns:
            the object's new generation.

        Raises:
            ChangedError: the object has another generation.
        """
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self.prefix + name)
        try:
            with written(self.address + name):
                blob.upload_from_string(
                    text.encode(), checksum="crc32c", if_generation_match=over, retry=_retry()
                )
        except PreconditionFailed:
            raise ChangedError("was modified concurrently", where=self.address + name) from None
        return int(blob.generation)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        if (blob := self.get(name)) is not None:
            with answers(self.address + name):
                blob.delete(retry=_retry())


def _retry() -> Any:
    """The policy for faults that may pass: repeated at random, growing intervals, for a limited time."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(PATIENCE)


@contextmanager
def answers(where: object) -> Iterator[None]:
    """Turn what a bucket's client raises into one line with cause and remedy.

    That an object or a bucket does not exist, has another generation, or has no such bytes stays an exception
    of the client, for the caller.

    Raises:
        StorageError: the bucket does not answer, or refuses.
    """
    from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
    from google.api_core.exceptions import RequestRangeNotSatisfiable as NoSuchRange
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (NotFound, PreconditionFailed, NoSuchRange):
        raise
    except (
        *(GoogleAPIError, GoogleAuthError, RequestException, HTTPError),
        *(DataCorruption, InvalidResponse, ConnectionError),
    ) as error:
        raise refused(error, where) from error


@contextmanager
def written(where: object) -> Iterator[None]:
    """As `answers`, for a write: what is not found then is the bucket.

    Raises:
        StorageError: see `answers`, or there is no such bucket.
    """
    from google.api_core.exceptions import NotFound

    try:
        with answers(where):
            yield
    except NotFound as error:
        do = "Create the bucket, or correct its name in the settings"
        raise StorageError("no such bucket", where=where, do=do) from error


def refused(error: BaseException, where: object) -> StorageError:
    """The error for the user, for one of a bucket's client."""
    from google.auth.exceptions import GoogleAuthError

    cause = getattr(error, "cause", None) or error  # of the last try
    code = getattr(cause, "code", None) or getattr(getattr(cause, "response", None), "status_code", None)
    answer = " ".join(str(getattr(cause, "message", cause)).split())[:_MOST_CHARACTERS]
    if code == 401 or isinstance(cause, GoogleAuthError):
        what = f"the bucket does not accept the credentials: {answer}"
        do = "Log in again (`gcloud auth application-default login`), or renew the key of the connection"
    elif code == 403:
        what = f"the bucket denies access: {answer}"
        do = "Grant the account the role Storage Object Admin on the bucket"
    elif code in _PASSES or not isinstance(code, int):
        what, do = f"the bucket does not answer as it should: {answer}", "Run the step again later"
    else:
        what, do = f"the bucket refuses the request: {answer}", "Check the bucket's name and its settings"
    return StorageError(what, where=where, do=do)


class Sums(Protocol):
    """What an object is compared by: `Checksums`, or the record of a file."""

    @property
    def bytes(self) -> int: ...

    @property
    def crc32c(self) -> str: ...


def same(blob: Any | None, local: Sums) -> bool:
    """Check whether an object has the size and CRC32C of the local bytes."""
    return blob is not None and blob.size == local.bytes and blob.crc32c == local.crc32c


def object_fault(objects: Mapping[str, Any], name: str, expected: Sums) -> str:
    """Compare the size and CRC32C of a listed object; returns the fault, or an empty string if they match."""
    if name not in objects:
        return f"the bucket has no {name}"
    return "" if same(objects[name], expected) else f"the bucket's {name} does not match its manifest"
