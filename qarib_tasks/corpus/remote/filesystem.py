"""Opens web servers and buckets as file systems, with errors that say what happened."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.errors import InputError, QaribError, StorageError
from qarib_tasks.storage.bucket import default_client

CONNECT_SECONDS = 30.0
SILENT_SECONDS = 60.0  # without a byte from a web server, until the download fails


def download_stored(address: str, path: Path) -> None:
    """Download an object as it is stored: gcsfs would unpack one with Content-Encoding.

    Raises:
        OSError: it cannot be downloaded.
    """
    from google.api_core.exceptions import GoogleAPIError
    from google.cloud.storage import Blob
    from google.cloud.storage.exceptions import DataCorruption

    try:
        Blob.from_uri(address, default_client()).download_to_filename(str(path), raw_download=True)
    except (GoogleAPIError, DataCorruption) as error:
        raise OSError(str(error)) from None


def filesystem(address: str, allowed: AllowedSources | None) -> Any:
    """Return the fsspec file system of an address."""
    import fsspec

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # It logs the traceback of what it raises, too.
    if address.startswith("gs://"):
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            # With an emulator, gcsfs would wait a minute for gRPC.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            return fsspec.filesystem("gs", token="anon", skip_instance_cache=True)
        return fsspec.filesystem("gs")
    import aiohttp

    async def on_redirect(session: Any, context: Any, parameters: Any) -> None:
        # Without this check, an allowed host could redirect anywhere, even to the metadata server.
        response = parameters.response
        target = urljoin(str(response.url), response.headers.get("Location") or response.headers.get("URI"))
        if allowed:
            allowed.check(target, address)

    async def check_status(response: aiohttp.ClientResponse) -> None:
        # Of these, only the first three have the file. fsspec takes all for a file that can be empty, such as
        # a redirect without an address. It raises the others itself.
        if response.status not in (200, 203, 206) and response.status < 400:
            raise aiohttp.ClientResponseError(
                response.request_info,
                response.history,
                status=response.status,
                message=f"{response.reason or ''}, not the file".lstrip(", "),
            )

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(on_redirect)
    timeout = aiohttp.ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
    )
    options = {"trace_configs": [trace], "timeout": timeout, "raise_for_status": check_status}
    return fsspec.filesystem("http", client_kwargs=options, skip_instance_cache=True)


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Turn the errors of remote file systems into one clear error."""
    import aiohttp

    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        # fsspec reports every error of a web server as a missing file.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
        status = getattr(cause, "status", None)
        if isinstance(cause, QaribError):
            raise cause from None
        if status in (404, 410) or isinstance(cause, FileNotFoundError):
            raise InputError("no such file", where=address, do="Correct the address") from None
        if status:
            what = f"the server answered {status} {getattr(cause, 'message', '')}".strip()
        else:
            what = f"cannot download: {str(cause) or type(cause).__name__}"
        raise StorageError(what, where=address, do="Try again later") from None
