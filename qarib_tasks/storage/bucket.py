"""Upload, download, and compare objects of a Cloud Storage bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.errors import ChangedError, StorageError
from qarib_tasks.storage.files import Checksums, atomic_path, checksums


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
        return self._bucket.get_blob(self.prefix + name)

    def list(self, below: str = "") -> dict[str, Any]:
        """Every object below a folder, by its name relative to the prefix, sorted."""
        blobs = self._bucket.list_blobs(prefix=self.prefix + below)
        return {b.name.removeprefix(self.prefix): b for b in sorted(blobs, key=lambda b: str(b.name))}

    def folders(self, below: str = "") -> tuple[str, ...]:
        """The names of the folders directly below a folder, each with a trailing slash, sorted."""
        listing = self._bucket.list_blobs(prefix=self.prefix + below, delimiter="/")
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
            self._bucket.blob(self.prefix + name).upload_from_filename(str(path), checksum="crc32c")
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
            blob.download_to_filename(str(temporary), checksum="crc32c")
            if not same(blob, checksums(temporary)):
                raise StorageError(
                    "checksum mismatch after download", where=self.address + name, do="Run the step again"
                )

    def read_start(self, name: str, length: int) -> bytes:
        """The first bytes of an object, at most `length`; none of an object that does not exist."""
        from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

        try:
            return bytes(self._bucket.blob(self.prefix + name).download_as_bytes(end=length - 1))
        except (NotFound, RequestRangeNotSatisfiable):
            return b""

    def read_text(self, name: str) -> str | None:
        """The current text of a small UTF-8 object, or None if it does not exist."""
        from google.api_core.exceptions import NotFound

        try:
            return str(self._bucket.blob(self.prefix + name).download_as_text(encoding="utf-8"))
        except NotFound:
            return None

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
            blob.upload_from_string(text.encode(), checksum="crc32c", if_generation_match=over)
        except PreconditionFailed:
            raise ChangedError("was modified concurrently", where=self.address + name) from None
        return int(blob.generation)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        if (blob := self.get(name)) is not None:
            blob.delete()


def same(blob: Any | None, local: Checksums) -> bool:
    """Check whether an object has the size and CRC32C of the local bytes."""
    return blob is not None and blob.size == local.bytes and blob.crc32c == local.crc32c


def object_fault(objects: Mapping[str, Any], name: str, expected: Checksums) -> str:
    """Compare the size and CRC32C of a listed object; returns the fault, or an empty string if they match."""
    if name not in objects:
        return f"the bucket has no {name}"
    return "" if same(objects[name], expected) else f"the bucket's {name} does not match its manifest"
