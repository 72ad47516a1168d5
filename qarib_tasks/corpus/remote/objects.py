"""Lists the objects of a bucket page by page: those that are not asked for take no memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qarib_tasks.storage.bucket import answers, default_client

_FIELDS = "items(name,size,crc32c,md5Hash,etag,generation),prefixes,nextPageToken"


@dataclass(frozen=True, slots=True)
class Entry:
    """An object, or a folder.

    Attributes:
        bytes: its size.
        version: changes with its content.
    """

    is_folder: bool
    bytes: int = 0
    version: str = ""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Entry:
        """From the properties that gcsfs gives."""
        if info["type"] != "file":
            return FOLDER
        keys = ("crc32c", "md5Hash", "etag", "generation")
        version = next((info[key] for key in keys if info.get(key)), None)
        return cls(False, int(info["size"]), str(version))


FOLDER = Entry(is_folder=True)


def list_objects(bucket: str, prefix: str, delimiter: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield the objects whose names begin with a prefix.

    Args:
        delimiter: with "/", only those directly in the folder, and its folders.

    Yields:
        each name, and what it is. Names that end with / are folders.

    Raises:
        FileNotFoundError: the bucket does not exist. StorageError: it does not answer, or refuses.
    """
    from google.api_core.exceptions import NotFound

    listing = default_client().list_blobs(
        bucket, prefix=prefix or None, delimiter=delimiter or None, fields=_FIELDS, page_size=5000
    )
    pages, seen = iter(listing.pages), set[str]()
    while True:
        try:
            with answers(f"gs://{bucket}/{prefix}"):
                page = next(pages, None)
                blobs = [] if page is None else list(page)
        except NotFound as error:
            raise FileNotFoundError(f"gs://{bucket}") from error
        if page is None:
            return
        new = listing.prefixes - seen
        yield from ((name, FOLDER) for name in sorted(new))
        seen |= new
        for blob in blobs:
            if blob.name.endswith("/"):
                yield blob.name, FOLDER
            else:
                version = blob.crc32c or blob.md5_hash or blob.etag or blob.generation
                yield blob.name, Entry(False, int(blob.size or 0), str(version))
