"""Read the bucket for the page, through Airflow's connection and with short timeouts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qarib_tasks.config.deployment.limits import deployment_limits
from qarib_tasks.errors import StorageError
from qarib_tasks.storage.bucket import split_address
from qarib_tasks.views.files import Stored

# Seconds to connect and to wait for an answer. Without retries: the page sends its requests again.
TIMEOUT = (2.0, 6.0)
LISTING_SECONDS = 20.0
PART = 8 << 20  # bytes that are downloaded at once
FIELDS = "items(name,size,crc32c),nextPageToken"


@cache
def client_of(gcp_conn_id: str) -> Any:
    """The `google.cloud.storage.Client` of a connection."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    return GCSHook(gcp_conn_id=gcp_conn_id).get_conn()


@dataclass(frozen=True)
class ConnectionBucket:
    """A `views.files.BucketAccess` that uses an Airflow connection."""

    address: str
    gcp_conn_id: str

    @contextmanager
    def _bucket(self) -> Iterator[tuple[Any, str]]:
        """The bucket and the prefix; errors raised while they are used become a StorageError."""
        from airflow.sdk.exceptions import AirflowException
        from google.api_core.exceptions import GoogleAPIError, NotFound
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        name, prefix = split_address(self.address)
        try:
            yield client_of(self.gcp_conn_id).bucket(name), prefix
        except NotFound:
            raise StorageError("no such bucket", where=self.address, do="Create it") from None
        except (GoogleAPIError, GoogleAuthError, RequestException, AirflowException, OSError) as error:
            raise StorageError(
                f"the bucket does not answer ({type(error).__name__})",
                where=self.address,
                do=f"Check the connection {self.gcp_conn_id} and the network; the page retries automatically",
            ) from error

    def list(self, below: str) -> list[Stored]:
        with self._bucket() as (bucket, prefix):
            blobs = bucket.list_blobs(prefix=prefix + below, fields=FIELDS, timeout=TIMEOUT, retry=None)
            found, until = [], time.monotonic() + LISTING_SECONDS
            most = deployment_limits().page_objects
            for blob in blobs:
                found.append(Stored(blob.name.removeprefix(prefix), int(blob.size or 0), blob.crc32c or ""))
                if time.monotonic() > until or len(found) > most:
                    raise OSError("the folder has too many objects")
            return found

    def read(self, name: str, last: int = 0) -> bytes | None:
        from google.api_core.exceptions import NotFound

        # As it is stored: it could unpack to any number of bytes.
        part: dict[str, int] = {"start": -last} if last else {"end": deployment_limits().page_file_bytes}
        with self._bucket() as (bucket, prefix):
            try:
                data = bucket.blob(prefix + name).download_as_bytes(
                    **part,
                    raw_download=True,
                    timeout=TIMEOUT,
                    retry=None,
                    checksum=None,
                )
            except NotFound:
                return None
            return bytes(data)

    def download(self, name: str, path: Path, until: float) -> None:
        """Copy an object to a file, until a time of `time.monotonic()`."""
        with self._bucket() as (bucket, prefix), path.open("wb") as file:
            blob = bucket.blob(prefix + name)
            with blob.open("rb", chunk_size=PART, raw_download=True, timeout=TIMEOUT, retry=None) as source:
                while part := source.read(PART):
                    file.write(part)
                    if time.monotonic() > until:
                        raise TimeoutError("the download takes too long")

    def write(self, name: str, data: bytes) -> None:
        with self._bucket() as (bucket, prefix):
            bucket.blob(prefix + name).upload_from_string(data, timeout=TIMEOUT, retry=None)
